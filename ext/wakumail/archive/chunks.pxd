"""Envelopes found in the chunks that hold them, by their places.

Functions that return int return 0 or a code as in environment.pxd.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *

cdef enum:
    AHEAD = 128             # envelopes whose pages are asked of the disk together


cdef struct wanted_row:     # an envelope that is about to be read
    uint32_t created
    uint64_t place


cdef inline int read_ahead(MDB_cursor *chunks, const wanted_row *rows,
                           size_t count) noexcept nogil:
    """Ask for the pages of all these envelopes: the leaves first, for they name the others."""
    cdef uint8_t key_bytes[CHUNK_KEY]
    cdef MDB_val key
    cdef size_t asked = 0
    cdef size_t i
    cdef int rc
    for i in range(count):
        put_chunk_key(key_bytes, rows[i].created // DAY, rows[i].place)
        key = value_of(key_bytes, CHUNK_KEY)
        rc = ahead_leaf(chunks, &key, &asked)
        if rc:
            return rc
    for i in range(count):
        put_chunk_key(key_bytes, rows[i].created // DAY, rows[i].place)
        key = value_of(key_bytes, CHUNK_KEY)
        rc = mdb_cursor_get(chunks, &key, NULL, MDB_SET_RANGE)
        if rc:
            return MDB_CORRUPTED if rc == MDB_NOTFOUND else rc
        ahead_value(chunks, &asked)
    return 0


cdef inline int find_chunk(MDB_cursor *chunks, uint32_t day, uint64_t place,
                           chunk *out) noexcept nogil:
    """Read the chunk of a place; MDB_CORRUPTED if there is none in that day."""
    cdef uint8_t key_bytes[CHUNK_KEY]
    cdef MDB_val value
    cdef MDB_val key = value_of(key_bytes, CHUNK_KEY)
    cdef int rc
    put_chunk_key(key_bytes, day, place)
    rc = mdb_cursor_get(chunks, &key, &value, MDB_SET_RANGE)
    if rc == 0:
        rc = read_chunk(&key, &value, out)
    if rc:
        return MDB_CORRUPTED if rc == MDB_NOTFOUND else rc
    return 0 if out.day == day else MDB_CORRUPTED


cdef inline int find_envelope(MDB_cursor *chunks, chunk *recent, uint32_t day, uint64_t place,
                              const uint8_t **data, size_t *size) noexcept nogil:
    """Find the bytes of an envelope in the map. `recent` is the chunk of the last one."""
    cdef int rc
    if recent.day != day or not recent.first <= place <= recent.last:
        rc = find_chunk(chunks, day, place, recent)
        if rc:
            return rc
    return chunk_envelopes(recent, place, place, data, size)


cdef inline int find_place(MDB_cursor *chunks, uint32_t day, uint64_t place) noexcept nogil:
    """0 if there may be a chunk with a place, MDB_NOTFOUND if none reaches it; reads no chunk."""
    cdef uint8_t key_bytes[CHUNK_KEY]
    cdef MDB_val key = value_of(key_bytes, CHUNK_KEY)
    cdef int rc
    put_chunk_key(key_bytes, day, place)
    rc = mdb_cursor_get(chunks, &key, NULL, MDB_SET_RANGE)
    if rc:
        return rc
    if key.mv_size != CHUNK_KEY or get16(<const uint8_t *> key.mv_data) != day:
        return MDB_NOTFOUND
    return 0


cdef inline void forget_chunk(chunk *recent) noexcept nogil:
    """Let `recent` hold no place."""
    recent.first, recent.last = 1, 0
