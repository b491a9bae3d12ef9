# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Reconciliation messages, written; message_reader.pyx has their form (negentropy, protocol v1)."""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport UINT64_MAX, uint8_t, uint64_t
from libc.string cimport memcpy

from hashlib import sha256

from wakumail.mail.sync.message_reader import FINGERPRINT, IDS, SKIP, VERSION

cdef enum:
    FINGERPRINT_SIZE = 16
    ID_SIZE = 32
    TIME_SIZE = 4           # of a packed item, before its id
    ITEM_SIZE = 36
    MAX_VARINT = 10         # bytes

cdef uint64_t skip_mode = SKIP, fingerprint_mode = FINGERPRINT, ids_mode = IDS


def fingerprint(fold not None):
    """The 16 bytes that stand for a set of ids (negentropy v1, "Fingerprint Algorithm").

    fold: the number of ids, and their sum in 32 bytes.
    """
    cdef uint8_t number[MAX_VARINT]
    cdef uint8_t *end = put_varint(number, fold[0])
    told = fold[1] + PyBytes_FromStringAndSize(<const char *> number, end - number)
    return sha256(told).digest()[:FINGERPRINT_SIZE]


@cython.final
cdef class MessageWriter:
    """A message in the making. Bounds must ascend; what lies behind the last one is skipped."""

    cdef bytearray data
    cdef uint64_t time      # of the last bound
    cdef Py_ssize_t kept
    cdef uint64_t kept_time

    def __cinit__(self):
        self.data = bytearray([VERSION])
        self.keep()

    def __len__(self):
        return len(self.data)

    def __bytes__(self):
        return bytes(self.data)

    cpdef void keep(self):
        """Remember this place for `undo`."""
        self.kept = len(self.data)
        self.kept_time = self.time

    def undo(self):
        """Take back what was added since the last `keep`."""
        PyByteArray_Resize(self.data, self.kept)
        self.time = self.kept_time

    def add_skip(self, upper not None):
        """Add a range up to the bound `upper` that nothing is said about."""
        self.put_bound(upper, skip_mode)

    def add_fingerprint(self, upper not None, fold not None):
        """Add the fingerprint of a range up to `upper`."""
        self.put_bound(upper, fingerprint_mode)
        self.data += fingerprint(fold)

    def add_ids(self, upper not None, bytes items not None):
        """Add the ids of all items of a range up to `upper`; items: packed."""
        cdef Py_ssize_t count = len(items) // ITEM_SIZE, i, size
        cdef uint8_t number[MAX_VARINT]
        cdef const uint8_t *source = <const uint8_t *> PyBytes_AS_STRING(items)
        self.put_bound(upper, ids_mode)
        self.put(number, put_varint(number, count) - number)
        size = len(self.data)
        PyByteArray_Resize(self.data, size + count * ID_SIZE)
        cdef uint8_t *out = <uint8_t *> PyByteArray_AS_STRING(self.data) + size
        for i in range(count):
            memcpy(out + i * ID_SIZE, source + i * ITEM_SIZE + TIME_SIZE, ID_SIZE)

    cdef int put_bound(self, upper, uint64_t mode) except -1:
        """Write a bound and a mode; no one checks here that bounds ascend."""
        cdef uint64_t time = upper[0]
        cdef bytes prefix = upper[1]
        cdef uint8_t head[3 * MAX_VARINT + ID_SIZE]
        cdef uint8_t *at
        at = put_varint(head, 0 if time == UINT64_MAX else 1 + time - self.time)
        self.time = time
        if len(prefix) > ID_SIZE:
            raise ValueError(f"a prefix has at most {ID_SIZE} bytes, not {len(prefix)}")
        at = put_varint(at, len(prefix))
        memcpy(at, PyBytes_AS_STRING(prefix), len(prefix))
        at = put_varint(at + len(prefix), mode)
        return self.put(head, at - head)

    cdef int put(self, const uint8_t *source, Py_ssize_t count) except -1:
        cdef Py_ssize_t size = len(self.data)
        PyByteArray_Resize(self.data, size + count)
        memcpy(PyByteArray_AS_STRING(self.data) + size, source, count)
        return 0


cdef uint8_t *put_varint(uint8_t *at, uint64_t value) noexcept nogil:
    """Write a number in groups of 7 bits, the highest first; return the end."""
    cdef int shift = 0
    while value >> shift >= 0x80:
        shift += 7
    while shift:
        at[0] = <uint8_t> (0x80 | value >> shift & 0x7f)
        at += 1
        shift -= 7
    at[0] = <uint8_t> (value & 0x7f)
    return at + 1
