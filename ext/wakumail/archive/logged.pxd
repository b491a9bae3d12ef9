"""The place in the log of a cluster up to which the archive has everything.

Functions that return int return 0 or a code as in environment.pxd.
"""

from wakumail.archive.environment cimport environment
from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *


cdef struct place_reading:
    environment *env
    MDB_txn *txn
    MDB_val place           # the value of "log"; empty without one


cdef inline int read_place(void *context) noexcept nogil:
    """Find the place in the log."""
    cdef place_reading *reading = <place_reading *> context
    cdef MDB_val key = value_of(b"log", 3)
    cdef int rc = mdb_get(reading.txn, reading.env.meta, &key, &reading.place)
    if rc == MDB_NOTFOUND:
        reading.place = value_of(NULL, 0)
        return 0
    return MDB_CORRUPTED if rc == 0 and reading.place.mv_size < LOG_PLACE_SIZE else rc
