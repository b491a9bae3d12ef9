"""Snappy blocks for the other kernels: call read_size, then read_elements."""

from libc.stdint cimport uint8_t, uint64_t


# Read the inflated size and step past it; False if there is none.
cdef bint read_size(const uint8_t **at, const uint8_t *end, uint64_t *size) noexcept nogil
# Fill `out` with exactly `size` bytes; False if the elements give another size or are invalid.
cdef bint read_elements(const uint8_t *at, const uint8_t *end, uint8_t *out,
                        uint64_t size) noexcept nogil
