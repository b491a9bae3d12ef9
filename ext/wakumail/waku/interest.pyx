# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The topics that a node wants (6/WAKU1, "Bloom Filter Field" and "Topic Interest Field")."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint32_t

from wakumail.waku.bloom cimport bloom_covers, topic_value

from wakumail.waku.bloom import BLOOM_SIZE, TOPIC_SIZE, bloom_of

cdef enum:
    MARKS_PER_TOPIC = 8         # bits for each topic, up to the maximum; a topic sets one
    MIN_MARK_BITS = 6           # logarithm of the least number of marks
    MAX_MARK_BITS = 24          # logarithm of the greatest number of marks


@cython.final
cdef class Interest:
    """Some topics, all topics that a bloom covers, or all topics. Immutable and comparable.

    topics: of 4 bytes each; they win over `bloom`. An empty collection wants nothing.
    bloom: 64 bytes; wants the topics whose Go form it covers (see bloom.pxd). None beside topics.
    With neither, every topic is wanted. ValueError for topics or a bloom of another size.
    """

    def __cinit__(self, *, object topics=None, bytes bloom=None):
        if bloom is not None and len(bloom) != BLOOM_SIZE:
            raise ValueError(f"a bloom has {BLOOM_SIZE} bytes, not {len(bloom)}")
        if topics is not None:
            distinct = set(topics)
            if any(len(topic) != TOPIC_SIZE for topic in distinct):
                raise ValueError(f"a topic has {TOPIC_SIZE} bytes")
            self.packed = b"".join(sorted(distinct))
            self.topics_at = <const uint8_t *> PyBytes_AS_STRING(self.packed)
            self.topic_count = len(distinct)
            set_marks(self)
        elif bloom is not None:
            self.bloom = bloom
            self.bloom_bits = <const uint8_t *> PyBytes_AS_STRING(bloom)

    @property
    def topics(self):
        """The topics in ascending order; None if the interest is a bloom or everything."""
        if self.packed is None:
            return None
        return tuple([self.packed[i:i + 4] for i in range(0, len(self.packed), 4)])

    def wants(self, bytes topic not None):
        """True if a topic of 4 bytes is wanted; ValueError for another size."""
        if len(topic) != TOPIC_SIZE:
            raise ValueError(f"a topic has {TOPIC_SIZE} bytes, not {len(topic)}")
        return bool(self.wants_topic(topic_value(<const uint8_t *> PyBytes_AS_STRING(topic))))

    def union(self, Interest other not None):
        """An interest in all topics that either wants; in more if only one of both has topics."""
        if self.wants_everything() or other.wants_everything():
            return EVERYTHING
        if self.packed is not None and other.packed is not None:
            return Interest(topics=self.topics + other.topics)
        return Interest(bloom=bytes(a | b for a, b in zip(self.as_bloom(), other.as_bloom())))

    cdef bint wants_topic(self, uint32_t topic) noexcept nogil:
        cdef Py_ssize_t low = 0, high = self.topic_count, middle
        cdef uint32_t found
        if not self.topics_at:
            return not self.bloom_bits or bloom_covers(self.bloom_bits, topic)
        if not has_mark(self, topic):
            return False
        while low < high:
            middle = (low + high) // 2
            found = topic_value(self.topics_at + 4 * middle)
            if found == topic:
                return True
            if found < topic:
                low = middle + 1
            else:
                high = middle
        return False

    cdef bint wants_everything(self):
        return self.packed is None and self.bloom is None

    cdef bint wants_nothing(self):
        """True if there are no topics, or the bloom has no bits."""
        if self.bloom is not None:
            return not any(self.bloom)
        return self.packed is not None and not self.topic_count

    cdef bytes as_bloom(self):
        return bloom_of(self.topics) if self.bloom is None else self.bloom

    def __eq__(self, other):
        if not isinstance(other, Interest):
            return NotImplemented
        return (self.packed == (<Interest> other).packed
                and self.bloom == (<Interest> other).bloom)

    def __hash__(self):
        return hash((self.packed, self.bloom))

    def __repr__(self):
        if self.packed is not None:
            return f"<Interest in {self.topic_count} topics>"
        what = "everything" if self.bloom is None else f"bloom {self.bloom.hex()}"
        return f"<Interest in {what}>"


cdef inline uint32_t mark_of(Interest interest, uint32_t topic) noexcept nogil:
    return topic * <uint32_t> 0x9E3779B1 >> interest.mark_shift


cdef inline bint has_mark(Interest interest, uint32_t topic) noexcept nogil:
    """True if the topic may be in the interest; false for most of the others."""
    cdef uint32_t mark = mark_of(interest, topic)
    return interest.marks_at[mark // 8] >> mark % 8 & 1


cdef int set_marks(Interest interest) except -1:
    cdef int bits = MIN_MARK_BITS
    cdef Py_ssize_t i
    cdef uint32_t mark
    cdef uint8_t *marks
    while bits < MAX_MARK_BITS and (1 << bits) < MARKS_PER_TOPIC * interest.topic_count:
        bits += 1
    interest.marks = bytes(1 << (bits - 3))
    interest.marks_at = marks = <uint8_t *> PyBytes_AS_STRING(interest.marks)
    interest.mark_shift = 32 - bits
    for i in range(interest.topic_count):
        mark = mark_of(interest, topic_value(interest.topics_at + 4 * i))
        marks[mark // 8] |= 1 << mark % 8
    return 0


EVERYTHING = Interest()
