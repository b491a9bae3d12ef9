# cython: language_level=3
"""Threads for compiled work, which never need the GIL.

A thread that does asks for it twice for each piece of work, and with a busy loop waits up to a
switch interval (5 ms) each time; to hand it over costs both threads a wait and a wake-up.
"""

import os

from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from posix.unistd cimport close

from wakumail.base.pthread cimport *

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd_read(int fd, uint64_t *value)
    int eventfd_write(int fd, uint64_t value)


cdef struct queue:
    job *first
    job *last


cdef struct crew:
    pthread_mutex_t lock    # of what follows
    pthread_cond_t due      # something waits, or it is time to end
    queue waiting
    queue done
    bint closing
    int bell                # an eventfd, rung when `done` is no longer empty


cdef inline void push(queue *q, job *j) noexcept nogil:
    j.next = NULL
    if q.first == NULL:
        q.first = j
    else:
        q.last.next = j
    q.last = j


cdef inline job *pull(queue *q) noexcept nogil:
    cdef job *j = q.first
    if j != NULL:
        q.first = j.next
    return j


cdef void *work(void *context) noexcept nogil:
    """What each thread does, until the crew is closing and nothing waits."""
    cdef crew *c = <crew *> context
    cdef job *j
    cdef bint first
    pthread_mutex_lock(&c.lock)
    while True:
        j = pull(&c.waiting)
        if j != NULL:
            pthread_mutex_unlock(&c.lock)
            j.run(j.context)
            pthread_mutex_lock(&c.lock)
            first = c.done.first == NULL
            push(&c.done, j)
            if first:
                pthread_mutex_unlock(&c.lock)
                eventfd_write(c.bell, 1)
                pthread_mutex_lock(&c.lock)
        elif c.closing:
            break
        else:
            pthread_cond_wait(&c.due, &c.lock)
    pthread_mutex_unlock(&c.lock)
    return NULL


cdef class Job:
    """A piece of work; its kinds are in the modules whose work it is.

    future: what was given to JobThreads.begin with it.
    """

    def result(self):
        """What it came to, or its exception; RuntimeError unless it is done, and a second time."""
        if not self.job.done:
            raise RuntimeError("the job is not done, or its result was taken")
        self.job.done = False
        return self.finish()

    cpdef object do(self):
        """Do it in this thread, and return its result; RuntimeError if it was begun before."""
        self._claim()
        with nogil:
            self.job.run(self.job.context)
        return self.finish()

    cdef int _claim(self) except -1:
        """Mark the job as begun: it is done once, by whoever begins it."""
        if self.job.run == NULL or self.job.owner != NULL:
            raise RuntimeError("the job has nothing to do, or was begun before")
        self.job.owner = <PyObject *> self
        return 0

    cdef object finish(self):
        """For subclasses: what the work that was done came to; called once."""
        raise NotImplementedError


cdef class JobThreads:
    """So many threads; what they have no time for waits.

    They begin at once: a system that gives no more threads (RuntimeError) is told at the start, not
    under load. All methods are for one thread.
    """

    cdef crew crew
    cdef pthread_t *threads
    cdef size_t count

    def __cinit__(self, size_t count):
        self.crew.bell = -1
        if (pthread_mutex_init(&self.crew.lock, NULL)
                or pthread_cond_init(&self.crew.due, NULL)):
            raise MemoryError
        self.threads = <pthread_t *> malloc(count * sizeof(pthread_t))
        if self.threads == NULL:
            raise MemoryError
        self.crew.bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        while self.count < count:
            if pthread_create(&self.threads[self.count], NULL, work, &self.crew):
                raise RuntimeError("can't start new thread")
            self.count += 1

    def __dealloc__(self):
        if self.threads == NULL:
            return
        self._end()
        self.finished()
        close(self.crew.bell)
        free(self.threads)
        pthread_cond_destroy(&self.crew.due)
        pthread_mutex_destroy(&self.crew.lock)

    def fileno(self):
        """What is readable when there is something for `finished`."""
        return self.crew.bell

    def begin(self, Job job not None, future):
        """Have a job done; RuntimeError for one that was begun before, and after `close`."""
        if self.crew.closing:
            raise RuntimeError("the threads have ended")
        job._claim()
        job.future = future
        Py_INCREF(job)
        pthread_mutex_lock(&self.crew.lock)
        push(&self.crew.waiting, &job.job)
        pthread_mutex_unlock(&self.crew.lock)
        pthread_cond_signal(&self.crew.due)

    def finished(self):
        """The jobs that were done since it was asked last, in that order."""
        cdef uint64_t rung
        cdef list jobs = []
        cdef job *j
        eventfd_read(self.crew.bell, &rung)     # before the jobs are taken: each that follows rings
        pthread_mutex_lock(&self.crew.lock)
        j = self.crew.done.first
        self.crew.done.first = NULL
        pthread_mutex_unlock(&self.crew.lock)
        while j != NULL:
            done = <Job> j.owner
            j.done = True
            j = j.next
            jobs.append(done)
            Py_DECREF(done)
        return jobs

    def close(self):
        """Wait until all is done, and end the threads; `finished` has the rest then."""
        self._end()

    cdef int _end(self) except -1:
        cdef size_t i
        with nogil:
            pthread_mutex_lock(&self.crew.lock)
            self.crew.closing = True
            pthread_mutex_unlock(&self.crew.lock)
            pthread_cond_broadcast(&self.crew.due)
            for i in range(self.count):
                pthread_join(self.threads[i], NULL)
        self.count = 0
        return 0
