# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Items held in memory, which reconciliation asks as it asks an archive (items.py)."""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport UINT32_MAX, uint8_t, uint64_t
from libc.stdlib cimport qsort
from libc.string cimport memcmp, memcpy, memset

from wakumail.base.sum256 cimport sum256, sum256_add, sum256_read, sum256_write

from wakumail.archive.results import Bound, Fold

cdef enum:
    ID_SIZE = 32
    TIME_SIZE = 4
    ITEM_SIZE = 36


@cython.final
cdef class ItemSet:
    """A sorted set of items.

    items: packed, in any order, and more than once too; ValueError if they have another size.
    """

    cdef bytearray packed
    cdef const uint8_t *items
    cdef Py_ssize_t count

    def __cinit__(self, bytes items not None):
        if len(items) % ITEM_SIZE:
            raise ValueError(f"an item has {ITEM_SIZE} bytes")
        self.packed = bytearray(items)
        cdef uint8_t *data = <uint8_t *> PyByteArray_AS_STRING(self.packed)
        cdef Py_ssize_t count = len(items) // ITEM_SIZE
        with nogil:
            qsort(data, count, ITEM_SIZE, compare)
            self.count = without_repeats(data, count)
        PyByteArray_Resize(self.packed, self.count * ITEM_SIZE)
        self.items = <const uint8_t *> PyByteArray_AS_STRING(self.packed)

    def __len__(self):
        return self.count

    @property
    def hashed(self):
        """0: the ids are at hand."""
        return 0

    def fold(self, lower not None, upper not None):
        """The number of items in a range, and the sum of their ids."""
        cdef Py_ssize_t first = self.find(lower)
        return self.fold_of(first, max(first, self.find(upper)))

    def split(self, lower not None, upper not None, Py_ssize_t parts):
        """A range in up to `parts` parts of equal counts, the larger ones first.

        A bound between two parts is the shortest that separates them. ValueError for an empty
        range, or no parts.
        """
        cdef Py_ssize_t first = self.find(lower), last = self.find(upper), i, rest
        if first >= last or parts < 1:
            raise ValueError("nothing to split")
        parts = min(parts, last - first)
        told = []
        for i in range(parts, 0, -1):
            rest = last - first
            middle = first + (rest + i - 1) // i
            told.append((self.bound_before(middle) if i > 1 else upper,
                         self.fold_of(first, middle)))
            first = middle
        return told

    def ids(self, lower not None, upper not None, Py_ssize_t limit):
        """The first `limit` items of a range, in order, packed."""
        cdef Py_ssize_t first = self.find(lower)
        cdef Py_ssize_t count = max(0, min(limit, self.find(upper) - first))
        return PyBytes_FromStringAndSize(<const char *> self.items + first * ITEM_SIZE,
                                         count * ITEM_SIZE)

    cdef Py_ssize_t find(self, bound) except -1:
        """The number of items before a bound."""
        cdef uint64_t time = bound[0]
        cdef bytes prefix = bound[1]
        cdef uint8_t key[ITEM_SIZE]
        cdef Py_ssize_t low = 0, high = self.count, middle
        if len(prefix) > ID_SIZE:
            raise ValueError(f"a prefix has at most {ID_SIZE} bytes, not {len(prefix)}")
        if time > UINT32_MAX:
            return self.count
        memset(key, 0, ITEM_SIZE)
        for middle in range(TIME_SIZE):
            key[middle] = <uint8_t> (time >> (24 - 8 * middle))
        memcpy(key + TIME_SIZE, PyBytes_AS_STRING(prefix), len(prefix))
        while low < high:
            middle = (low + high) // 2
            if memcmp(self.items + middle * ITEM_SIZE, key, ITEM_SIZE) < 0:
                low = middle + 1
            else:
                high = middle
        return low

    cdef object fold_of(self, Py_ssize_t first, Py_ssize_t last):
        cdef sum256 total, value
        cdef uint8_t told[ID_SIZE]
        cdef Py_ssize_t i
        memset(&total, 0, sizeof(total))
        with nogil:
            for i in range(first, last):
                sum256_read(&value, self.items + i * ITEM_SIZE + TIME_SIZE)
                sum256_add(&total, &value)
            sum256_write(&total, told)
        return Fold(last - first, PyBytes_FromStringAndSize(<const char *> told, ID_SIZE))

    cdef object bound_before(self, Py_ssize_t index):
        """The shortest bound between an item and the one before it."""
        cdef const uint8_t *item = self.items + index * ITEM_SIZE
        cdef Py_ssize_t equal = 0, size
        while item[equal] == (item - ITEM_SIZE)[equal]:
            equal += 1
        size = max(0, equal + 1 - TIME_SIZE)
        return Bound(int.from_bytes(item[:TIME_SIZE], "big"),
                     PyBytes_FromStringAndSize(<const char *> item + TIME_SIZE, size))


cdef int compare(const void *one, const void *other) noexcept nogil:
    return memcmp(one, other, ITEM_SIZE)


cdef Py_ssize_t without_repeats(uint8_t *items, Py_ssize_t count) noexcept nogil:
    """Take repeated items out of sorted ones; the number that is left."""
    cdef Py_ssize_t i, kept = 0
    for i in range(count):
        if kept and memcmp(items + (kept - 1) * ITEM_SIZE, items + i * ITEM_SIZE, ITEM_SIZE) == 0:
            continue
        if kept < i:
            memcpy(items + kept * ITEM_SIZE, items + i * ITEM_SIZE, ITEM_SIZE)
        kept += 1
    return kept
