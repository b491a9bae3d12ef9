"""The next days of a query: their index pages are asked of the disk before it reaches them."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from wakumail.archive.disk_waits cimport look_for_waits
from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *
from wakumail.archive.merger cimport FEW_TOPICS, ask_postings
from wakumail.archive.scanner cimport (
    TOPIC_BLOOM, next_days, next_match, open_once, reserve_keys, scan)

cdef enum:
    FIRST_DAYS_AHEAD = 4    # that are asked for together until something is found
    MAX_DAYS_AHEAD = 32


cdef inline int ask_topics(scan *s, uint32_t first_day, uint32_t last_day) noexcept nogil:
    """Ask for the pages with the topics of these days that the query's bloom may cover."""
    cdef uint8_t *end
    cdef uint32_t day, first
    cdef int rc = open_once(s, s.env.topics, &s.topics)
    if not rc:
        rc = reserve_keys(s, 256 * (last_day + 1 - first_day), TOPIC_KEY)
    if rc:
        return rc
    end = s.asked_keys
    for day in range(first_day, last_day + 1):
        first = next_match(s, 0)
        while first < 256:
            put48(end, (<uint64_t> day << 32) + (<uint64_t> first << 24))
            end += TOPIC_KEY
            first = next_match(s, first + 1)
    ahead_keys(s.topics, s.asked_keys, (end - s.asked_keys) // TOPIC_KEY, TOPIC_KEY)
    return 0


cdef inline uint64_t days_wanted(const scan *s) noexcept nogil:
    """The number of the next days that fill the page, if they have as much as those visited."""
    cdef const next_days *next_ = &s.next_days
    cdef size_t found = s.count + s.waiting_count
    cdef size_t room = s.limit - found
    if not found:
        return 2 * next_.asked if next_.asked else FIRST_DAYS_AHEAD
    if s.typical and s.max_bytes // s.typical < s.limit:
        room = s.max_bytes // s.typical - found if s.max_bytes // s.typical > found else 0
    return room * next_.seconds // found // DAY + 1


cdef inline int ask_days(scan *s) noexcept nogil:
    """Ask for the index pages of the next days together, if the thread has waited for the disk."""
    cdef next_days *next_ = &s.next_days
    cdef bint descending = s.terms.newest_first
    cdef uint32_t last = (s.terms.lower if descending else s.terms.upper) // DAY
    cdef uint64_t most = MAX_DAYS_AHEAD
    cdef uint32_t remain, first
    cdef int rc = 0
    next_.visited += 1
    next_.seconds += s.last - s.first + 1
    if next_.visited >= next_.next_look:
        next_.next_look = 2 * next_.visited
        look_for_waits(&s.waits)
    if not s.waits.met or s.matched_count > FEW_TOPICS or s.day == last:
        return 0
    if next_.asked and (s.day > next_.last if descending else s.day < next_.last):
        return 0
    remain = s.day - last if descending else last - s.day
    next_.asked = <uint32_t> min(min(days_wanted(s), most), remain)
    next_.last = s.day - next_.asked if descending else s.day + next_.asked
    if descending:
        first, last = next_.last, s.day - 1
    else:
        first, last = s.day + 1, next_.last
    if s.terms.kind == TOPIC_BLOOM:
        rc = ask_topics(s, first, last)
    return rc if rc else ask_postings(s, first, last, True)
