"""Keccak-256 (the padding of Ethereum, not of SHA-3) for the other kernels: see keccak.h."""

from libc.stdint cimport uint8_t, uint64_t


cdef extern from "keccak.h" nogil:
    ctypedef struct keccak_sponge:      # plain memory: assign it to copy it
        pass

    ctypedef struct keccak_message:     # one message in up to three pieces, in order
        const uint8_t *part[3]
        size_t size[3]

    void keccak_init(keccak_sponge *sponge)
    void keccak_update(keccak_sponge *sponge, const uint8_t *data, size_t size)
    # The digest of all data so far; the sponge itself does not change.
    void keccak_digest(const keccak_sponge *sponge, uint8_t *digest)
    void keccak256(const uint8_t *data, size_t size, uint8_t *digest)
    # digests: 32 bytes for each message. Hashes several messages at once if the processor can.
    void keccak256_many(const keccak_message *messages, size_t count, uint8_t *digests)
