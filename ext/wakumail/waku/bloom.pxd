"""Bloom filters of topics (6/WAKU1, "Bloom Filter Field") for the other kernels.

A topic travels here as the big-endian value of its four bytes, a bloom as its 64 bytes.
"""

from libc.stdint cimport uint8_t, uint32_t


cdef inline uint32_t topic_value(const uint8_t *at) noexcept nogil:
    return <uint32_t> at[0] << 24 | <uint32_t> at[1] << 16 | <uint32_t> at[2] << 8 | at[3]


cdef inline bint bloom_covers(const uint8_t *bloom, uint32_t topic) noexcept nogil:
    """Whether `bloom` has all the bits of `topic` in the Go form.

    The deployed Go nodes assign a byte where the specification ORs a bit, so of two bits that
    fall into one byte only the later stays (docs/dialects.md, "Blooms"). That form is a subset of
    the true one: what it covers is all that either kind of client asked for.
    """
    cdef uint32_t first = (topic >> 24) | ((topic & 1) << 8)
    cdef uint32_t second = ((topic >> 16) & 0xff) | ((topic & 2) << 7)
    cdef uint32_t third = ((topic >> 8) & 0xff) | ((topic & 4) << 6)
    # No branches: which bits a topic has cannot be foreseen.
    return (bloom[third >> 3] >> (third & 7)
            & (bloom[second >> 3] >> (second & 7) | (second >> 3 == third >> 3))
            & (bloom[first >> 3] >> (first & 7)
               | (first >> 3 == second >> 3) | (first >> 3 == third >> 3)) & 1)
