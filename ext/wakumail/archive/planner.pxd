"""Plans a query: its days, and for each day the cheaper of two ways to read it.

A query for all topics walks `times`. A query for some topics goes over the existing days. In each
it either merges the postings of its topics, or walks the times of the day and tests each topic;
walk_is_cheaper estimates which costs less. A bloom stands for the topics of the day that it covers.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport malloc
from libc.string cimport memcmp, memcpy, memset

from wakumail.archive.chunks cimport forget_chunk
from wakumail.archive.days_ahead cimport ask_days
from wakumail.archive.disk_waits cimport watch_for_waits
from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *
from wakumail.archive.merger cimport FEW_TOPICS, merge
from wakumail.archive.scanner cimport (
    EVERY_TOPIC, EXHAUSTED, STOP, TOPIC_SET, collect_waiting, next_match, open_once, reserve_one,
    scan, seek, seek_in_order, spend_entries, walk, wants)
from wakumail.archive.sieves cimport (
    begin_sieve, keep_sieve, let_through, pass_topics, wants_sieve)

cdef enum:
    # The estimates of walk_is_cheaper: nanoseconds, measured with all pages in memory.
    WALK_COST = 12          # an entry of `times`
    MERGE_COST = 15         # a posting
    HEAP_COST = 4           # a posting, for each doubling of the topics
    SEEK_COST = 120         # the first posting of a topic, or its row in `topics`
    TEST_COST = 15          # a row of `topics`, read and tested

    PASSED_AT_ONCE = 8      # topics that pass a sieve, or are put into it, in the time of an entry
    MANY_TOPICS = 65536     # a day with more is walked: to test them takes 1 ms for each slice
    MAX_MERGED = 4096       # topics merged at once, each with a cursor of 400 bytes


cdef inline int add_match(scan *s, uint32_t topic) noexcept nogil:
    cdef int rc = reserve_one(<void **> &s.matched, &s.matched_room, s.matched_count, 4)
    if not rc:
        s.matched[s.matched_count] = topic
        s.matched_count += 1
    return rc


cdef inline int match_leaf(scan *s, const leaf *rows, uint64_t *envelopes, int64_t *tested,
                           uint32_t *first) noexcept nogil:
    """Test the topics of a leaf. MDB_NOTFOUND where the day ends.

    `first` becomes the least first byte from which the next leaf may match.
    """
    cdef const uint8_t *at
    cdef uint32_t topic
    cdef unsigned int i
    cdef int rc
    for i in range(rows.at, rows.count):
        at = leaf_key(rows, i)
        if not leaf_has(rows, i, TOPIC_KEY, 4):
            return MDB_CORRUPTED
        if get16(at) != s.day:
            return MDB_NOTFOUND
        topic = get32(at + DAY_KEY)
        if topic >> 24 < first[0]:
            continue
        first[0] = next_match(s, topic >> 24)
        if topic >> 24 < first[0]:
            continue
        tested[0] += 1
        if wants(s.terms, topic):
            envelopes[0] += get32(leaf_value(rows, i, TOPIC_KEY))
            rc = add_match(s, topic)
            if rc:
                return rc
    return 0


cdef inline int match_topics(scan *s, uint64_t *envelopes, int64_t *tested) noexcept nogil:
    """Find the topics of the day that the query wants, and the number of their envelopes.

    Leaves in which none can match are passed over.
    """
    cdef uint8_t bound[TOPIC_KEY]
    cdef MDB_val key, value
    cdef leaf rows
    cdef uint32_t first = next_match(s, 0)
    cdef uint32_t last
    cdef int rc = open_once(s, s.env.topics, &s.topics)
    while rc == 0 and first < 256:
        put48(bound, (<uint64_t> s.day << 32) + (<uint64_t> first << 24))
        rc = seek(s.topics, &key, &value, bound, TOPIC_KEY)
        while rc == 0:
            leaf_of(s.topics, &rows)
            rc = match_leaf(s, &rows, envelopes, tested, &first)
            if rc == 0:
                last = leaf_key(&rows, rows.count - 1)[DAY_KEY]
                if last < first:
                    break       # seek it: it may lie many leaves ahead
                leaf_end(s.topics)
                rc = mdb_cursor_get(s.topics, &key, &value, MDB_NEXT)
    return 0 if rc == MDB_NOTFOUND else rc


cdef inline unsigned int find_row(const leaf *rows, unsigned int low,
                                  const uint8_t *key) noexcept nogil:
    """The first row from `low` on that is not before `key`; `count` if all are."""
    cdef unsigned int high = rows.count
    cdef unsigned int middle
    while low < high:
        middle = (low + high) // 2
        if memcmp(leaf_key(rows, middle), key, TOPIC_KEY) < 0:
            low = middle + 1
        else:
            high = middle
    return low


cdef inline int find_topics(scan *s, uint64_t *envelopes) noexcept nogil:
    """As match_topics, but looks up the row of each wanted topic: cheaper where those are few.

    Both are sorted, so that many topics are looked up in one leaf.
    """
    cdef uint8_t bound[TOPIC_KEY]
    cdef MDB_val key, value
    cdef leaf rows
    cdef unsigned int row
    cdef size_t i
    cdef int rc = open_once(s, s.env.topics, &s.topics)
    rows.count = row = 0
    for i in range(s.possible_count):
        if rc:
            return rc
        put48(bound, (<uint64_t> s.day << 32) + s.possible[i])
        if row < rows.count:
            row = find_row(&rows, row, bound)
        if row == rows.count:
            rc = seek(s.topics, &key, &value, bound, TOPIC_KEY)
            if rc:
                return 0 if rc == MDB_NOTFOUND else rc
            leaf_of(s.topics, &rows)
            row = rows.at
        if not leaf_has(&rows, row, TOPIC_KEY, 4):
            return MDB_CORRUPTED
        if memcmp(leaf_key(&rows, row), bound, TOPIC_KEY) == 0:
            envelopes[0] += get32(leaf_value(&rows, row, TOPIC_KEY))
            rc = add_match(s, s.possible[i])
    return rc


cdef inline int make_sieve(scan *s, const day_totals *totals) noexcept nogil:
    """Make the sieve of the day from the rows of all its topics."""
    cdef uint8_t bound[TOPIC_KEY]
    cdef MDB_val key, value
    cdef leaf rows
    cdef unsigned int i
    cdef int rc = open_once(s, s.env.topics, &s.topics)
    if rc:
        return rc
    if not begin_sieve(&s.sieve, s.day, totals):
        return ENOMEM
    put48(bound, <uint64_t> s.day << 32)
    rc = seek(s.topics, &key, &value, bound, TOPIC_KEY)
    while rc == 0:
        leaf_of(s.topics, &rows)
        for i in range(rows.at, rows.count):
            if not leaf_has(&rows, i, TOPIC_KEY, 4):
                return MDB_CORRUPTED
            if get16(leaf_key(&rows, i)) != s.day:
                rc = MDB_NOTFOUND
                break
            let_through(&s.sieve, get32(leaf_key(&rows, i) + DAY_KEY))
        if rc == 0:
            leaf_end(s.topics)
            rc = mdb_cursor_get(s.topics, &key, &value, MDB_NEXT)
    if rc != MDB_NOTFOUND:
        return rc
    keep_sieve(&s.env.sieves, &s.sieve)
    return 0


cdef inline int choose_possible(scan *s, const day_totals *totals, int64_t *tested) noexcept nogil:
    """Choose the topics of the query that the day may have.

    Of few topics all are chosen: those of one day are asked of the disk for the next days too.
    """
    cdef int rc = 0
    if s.possible == NULL:
        s.possible = <uint32_t *> malloc((s.terms.topic_count + 1) * sizeof(uint32_t))
        if s.possible == NULL:
            return ENOMEM
    if s.terms.topic_count <= FEW_TOPICS:
        memcpy(s.possible, s.terms.topics, s.terms.topic_count * sizeof(uint32_t))
        s.possible_count = s.terms.topic_count
        return 0
    s.possible_count = pass_topics(&s.env.sieves, s.day, totals, s.terms.topics,
                                   s.terms.topic_count, s.possible)
    if s.possible_count > FEW_TOPICS and wants_sieve(&s.env.sieves, s.day, totals):
        tested[0] += totals.topics // PASSED_AT_ONCE
        rc = make_sieve(s, totals)
        s.possible_count = pass_topics(&s.env.sieves, s.day, totals, s.terms.topics,
                                       s.terms.topic_count, s.possible)
    tested[0] += s.terms.topic_count // PASSED_AT_ONCE
    return rc


cdef inline bint walk_is_cheaper(const scan *s, uint64_t matching,
                                 const day_totals *totals) noexcept nogil:
    """True if to walk the day costs less: for many topics, or topics of most of its envelopes.

    Assumes that the envelopes of each topic lie evenly over the day.
    """
    cdef double part = (s.last - s.first + 1) / <double> DAY
    cdef double found = matching * part
    cdef double walked = totals.envelopes * part
    cdef double room = s.limit - s.count - s.waiting_count + 1    # more are not looked at
    cdef size_t doublings = 0
    if s.matched_count > MAX_MERGED:
        return True
    while s.matched_count >> doublings > 1:
        doublings += 1
    if found > room:
        walked *= room / found
        found = room
    return walked * WALK_COST < (found * (MERGE_COST + HEAP_COST * doublings)
                                 + s.matched_count * SEEK_COST)


cdef inline void charge_plan(scan *s, int64_t entries) noexcept nogil:
    """Charge the budget for the entries that planning a day has looked at.

    The slice may then look at the same number of entries in the day, even beyond its budget. Each
    slice begins with a plan; if the plan used up the budget, slices would hardly make progress.
    """
    s.budget -= entries
    s.overdraft = entries - s.budget if entries > s.budget else 0


cdef inline int scan_day(scan *s, const day_totals *totals) noexcept nogil:
    """Visit the hits of one day, in the cheaper way."""
    cdef uint64_t matching = 0
    cdef int64_t tested = 0
    cdef size_t i
    cdef int rc
    s.matched_count = 0
    if s.terms.kind == TOPIC_SET:
        rc = choose_possible(s, totals, &tested)
        if rc:
            return rc
    if s.terms.kind == TOPIC_SET and s.possible_count <= FEW_TOPICS:
        for i in range(s.possible_count):
            rc = add_match(s, s.possible[i])
            if rc:
                return rc
        charge_plan(s, tested + s.matched_count)
        return merge(s)
    if (s.terms.kind == TOPIC_SET
            and s.possible_count * SEEK_COST < <size_t> totals.topics * TEST_COST):
        tested += s.possible_count
        rc = find_topics(s, &matching)
    elif totals.topics > MANY_TOPICS:
        return walk(s)
    else:
        rc = match_topics(s, &matching, &tested)
    if rc:
        return rc
    if s.matched_count and walk_is_cheaper(s, matching, totals):
        charge_plan(s, tested)
        return walk(s)
    charge_plan(s, tested + s.matched_count)
    return merge(s)


cdef inline void put_edge(uint8_t *bound, uint32_t day, bint descending) noexcept nogil:
    """Write the last key of a day in the direction of the scan."""
    cdef uint64_t end = <uint64_t> day * DAY + DAY - 1
    if descending:
        put32(bound, day * DAY)
    else:
        put32(bound, 0xffffffff if end >> 32 else <uint32_t> end)
    memset(bound + 4, 0 if descending else 0xff, HASH_PREFIX)


cdef inline int next_day(scan *s, day_totals *totals) noexcept nogil:
    """Go to the next day that has envelopes; MDB_NOTFOUND if there is none within the query."""
    cdef bint descending = s.terms.newest_first
    cdef uint8_t bound[DAY_KEY]
    cdef uint8_t edge[TIME_KEY]
    cdef MDB_val key, value
    cdef uint32_t lower = s.terms.lower
    cdef uint32_t upper = s.terms.upper
    cdef uint64_t end
    cdef uint32_t day = get32(s.bound) // DAY
    cdef int rc
    put_edge(edge, day, descending)
    put16(bound, day)
    rc = seek_in_order(s.days, &key, &value, bound, DAY_KEY,
                       s.behind and memcmp(s.bound, edge, TIME_KEY) == 0, descending)
    if rc:
        return rc
    if key.mv_size != DAY_KEY:
        return MDB_CORRUPTED
    day = get16(<const uint8_t *> key.mv_data)
    if (day < lower // DAY) if descending else (day > upper // DAY):
        return MDB_NOTFOUND
    end = <uint64_t> day * DAY + DAY - 1
    s.day = day
    s.first = lower if lower > day * DAY else day * DAY
    s.last = upper if upper < end else <uint32_t> end
    rc = read_day(&value, totals)
    if not rc and totals.envelopes:
        s.typical = totals.bytes // totals.envelopes
    return rc


cdef inline int scan_days(scan *s) noexcept nogil:
    """Visit the hits of one existing day after another."""
    cdef day_totals totals
    cdef int rc = open_once(s, s.env.days, &s.days)
    while rc == 0:
        rc = next_day(s, &totals)
        if rc == 0:
            rc = scan_day(s, &totals)
        if rc == 0:
            put_edge(s.bound, s.day, s.terms.newest_first)
            s.behind = s.moved = True
            s.at_hit = False
            s.overdraft = 0
            rc = spend_entries(s, 1)
        if rc == 0:
            rc = ask_days(s)
    return 0 if rc == MDB_NOTFOUND else rc


cdef inline void start_at(scan *s, const uint8_t *position) noexcept nogil:
    """Set the bound: behind `position` (36 bytes or NULL), but within the query's times."""
    cdef bint descending = s.terms.newest_first
    put32(s.bound, s.terms.upper if descending else s.terms.lower)
    memset(s.bound + 4, 0xff if descending else 0, HASH_PREFIX)
    if position == NULL:
        return
    if descending and get32(position) > s.terms.upper:
        return
    if not descending and get32(position) < s.terms.lower:
        return
    memcpy(s.bound, position, TIME_KEY)
    s.behind = True


cdef inline int run_scan(scan *s, const uint8_t *position) noexcept nogil:
    """Run one slice; 0 with the page in `s`, or a code as in environment.pxd."""
    cdef int waiting_rc
    cdef int rc = 0
    s.state = EXHAUSTED
    forget_chunk(&s.recent)
    watch_for_waits(&s.waits, s.env.always_ahead)
    start_at(s, position)
    if s.terms.lower <= s.terms.upper:
        if s.terms.kind == EVERY_TOPIC:
            s.first, s.last = s.terms.lower, s.terms.upper
            rc = walk(s)
        else:
            rc = scan_days(s)
    if rc == 0 or rc == STOP:
        waiting_rc = collect_waiting(s)
        if waiting_rc:
            rc = waiting_rc
    return 0 if rc == STOP else rc
