"""The proof of work of an envelope (6/WAKU1, "PoW Requirement Field") for the other kernels."""

cimport cython
from libc.math cimport ldexp
from libc.stdint cimport uint8_t, uint64_t


cdef inline void write_nonce(uint8_t *out, uint64_t nonce) noexcept nogil:
    """Write a nonce as the proof of work hashes it: eight bytes, big-endian."""
    cdef int i
    for i in range(8):
        out[i] = <uint8_t> (nonce >> (56 - 8 * i))


cdef inline int leading_zeros(const uint8_t *digest) noexcept nogil:
    cdef int zeros = 0
    while zeros < 256 and not digest[zeros >> 3] >> (7 - (zeros & 7)) & 1:
        zeros += 1
    return zeros


@cython.cdivision(True)
cdef inline double pow_of(int zeros, size_t proven_size, uint64_t ttl) noexcept nogil:
    """The proof of work; infinite for a ttl of 0.

    zeros: leading zero bits of the Keccak-256 of the RLP list [expiry, ttl, topic, data] and the
    nonce as eight bytes; proven_size: bytes of that list. The deployed code divides twice, not once
    by a product: only so are the doubles the same.
    """
    return ldexp(1.0, zeros) / <double> proven_size / <double> ttl
