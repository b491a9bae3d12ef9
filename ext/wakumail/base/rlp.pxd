"""The checked RLP reader and writer that the other kernels inline.

Canonical means: the only encoding that the Yellow Paper (appendix B) allows. A single byte below
0x80 stands for itself, lengths and integers have no leading zero, and up to 55 bytes use the short
length form. Everything else is refused, as status-go's decoder refuses it.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    MAX_HEADER = 5          # bytes of the header of an item


cdef enum rlp_status:
    RLP_OK = 0
    RLP_TRUNCATED = 1       # the item reaches past the end of its parent
    RLP_NOT_CANONICAL = 2   # a longer encoding than necessary
    RLP_WRONG_TYPE = 3      # a list in place of a string, or a string in place of a list
    RLP_TOO_LARGE = 4       # an integer over its limit, or a size over 2^32 - 1
    RLP_WRONG_SIZE = 5      # a string or a list of another length than its place requires


cdef inline str rlp_reason(rlp_status status):
    """The text of an RlpError."""
    if status == RLP_TRUNCATED:
        return "an item reaches past the end"
    if status == RLP_NOT_CANONICAL:
        return "not the canonical encoding"
    if status == RLP_WRONG_TYPE:
        return "a list in place of a string, or a string in place of a list"
    if status == RLP_TOO_LARGE:
        return "an integer or a size over its limit"
    return "a string or a list of the wrong length"


cdef struct rlp_item:
    const uint8_t *data     # first byte of the payload
    size_t size             # bytes of payload
    bint is_list


cdef inline rlp_status rlp_next(const uint8_t **cursor, const uint8_t *end,
                                rlp_item *item) noexcept nogil:
    """Read the item at `cursor[0]` and step past it; no byte at or after `end` is read."""
    cdef const uint8_t *at = cursor[0]
    cdef uint8_t head
    cdef size_t width = 0
    cdef size_t size
    item.data = at
    item.size = 0
    item.is_list = False
    if at >= end:
        return RLP_TRUNCATED
    head = at[0]
    item.is_list = head >= 0xc0
    if head < 0x80:
        item.size = 1
        cursor[0] = at + 1
        return RLP_OK
    at += 1
    if head >= 0xf8:
        width = head - 0xf7
    elif 0xb8 <= head < 0xc0:
        width = head - 0xb7
    if width:
        if width > <size_t> (end - at):
            return RLP_TRUNCATED
        if at[0] == 0:
            return RLP_NOT_CANONICAL
        if width > 4:
            return RLP_TOO_LARGE
        size = 0
        while width:
            size = size << 8 | at[0]
            at += 1
            width -= 1
        if size < 56:
            return RLP_NOT_CANONICAL
    else:
        size = head & 0x3f
    if size > <size_t> (end - at):
        return RLP_TRUNCATED
    if head == 0x81 and at[0] < 0x80:
        return RLP_NOT_CANONICAL
    item.data = at
    item.size = size
    cursor[0] = at + size
    return RLP_OK


cdef inline rlp_status rlp_uint(const rlp_item *item, uint64_t limit,
                                uint64_t *value) noexcept nogil:
    """Read `item` as an integer of at most `limit`."""
    cdef size_t i
    if item.is_list:
        return RLP_WRONG_TYPE
    if item.size and item.data[0] == 0:
        return RLP_NOT_CANONICAL
    if item.size > 8:
        return RLP_TOO_LARGE
    value[0] = 0
    for i in range(item.size):
        value[0] = value[0] << 8 | item.data[i]
    return RLP_TOO_LARGE if value[0] > limit else RLP_OK


cdef inline size_t rlp_header_size(size_t size) noexcept nogil:
    """Bytes of the header of a list, or of a string other than a single byte below 0x80."""
    if size < 56:
        return 1
    if size < 0x100:
        return 2
    if size < 0x10000:
        return 3
    return 4 if size < 0x1000000 else 5


cdef inline size_t rlp_write_header(uint8_t *out, size_t size, bint is_list) noexcept nogil:
    """Write the header for `size` bytes of payload; returns its length (see rlp_header_size)."""
    cdef uint8_t base = 0xc0 if is_list else 0x80
    cdef size_t width = rlp_header_size(size) - 1
    cdef size_t i
    if width == 0:
        out[0] = <uint8_t> (base + size)
        return 1
    out[0] = <uint8_t> (base + 55 + width)
    for i in range(width):
        out[1 + i] = <uint8_t> (size >> (8 * (width - 1 - i)))
    return 1 + width
