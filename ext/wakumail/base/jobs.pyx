# cython: language_level=3
"""Threads for compiled work, which never take the GIL.

A Python thread takes the GIL twice for each piece of work. Beside a busy loop it waits up to a
switch interval (5 ms) each time, and each handover costs both threads a wait and a wake-up.
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


cdef struct job_threads:
    pthread_mutex_t lock    # of all fields below
    pthread_cond_t due      # a job waits, or it is time to end
    queue waiting
    queue done
    bint closing
    int done_event          # an eventfd, written when `done` is no longer empty


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
    """Run in each thread: do jobs until the threads are closing and none waits."""
    cdef job_threads *t = <job_threads *> context
    cdef job *j
    cdef bint first
    pthread_mutex_lock(&t.lock)
    while True:
        j = pull(&t.waiting)
        if j != NULL:
            pthread_mutex_unlock(&t.lock)
            j.run(j.context)
            pthread_mutex_lock(&t.lock)
            first = t.done.first == NULL
            push(&t.done, j)
            if first:
                pthread_mutex_unlock(&t.lock)
                eventfd_write(t.done_event, 1)
                pthread_mutex_lock(&t.lock)
        elif t.closing:
            break
        else:
            pthread_cond_wait(&t.due, &t.lock)
    pthread_mutex_unlock(&t.lock)
    return NULL


cdef class Job:
    """A piece of work that is done once. Each kind of work is a subclass, in its own module.

    future: the object that JobThreads.begin was given with the job.
    """

    def result(self):
        """The result, or its exception. RuntimeError if it is not done, and on a second call."""
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
        """Mark the job as begun; RuntimeError if it was marked before."""
        if self.job.run == NULL or self.job.owner != NULL:
            raise RuntimeError("the job has nothing to do, or was begun before")
        self.job.owner = <PyObject *> self
        return 0

    cdef object finish(self):
        """For subclasses: make the result of the work; called once, after it is done."""
        raise NotImplementedError


cdef class JobThreads:
    """`count` threads that do jobs in their order; jobs wait while all threads are busy.

    The threads start at once, so that a system without room for them fails at the start
    (RuntimeError) and not under load. All methods are for one thread.
    """

    cdef job_threads shared
    cdef pthread_t *threads
    cdef size_t count

    def __cinit__(self, size_t count):
        self.shared.done_event = -1
        if (pthread_mutex_init(&self.shared.lock, NULL)
                or pthread_cond_init(&self.shared.due, NULL)):
            raise MemoryError
        self.threads = <pthread_t *> malloc(count * sizeof(pthread_t))
        if self.threads == NULL:
            raise MemoryError
        self.shared.done_event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        while self.count < count:
            if pthread_create(&self.threads[self.count], NULL, work, &self.shared):
                raise RuntimeError("can't start new thread")
            self.count += 1

    def __dealloc__(self):
        if self.threads == NULL:
            return
        self._end()
        self.finished()
        close(self.shared.done_event)
        free(self.threads)
        pthread_cond_destroy(&self.shared.due)
        pthread_mutex_destroy(&self.shared.lock)

    def fileno(self):
        """The descriptor that is readable when `finished` has jobs."""
        return self.shared.done_event

    def begin(self, Job job not None, future):
        """Queue a job. RuntimeError for one that was begun before, and after `close`."""
        if self.shared.closing:
            raise RuntimeError("the threads have ended")
        job._claim()
        job.future = future
        Py_INCREF(job)
        pthread_mutex_lock(&self.shared.lock)
        push(&self.shared.waiting, &job.job)
        pthread_mutex_unlock(&self.shared.lock)
        pthread_cond_signal(&self.shared.due)

    def finished(self):
        """The jobs that were done since the last call, in that order."""
        cdef uint64_t written
        cdef list jobs = []
        cdef job *j
        # Before the jobs are taken: a job that is done later writes again.
        eventfd_read(self.shared.done_event, &written)
        pthread_mutex_lock(&self.shared.lock)
        j = self.shared.done.first
        self.shared.done.first = NULL
        pthread_mutex_unlock(&self.shared.lock)
        while j != NULL:
            done = <Job> j.owner
            j.done = True
            j = j.next
            jobs.append(done)
            Py_DECREF(done)
        return jobs

    def close(self):
        """Wait until all jobs are done, and end the threads. `finished` still has the last jobs."""
        self._end()

    cdef int _end(self) except -1:
        cdef size_t i
        with nogil:
            pthread_mutex_lock(&self.shared.lock)
            self.shared.closing = True
            pthread_mutex_unlock(&self.shared.lock)
            pthread_cond_broadcast(&self.shared.due)
            for i in range(self.count):
                pthread_join(self.threads[i], NULL)
        self.count = 0
        return 0
