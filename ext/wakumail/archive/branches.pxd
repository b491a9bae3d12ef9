"""The branch pages of the indexes of a day, read so that requests do not wait for them."""

from libc.stdint cimport uint8_t, uint32_t

from wakumail.archive.environment cimport environment
from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *


cdef struct branches:
    environment *env
    MDB_txn *txn
    uint32_t day
    size_t bytes            # of the pages that were read
    MDB_cursor *cursor      # for close_branches


cdef inline int read_table(branches *b, MDB_dbi table) noexcept nogil:
    """Read those of a table whose keys begin with the day, or with the time in it."""
    cdef uint8_t[2][4] edges
    cdef MDB_val from_, to
    cdef MDB_stat stat
    cdef size_t size = 4 if table == b.env.times else DAY_KEY
    cdef uint32_t i
    cdef int rc = mdb_stat(b.txn, table, &stat)
    if not rc:
        rc = mdb_cursor_open(b.txn, table, &b.cursor)
    if rc:
        return rc
    for i in range(2):
        if table == b.env.times:
            put32(edges[i], (b.day + i) * DAY)
        else:
            put16(edges[i], b.day + i)
    from_, to = value_of(edges[0], size), value_of(edges[1], size)
    b.bytes += ahead_branches(b.cursor, &from_, &to) * stat.ms_psize
    mdb_cursor_close(b.cursor)
    b.cursor = NULL
    return 0


cdef inline int read_branches(void *context) noexcept nogil:
    """Read those of all tables that requests look up."""
    cdef branches *b = <branches *> context
    cdef int rc = read_table(b, b.env.postings)
    if not rc:
        rc = read_table(b, b.env.chunks)
    if not rc:
        rc = read_table(b, b.env.times)
    if not rc:
        rc = read_table(b, b.env.topics)
    return rc


cdef inline void close_branches(void *context) noexcept nogil:
    """Close the cursor, which is left open where damage ended the reading."""
    cdef branches *b = <branches *> context
    if b.cursor != NULL:
        mdb_cursor_close(b.cursor)
