"""Snappy blocks for other kernels: call read_size, then read_elements; or write_store_prefix."""

from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    LONGEST_INLINE = 60     # bytes of a literal whose length fits into its tag
    MAX_STORE_PREFIX = 10   # bytes: a length of 5, a tag, a length of 4


# Read the inflated size and step past it; False if there is none.
cdef bint read_size(const uint8_t **at, const uint8_t *end, uint64_t *size) noexcept nogil
# Fill `out` with exactly `size` bytes; False if the elements give another size or are invalid.
cdef bint read_elements(const uint8_t *at, const uint8_t *end, uint8_t *out,
                        uint64_t size) noexcept nogil


cdef inline Py_ssize_t write_store_prefix(uint8_t *out, uint64_t size) noexcept nogil:
    """Write what makes a block of the `size` bytes (below 2^32) after it; returns its length."""
    cdef uint64_t rest = size
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t tag
    while rest >= 0x80:
        out[at] = <uint8_t> (rest | 0x80)
        rest >>= 7
        at += 1
    out[at] = <uint8_t> rest
    at += 1
    if size > LONGEST_INLINE:
        tag = at
        rest = size - 1
        while rest:
            at += 1
            out[at] = <uint8_t> rest
            rest >>= 8
        out[tag] = <uint8_t> ((LONGEST_INLINE - 1 + at - tag) << 2)
        at += 1
    elif size:
        out[at] = <uint8_t> ((size - 1) << 2)
        at += 1
    return at
