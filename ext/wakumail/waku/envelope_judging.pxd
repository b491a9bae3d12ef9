"""Hashing and judging the records of a batch."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from wakumail.waku.envelope cimport (ACCEPTED, DUPLICATE, EXPIRED, HASH_BLOCK, LOW_POW, TOO_LARGE,
                                     TTL_ZERO, UNWANTED_TOPIC, Batch, KnownHashes, Rules, ask_hash,
                                     ask_pow, envelope_record, hash_queue, packet_record,
                                     pending_hash)
from wakumail.base.keccak cimport keccak256_many
from wakumail.waku.pow cimport leading_zeros, pow_of
from wakumail.base.rlp cimport RLP_OK


cdef inline bint is_hashed(Batch batch, uint32_t verdict) noexcept nogil:
    """True if the envelope needs a hash; a dropped one only if its sender is told."""
    return batch.confirming or verdict not in (EXPIRED, TOO_LARGE, TTL_ZERO, UNWANTED_TOPIC)


cdef inline void hash_all(hash_queue *queue, Rules rules, uint64_t now) noexcept nogil:
    """Compute all queued hashes, and empty the queue."""
    cdef pending_hash *pending
    cdef envelope_record *record
    cdef uint64_t ttl
    cdef size_t i
    keccak256_many(queue.messages, queue.count, queue.digests)
    for i in range(queue.count):
        pending = &queue.pending[i]
        if pending.hash != NULL:
            memcpy(pending.hash, queue.digests + 32 * i, 32)
            continue
        record = pending.record
        ttl = record.ttl
        if rules is not None and record.created > now:
            # In the deployed code the work of an envelope from the future counts for less.
            ttl += record.created - now + 1
        record.pow = pow_of(leading_zeros(queue.digests + 32 * i), pending.proven_size, ttl)
    queue.count = 0


cdef inline void judge_unhashed(Batch batch, Rules rules, uint64_t now) noexcept nogil:
    """All verdicts but LOW_POW and DUPLICATE, and all hashes; without rules everything is accepted.

    All hashes are queued together, even the proofs of work of known envelopes: while one lane
    hashes a large packet, the others finish all short messages.
    """
    cdef hash_queue queue
    cdef packet_record *packet
    cdef envelope_record *record
    cdef Py_ssize_t i
    queue.count = 0
    for i in range(batch.packet_count if batch.confirming else 0):
        packet = &batch.packet_records[i]
        if queue.count == HASH_BLOCK:
            hash_all(&queue, rules, now)
        if packet.status == RLP_OK:
            ask_hash(&queue, batch.data + packet.offset, packet.size, packet.hash)
    for i in range(batch.count):
        record = &batch.records[i]
        if rules is not None:
            record.verdict = rules.verdict_unhashed(record, now)
        if queue.count + 2 > HASH_BLOCK:
            hash_all(&queue, rules, now)
        if is_hashed(batch, record.verdict):
            ask_hash(&queue, batch.data + record.offset, record.size, record.hash)
        if record.verdict == ACCEPTED:
            ask_pow(&queue, batch.data, record)
    hash_all(&queue, rules, now)


cdef inline void conclude(Batch batch, Rules rules, KnownHashes known) noexcept:
    """The verdicts LOW_POW and DUPLICATE, and the totals of accepted envelopes.

    Holds the GIL, so that nobody changes `known` meanwhile.
    """
    cdef envelope_record *record
    cdef Py_ssize_t i
    for i in range(batch.count):
        record = &batch.records[i]
        if record.verdict != ACCEPTED:
            continue
        if known is not None and known.has(record.hash):
            record.verdict = DUPLICATE
        elif rules is not None and not rules.enough(record):
            record.verdict = LOW_POW
        else:
            batch.accepted += 1
            batch.accepted_size += record.size


cdef inline void drop_larger(Batch batch, uint32_t size) noexcept nogil:
    """Drop envelopes of more than `size` bytes from a batch in which all are accepted."""
    cdef Py_ssize_t i
    for i in range(batch.count):
        if batch.records[i].size > size:
            batch.records[i].verdict = TOO_LARGE
            batch.accepted -= 1
            batch.accepted_size -= batch.records[i].size
