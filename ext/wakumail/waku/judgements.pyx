# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The latest judgements of all workers of a server, in memory that they share.

The other workers take over the hash and the PoW of an envelope that one has judged and archived.
An envelope has the slot of its sequence in the archive, modulo the number of slots. If the slot was
never written, or belongs to a later envelope by now, the envelope is hashed again.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport UINT32_MAX, uint8_t, uint64_t
from libc.string cimport memcpy

from wakumail.waku.envelope cimport (ACCEPTED, HASH_BLOCK, Batch, Rules, ask_hash, ask_pow,
                                     envelope_record, hash_queue, new_batch)
from wakumail.waku.envelope_judging cimport conclude, hash_all
from wakumail.waku.envelope_records cimport read_records
from wakumail.base.rlp cimport RLP_OK, rlp_reason, rlp_status

from wakumail.errors import RlpError

SLOT_SIZE = sizeof(judgement)
"""Bytes of shared memory that an envelope takes."""

cdef extern from *:
    """
    /* A writer that dies, or overtakes a reader, leaves a number that belongs to no envelope. */
    static inline uint64_t number_before(const uint64_t *number) {
        return __atomic_load_n(number, __ATOMIC_ACQUIRE);
    }
    static inline uint64_t number_after(const uint64_t *number) {
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        return __atomic_load_n(number, __ATOMIC_RELAXED);
    }
    static inline void begin_slot(uint64_t *number) {
        __atomic_store_n(number, 0, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_RELEASE);
    }
    static inline void end_slot(uint64_t *number, uint64_t value) {
        __atomic_store_n(number, value, __ATOMIC_RELEASE);
    }
    """
    uint64_t number_before(const uint64_t *number) noexcept nogil
    uint64_t number_after(const uint64_t *number) noexcept nogil
    void begin_slot(uint64_t *number) noexcept nogil
    void end_slot(uint64_t *number, uint64_t value) noexcept nogil


cdef class Judgements:
    """The slots in `memory`, a writable buffer, of zeros at first; ValueError if it has no slot.

    One process at a time may append to an archive that has these judgements; all may read.
    """

    def __cinit__(self, memory not None):
        PyObject_GetBuffer(memory, &self.memory, PyBUF_WRITABLE)
        self.slots = <judgement *> self.memory.buf
        self.count = self.memory.len // sizeof(judgement)
        if self.count == 0:
            raise ValueError(f"{self.memory.len} bytes are no slot")

    def __dealloc__(self):
        PyBuffer_Release(&self.memory)

    cdef void put(self, uint64_t sequence, const envelope_record *record) noexcept nogil:
        cdef judgement *slot = &self.slots[sequence % self.count]
        begin_slot(&slot.number)
        slot.pow = record.pow
        memcpy(slot.hash, record.hash, sizeof(slot.hash))
        end_slot(&slot.number, sequence + 1)

    cdef bint recall(self, uint64_t sequence, envelope_record *record) noexcept nogil:
        """Set hash and PoW of `record`; False if they are not known: then both are undefined."""
        cdef const judgement *slot = &self.slots[sequence % self.count]
        if number_before(&slot.number) != sequence + 1:
            return False
        record.pow = slot.pow
        memcpy(record.hash, slot.hash, sizeof(record.hash))
        return number_after(&slot.number) == sequence + 1

    def judge(self, bytes envelopes not None, uint64_t following, Rules rules not None,
              uint64_t now):
        """Judge the `envelopes` that Archive.follow returned, as `judge` does; returns a Batch.

        following: the sequence after the last of them. The PoW is the one that was judged first.
        RlpError when these are no envelopes.
        """
        cdef Batch batch = new_batch(envelopes)
        cdef const uint8_t *end = batch.data + len(envelopes)
        cdef rlp_status status
        with nogil:
            status = <rlp_status> read_records(batch, batch.data, end, UINT32_MAX)
            judge_from_memory(self, batch, following - batch.count, rules, now)
        if status != RLP_OK:
            raise RlpError(f"envelope {batch.count}: {rlp_reason(status)}")
        conclude(batch, rules, None)
        return batch


cdef void judge_from_memory(Judgements judgements, Batch batch, uint64_t first, Rules rules,
                            uint64_t now) noexcept nogil:
    """All verdicts but LOW_POW and DUPLICATE, and all hashes; those not in memory are computed."""
    cdef hash_queue queue
    cdef envelope_record *record
    cdef Py_ssize_t i
    queue.count = 0
    for i in range(batch.count):
        record = &batch.records[i]
        record.verdict = rules.verdict_unhashed(record, now)
        if judgements.recall(first + i, record):
            continue
        if queue.count + 2 > HASH_BLOCK:
            hash_all(&queue, rules, now)
        ask_hash(&queue, batch.data + record.offset, record.size, record.hash)
        if record.verdict == ACCEPTED:
            ask_pow(&queue, batch.data, record)
    hash_all(&queue, rules, now)
