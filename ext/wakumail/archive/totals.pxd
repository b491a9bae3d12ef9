"""The totals of the archive: of its days and their topics, and its oldest and newest envelope."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, qsort
from libc.string cimport memset

from wakumail.archive.bookmark cimport bookmark, read_bookmark
from wakumail.archive.environment cimport environment
from wakumail.archive.horizon cimport read_horizon
from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *
from wakumail.archive.next_sequence cimport read_next_sequence
from wakumail.archive.scanner cimport reserve_one


cdef struct archive_totals:
    environment *env
    MDB_txn *txn
    uint64_t envelopes
    uint64_t bytes
    uint64_t copied         # those that were left out of `bytes`, for they lie there twice
    uint64_t file_bytes     # of the pages in use
    uint64_t free_bytes     # of the others
    uint32_t oldest         # created; undefined without envelopes
    uint32_t newest
    uint64_t next           # sequence
    uint64_t sums           # rows of `sums`
    uint32_t pruned         # the horizon


cdef inline int add_pages(MDB_txn *txn, MDB_dbi table, archive_totals *totals) noexcept nogil:
    cdef MDB_stat stat
    cdef int rc = mdb_stat(txn, table, &stat)
    if not rc:
        totals.file_bytes += <uint64_t> stat.ms_psize * (
            stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages)
    return rc


cdef struct dated_totals:       # a row of `days`
    uint32_t day
    day_totals totals


cdef struct days_reading:
    environment *env
    MDB_txn *txn
    uint64_t copied             # bytes that were left out of the days
    dated_totals *days          # the caller's to free
    size_t count
    size_t room


cdef inline int take_days(days_reading *r, MDB_cursor *cursor) noexcept nogil:
    cdef MDB_val key, value
    cdef int rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST)
    while not rc:
        rc = reserve_one(<void **> &r.days, &r.room, r.count, sizeof(dated_totals))
        if not rc:
            rc = read_day(&value, &r.days[r.count].totals)
        if not rc and key.mv_size != DAY_KEY:
            rc = MDB_CORRUPTED
        if rc:
            return rc
        r.days[r.count].day = get16(<const uint8_t *> key.mv_data)
        r.count += 1
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)
    return 0 if rc == MDB_NOTFOUND else rc


cdef inline int leave_out_copies(days_reading *r) noexcept nogil:
    """Count the bytes of envelopes that lie in two chunks once."""
    cdef bookmark mark
    cdef day_totals *totals
    cdef size_t i
    cdef int rc = read_bookmark(r.txn, r.env.meta, &mark)
    if rc:
        return 0 if rc == MDB_NOTFOUND else rc
    for i in range(r.count):
        totals = &r.days[i].totals
        if r.days[i].day == mark.day:
            r.copied = mark.copied if mark.copied < totals.bytes else totals.bytes
            totals.bytes -= r.copied
    return 0


cdef inline int read_days(void *context) noexcept nogil:
    """Read all rows of `days`, oldest first."""
    cdef days_reading *r = <days_reading *> context
    cdef MDB_cursor *cursor
    cdef int rc = mdb_cursor_open(r.txn, r.env.days, &cursor)
    if rc:
        return rc
    rc = take_days(r, cursor)
    mdb_cursor_close(cursor)
    return rc if rc else leave_out_copies(r)


cdef struct counted_topic:      # a row of `topics`
    uint32_t topic
    uint32_t envelopes


cdef struct topics_reading:
    environment *env
    MDB_txn *txn
    uint32_t day
    counted_topic *topics       # the caller's to free
    size_t count
    size_t room


cdef inline int compare_counts(const void *a, const void *b) noexcept nogil:
    """The topic with more envelopes comes first; of equal ones the one with the smaller number."""
    cdef const counted_topic *one = <const counted_topic *> a
    cdef const counted_topic *other = <const counted_topic *> b
    if one.envelopes != other.envelopes:
        return -1 if one.envelopes > other.envelopes else 1
    return -1 if one.topic < other.topic else one.topic > other.topic


cdef inline int take_topics(topics_reading *r, MDB_cursor *cursor) noexcept nogil:
    cdef uint8_t[TOPIC_KEY] bound
    cdef MDB_val value
    cdef MDB_val key = value_of(bound, TOPIC_KEY)
    cdef int rc
    put48(bound, <uint64_t> r.day << 32)
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE)
    while not rc:
        if key.mv_size != TOPIC_KEY or value.mv_size != 4:
            return MDB_CORRUPTED
        if get16(<const uint8_t *> key.mv_data) != r.day:
            return 0
        rc = reserve_one(<void **> &r.topics, &r.room, r.count, sizeof(counted_topic))
        if rc:
            return rc
        r.topics[r.count].topic = get32(<const uint8_t *> key.mv_data + DAY_KEY)
        r.topics[r.count].envelopes = get32(<const uint8_t *> value.mv_data)
        r.count += 1
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)
    return 0 if rc == MDB_NOTFOUND else rc


cdef inline int read_topics(void *context) noexcept nogil:
    """Read the rows of `topics` of a day, those with the most envelopes first."""
    cdef topics_reading *r = <topics_reading *> context
    cdef MDB_cursor *cursor
    cdef int rc = mdb_cursor_open(r.txn, r.env.topics, &cursor)
    if rc:
        return rc
    rc = take_topics(r, cursor)
    mdb_cursor_close(cursor)
    if not rc:
        qsort(r.topics, r.count, sizeof(counted_topic), &compare_counts)
    return rc


cdef inline int read_created(MDB_cursor *times, MDB_cursor_op end,
                             uint32_t *created) noexcept nogil:
    cdef MDB_val key, value
    cdef int rc = mdb_cursor_get(times, &key, &value, end)
    if rc:
        return 0 if rc == MDB_NOTFOUND else rc
    if key.mv_size != TIME_KEY:
        return MDB_CORRUPTED
    created[0] = get32(<const uint8_t *> key.mv_data)
    return 0


cdef inline int add_days(archive_totals *totals) noexcept nogil:
    cdef days_reading reading
    cdef size_t i
    cdef int rc
    memset(&reading, 0, sizeof(reading))
    reading.env, reading.txn = totals.env, totals.txn
    rc = read_days(&reading)
    for i in range(reading.count):
        totals.envelopes += reading.days[i].totals.envelopes
        totals.bytes += reading.days[i].totals.bytes
    totals.copied = reading.copied
    free(reading.days)
    return rc


cdef inline int read_totals(void *context) noexcept nogil:
    """Read all totals. The cost grows with the number of days."""
    cdef archive_totals *totals = <archive_totals *> context
    cdef environment *e = totals.env
    cdef MDB_txn *txn = totals.txn
    cdef MDB_cursor *cursor
    cdef MDB_dbi[10] tables = [FREE_DBI, MAIN_DBI, e.meta, e.days, e.topics, e.times, e.postings,
                               e.chunks, e.arrivals, e.sums]
    cdef MDB_stat stat
    cdef MDB_envinfo info
    cdef uint64_t size
    cdef size_t i
    cdef int rc = read_next_sequence(txn, e.meta, &totals.next)
    if not rc:
        rc = read_horizon(txn, e.meta, &totals.pruned)
    if not rc:
        rc = mdb_stat(txn, e.sums, &stat)
        totals.sums = stat.ms_entries
    if not rc:
        rc = mdb_stat(txn, MAIN_DBI, &stat)
        totals.file_bytes = 2 * stat.ms_psize       # the two meta pages
    for i in range(10):
        if not rc:
            rc = add_pages(txn, tables[i], totals)
    if not rc:
        rc = mdb_env_info(e.env, &info)
    if not rc:
        size = <uint64_t> stat.ms_psize * (info.me_last_pgno + 1)
        totals.free_bytes = size - totals.file_bytes if size > totals.file_bytes else 0
        rc = add_days(totals)
    if not rc:
        rc = mdb_cursor_open(txn, e.times, &cursor)
    if not rc:
        rc = read_created(cursor, MDB_FIRST, &totals.oldest)
        if not rc:
            rc = read_created(cursor, MDB_LAST, &totals.newest)
        mdb_cursor_close(cursor)
    return rc
