"""Bloom filters of topics (6/WAKU1, "Bloom Filter Field") for the other kernels.

A topic is the big-endian value of its four bytes here, a bloom its 64 bytes.
"""

from libc.stdint cimport uint8_t, uint32_t


cdef inline uint32_t topic_value(const uint8_t *at) noexcept nogil:
    return <uint32_t> at[0] << 24 | <uint32_t> at[1] << 16 | <uint32_t> at[2] << 8 | at[3]


cdef inline bint bloom_covers(const uint8_t *bloom, uint32_t topic) noexcept nogil:
    """True if `bloom` has all the bits of `topic` in the Go form.

    The deployed Go nodes assign a byte where the specification ORs a bit, so that of two bits in
    one byte only the later stays (docs/dialects.md, "Blooms"). Its bits are a subset of
    the specified ones, so it covers all that either kind of client asks for.
    """
    cdef uint32_t first = (topic >> 24) | ((topic & 1) << 8)
    cdef uint32_t second = ((topic >> 16) & 0xff) | ((topic & 2) << 7)
    cdef uint32_t third = ((topic >> 8) & 0xff) | ((topic & 4) << 6)
    # No branches: the bits of a topic cannot be predicted.
    return (bloom[third >> 3] >> (third & 7)
            & (bloom[second >> 3] >> (second & 7) | (second >> 3 == third >> 3))
            & (bloom[first >> 3] >> (first & 7)
               | (first >> 3 == second >> 3) | (first >> 3 == third >> 3)) & 1)
