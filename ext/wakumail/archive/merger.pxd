"""The postings of several topics of one day, merged into the order of the archive."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *
from wakumail.archive.scanner cimport (
    open_once, reads_ahead, reserve_keys, reserve_one, scan, seek_in_order, source, visit)

cdef enum:
    FEW_TOPICS = 16         # at most this many are merged without reading the topics of the day
    EDGE_KEY = TOPIC_KEY + 3    # bytes of the key of a posting, up to its second


cdef inline uint8_t *put_topic_edge(uint8_t *key, uint32_t day, uint32_t topic,
                                    uint32_t second) noexcept nogil:
    """Write the beginning of the key of a posting; returns the place behind it."""
    put48(key, <uint64_t> day << 32 | topic)
    put24(key + TOPIC_KEY, second)
    return key + EDGE_KEY


cdef inline uint8_t *put_topic_edges(uint8_t *keys, const scan *s, uint32_t day,
                                     bint both) noexcept nogil:
    """Write where the postings of the matched topics lie in the part of a day that the query wants.

    That is where they begin in its order and, if `both`, where they end. Returns the place behind.
    """
    cdef bint descending = s.terms.newest_first
    cdef uint32_t bound = get32(s.bound)
    cdef uint32_t lower = s.terms.lower if descending else bound
    cdef uint32_t upper = bound if descending else s.terms.upper
    cdef uint32_t begin = lower % DAY if lower // DAY == day else 0
    cdef uint32_t end = upper % DAY + 1 if upper // DAY == day else DAY
    cdef size_t i
    for i in range(s.matched_count):
        if both or not descending:
            keys = put_topic_edge(keys, day, s.matched[i], begin)
        if both or descending:
            keys = put_topic_edge(keys, day, s.matched[i], end)
    return keys


cdef inline int ask_postings(scan *s, uint32_t first_day, uint32_t last_day,
                             bint both) noexcept nogil:
    """Ask for the pages where the postings of the matched topics begin, and end if `both`."""
    cdef uint8_t *end
    cdef uint32_t day
    cdef int rc = open_once(s, s.env.postings, &s.asking)
    if not rc:
        rc = reserve_keys(s, 2 * s.matched_count * (last_day + 1 - first_day), EDGE_KEY)
    if rc:
        return rc
    end = s.asked_keys
    for day in range(first_day, last_day + 1):
        end = put_topic_edges(end, s, day, both)
    ahead_keys(s.asking, s.asked_keys, (end - s.asked_keys) // EDGE_KEY, EDGE_KEY)
    return 0


cdef inline int advance(scan *s, source *from_, bint first) noexcept nogil:
    """Go to the first or next posting of a topic; MDB_NOTFOUND if the query wants no more."""
    cdef bint descending = s.terms.newest_first
    cdef uint8_t bound[POSTING_KEY]
    cdef bint behind = False
    cdef MDB_val key, value
    cdef uint32_t created
    cdef int rc
    if first:
        put48(bound, from_.prefix)
        if get32(s.bound) // DAY == s.day:
            put24(bound + TOPIC_KEY, get32(s.bound) % DAY)
            memcpy(bound + TOPIC_KEY + 3, s.bound + 4, HASH_PREFIX)
            behind = s.behind
        else:
            memset(bound + TOPIC_KEY, 0xff if descending else 0, POSTING_KEY - TOPIC_KEY)
        rc = seek_in_order(from_.cursor, &key, &value, bound, POSTING_KEY, behind, descending)
    else:
        rc = mdb_cursor_get(from_.cursor, &key, &value, MDB_PREV if descending else MDB_NEXT)
    if rc:
        return rc
    if key.mv_size != POSTING_KEY or value.mv_size != SEQUENCE_SIZE:
        return MDB_CORRUPTED
    from_.key, from_.value = <const uint8_t *> key.mv_data, <const uint8_t *> value.mv_data
    if get48(from_.key) != from_.prefix:
        return MDB_NOTFOUND
    created = s.day * DAY + get24(from_.key + TOPIC_KEY)
    if not s.first <= created <= s.last:
        return MDB_NOTFOUND
    from_.order = get64(from_.key + TOPIC_KEY)
    return 0


cdef inline bint comes_before(const source *a, const source *b, bint descending) noexcept nogil:
    cdef int order
    if a.order != b.order:
        return (a.order > b.order) if descending else (a.order < b.order)
    order = memcmp(a.key + TOPIC_KEY + 8, b.key + TOPIC_KEY + 8, POSTING_KEY - TOPIC_KEY - 8)
    return order > 0 if descending else order < 0


cdef inline void sift_down(source *sources, size_t count, size_t at,
                           bint descending) noexcept nogil:
    """Let the source at `at` sink to its place in the heap."""
    cdef source moving = sources[at]
    cdef size_t child
    while True:
        child = 2 * at + 1
        if child >= count:
            break
        if (child + 1 < count
                and comes_before(&sources[child + 1], &sources[child], descending)):
            child += 1
        if not comes_before(&sources[child], &moving, descending):
            break
        sources[at] = sources[child]
        at = child
    sources[at] = moving


cdef inline int open_sources(scan *s) noexcept nogil:
    """Make a heap of the postings of all matched topics; each costs a seek."""
    cdef MDB_cursor *cursor
    cdef source *next_
    cdef size_t i
    cdef int rc, asked
    s.source_count = 0
    for i in range(s.matched_count):
        rc = reserve_one(<void **> &s.sources, &s.source_room, s.source_count, sizeof(source))
        if not rc and s.source_count == s.cursor_count:
            rc = reserve_one(<void **> &s.cursors, &s.cursor_room, s.cursor_count, sizeof(void *))
            if not rc:
                rc = mdb_cursor_open(s.txn, s.env.postings, &cursor)
            if not rc:
                s.cursors[s.cursor_count] = cursor
                s.cursor_count += 1
        if rc:
            return rc
        next_ = &s.sources[s.source_count]
        next_.cursor = s.cursors[s.source_count]
        next_.prefix = <uint64_t> s.day << 32 | s.matched[i]
        rc = advance(s, next_, True)
        if i == 0 and s.matched_count > 1 and reads_ahead(s):
            asked = ask_postings(s, s.day, s.day, s.matched_count <= FEW_TOPICS)
            if asked:
                return asked
        if rc == 0:
            s.source_count += 1
        elif rc != MDB_NOTFOUND:
            return rc
    for i in range(s.source_count // 2, 0, -1):
        sift_down(s.sources, s.source_count, i - 1, s.terms.newest_first)
    return 0


cdef inline int merge(scan *s) noexcept nogil:
    """Visit the postings of all matched topics in the order of the archive."""
    cdef source *top
    cdef int rc = open_sources(s)
    if rc:
        return rc
    while s.source_count:
        top = s.sources
        rc = visit(s, s.day * DAY + get24(top.key + TOPIC_KEY), top.key + TOPIC_KEY + 3,
                   get48(top.value), True)
        if rc:
            return rc
        rc = advance(s, top, False)
        if rc == MDB_NOTFOUND:
            s.source_count -= 1
            top[0] = s.sources[s.source_count]
        elif rc:
            return rc
        if s.source_count > 1:
            sift_down(s.sources, s.source_count, 0, s.terms.newest_first)
    return 0
