"""The jobs of jobs.pyx, for the modules that subclass Job."""

from cpython.ref cimport PyObject

cdef struct job:
    void (*run)(void *context) noexcept nogil
    void *context
    bint done               # True until the result is taken
    PyObject *owner         # the Job, kept alive while it is queued; NULL before it is begun
    job *next


cdef class Job:
    cdef job job            # the subclass sets run and context
    cdef readonly object future

    cpdef object do(self)
    cdef int _claim(self) except -1
    cdef object finish(self)
