"""The next sequence: the place in the order of arrival that the next new envelope gets.

Functions return 0 or a code as in environment.pxd.
"""

from libc.stdint cimport uint8_t, uint64_t

from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *


cdef inline int read_next_sequence(MDB_txn *txn, MDB_dbi meta, uint64_t *sequence) noexcept nogil:
    cdef MDB_val value
    cdef MDB_val key = value_of(b"next", 4)
    cdef int rc = mdb_get(txn, meta, &key, &value)
    if rc:
        return MDB_CORRUPTED if rc == MDB_NOTFOUND else rc
    if value.mv_size != SEQUENCE_SIZE:
        return MDB_CORRUPTED
    sequence[0] = get48(<const uint8_t *> value.mv_data)
    return 0


cdef inline int write_next_sequence(MDB_txn *txn, MDB_dbi meta, uint64_t sequence) noexcept nogil:
    cdef uint8_t number[SEQUENCE_SIZE]
    cdef MDB_val key = value_of(b"next", 4)
    cdef MDB_val value = value_of(number, SEQUENCE_SIZE)
    put48(number, sequence)
    return mdb_put(txn, meta, &key, &value, 0)
