"""The latest judgements of workers, for the archive, which knows the sequences."""

from libc.stdint cimport uint8_t, uint64_t

from wakumail.waku.envelope cimport envelope_record


cdef struct judgement:      # a slot of the memory
    uint64_t number         # sequence + 1; 0: being written, or never written
    double pow
    uint8_t hash[32]


cdef class Judgements:
    cdef Py_buffer memory
    cdef judgement *slots
    cdef uint64_t count

    cdef void put(self, uint64_t sequence, const envelope_record *record) noexcept nogil
    cdef bint recall(self, uint64_t sequence, envelope_record *record) noexcept nogil
