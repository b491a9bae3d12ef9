"""A day that is deleted whole, table by table: far cheaper than finding the rows of each envelope.

Its rows go in one commit, so it is there or not. That commit should take no longer than others. So
slices before it read the pages of the rows, some in each, and it frees most of these pages without
a look at them. Its chunks, which are most of its pages, follow in later slices, as any chunks
without rows do (see pruner.pxd). Until then its row in `days` counts their bytes.
Functions that return int return 0 or a code as in environment.pxd.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from wakumail.archive.bookmark cimport bookmark, read_bookmark, remove_bookmark
from wakumail.archive.clock cimport monotonic_ns
from wakumail.archive.environment cimport begin, end_read, environment
from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *

cdef enum:
    SMALL_DAY = 1000        # envelopes of a day that goes in one slice: its rows have few pages
    READ_PAGES = 64         # that a slice reads; it ends when it has asked for those that follow
    TIMES = 0               # the tables with rows of a day, in the order in which they are read
    SUMS = 1
    POSTINGS = 2
    TOPICS = 3
    ROW_TABLES = 4
    NO_DAY = 1 << 16        # behind all days
    LAST_DAY = 49710        # its end exceeds 32 bits of seconds: it is deleted row by row


cdef struct day_reading:    # the pages of a day with its rows, as far as they were read
    uint32_t day
    int table               # of the rows that follow; ROW_TABLES if all were read
    size_t bound_size       # 0: from the first row of the table on
    uint8_t bound[POSTING_KEY]
    size_t branch           # the page whose leaves were asked for last
    uint64_t[ROW_TABLES] rows       # that were read


cdef struct pruning:
    environment *env
    MDB_txn *txn
    uint64_t before             # Unix seconds: envelopes created earlier are deleted
    uint64_t limit              # envelopes of this slice
    day_reading *reading        # the caller keeps it from slice to slice
    int64_t end                 # nanoseconds of the monotonic clock at which the slice ends
    uint32_t newest             # when the last of the deleted envelopes was created
    uint64_t envelopes          # deleted
    uint64_t bytes              # of the deleted chunks
    size_t deleted_chunks
    bint ended                  # it deletes nothing more, for a large day was met
    uint32_t unread             # that day, if its pages have to be read first, or NO_DAY
    bint more                   # True if a further slice would delete something
    MDB_cursor *times           # of the transaction that deletes
    MDB_cursor *postings
    MDB_cursor *topics
    MDB_cursor *chunks


cdef inline MDB_dbi rows_of(const environment *e, uint32_t day, int number,
                            leaf_rows *rows) noexcept nogil:
    """Get the rows of a day in one of the tables, TIMES to TOPICS, and that table."""
    if number <= SUMS:
        rows.prefix = 4
        if number == TIMES:
            rows.key_size, rows.value_size = TIME_KEY, TIME_VALUE
            put32(rows.first, day * DAY)
            put32(rows.behind, (day + 1) * DAY)
            return e.times
        rows.key_size, rows.value_size = SUM_KEY, SUM_VALUE
        put32(rows.first, day * DAY_MINUTES)
        put32(rows.behind, (day + 1) * DAY_MINUTES)
        return e.sums
    rows.prefix = DAY_KEY
    put16(rows.first, day)
    put16(rows.behind, day + 1)
    if number == POSTINGS:
        rows.key_size, rows.value_size = POSTING_KEY, SEQUENCE_SIZE
        return e.postings
    rows.key_size, rows.value_size = TOPIC_KEY, 4
    return e.topics


cdef inline bint is_before(const leaf_rows *rows, const uint8_t *key) noexcept nogil:
    """True if a key lies before the end of the day."""
    return memcmp(key, rows.behind, rows.prefix) < 0


cdef inline bint is_due(const pruning *p, uint32_t day, const day_totals *totals) noexcept nogil:
    """True if all envelopes of a day are due, and the limit of the slice allows them."""
    return (day != LAST_DAY and <uint64_t> (day + 1) * DAY <= p.before
            and p.envelopes + totals.envelopes <= p.limit)


cdef inline bint is_large(const pruning *p, const day_totals *totals) noexcept nogil:
    """True if a day goes in several slices."""
    return totals.envelopes > SMALL_DAY or p.env.always_ahead


cdef inline bint was_read(const pruning *p, uint32_t day) noexcept nogil:
    """True if all pages with rows of a day were read."""
    return p.reading.day == day and p.reading.table == ROW_TABLES


cdef inline uint64_t rows_from(MDB_cursor *cursor, const leaf_rows *rows) noexcept nogil:
    """Count the rows of the day on the cursor's leaf, from its place on."""
    cdef leaf l
    cdef unsigned int behind
    leaf_of(cursor, &l)
    behind = l.count
    while (behind > l.at and leaf_has(&l, behind - 1, rows.key_size, rows.value_size)
            and not is_before(rows, leaf_key(&l, behind - 1))):
        behind -= 1
    return behind - l.at


