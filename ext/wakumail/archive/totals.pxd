"""The totals of the archive: from those of its days, and its oldest and newest envelope."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from wakumail.archive.environment cimport environment
from wakumail.archive.horizon cimport read_horizon
from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *
from wakumail.archive.scanner cimport reserve_one


cdef struct archive_totals:
    environment *env
    MDB_txn *txn
    uint64_t envelopes
    uint64_t bytes
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


cdef inline int add_days(MDB_cursor *days, archive_totals *totals) noexcept nogil:
    cdef MDB_val key, value
    cdef day_totals day
    cdef int rc = mdb_cursor_get(days, &key, &value, MDB_FIRST)
    while not rc:
        rc = read_day(&value, &day)
        if rc:
            return rc
        totals.envelopes += day.envelopes
        totals.bytes += day.bytes
        rc = mdb_cursor_get(days, &key, &value, MDB_NEXT)
    return 0 if rc == MDB_NOTFOUND else rc


cdef struct dated_totals:       # a row of `days`
    uint32_t day
    day_totals totals


cdef struct days_reading:
    MDB_txn *txn
    MDB_dbi table
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


cdef inline int read_days(void *context) noexcept nogil:
    """Read all rows of `days`, oldest first."""
    cdef days_reading *r = <days_reading *> context
    cdef MDB_cursor *cursor
    cdef int rc = mdb_cursor_open(r.txn, r.table, &cursor)
    if rc:
        return rc
    rc = take_days(r, cursor)
    mdb_cursor_close(cursor)
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


cdef inline int read_next(MDB_txn *txn, MDB_dbi meta, uint64_t *sequence) noexcept nogil:
    """Read the sequence of the next envelope."""
    cdef MDB_val value
    cdef MDB_val key = value_of(b"next", 4)
    cdef int rc = mdb_get(txn, meta, &key, &value)
    if rc:
        return rc
    if value.mv_size != SEQUENCE_SIZE:
        return MDB_CORRUPTED
    sequence[0] = get48(<const uint8_t *> value.mv_data)
    return 0


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
    cdef int rc = read_next(txn, e.meta, &totals.next)
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
        rc = mdb_cursor_open(txn, e.days, &cursor)
    if not rc:
        rc = add_days(cursor, totals)
        mdb_cursor_close(cursor)
    if not rc:
        rc = mdb_cursor_open(txn, e.times, &cursor)
    if not rc:
        rc = read_created(cursor, MDB_FIRST, &totals.oldest)
        if not rc:
            rc = read_created(cursor, MDB_LAST, &totals.newest)
        mdb_cursor_close(cursor)
    return rc


cdef struct time_lookup:
    MDB_txn *txn
    MDB_dbi times
    uint8_t key[TIME_KEY]


cdef inline int look_up_time(void *context) noexcept nogil:
    """0 if there is a row of `times` with the key, MDB_NOTFOUND if not."""
    cdef time_lookup *lookup = <time_lookup *> context
    cdef MDB_val value
    cdef MDB_val key = value_of(lookup.key, TIME_KEY)
    return mdb_get(lookup.txn, lookup.times, &key, &value)
