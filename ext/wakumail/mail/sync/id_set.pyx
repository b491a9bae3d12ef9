# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Sets of ids, which packed ids and items are held against without an object for each."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

import os

cdef enum:
    ID_SIZE = 32
    TIME_SIZE = 4
    ITEM_SIZE = 36
    WORDS = 8               # of 32 bits in an id
    LEAST_ROOM = 16         # places; a power of two, as all later ones

# A peer that chooses ids must not choose their places: then each search would pass all others.
cdef uint64_t[WORDS] place_keys
cdef bytes random_bytes = os.urandom(sizeof(place_keys))
memcpy(place_keys, PyBytes_AS_STRING(random_bytes), sizeof(place_keys))


@cython.final
cdef class IdSet:
    """A set of ids of 32 bytes. Many need 66 to 132 bytes of memory each.

    ids, items: joined without anything between; ValueError if a part of one is left over.
    """

    cdef uint8_t *ids       # one at each place
    cdef uint8_t *taken     # 1 for a place that has one
    cdef size_t room        # places, at least twice as many as ids
    cdef size_t count

    def __cinit__(self):
        self.make_room(LEAST_ROOM)

    def __dealloc__(self):
        free(self.ids)
        free(self.taken)

    def __len__(self):
        return self.count

    def add(self, bytes ids not None):
        """Add ids; returns those that were not in it, each once, in their order."""
        cdef Py_ssize_t count = count_of(ids, ID_SIZE), i, fresh = 0
        cdef const uint8_t *given = <const uint8_t *> PyBytes_AS_STRING(ids)
        cdef bytes added = PyBytes_FromStringAndSize(NULL, len(ids))
        cdef uint8_t *out = <uint8_t *> PyBytes_AS_STRING(added)
        cdef size_t place
        for i in range(count):
            if 2 * (self.count + 1) > self.room:
                self.grow()
            place = self.find(given + i * ID_SIZE)
            if self.taken[place]:
                continue
            memcpy(self.ids + place * ID_SIZE, given + i * ID_SIZE, ID_SIZE)
            self.taken[place] = 1
            self.count += 1
            memcpy(out + fresh * ID_SIZE, given + i * ID_SIZE, ID_SIZE)
            fresh += 1
        return ids if fresh == count else added[:fresh * ID_SIZE]

    def discard(self, bytes ids not None):
        """Take ids out, as far as they are in it."""
        cdef Py_ssize_t i
        cdef size_t place
        for i in range(count_of(ids, ID_SIZE)):
            place = self.find(<const uint8_t *> PyBytes_AS_STRING(ids) + i * ID_SIZE)
            if self.taken[place]:
                self.clear(place)

    def without(self, bytes ids not None):
        """The ids that are not in it, in their order."""
        return self.rest_of(ids, ID_SIZE, 0)

    def without_items(self, bytes items not None):
        """The items whose ids are not in it, in their order."""
        return self.rest_of(items, ITEM_SIZE, TIME_SIZE)

    cdef bytes rest_of(self, bytes packed, Py_ssize_t size, Py_ssize_t at):
        cdef Py_ssize_t count = count_of(packed, size), i, kept = 0
        cdef const uint8_t *given = <const uint8_t *> PyBytes_AS_STRING(packed)
        cdef bytes rest
        cdef uint8_t *out
        if not self.count:
            return packed
        rest = PyBytes_FromStringAndSize(NULL, len(packed))
        out = <uint8_t *> PyBytes_AS_STRING(rest)
        for i in range(count):
            if not self.taken[self.find(given + i * size + at)]:
                memcpy(out + kept * size, given + i * size, size)
                kept += 1
        return packed if kept == count else rest[:kept * size]

    cdef size_t find(self, const uint8_t *id_) noexcept:
        """The place of an id, or the free one where it belongs."""
        cdef size_t place = place_of(id_) & (self.room - 1)
        while self.taken[place] and memcmp(self.ids + place * ID_SIZE, id_, ID_SIZE) != 0:
            place = (place + 1) & (self.room - 1)
        return place

    cdef void clear(self, size_t hole) noexcept:
        """Free a place, and move those behind it up that a search would no longer find."""
        cdef size_t mask = self.room - 1, place = hole, home
        self.count -= 1
        while True:
            place = (place + 1) & mask
            if not self.taken[place]:
                break
            home = place_of(self.ids + place * ID_SIZE) & mask
            if ((place - home) & mask) >= ((place - hole) & mask):
                memcpy(self.ids + hole * ID_SIZE, self.ids + place * ID_SIZE, ID_SIZE)
                hole = place
        self.taken[hole] = 0

    cdef int grow(self) except -1:
        cdef uint8_t *ids = self.ids
        cdef uint8_t *taken = self.taken
        cdef size_t room = self.room, i, place
        self.make_room(2 * room)
        for i in range(room):
            if taken[i]:
                place = self.find(ids + i * ID_SIZE)
                memcpy(self.ids + place * ID_SIZE, ids + i * ID_SIZE, ID_SIZE)
                self.taken[place] = 1
        free(ids)
        free(taken)
        return 0

    cdef int make_room(self, size_t room) except -1:
        """Take new places, all free. MemoryError changes nothing."""
        cdef uint8_t *ids = <uint8_t *> calloc(room, ID_SIZE)
        cdef uint8_t *taken = <uint8_t *> calloc(room, 1)
        if ids == NULL or taken == NULL:
            free(ids)
            free(taken)
            raise MemoryError
        self.ids, self.taken, self.room = ids, taken, room
        return 0


def ids_of(bytes items not None):
    """The ids of packed items, joined."""
    cdef Py_ssize_t count = count_of(items, ITEM_SIZE), i
    cdef bytes ids = PyBytes_FromStringAndSize(NULL, count * ID_SIZE)
    for i in range(count):
        memcpy(PyBytes_AS_STRING(ids) + i * ID_SIZE,
               PyBytes_AS_STRING(items) + i * ITEM_SIZE + TIME_SIZE, ID_SIZE)
    return ids


cdef Py_ssize_t count_of(bytes packed, Py_ssize_t size) except -1:
    if len(packed) % size:
        raise ValueError(f"{len(packed)} bytes are no multiple of {size}")
    return len(packed) // size


cdef inline size_t place_of(const uint8_t *id_) noexcept:
    """A number of 32 bits (multilinear hashing: no two ids agree but by chance)."""
    cdef uint32_t[WORDS] words
    cdef uint64_t total = 0
    cdef int i
    memcpy(words, id_, ID_SIZE)
    for i in range(WORDS):
        total += place_keys[i] * words[i]
    return total >> 32
