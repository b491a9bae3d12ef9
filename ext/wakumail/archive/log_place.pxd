"""The place in the log of a cluster up to which the archive has everything.

Functions that return int return 0 or a code as in environment.pxd.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint8_t
from libc.stdlib cimport malloc
from libc.string cimport memcpy

from wakumail.archive.environment cimport environment
from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *


cdef struct place_reading:
    environment *env
    MDB_txn *txn
    uint8_t *place          # a copy of the value of "log"; NULL without one; the caller frees it
    size_t size


cdef inline int read_place(void *context) noexcept nogil:
    """Read the place in the log."""
    cdef place_reading *reading = <place_reading *> context
    cdef MDB_val value
    cdef MDB_val key = value_of(b"log", 3)
    cdef int rc = mdb_get(reading.txn, reading.env.meta, &key, &value)
    if rc:
        return 0 if rc == MDB_NOTFOUND else rc
    if value.mv_size < LOG_PLACE_SIZE:
        return MDB_CORRUPTED
    reading.place = <uint8_t *> malloc(value.mv_size)
    if reading.place == NULL:
        return ENOMEM
    memcpy(reading.place, value.mv_data, value.mv_size)
    reading.size = value.mv_size
    return 0


cdef inline int write_place(MDB_txn *txn, MDB_dbi meta, MDB_val *place) noexcept nogil:
    cdef MDB_val key = value_of(b"log", 3)
    return mdb_put(txn, meta, &key, place, 0)
