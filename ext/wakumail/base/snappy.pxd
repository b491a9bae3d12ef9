"""Snappy blocks for the other kernels: first the size that a block inflates to, then the rest."""

from libc.stdint cimport uint8_t, uint64_t


# Step past the size that a block begins with; False when it has none.
cdef bint read_size(const uint8_t **at, const uint8_t *end, uint64_t *size) noexcept nogil
# Fill `out` with exactly `size` bytes; False when the elements make more, less or nonsense.
cdef bint read_elements(const uint8_t *at, const uint8_t *end, uint8_t *out,
                        uint64_t size) noexcept nogil
