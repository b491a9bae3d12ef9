"""The bookmark: the day that is being sorted, and where that goes on (see sorter.pxd).

Functions that return int return 0 or a code as in environment.pxd.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from wakumail.archive.environment cimport environment
from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *


cdef struct bookmark:
    uint32_t day
    uint64_t copied             # bytes of the envelopes that lie in two chunks
    uint8_t bound[POSTING_KEY]  # as in "sorting"; it begins with the day
    size_t bound_size


cdef inline void begin_day(bookmark *mark, uint32_t day) noexcept nogil:
    mark.day, mark.copied, mark.bound_size = day, 0, DAY_KEY
    put16(mark.bound, day)


cdef inline int read_bookmark(MDB_txn *txn, MDB_dbi meta, bookmark *mark) noexcept nogil:
    """Read it; MDB_NOTFOUND if no day is being sorted."""
    cdef MDB_val value
    cdef MDB_val key = value_of(b"sorting", 7)
    cdef int rc = mdb_get(txn, meta, &key, &value)
    if rc:
        return rc
    mark.bound_size = value.mv_size - 8
    if value.mv_size < 8 or mark.bound_size not in (DAY_KEY, POSTING_KEY, CHUNK_KEY):
        return MDB_CORRUPTED
    mark.copied = get64(<const uint8_t *> value.mv_data)
    memcpy(mark.bound, <const uint8_t *> value.mv_data + 8, mark.bound_size)
    mark.day = get16(mark.bound)
    return 0


cdef inline int write_bookmark(MDB_txn *txn, MDB_dbi meta, const bookmark *mark) noexcept nogil:
    cdef uint8_t bytes[8 + POSTING_KEY]
    cdef MDB_val key = value_of(b"sorting", 7)
    cdef MDB_val value = value_of(bytes, 8 + mark.bound_size)
    put64(bytes, mark.copied)
    memcpy(bytes + 8, mark.bound, mark.bound_size)
    return mdb_put(txn, meta, &key, &value, 0)


cdef inline int remove_bookmark(MDB_txn *txn, MDB_dbi meta) noexcept nogil:
    cdef MDB_val key = value_of(b"sorting", 7)
    cdef int rc = mdb_del(txn, meta, &key, NULL)
    return 0 if rc == MDB_NOTFOUND else rc


cdef struct bookmark_lookup:
    environment *env
    MDB_txn *txn
    bint found              # False if no day is being sorted
    bookmark mark


cdef inline int look_up_bookmark(void *context) noexcept nogil:
    """Read the bookmark, if there is one."""
    cdef bookmark_lookup *lookup = <bookmark_lookup *> context
    cdef int rc = read_bookmark(lookup.txn, lookup.env.meta, &lookup.mark)
    lookup.found = rc == 0
    return 0 if rc == MDB_NOTFOUND else rc
