"""One direction of an RLPx connection, for the kernels that read and write frames."""

from libc.stdint cimport uint8_t

cdef extern from "frame_stream.h" nogil:
    ctypedef struct stream:
        pass
    void stream_init(stream *self, const uint8_t *aes, const uint8_t *mac,
                     const uint8_t *seed, size_t size)
    # Decrypt in place; false, and nothing done, if the MAC is wrong.
    bint stream_decrypt_header(stream *self, uint8_t *header)
    bint stream_decrypt(stream *self, uint8_t *data, size_t padded)

cdef enum:
    KEY_SIZE = 32                   # bytes
    MAX_FRAME_SIZE = (1 << 24) - 1  # bytes of frame data that a header can announce
