"""The topics that a node wants, for the other kernels.

A topic is the big-endian value of its four bytes here.
"""

cimport cython
from libc.stdint cimport uint8_t, uint32_t


@cython.final
cdef class Interest:
    cdef readonly bytes bloom
    cdef const uint8_t *bloom_bits  # of bloom; NULL: there is none
    cdef bytes packed               # the topics, ascending and joined; None: there are none
    cdef const uint8_t *topics_at   # of packed
    cdef Py_ssize_t topic_count
    cdef bytes marks                # bits; a topic sets the one that its hash selects
    cdef const uint8_t *marks_at    # of marks
    cdef int mark_shift             # of the hash
    cdef bint wants_topic(self, uint32_t topic) noexcept nogil
    cdef bint wants_everything(self)
    cdef bint wants_nothing(self)
    cdef bytes as_bloom(self)
