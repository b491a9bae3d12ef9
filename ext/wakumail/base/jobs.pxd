"""What other modules need of jobs.pyx: the work that they give its threads."""

from cpython.ref cimport PyObject

cdef struct job:
    void (*run)(void *context) noexcept nogil
    void *context
    bint done               # and its result not yet taken
    PyObject *owner         # the Job, alive while it is in a queue; NULL before
    job *next


cdef class Job:
    cdef job job            # run and context are for the subclass to fill in
    cdef readonly object future

    cpdef object do(self)
    cdef int _claim(self) except -1
    cdef object finish(self)