cdef inline int read_rows(pruning *p, const leaf_rows *rows, MDB_cursor *cursor, size_t *pages,
                          bint *paused) noexcept nogil:
    """Read the leaf pages from the bound on; `paused` at the end of the slice.

    At rows that are damaged, or out of order, it ends: their deletion meets them.
    """
    cdef day_reading *r = p.reading
    cdef MDB_val key = value_of(r.bound, r.bound_size)
    cdef bint resumed = r.bound_size != 0
    cdef size_t branch
    cdef int order
    cdef int rc
    if not resumed:
        key = value_of(rows.first, rows.prefix)
    rc = mdb_cursor_get(cursor, &key, NULL, MDB_SET_RANGE)
    while (not rc and key.mv_size == rows.key_size
            and is_before(rows, <const uint8_t *> key.mv_data)):
        if r.bound_size:
            order = memcmp(key.mv_data, r.bound, rows.key_size)
            if order < 0 or order == 0 and not resumed:
                return 0
        memcpy(r.bound, key.mv_data, rows.key_size)
        r.bound_size = rows.key_size
        branch = r.branch
        ahead_leaves(cursor, &r.branch)
        paused[0] = pages[0] and (pages[0] >= READ_PAGES and r.branch != branch
                                  or monotonic_ns() >= p.end or p.env.always_ahead)
        if paused[0]:
            return 0
        pages[0] += 1
        r.rows[r.table] += rows_from(cursor, rows)
        resumed = False
        leaf_end(cursor)
        rc = mdb_cursor_get(cursor, &key, NULL, MDB_NEXT)
    return 0 if rc == MDB_NOTFOUND else rc


cdef inline int read_some(void *work) noexcept nogil:
    """Read some of the pages with rows of the day that waits for it, one table after the other."""
    cdef pruning *p = <pruning *> work
    cdef day_reading *r = p.reading
    cdef leaf_rows rows
    cdef MDB_dbi table
    cdef MDB_cursor *cursor
    cdef bint paused = False
    cdef size_t pages = 0
    cdef int rc
    if r.day != p.unread:
        memset(r, 0, sizeof(r[0]))
        r.day = p.unread
    while r.table < ROW_TABLES:
        table = rows_of(p.env, r.day, r.table, &rows)
        rc = mdb_cursor_open(p.txn, table, &cursor)
        if rc:
            return rc
        rc = read_rows(p, &rows, cursor, &pages, &paused)
        mdb_cursor_close(cursor)
        if rc or paused:
            return rc
        r.table += 1
        r.bound_size = r.branch = 0
    return 0


cdef inline int read_day_ahead(pruning *p) noexcept nogil:
    """Do the reading of a slice, in a read transaction."""
    cdef int rc = begin(p.env, False, &p.txn)
    if rc:
        return rc
    rc = checks_guard(p.env.env, &read_some, p)
    end_read(p.env, p.txn)
    return rc


