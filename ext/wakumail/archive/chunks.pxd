"""Envelopes found in the chunks that hold them, by their sequences.

Functions that return int return 0 or a code as in environment.pxd.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *


cdef inline int find_chunk(MDB_cursor *chunks, uint32_t day, uint64_t sequence,
                           chunk *out) noexcept nogil:
    """Read the chunk of a sequence; MDB_CORRUPTED if there is none in that day."""
    cdef uint8_t key_bytes[CHUNK_KEY]
    cdef MDB_val value
    cdef MDB_val key = value_of(key_bytes, CHUNK_KEY)
    cdef int rc
    put_chunk_key(key_bytes, day, sequence)
    rc = mdb_cursor_get(chunks, &key, &value, MDB_SET_RANGE)
    if rc == 0:
        rc = read_chunk(&key, &value, out)
    if rc:
        return MDB_CORRUPTED if rc == MDB_NOTFOUND else rc
    return 0 if out.day == day else MDB_CORRUPTED


cdef inline int find_envelope(MDB_cursor *chunks, chunk *recent, uint32_t day, uint64_t sequence,
                              const uint8_t **data, size_t *size) noexcept nogil:
    """Find the bytes of an envelope in the map. `recent` is the chunk of the last one."""
    cdef int rc
    if not recent.first <= sequence <= recent.last:
        rc = find_chunk(chunks, day, sequence, recent)
        if rc:
            return rc
    return chunk_envelopes(recent, sequence, sequence, data, size)


cdef inline void forget_chunk(chunk *recent) noexcept nogil:
    """Let `recent` hold no sequence."""
    recent.first, recent.last = 1, 0
