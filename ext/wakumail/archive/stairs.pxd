"""The stairs: they tell whether an envelope without rows may be pruned, and its chunk not yet.

Pruning deletes the oldest first. So if an envelope was pruned, all older ones that have rows
arrived later than it. The stairs are the rows of `times` with a smaller sequence than all before
them: they suffice to find the first to arrive of the envelopes that are older than a given one.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp, memcpy

from wakumail.archive.layout cimport *
from wakumail.archive.scanner cimport reserve_one


cdef struct stair:
    uint8_t key[TIME_KEY]
    uint64_t sequence


cdef struct stairs:
    stair *steps
    size_t count
    size_t room


cdef inline int add_stair(stairs *s, const uint8_t *key, uint64_t sequence) noexcept nogil:
    """Keep a row of `times` if it is a stair; they come in the order of their keys. 0 or ENOMEM."""
    cdef stair *top
    cdef int rc
    if s.count and s.steps[s.count - 1].sequence <= sequence:
        return 0
    rc = reserve_one(<void **> &s.steps, &s.room, s.count, sizeof(stair))
    if rc:
        return rc
    top = &s.steps[s.count]
    memcpy(top.key, key, TIME_KEY)
    top.sequence = sequence
    s.count += 1
    return 0


cdef inline bint arrived_first(const stairs *s, const uint8_t *key,
                               uint64_t sequence) noexcept nogil:
    """True if all envelopes with rows up to a key of `times` arrived behind this sequence."""
    cdef size_t low = 0
    cdef size_t high = s.count
    cdef size_t middle
    while low < high:
        middle = (low + high) // 2
        if memcmp(s.steps[middle].key, key, TIME_KEY) <= 0:
            low = middle + 1
        else:
            high = middle
    return low == 0 or s.steps[low - 1].sequence > sequence
