"""Bounds the part of the map that counts as memory of this process.

Each read maps 16 pages of the file around it, and they stay mapped: in the end the process seems to
be as large as its archive. Pages that are given back stay in the system's page cache while there is
room. The map is only read, so nothing is lost. A thread that reads at the same time finds the pages
again, at the cost of a page fault of two to six microseconds.

On a system without /proc nothing is given back; the system takes pages away when it needs them.
"""

from libc.stdint cimport uintptr_t
from libc.stdio cimport FILE, fclose, fgets, fopen, sscanf
from posix.fcntl cimport O_CLOEXEC, O_RDONLY, open
from posix.mman cimport MADV_DONTNEED, madvise
from posix.stat cimport fstat, struct_stat
from posix.unistd cimport _SC_PAGESIZE, close, pread, sysconf

from wakumail.archive.lmdb cimport MDB_env, mdb_env_get_fd

cdef enum:
    # Bytes mapped since pages were last given back, after which they are given back again. Writers
    # seldom read copied pages again. Readers do: an answer of a thousand envelopes from all over
    # the archive takes a sixth less if all of it stays mapped. A day that is over is sorted, so an
    # answer touches few of its pages.
    MAX_RESIDENT_WRITING = 24 << 20
    MAX_RESIDENT_READING = 128 << 20


cdef struct residence:
    int statm               # /proc/self/statm, or -1
    void *map               # NULL until it is looked for
    size_t size
    size_t remained         # bytes of mapped files after pages were last given back


cdef inline size_t resident_bytes(const residence *r) noexcept nogil:
    """Bytes of mapped files that count as memory of this process; 0 if unknown."""
    cdef char line[128]
    cdef unsigned long pages
    cdef ssize_t size = -1
    if r.statm >= 0:
        size = pread(r.statm, line, sizeof(line) - 1, 0)
    if size < 0:
        return 0
    line[size] = 0
    if sscanf(line, "%*u %*u %lu", &pages) != 1:      # the third number: mapped files
        return 0
    return pages * sysconf(_SC_PAGESIZE)


cdef inline void open_residence(residence *r) noexcept nogil:
    r.map = NULL
    r.statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
    r.remained = resident_bytes(r)


cdef inline void close_residence(residence *r) noexcept nogil:
    if r.statm >= 0:
        close(r.statm)
    r.statm = -1


cdef inline bint find_map(residence *r, MDB_env *env) noexcept nogil:
    """Find the address of the map, which LMDB does not tell: the shared map of the file's inode.

    If a file of another file system has the same inode number, its pages lose nothing either.
    """
    cdef char line[4352]
    cdef char shared
    cdef unsigned long start, end, inode
    cdef struct_stat status
    cdef int fd
    cdef FILE *maps
    if mdb_env_get_fd(env, &fd) or fstat(fd, &status):
        return False
    maps = fopen("/proc/self/maps", "re")
    if maps == NULL:
        return False
    while fgets(line, sizeof(line), maps) != NULL:
        if (sscanf(line, "%lx-%lx %*3c%c %*x %*s %lu", &start, &end, &shared, &inode) == 4
                and shared == c"s" and inode == status.st_ino):
            r.map, r.size = <void *> <uintptr_t> start, end - start
            break
    fclose(maps)
    return r.map != NULL


cdef inline bint is_due(const residence *r, size_t bound) noexcept nogil:
    """True if more than `bound` bytes were mapped since pages were last given back."""
    return resident_bytes(r) > r.remained + bound


cdef inline void give_back(residence *r, MDB_env *env, size_t bound) noexcept nogil:
    """Unmap all pages of the archive if more than `bound` bytes were mapped since the last time.

    Call it within the gate, so that the map cannot change, and from one thread at a time.
    """
    if is_due(r, bound) and (r.map != NULL or find_map(r, env)):
        madvise(r.map, r.size, MADV_DONTNEED)
        r.remained = resident_bytes(r)
