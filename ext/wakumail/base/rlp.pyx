# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""RLP, the encoding of all data in devp2p and Waku (Yellow Paper, appendix B), read strictly.

Only the canonical encoding is accepted: `encode(decode(data)) == data` for all that `decode`
accepts. Bytes from a peer can only cause `RlpError`; `TypeError` and `ValueError` are mistakes of
the caller.
"""

from collections.abc import Sequence

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from wakumail.errors import RlpError

Item = bytes | list     # bytes | list["Item"], see the stub
MAX_DEPTH = 4           # nested lists that are read by default
MAX_ITEMS = 65536       # strings and lists, with the outermost, that are read by default
DEPTH_LIMIT = 256       # the largest max_depth of a call: the reader and the writer recurse

cdef Py_ssize_t depth_limit = DEPTH_LIMIT


cdef int check(rlp_status status) except -1:
    if status != RLP_OK:
        raise RlpError(rlp_reason(status))
    return 0


cdef bytes text(const uint8_t *data, size_t size):
    return PyBytes_FromStringAndSize(<const char *> data, <Py_ssize_t> size)


cdef int count_item(Py_ssize_t *left) except -1:
    if left[0] <= 0:
        raise RlpError("too many items")
    left[0] -= 1
    return 0


cdef object read_item(const uint8_t **cursor, const uint8_t *end, Py_ssize_t depth,
                      Py_ssize_t *left):
    """Read the item at the cursor and step past it: at most `depth` nested lists, `left` items."""
    cdef rlp_item item
    cdef const uint8_t *at
    cdef list children
    count_item(left)
    check(rlp_next(cursor, end, &item))
    if not item.is_list:
        return text(item.data, item.size)
    if depth <= 0:
        raise RlpError("lists are nested too deep")
    children = []
    at = item.data
    while at < item.data + item.size:
        children.append(read_item(&at, item.data + item.size, depth - 1, left))
    return children


def decode_prefix(object data, *, Py_ssize_t max_depth=MAX_DEPTH, Py_ssize_t max_items=MAX_ITEMS):
    """The first item of `data` and its size in bytes (EIP-8: anything may follow).

    RlpError if it is cut short, not canonical, nested deeper than `max_depth` lists or made of
    more than `max_items` items. ValueError if `max_depth` is over DEPTH_LIMIT.
    """
    cdef Py_buffer view
    cdef const uint8_t *at
    if max_depth > depth_limit:
        raise ValueError(f"max_depth is at most {depth_limit}")
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        at = <const uint8_t *> view.buf
        item = read_item(&at, at + view.len, max_depth, &max_items)
        return item, at - <const uint8_t *> view.buf
    finally:
        PyBuffer_Release(&view)


def decode(object data, *, Py_ssize_t max_depth=MAX_DEPTH, Py_ssize_t max_items=MAX_ITEMS):
    """The only item of `data`: as decode_prefix, but RlpError if bytes follow it."""
    item, size = decode_prefix(data, max_depth=max_depth, max_items=max_items)
    if size != memoryview(data).nbytes:
        raise RlpError("bytes after the item")
    return item


def split_list(object data, *, Py_ssize_t max_items=MAX_ITEMS):
    """The items of the only list in `data`, still encoded; their insides are not read.

    RlpError if `data` is not exactly one list, or the list has more than `max_items` items.
    """
    cdef Py_buffer view
    cdef const uint8_t *at
    cdef const uint8_t *start
    cdef rlp_item whole, item
    cdef list parts = []
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        at = <const uint8_t *> view.buf
        check(rlp_next(&at, at + view.len, &whole))
        if not whole.is_list:
            raise RlpError(rlp_reason(RLP_WRONG_TYPE))
        if at != <const uint8_t *> view.buf + view.len:
            raise RlpError("bytes after the item")
        at = whole.data
        while at < whole.data + whole.size:
            start = at
            count_item(&max_items)
            check(rlp_next(&at, whole.data + whole.size, &item))
            parts.append(text(start, at - start))
        return parts
    finally:
        PyBuffer_Release(&view)


cdef bytes with_header(const uint8_t *payload, Py_ssize_t size, bint is_list):
    cdef bytes encoded
    cdef uint8_t *out
    cdef size_t header
    if size > 0xffffffff:
        raise ValueError("an RLP item is at most 2^32 - 1 bytes")
    encoded = PyBytes_FromStringAndSize(NULL, size + <Py_ssize_t> rlp_header_size(size))
    out = <uint8_t *> PyBytes_AS_STRING(encoded)
    header = rlp_write_header(out, size, is_list)
    memcpy(out + header, payload, size)
    return encoded


cdef bytes encode_string(object data):
    cdef Py_buffer view
    cdef const uint8_t *payload
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        payload = <const uint8_t *> view.buf
        if view.len == 1 and payload[0] < 0x80:
            return text(payload, 1)
        return with_header(payload, view.len, False)
    finally:
        PyBuffer_Release(&view)


cdef bytes encode_item(object item, Py_ssize_t depth):
    if isinstance(item, (list, tuple)):
        return encode_list(item, depth)
    if isinstance(item, int):
        if item < 0:
            raise ValueError("RLP has no negative integers")
        return encode_string(item.to_bytes((item.bit_length() + 7) // 8, "big"))
    if PyObject_CheckBuffer(item):
        return encode_string(item)
    if isinstance(item, str) or not isinstance(item, Sequence):
        raise TypeError(f"no RLP form for {type(item).__name__}")
    return encode_list(item, depth)


cdef bytes encode_list(object items, Py_ssize_t depth):
    if depth <= 0:
        raise ValueError(f"lists are nested deeper than {depth_limit}")
    return join_list([encode_item(child, depth - 1) for child in items])


def encode(object item):
    """The encoding of bytes, an integer (big-endian without leading zeros) or a sequence of items.

    A bool is the integer 0 or 1. TypeError for anything else, text and None too; ValueError for
    a negative integer, 2^32 bytes or more, or lists nested deeper than DEPTH_LIMIT.
    """
    return encode_item(item, depth_limit)


def join_list(object items):
    """A list of items that are encoded already: the inverse of split_list."""
    cdef bytes payload = b"".join(items)
    return with_header(<const uint8_t *> PyBytes_AS_STRING(payload), len(payload), True)


def as_int(object item, int bits=64):
    """A decoded item as an unsigned integer of at most `bits` bits; else RlpError."""
    cdef bytes digits = as_bytes(item)
    if digits[:1] == b"\0":
        raise RlpError(rlp_reason(RLP_NOT_CANONICAL))
    value = int.from_bytes(digits, "big")
    if value.bit_length() > bits:
        raise RlpError(rlp_reason(RLP_TOO_LARGE))
    return value


def as_bytes(object item, object size=None):
    """A decoded item as a string, of exactly `size` bytes if given; else RlpError."""
    if not isinstance(item, bytes):
        raise RlpError(rlp_reason(RLP_WRONG_TYPE))
    if size is not None and len(item) != size:
        raise RlpError(f"{len(item)} bytes in place of {size}")
    return item


def as_list(object item, *, Py_ssize_t at_least=0, object at_most=None):
    """A decoded item as a list of `at_least` to `at_most` items; else RlpError."""
    if not isinstance(item, list):
        raise RlpError(rlp_reason(RLP_WRONG_TYPE))
    if len(item) < at_least or (at_most is not None and len(item) > at_most):
        raise RlpError(f"a list of {len(item)} items")
    return item
