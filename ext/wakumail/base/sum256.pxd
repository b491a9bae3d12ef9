"""Sums of hashes: 32 bytes as a little-endian number, modulo 2^256 (negentropy v1, "Fingerprint").

A set of hashes has one sum, whatever the order; a hash is taken out by subtracting it.
"""

from libc.stdint cimport uint8_t, uint64_t


cdef struct sum256:
    uint64_t limbs[4]       # the lowest first


cdef inline uint64_t sum256_limb(const uint8_t *at) noexcept nogil:
    cdef uint64_t value = 0
    cdef int i
    for i in range(8):
        value |= <uint64_t> at[i] << (8 * i)
    return value


cdef inline void sum256_read(sum256 *out, const uint8_t *bytes32) noexcept nogil:
    cdef int i
    for i in range(4):
        out.limbs[i] = sum256_limb(bytes32 + 8 * i)


cdef inline void sum256_write(const sum256 *value, uint8_t *bytes32) noexcept nogil:
    cdef int i
    for i in range(32):
        bytes32[i] = <uint8_t> (value.limbs[i // 8] >> (8 * (i % 8)))


cdef inline void sum256_add(sum256 *to, const sum256 *value) noexcept nogil:
    cdef uint64_t carry = 0, limb
    cdef int i
    for i in range(4):
        limb = to.limbs[i] + carry
        carry = limb < carry
        to.limbs[i] = limb + value.limbs[i]
        carry += to.limbs[i] < limb


cdef inline void sum256_subtract(sum256 *from_, const sum256 *value) noexcept nogil:
    cdef uint64_t borrow = 0, limb
    cdef int i
    for i in range(4):
        limb = from_.limbs[i] - borrow
        borrow = limb > from_.limbs[i]
        borrow += limb < value.limbs[i]
        from_.limbs[i] = limb - value.limbs[i]


cdef inline bint sum256_equal(const sum256 *one, const sum256 *other) noexcept nogil:
    return (one.limbs[0] == other.limbs[0] and one.limbs[1] == other.limbs[1]
            and one.limbs[2] == other.limbs[2] and one.limbs[3] == other.limbs[3])
