# cython: language_level=3
"""Keccak-256 for Python: of one message, of many at once, or of pieces that come one by one."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t
from libc.string cimport memset

cdef extern from "keccak.h" nogil:
    const int KECCAK_PARTS
    enum keccak_way:
        KECCAK_PORTABLE
        KECCAK_BMI
        KECCAK_AVX2
        KECCAK_AVX512
    bint keccak_can(keccak_way way)
    void keccak_many_with(keccak_way way, const keccak_message *messages, size_t count,
                          uint8_t *digests)
    # The names of keccak.pxd belong to the Python functions here.
    void hash_one "keccak256"(const uint8_t *data, size_t size, uint8_t *digest)
    void hash_many "keccak256_many"(const keccak_message *messages, size_t count, uint8_t *digests)

cdef enum:
    DIGEST_SIZE = 32
    SHORT_MESSAGE = 2048    # bytes hashed with the GIL: to release it may cost more time


def keccak256(data):
    """The Keccak-256 digest of `data` (any contiguous buffer): 32 bytes."""
    cdef Py_buffer view
    cdef uint8_t[DIGEST_SIZE] digest
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    if view.len <= SHORT_MESSAGE:
        hash_one(<const uint8_t *> view.buf, view.len, digest)
    else:
        with nogil:
            hash_one(<const uint8_t *> view.buf, view.len, digest)
    PyBuffer_Release(&view)
    return PyBytes_FromStringAndSize(<char *> digest, DIGEST_SIZE)


def keccak256_many(messages):
    """The Keccak-256 digests of `messages` (bytes), in their order."""
    return _hash_pieces([(message,) for message in messages])


cdef dict _WAYS = {
    "portable": KECCAK_PORTABLE,
    "bmi": KECCAK_BMI,
    "avx2": KECCAK_AVX2,
    "avx512": KECCAK_AVX512,
}


def _keccak256_many_with(str way, messages):
    """For tests: as keccak256_many, with the code "portable", "bmi", "avx2" or "avx512".

    A message is a tuple of up to three pieces (bytes). ValueError if this processor cannot run
    the code.
    """
    cdef keccak_way number = _WAYS[way]
    if not keccak_can(number):
        raise ValueError(f"this processor has no {way}")
    return _hash_pieces(list(messages), True, number)


cdef list _hash_pieces(list messages, bint forced=False, keccak_way way=KECCAK_PORTABLE):
    """Hash tuples of bytes in the fastest way, or if `forced` in `way`."""
    cdef size_t count = len(messages)
    cdef size_t i
    cdef uint8_t *digests = <uint8_t *> PyMem_Malloc(DIGEST_SIZE * count)
    cdef keccak_message *table = <keccak_message *> PyMem_Malloc(sizeof(keccak_message) * count)
    try:
        if digests == NULL or table == NULL:
            raise MemoryError
        for i in range(count):
            _set_pieces(&table[i], messages[i])
        with nogil:
            if forced:
                keccak_many_with(way, table, count, digests)
            else:
                hash_many(table, count, digests)
        return [PyBytes_FromStringAndSize(<char *> digests + DIGEST_SIZE * i, DIGEST_SIZE)
                for i in range(count)]
    finally:
        PyMem_Free(table)
        PyMem_Free(digests)


cdef int _set_pieces(keccak_message *message, tuple pieces) except -1:
    """Point `message` at the bytes of `pieces`. The caller keeps them alive."""
    cdef int i
    if len(pieces) > KECCAK_PARTS:
        raise ValueError(f"a message has at most {KECCAK_PARTS} pieces")
    memset(message, 0, sizeof(keccak_message))
    for i, piece in enumerate(pieces):
        if not isinstance(piece, bytes):
            raise TypeError(f"a message is bytes, not {type(piece).__name__}")
        message.part[i] = <const uint8_t *> PyBytes_AS_STRING(piece)
        message.size[i] = PyBytes_GET_SIZE(piece)
    return 0


cdef class Keccak256:
    """Keccak-256 of pieces. `digest` may be called at any time, and `update` again after it."""

    cdef keccak_sponge sponge

    def __init__(self, data=b""):
        keccak_init(&self.sponge)
        self.update(data)

    def update(self, data):
        """Absorb `data` (any contiguous buffer)."""
        cdef Py_buffer view
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        # With the GIL: two threads in one sponge would leave it inconsistent.
        keccak_update(&self.sponge, <const uint8_t *> view.buf, view.len)
        PyBuffer_Release(&view)

    def digest(self):
        """The digest of all pieces so far: 32 bytes."""
        cdef uint8_t[DIGEST_SIZE] digest
        keccak_digest(&self.sponge, digest)
        return PyBytes_FromStringAndSize(<char *> digest, DIGEST_SIZE)

    def copy(self):
        """An independent copy, which has absorbed the same pieces."""
        cdef Keccak256 twin = Keccak256.__new__(Keccak256)
        twin.sponge = self.sponge
        return twin
