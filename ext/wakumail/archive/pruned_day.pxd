"""A day that is deleted whole, table by table: far cheaper than finding the rows of each envelope.

Functions that return int return 0 or a code as in environment.pxd.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

from wakumail.archive.bookmark cimport bookmark, read_bookmark, remove_bookmark
from wakumail.archive.environment cimport environment
from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *


cdef struct pruning:
    environment *env
    MDB_txn *txn
    uint64_t before             # Unix seconds: envelopes created earlier are deleted
    uint64_t limit              # envelopes of this slice
    uint32_t newest             # when the last of the deleted envelopes was created
    uint64_t envelopes          # deleted
    uint64_t bytes              # of the deleted chunks
    bint more                   # True if a further slice would delete something


cdef inline int drop_range(pruning *p, MDB_dbi table, const uint8_t *from_key,
                           const uint8_t *to_key, size_t size, size_t prefix) noexcept nogil:
    """Delete the rows whose keys begin with `from_key` up to, but without, `to_key`.

    Both have `prefix` bytes, keys have `size`. Rows are deleted one by one, which is cheap: the
    next row is on the page where the cursor is. Before that all pages are read, for then they can be
    asked of the disk together; deletion moves their rows.
    """
    cdef MDB_cursor *cursor
    cdef MDB_val value
    cdef size_t asked = 0
    cdef MDB_val key = value_of(from_key, prefix)
    cdef int rc = mdb_cursor_open(p.txn, table, &cursor)
    if not rc:
        rc = mdb_cursor_get(cursor, &key, NULL, MDB_SET_RANGE)
    while not rc and key.mv_size == size and memcmp(key.mv_data, to_key, prefix) < 0:
        ahead_leaves(cursor, &asked)
        leaf_end(cursor)
        rc = mdb_cursor_get(cursor, &key, NULL, MDB_NEXT)
    key = value_of(from_key, prefix)
    if not rc or rc == MDB_NOTFOUND:
        rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE)
    while not rc:
        if key.mv_size != size:
            return MDB_CORRUPTED
        if memcmp(key.mv_data, to_key, prefix) >= 0:
            return 0
        rc = mdb_cursor_del(cursor, 0)
        if not rc:
            rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)
    return 0 if rc == MDB_NOTFOUND else rc


cdef inline int read_bytes(const MDB_val *key, const MDB_val *value, chunk *out) noexcept nogil:
    """Read a row of `chunks`; one whose envelopes were moved has no bytes."""
    cdef moved_chunk moved
    cdef int rc
    if not is_moved(value):
        return read_chunk(key, value, out)
    rc = read_moved(key, value, &moved)
    out.day, out.first, out.last, out.size = moved.day, moved.first, moved.last, 0
    return rc


cdef inline int drop_arrival(pruning *p, uint64_t last) noexcept nogil:
    """Delete the arrival of a chunk."""
    cdef uint8_t arrival[SEQUENCE_SIZE]
    cdef MDB_val key = value_of(arrival, SEQUENCE_SIZE)
    cdef int rc
    put48(arrival, last)
    rc = mdb_del(p.txn, p.env.arrivals, &key, NULL)
    return MDB_CORRUPTED if rc == MDB_NOTFOUND else rc


cdef inline int drop_bookmark(pruning *p, uint32_t day) noexcept nogil:
    """End the sorting of a day that is deleted."""
    cdef bookmark mark
    cdef int rc = read_bookmark(p.txn, p.env.meta, &mark)
    if rc:
        return 0 if rc == MDB_NOTFOUND else rc
    return remove_bookmark(p.txn, p.env.meta) if mark.day == day else 0


cdef inline int drop_arrivals(pruning *p, uint32_t day) noexcept nogil:
    """Delete the arrivals of all chunks of a day, and count the bytes of the chunks."""
    cdef uint8_t key_bytes[CHUNK_KEY]
    cdef MDB_cursor *chunks
    cdef MDB_val value
    cdef MDB_val key = value_of(key_bytes, CHUNK_KEY)
    cdef chunk source
    cdef size_t branch = 0
    cdef size_t leaf = 0
    cdef int rc = mdb_cursor_open(p.txn, p.env.chunks, &chunks)
    put_chunk_key(key_bytes, day, 0)
    if not rc:
        rc = mdb_cursor_get(chunks, &key, NULL, MDB_SET_RANGE)
    while not rc:
        ahead_leaves(chunks, &branch)
        ahead_heads(chunks, &leaf)
        rc = mdb_cursor_get(chunks, &key, &value, MDB_GET_CURRENT)
        if rc:
            return rc
        rc = read_bytes(&key, &value, &source)
        if rc:
            return rc
        if source.day != day:
            return 0
        p.bytes += source.size
        if not is_sorted(source.last):
            rc = drop_arrival(p, source.last)
        if not rc:
            rc = mdb_cursor_get(chunks, &key, NULL, MDB_NEXT)
    return 0 if rc == MDB_NOTFOUND else rc


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


cdef inline int drop_day(pruning *p, uint32_t day) noexcept nogil:
    """Delete a whole day, table by table: far cheaper than finding the rows of each envelope."""
    cdef uint8_t first[4]
    cdef uint8_t behind[4]
    cdef MDB_val key
    cdef int rc = drop_arrivals(p, day)
    if not rc:
        rc = drop_bookmark(p, day)
    put32(first, day * DAY)
    put32(behind, (day + 1) * DAY)
    if not rc:
        rc = note_newest(p, behind)
    if not rc:
        rc = drop_range(p, p.env.times, first, behind, TIME_KEY, 4)
    put32(first, day * DAY_MINUTES)
    put32(behind, (day + 1) * DAY_MINUTES)
    if not rc:
        rc = drop_range(p, p.env.sums, first, behind, SUM_KEY, SUM_KEY)
    put16(first, day)
    put16(behind, day + 1)
    if not rc:
        rc = drop_range(p, p.env.postings, first, behind, POSTING_KEY, DAY_KEY)
    if not rc:
        rc = drop_range(p, p.env.topics, first, behind, TOPIC_KEY, DAY_KEY)
    if not rc:
        rc = drop_range(p, p.env.chunks, first, behind, CHUNK_KEY, DAY_KEY)
    if not rc:
        key = value_of(first, DAY_KEY)
        rc = mdb_del(p.txn, p.env.days, &key, NULL)
    return MDB_CORRUPTED if rc == MDB_NOTFOUND else rc
