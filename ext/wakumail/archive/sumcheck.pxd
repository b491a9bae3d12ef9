"""The check of `sums`: its rows are kept, and each envelope that is found is taken from its own.

What is left in the end is wrong. The memory grows with the rows, at most one for each envelope.
Functions that return int return 0 or a code as in environment.pxd.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset

from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *
from wakumail.archive.problem cimport NOWHERE, name_key, note, problem, problem_list
from wakumail.archive.scanner cimport reserve_one
from wakumail.archive.sums cimport *


cdef struct minute_check:       # a row of `sums`
    uint32_t minute
    fold stored
    fold found


cdef struct sum_check:
    minute_check *minutes       # ascending
    size_t count
    size_t room
    size_t recent               # the minute that was looked up last


cdef inline int keep_sum(sum_check *c, uint32_t minute, const fold *stored) noexcept nogil:
    """Keep a row; they come in the order of their keys."""
    cdef minute_check *last
    cdef int rc = reserve_one(<void **> &c.minutes, &c.room, c.count, sizeof(minute_check))
    if rc:
        return rc
    last = &c.minutes[c.count]
    memset(last, 0, sizeof(last[0]))
    last.minute, last.stored = minute, stored[0]
    c.count += 1
    return 0


cdef inline bint take_hash(sum_check *c, uint32_t created, const uint8_t *hash) noexcept nogil:
    """Count an envelope with its minute; False if that has no row."""
    cdef uint32_t minute = created // MINUTE
    cdef size_t low = 0
    cdef size_t high = c.count
    cdef size_t middle
    if c.recent < c.count and c.minutes[c.recent].minute == minute:
        low = c.recent
    else:
        while low < high:
            middle = (low + high) // 2
            if c.minutes[middle].minute < minute:
                low = middle + 1
            else:
                high = middle
        if low == c.count or c.minutes[low].minute != minute:
            return False
        c.recent = low
    fold_hash(&c.minutes[low].found, hash)
    return True


cdef inline void compare_sums(sum_check *c, problem_list *problems) noexcept nogil:
    """Note the rows that differ from the envelopes of their minutes."""
    cdef minute_check *m
    cdef problem *p
    cdef uint8_t key[SUM_KEY]
    cdef size_t i
    for i in range(c.count):
        m = &c.minutes[i]
        if m.stored.count != m.found.count:
            p = note(problems, b"`sums` miscounts the envelopes of a minute",
                     m.minute // DAY_MINUTES, NOWHERE)
            p.counted, p.stored, p.found = True, m.stored.count, m.found.count
        elif m.stored.count == 0:
            p = note(problems, b"`sums` has a minute without envelopes",
                     m.minute // DAY_MINUTES, NOWHERE)
        elif not fold_equal(&m.stored, &m.found):
            p = note(problems, b"`sums` has another sum for a minute",
                     m.minute // DAY_MINUTES, NOWHERE)
        else:
            continue
        put32(key, m.minute)
        name_key(p, b"key", key, SUM_KEY)
