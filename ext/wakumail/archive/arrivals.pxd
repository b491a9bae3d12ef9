"""Reads envelopes in the order of arrival: whole chunks or parts of them, as they are stored."""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from wakumail.archive.environment cimport environment
from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *
from wakumail.archive.scanner cimport hit, join_hits, reserve_one


cdef struct arrivals_run:
    environment *env
    MDB_txn *txn
    uint8_t *out                # for copy_arrivals: room for `size` bytes
    uint64_t next               # sequence
    uint64_t until              # sequence to stop before
    size_t max_bytes
    hit *pieces
    size_t count
    size_t room
    size_t size


cdef inline int take_arrivals(arrivals_run *run, chunk *source) noexcept nogil:
    """Take the envelopes of a chunk that there is room for; MDB_NOTFOUND if there are none.

    Sequences of a run have no gap, so that each envelope has the sequence of its place.
    """
    cdef uint64_t first = run.next if run.next > source.first else source.first
    cdef uint64_t last = first
    cdef hit piece
    cdef hit longer
    cdef int rc = chunk_envelopes(source, first, last, &piece.data, &piece.size)
    if rc:
        return rc
    if first >= run.until:
        return MDB_NOTFOUND
    if run.count and (first != run.next or run.size + piece.size > run.max_bytes):
        return MDB_NOTFOUND
    while last < source.last and last + 1 < run.until:
        rc = chunk_envelopes(source, first, last + 1, &longer.data, &longer.size)
        if rc:
            return rc
        if run.size + longer.size > run.max_bytes:
            break
        last += 1
        piece = longer
    rc = reserve_one(<void **> &run.pieces, &run.room, run.count, sizeof(hit))
    if rc:
        return rc
    run.pieces[run.count] = piece
    run.count += 1
    run.size += piece.size
    run.next = last + 1
    return 0


cdef inline int take_chunks(arrivals_run *run, MDB_cursor *arrivals,
                            MDB_cursor *chunks) noexcept nogil:
    """Take chunks from run.next on, until max_bytes are taken or no more arrived."""
    cdef uint8_t key_bytes[CHUNK_KEY]
    cdef MDB_val key, value
    cdef chunk source
    cdef int rc
    while run.size < run.max_bytes or not run.count:
        put48(key_bytes + DAY_KEY, run.next)
        key = value_of(key_bytes + DAY_KEY, SEQUENCE_SIZE)
        rc = mdb_cursor_get(arrivals, &key, &value, MDB_SET_RANGE)
        if rc:
            return 0 if rc == MDB_NOTFOUND else rc
        if key.mv_size != SEQUENCE_SIZE or value.mv_size != DAY_KEY:
            return MDB_CORRUPTED
        memcpy(key_bytes, value.mv_data, DAY_KEY)
        memcpy(key_bytes + DAY_KEY, key.mv_data, SEQUENCE_SIZE)
        key = value_of(key_bytes, CHUNK_KEY)
        rc = mdb_cursor_get(chunks, &key, &value, MDB_SET_KEY)
        if rc == 0:
            rc = read_chunk(&key, &value, &source)
        if rc:
            return MDB_CORRUPTED if rc == MDB_NOTFOUND else rc
        rc = take_arrivals(run, &source)
        if rc:
            return 0 if rc == MDB_NOTFOUND else rc
    return 0


cdef inline int run_arrivals(void *context) noexcept nogil:
    """Fill a run whose next, until and max_bytes are set. The caller frees its pieces."""
    cdef arrivals_run *run = <arrivals_run *> context
    cdef environment *e = run.env
    cdef MDB_txn *txn = run.txn
    cdef MDB_cursor *arrivals
    cdef MDB_cursor *chunks
    cdef int rc = mdb_cursor_open(txn, e.arrivals, &arrivals)
    if rc:
        return rc
    rc = mdb_cursor_open(txn, e.chunks, &chunks)
    if not rc:
        rc = take_chunks(run, arrivals, chunks)
        mdb_cursor_close(chunks)
    mdb_cursor_close(arrivals)
    return rc


cdef inline int copy_arrivals(void *context) noexcept nogil:
    """Copy the pieces out of the map, to `out`."""
    cdef arrivals_run *run = <arrivals_run *> context
    join_hits(run.out, run.pieces, run.count)
    return 0
