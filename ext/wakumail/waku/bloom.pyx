# cython: language_level=3, boundscheck=False, wraparound=False
"""Bloom filters of topics (6/WAKU1, "Bloom Filter Field"): 512 bits, three for each topic.

Each of the first three bytes of a topic is a bit number; 256 is added if the bit of that place is
set in the last byte. The specification ORs the three bits. The Go nodes assign whole bytes, so
that of two bits in one byte only the later stays (one topic in 24). The Go form covers all that
either kind of client asks for: see bloom.pxd.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset

BLOOM_SIZE = 64     # bytes
TOPIC_SIZE = 4      # bytes
FULL_BLOOM = b"\xff" * BLOOM_SIZE


cdef inline uint32_t topic_bit(uint32_t topic, uint32_t place) noexcept nogil:
    """The bit number that byte `place` (0, 1 or 2) of a topic stands for."""
    return (topic >> (24 - 8 * place) & 0xff) | (topic >> place & 1) << 8


cdef uint32_t as_topic(bytes topic) except? 0:
    if len(topic) != 4:
        raise ValueError(f"a topic has 4 bytes, not {len(topic)}")
    return topic_value(<const uint8_t *> PyBytes_AS_STRING(topic))


cdef const uint8_t *as_bloom(bytes bloom) except NULL:
    if len(bloom) != 64:
        raise ValueError(f"a bloom has 64 bytes, not {len(bloom)}")
    return <const uint8_t *> PyBytes_AS_STRING(bloom)


def topic_bloom(bytes topic not None):
    """The 64-byte bloom of a 4-byte topic as the Go nodes make it; ValueError for other sizes."""
    cdef uint8_t[64] bits
    cdef uint32_t value = as_topic(topic)
    cdef uint32_t place, bit
    memset(bits, 0, sizeof(bits))
    for place in range(3):
        bit = topic_bit(value, place)
        bits[bit >> 3] = <uint8_t> (1 << (bit & 7))
    return PyBytes_FromStringAndSize(<const char *> bits, sizeof(bits))


def bloom_of(object topics):
    """The 64-byte bloom that covers all of the 4-byte `topics`, in both forms.

    ValueError when a topic has another size. No topics make a bloom of zeros, which covers nothing.
    """
    cdef uint8_t[64] bits
    cdef uint32_t value, place, bit
    memset(bits, 0, sizeof(bits))
    for topic in topics:
        value = as_topic(<bytes?> topic)
        for place in range(3):
            bit = topic_bit(value, place)
            bits[bit >> 3] |= <uint8_t> (1 << (bit & 7))
    return PyBytes_FromStringAndSize(<const char *> bits, sizeof(bits))


def covers(bytes bloom not None, bytes topic not None):
    """True if a 64-byte bloom has the bits of a 4-byte topic, in the Go form."""
    return bool(bloom_covers(as_bloom(bloom), as_topic(topic)))


def covered(bytes bloom not None, bytes topics not None):
    """The topics in `topics`, 4 bytes each and joined, that the 64-byte bloom covers; joined too.

    ValueError when the bloom has another size or `topics` is no whole number of topics.
    """
    cdef const uint8_t *bits = as_bloom(bloom)
    cdef const uint8_t *at = <const uint8_t *> PyBytes_AS_STRING(topics)
    cdef const uint8_t *end = at + len(topics)
    cdef bytes found
    cdef uint8_t *out
    cdef Py_ssize_t size = 0
    if len(topics) % 4:
        raise ValueError(f"{len(topics)} bytes are no whole number of topics")
    found = PyBytes_FromStringAndSize(NULL, len(topics))
    out = <uint8_t *> PyBytes_AS_STRING(found)
    with nogil:
        while at < end:
            # Always written, kept if covered: faster than a branch that cannot be predicted.
            memcpy(out + size, at, 4)
            size += 4 * bloom_covers(bits, topic_value(at))
            at += 4
    return found[:size]
