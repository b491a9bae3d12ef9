"""The next days of a query, whose index pages are asked of the disk before the scan reaches them."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from wakumail.archive.disk_waits cimport look_for_waits
from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *
from wakumail.archive.merger cimport FEW_TOPICS, ask_postings
from wakumail.archive.scanner cimport TOPIC_BLOOM, next_match, open_once, reserve_keys, scan

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


cdef inline uint64_t days_wanted(scan *s) noexcept nogil:
    """The number of the next days that fill the page, if they have as much as those visited."""
    cdef size_t found = s.count + s.waiting_count
    cdef size_t room = s.limit - found
    if not found:
        return 2 * s.days_ahead if s.days_ahead else FIRST_DAYS_AHEAD
    if s.typical and s.max_bytes // s.typical < s.limit:
        room = s.max_bytes // s.typical - found if s.max_bytes // s.typical > found else 0
    return room * s.seconds // found // DAY + 1


cdef inline int ask_days(scan *s) noexcept nogil:
    """Ask for the index pages of the next days together, if the thread has waited for the disk."""
    cdef bint descending = s.terms.newest_first
    cdef uint32_t last = (s.terms.lower if descending else s.terms.upper) // DAY
    cdef uint64_t most = MAX_DAYS_AHEAD
    cdef uint32_t remain, first
    cdef int rc = 0
    s.days_seen += 1
    s.seconds += s.last - s.first + 1
    if s.days_seen >= s.next_day_look:
        s.next_day_look = 2 * s.days_seen
        look_for_waits(&s.waits)
    if not s.waits.met or s.matched_count > FEW_TOPICS or s.day == last:
        return 0
    if s.days_ahead and (s.day > s.asked_day if descending else s.day < s.asked_day):
        return 0
    remain = s.day - last if descending else last - s.day
    s.days_ahead = <uint32_t> min(min(days_wanted(s), most), remain)
    s.asked_day = s.day - s.days_ahead if descending else s.day + s.days_ahead
    if descending:
        first, last = s.asked_day, s.day - 1
    else:
        first, last = s.day + 1, s.asked_day
    if s.terms.kind == TOPIC_BLOOM:
        rc = ask_topics(s, first, last)
    return rc if rc else ask_postings(s, first, last, True)
