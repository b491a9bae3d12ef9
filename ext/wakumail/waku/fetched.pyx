# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Envelopes that were fetched from another archive, read and judged a packet at a time.

They have expired long ago, so that they are judged by their creation and not by their expiry; and
they have to be some of those that were asked for.
"""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport UINT32_MAX, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport bsearch, qsort
from libc.string cimport memcmp

from wakumail.base.rlp cimport (RLP_OK, RLP_WRONG_SIZE, RLP_WRONG_TYPE, rlp_item, rlp_next,
                                rlp_reason, rlp_status)
from wakumail.waku.envelope cimport (ACCEPTED, FROM_FUTURE, TOO_LARGE, TTL_ZERO, UNWANTED_TOPIC,
                                     VERY_OLD, Batch, Rules, envelope_record, new_batch)
from wakumail.waku.envelope_judging cimport conclude, judge_unhashed
from wakumail.waku.envelope_records cimport read_records, shrink

from wakumail.errors import RlpError

cdef enum:
    ID_SIZE = 32


cdef class FetchRules(Rules):
    """Rules that ask for a creation time from `lower` to `now`, and for no expiry."""

    cdef uint32_t lower

    cdef uint32_t verdict_unhashed(self, const envelope_record *record,
                                   uint64_t now) noexcept nogil:
        if record.ttl == 0:
            return TTL_ZERO
        if record.size > self.max_envelope:
            return TOO_LARGE
        if record.created > now:
            return FROM_FUTURE
        if record.created < self.lower:
            return VERY_OLD
        return ACCEPTED if self.interest.wants_topic(record.topic) else UNWANTED_TOPIC


cdef int compare_ids(const void *one, const void *other) noexcept nogil:
    return memcmp(one, other, ID_SIZE)


@cython.final
cdef class AskedIds:
    """Ids that were asked for, each of which may come once.

    ids: 32 bytes each, joined, none of them twice; they are kept in ascending order. left: the
    number of those that may still come.
    """

    cdef readonly bytes ids
    cdef readonly Py_ssize_t left
    cdef bytearray came     # 1 for each that came

    def __cinit__(self, bytes ids not None):
        cdef char *start
        cdef size_t count = len(ids) // ID_SIZE
        self.ids = PyBytes_FromStringAndSize(ids, len(ids))
        self.left, self.came = count, bytearray(count)
        start = PyBytes_AS_STRING(self.ids)
        with nogil:
            qsort(start, count, ID_SIZE, &compare_ids)

    cdef Py_ssize_t take(self, const envelope_record *records, size_t count) noexcept:
        """Note those that came; returns the number that was not asked for, or had come."""
        cdef const char *first = PyBytes_AS_STRING(self.ids)
        cdef char *came = PyByteArray_AS_STRING(self.came)
        cdef const char *found
        cdef Py_ssize_t strangers = 0
        cdef size_t i, place
        for i in range(count):
            found = <const char *> bsearch(records[i].hash, first, len(self.came), ID_SIZE,
                                           &compare_ids)
            place = (found - first) // ID_SIZE if found != NULL else 0
            if found == NULL or came[place]:
                strangers += 1
                continue
            came[place] = 1
            self.left -= 1
        return strangers


def judge_fetched(bytes packet not None, Rules rules not None, uint32_t lower, uint64_t upper,
                  AskedIds asked not None):
    """Judge one RLP list of envelopes that was sent for `asked`; returns (Batch, strangers).

    strangers: the number of envelopes that were not asked for, or had come already.
    rules: the size, the PoW and the topics asked for; lower, upper: the first and the last creation
    time taken, in Unix seconds. An older envelope is VERY_OLD. RlpError when the packet or any
    envelope in it is malformed.
    """
    cdef FetchRules conditions = FetchRules(
        min_pow=rules.min_pow, min_pow_large=rules.min_pow_large,
        max_envelope=rules.max_envelope, interest=rules.interest,
    )
    cdef Batch batch = new_batch(packet)
    cdef const uint8_t *at = batch.data
    cdef const uint8_t *end = at + len(packet)
    cdef rlp_item whole
    cdef rlp_status status
    conditions.lower = lower
    batch.confirming = True  # each is hashed, whatever the verdict: it may be none that was asked
    status = rlp_next(&at, end, &whole)
    if status == RLP_OK and not whole.is_list:
        status = RLP_WRONG_TYPE
    elif status == RLP_OK and at != end:
        status = RLP_WRONG_SIZE
    with nogil:
        if status == RLP_OK:
            status = <rlp_status> read_records(batch, whole.data, end, UINT32_MAX)
        if status == RLP_OK:
            shrink(batch)
            judge_unhashed(batch, conditions, upper)
    if status != RLP_OK:
        raise RlpError(f"envelope {batch.count}: {rlp_reason(status)}")
    conclude(batch, conditions, None)
    return batch, asked.take(batch.records, batch.count)
