"""The horizon: the time before which pruning has deleted all that was there. It only rises.

Functions that return int return 0 or a code as in environment.pxd.
"""

from libc.stdint cimport uint8_t, uint32_t

from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *


cdef inline int read_horizon(MDB_txn *txn, MDB_dbi meta, uint32_t *created) noexcept nogil:
    """Read the horizon in Unix seconds; 0 before the first pruning."""
    cdef MDB_val value
    cdef MDB_val key = value_of(b"pruned", 6)
    cdef int rc = mdb_get(txn, meta, &key, &value)
    if rc:
        return MDB_CORRUPTED if rc == MDB_NOTFOUND else rc
    if value.mv_size != HORIZON_SIZE:
        return MDB_CORRUPTED
    created[0] = get32(<const uint8_t *> value.mv_data)
    return 0


cdef inline int write_horizon(MDB_txn *txn, MDB_dbi meta, uint32_t created) noexcept nogil:
    cdef uint8_t number[HORIZON_SIZE]
    cdef MDB_val key = value_of(b"pruned", 6)
    cdef MDB_val value = value_of(number, HORIZON_SIZE)
    put32(number, created)
    return mdb_put(txn, meta, &key, &value, 0)


cdef inline int raise_horizon(MDB_txn *txn, MDB_dbi meta, uint32_t created) noexcept nogil:
    """Write a horizon if it is later than the one that is stored."""
    cdef uint32_t stored
    cdef int rc = read_horizon(txn, meta, &stored)
    return rc if rc or created <= stored else write_horizon(txn, meta, created)
