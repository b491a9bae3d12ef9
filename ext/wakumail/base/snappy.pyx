# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Snappy blocks, which hold devp2p packets (EIP-706; "Snappy compressed format description").

We read the whole format, but write blocks that only store: the data that we send is encrypted, or
short.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport UINT32_MAX, uint8_t, uint64_t
from libc.string cimport memcpy

from wakumail.errors import PacketError, PacketTooLarge

cdef enum:
    LITERAL = 0             # kinds of elements: the low two bits of a tag
    NEAR = 1
    FAR = 2
    SHORT_BLOCK = 2048      # bytes inflated with the GIL: to release it may cost more time


cdef inline uint64_t read_little(const uint8_t **at, size_t width) noexcept nogil:
    cdef uint64_t value = 0
    cdef size_t i
    for i in range(width):
        value |= <uint64_t> at[0][i] << (8 * i)
    at[0] += width
    return value


cdef bint read_size(const uint8_t **at, const uint8_t *end, uint64_t *size) noexcept nogil:
    """Read the inflated size: 32 bits in groups of seven, the lowest first; zeros may follow."""
    cdef int shift = 0
    cdef uint8_t group = 0x80
    size[0] = 0
    while group >= 0x80:
        if at[0] == end or shift > 56:
            return False
        group = at[0][0]
        size[0] |= <uint64_t> (group & 0x7f) << shift
        at[0] += 1
        shift += 7
    return size[0] <= UINT32_MAX


cdef void copy_back(uint8_t *out, uint64_t offset, uint64_t length) noexcept nogil:
    """Copy `length` bytes from `offset` bytes before `out`; the source may overlap the copy."""
    cdef uint64_t i
    if offset >= length:
        memcpy(out, out - offset, length)
        return
    for i in range(length):
        out[i] = out[i - offset]


cdef bint read_elements(const uint8_t *at, const uint8_t *end, uint8_t *out,
                        uint64_t size) noexcept nogil:
    """Fill `out` with exactly `size` bytes; False if the elements do not give just that."""
    cdef uint64_t done = 0, length, offset
    cdef size_t width
    cdef uint8_t tag
    while at < end:
        tag = at[0]
        at += 1
        length = (tag >> 2) + 1
        if tag & 3 == LITERAL:
            width = length - LONGEST_INLINE if length > LONGEST_INLINE else 0
        else:
            width = 1 if tag & 3 == NEAR else 2 if tag & 3 == FAR else 4
        if width > <size_t> (end - at):
            return False
        if tag & 3 == LITERAL:
            if width:
                length = read_little(&at, width) + 1
            if length > <size_t> (end - at) or length > size - done:
                return False
            memcpy(out + done, at, length)
            at += length
        else:
            offset = read_little(&at, width)
            if tag & 3 == NEAR:
                length = (tag >> 2 & 7) + 4
                offset |= <uint64_t> (tag >> 5) << 8
            if not 0 < offset <= done or length > size - done:
                return False
            copy_back(out + done, offset, length)
        done += length
    return done == size


def inflate(object data, uint64_t limit):
    """The content of a block. PacketTooLarge over `limit` bytes, PacketError for an invalid block.

    The size is checked before memory is allocated.
    """
    cdef Py_buffer view
    cdef const uint8_t *at
    cdef const uint8_t *end
    cdef uint8_t *out
    cdef uint64_t size
    cdef bint whole
    cdef bytes inflated
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        at = <const uint8_t *> view.buf
        end = at + view.len
        if not read_size(&at, end, &size):
            raise PacketError("a packet without its inflated size")
        if size > limit:
            raise PacketTooLarge(f"a packet of {size} bytes")
        inflated = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> size)
        out = <uint8_t *> PyBytes_AS_STRING(inflated)
        if size <= SHORT_BLOCK:
            whole = read_elements(at, end, out, size)
        else:
            with nogil:
                whole = read_elements(at, end, out, size)
        if not whole:
            raise PacketError("a packet that does not inflate")
        return inflated
    finally:
        PyBuffer_Release(&view)


def inflated_size(object data):
    """The number of bytes that a block says it has inflated, below 2^32; nothing is inflated.

    PacketError for a block that does not begin with its size.
    """
    cdef Py_buffer view
    cdef const uint8_t *at
    cdef uint64_t size
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        at = <const uint8_t *> view.buf
        if not read_size(&at, at + view.len, &size):
            raise PacketError("a packet without its inflated size")
        return size
    finally:
        PyBuffer_Release(&view)


def inflate_start(object data, uint64_t limit):
    """The first bytes of a block, at most `limit`: those of the literal at its start.

    Empty if there is none, or the literal is cut off. What follows in the block is not looked at.
    """
    cdef Py_buffer view
    cdef const uint8_t *at
    cdef const uint8_t *end
    cdef uint64_t size, length
    cdef size_t width
    cdef uint8_t tag
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        at = <const uint8_t *> view.buf
        end = at + view.len
        if not read_size(&at, end, &size) or at == end or at[0] & 3 != LITERAL:
            return b""
        tag = at[0]
        at += 1
        length = (tag >> 2) + 1
        if length > LONGEST_INLINE:
            width = length - LONGEST_INLINE
            if width > <size_t> (end - at):
                return b""
            length = read_little(&at, width) + 1
        if length > size or length > <size_t> (end - at):
            return b""
        return PyBytes_FromStringAndSize(<const char *> at, <Py_ssize_t> min(length, limit))
    finally:
        PyBuffer_Release(&view)


def store_prefix(uint64_t size):
    """The bytes that make a block of the `size` bytes (fewer than 2^32) after them."""
    cdef uint8_t[MAX_STORE_PREFIX] prefix
    if size > UINT32_MAX:
        raise ValueError("a block holds fewer than 2^32 bytes")
    return PyBytes_FromStringAndSize(<const char *> prefix, write_store_prefix(prefix, size))