cdef inline int drop_range(pruning *p, uint32_t day, int number, uint64_t known) noexcept nogil:
    """Delete the rows of a day in one of the tables: whole pages, and rows beside them.

    `known`: the number of the rows, or 0. If as many were read before, most leaf pages are freed
    unread. That they were shows that branch pages, though damaged, do not name pages of others.
    """
    cdef leaf_rows rows
    cdef MDB_dbi table = rows_of(p.env, day, number, &rows)
    cdef MDB_cursor *cursor
    cdef MDB_val key
    cdef MDB_stat stat
    cdef bint unread = was_read(p, day) and known and p.reading.rows[number] == known
    cdef int rc = mdb_stat(p.txn, table, &stat)
    if not rc and unread and stat.ms_entries < known:
        rc = MDB_CORRUPTED
    if not rc:
        rc = mdb_cursor_open(p.txn, table, &cursor)
    while not rc:
        key = value_of(rows.first, rows.prefix)
        rc = mdb_cursor_get(cursor, &key, NULL, MDB_SET_RANGE)
        if rc:
            break
        if key.mv_size != rows.key_size:
            return MDB_CORRUPTED
        if not is_before(&rows, <const uint8_t *> key.mv_data):
            break
        rc = leaf_drop(cursor, &rows, unread)
        if rc == LEAF_STAYS:
            rc = mdb_cursor_del(cursor, 0)
    if rc and rc != MDB_NOTFOUND:
        return rc
    if unread:
        leaf_count(cursor, stat.ms_entries - known)
    return 0


cdef inline int drop_bookmark(pruning *p, uint32_t day) noexcept nogil:
    """End the sorting of a day that is deleted."""
    cdef bookmark mark
    cdef int rc = read_bookmark(p.txn, p.env.meta, &mark)
    if rc:
        return 0 if rc == MDB_NOTFOUND else rc
    return remove_bookmark(p.txn, p.env.meta) if mark.day == day else 0


cdef inline int note_newest(pruning *p, const uint8_t *behind) noexcept nogil:
    """Note when the last envelope before `behind`, the end of a day, was created."""
    cdef MDB_cursor *times
    cdef MDB_val value
    cdef MDB_val key = value_of(behind, 4)
    cdef int rc = mdb_cursor_open(p.txn, p.env.times, &times)
    if rc:
        return rc
    rc = mdb_cursor_get(times, &key, &value, MDB_SET_RANGE)
    if rc == 0 or rc == MDB_NOTFOUND:
        rc = mdb_cursor_get(times, &key, &value, MDB_LAST if rc else MDB_PREV)
    if rc == 0:
        if key.mv_size != TIME_KEY:
            return MDB_CORRUPTED
        p.newest = get32(<const uint8_t *> key.mv_data)
    return 0 if rc == MDB_NOTFOUND else rc


cdef inline int leave_chunks(pruning *p, uint32_t day, const day_totals *before) noexcept nogil:
    """Change the totals of a day to those of chunks alone; delete a day without."""
    cdef uint8_t key_bytes[DAY_KEY]
    cdef uint8_t value_bytes[DAY_VALUE]
    cdef day_totals left
    cdef MDB_val key = value_of(key_bytes, DAY_KEY)
    cdef MDB_val value = value_of(value_bytes, DAY_VALUE)
    put16(key_bytes, day)
    if not before.bytes:
        return mdb_del(p.txn, p.env.days, &key, NULL)
    memset(&left, 0, sizeof(left))
    left.bytes = before.bytes
    put_day(value_bytes, &left)
    return mdb_put(p.txn, p.env.days, &key, &value, 0)


cdef inline int drop_day(pruning *p, uint32_t day, const day_totals *totals) noexcept nogil:
    """Delete all rows of a day."""
    cdef uint8_t behind[4]
    cdef int rc = drop_bookmark(p, day)
    put32(behind, (day + 1) * DAY)
    if not rc:
        rc = note_newest(p, behind)
    if not rc:
        rc = drop_range(p, day, TIMES, totals.envelopes)
    if not rc:
        rc = drop_range(p, day, SUMS, 0)
    if not rc:
        rc = drop_range(p, day, POSTINGS, totals.envelopes)
    if not rc:
        rc = drop_range(p, day, TOPICS, totals.topics)
    if not rc:
        rc = leave_chunks(p, day, totals)
    return rc
