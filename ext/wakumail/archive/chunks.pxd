"""Envelopes found in the chunks that hold them, by their places.

Functions that return int return 0 or a code as in environment.pxd.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport qsort
from libc.string cimport memcmp, memcpy, memset

from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *

cdef enum:
    AHEAD = 128             # envelopes whose pages are asked of the disk together
    MOST_AHEAD = 1024       # for a query that knows how many envelopes it wants


cdef struct wanted_row:     # an envelope that is about to be read
    uint32_t created
    uint64_t place
    uint8_t hash[HASH_PREFIX]   # only of a hit of a query


cdef inline int place_order(const void *one, const void *other) noexcept nogil:
    return memcmp(one, other, CHUNK_KEY)


cdef inline int read_ahead(MDB_cursor *chunks, const wanted_row *rows,
                           size_t count) noexcept nogil:
    """Ask for the pages of all these envelopes, at most MOST_AHEAD."""
    cdef uint8_t[MOST_AHEAD][CHUNK_KEY] keys
    cdef uint8_t[CHUNK_KEY] last
    cdef ahead_list pages
    cdef MDB_val key
    cdef size_t i
    cdef int rc
    for i in range(count):
        put_chunk_key(keys[i], rows[i].created // DAY, rows[i].place)
    qsort(keys, count, CHUNK_KEY, &place_order)
    ahead_keys(chunks, keys, count, CHUNK_KEY)
    pages.count = 0
    memset(last, 0, CHUNK_KEY)
    for i in range(count):
        if i and memcmp(keys[i], last, CHUNK_KEY) <= 0:
            continue                    # in the chunk that was asked for last
        key = value_of(keys[i], CHUNK_KEY)
        rc = mdb_cursor_get(chunks, &key, NULL, MDB_SET_RANGE)
        if rc == 0 and key.mv_size != CHUNK_KEY or rc == MDB_NOTFOUND:
            return MDB_CORRUPTED
        if rc:
            return rc
        memcpy(last, key.mv_data, CHUNK_KEY)
        ahead_value(chunks, &pages)
    ahead_ask(chunks, &pages)
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


cdef inline void forget_chunk(chunk *recent) noexcept nogil:
    """Let `recent` hold no place."""
    recent.first, recent.last = 1, 0


cdef inline int find_envelope(MDB_cursor *chunks, chunk *recent, uint32_t day, uint64_t place,
                              const uint8_t **data, size_t *size) noexcept nogil:
    """Find the bytes of an envelope in the map. `recent` is the chunk of the last one."""
    cdef int rc
    if recent.day != day or not recent.first <= place <= recent.last:
        rc = find_chunk(chunks, day, place, recent)
        if rc:
            forget_chunk(recent)    # of a damaged one some members are set
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
