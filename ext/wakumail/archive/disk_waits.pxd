"""Waits for the disk: once its thread has met one, a reader asks for pages before it needs them.

An archive that is in memory needs nothing asked, and most are.
"""

from libc.stdint cimport int64_t

from wakumail.archive.clock cimport monotonic_ns

cdef enum:
    SHORTEST_WAIT = 10000   # nanoseconds that a page from a disk takes at least


cdef extern from "sys/resource.h" nogil:
    enum:
        RUSAGE_THREAD
    struct rusage:
        long ru_majflt      # page faults that waited for a disk
    int getrusage(int who, rusage *usage)


cdef struct disk_waits:
    bint met                # True once the thread has waited
    long before             # its waits before it was watched
    int64_t looked          # when they were counted last, in nanoseconds of the monotonic clock


cdef inline long count_waits() noexcept nogil:
    """The number of times that this thread has waited for a page from a disk."""
    cdef rusage usage
    return 0 if getrusage(RUSAGE_THREAD, &usage) else usage.ru_majflt


cdef inline void watch_for_waits(disk_waits *w, bint met) noexcept nogil:
    """Begin to watch this thread; `met`: as if it had waited."""
    w.met, w.before, w.looked = met, count_waits(), monotonic_ns()


cdef inline void look_for_waits(disk_waits *w) noexcept nogil:
    """Note if this thread has waited. No count where no wait fits in since the last look."""
    cdef int64_t now = 0 if w.met else monotonic_ns()
    if now - w.looked > SHORTEST_WAIT:
        w.looked, w.met = now, count_waits() > w.before
