"""How much of the map counts as memory of this process, and how that is bounded.

Whatever is read of the file is mapped, 16 pages around each, and stays so: in the end the process
seems to be as large as its archive. What is given back stays in the system's page cache as long as
there is room. The map is only read, so nothing is lost, and who reads at the same time finds the
pages again: at the price of a page fault, two to six microseconds.

Where the system has no /proc nothing is given back, and it takes pages away when it needs them.
"""

from libc.stdint cimport uintptr_t
from libc.stdio cimport FILE, fclose, fgets, fopen, sscanf
from posix.fcntl cimport O_CLOEXEC, O_RDONLY, open
from posix.mman cimport MADV_DONTNEED, madvise
from posix.stat cimport fstat, struct_stat
from posix.unistd cimport _SC_PAGESIZE, close, pread, sysconf

from wakumail.archive.lmdb cimport MDB_env, checks_forget, mdb_env_get_fd

cdef enum:
    # Bytes beyond what remained the last time. Writing, what was copied is seldom read again. An
    # answer may be: one of a thousand envelopes from all over the archive takes 0.6 ms when all
    # of it is mapped and 6 ms when nothing is, so readers keep what a million envelopes take.
    MAX_RESIDENT_WRITING = 24 << 20
    MAX_RESIDENT_READING = 512 << 20


cdef struct residence:
    int statm               # /proc/self/statm, or -1
    void *map               # NULL until it was looked for
    size_t size
    size_t remained         # bytes of mapped files, the last time that pages were given back


cdef inline size_t resident_bytes(const residence *r) noexcept nogil:
    """Bytes of mapped files that count as memory of this process; 0 when it cannot be known."""
    cdef char line[128]
    cdef unsigned long pages
    cdef ssize_t size = -1
    if r.statm >= 0:
        size = pread(r.statm, line, sizeof(line) - 1, 0)
    if size < 0:
        return 0
    line[size] = 0
    if sscanf(line, "%*u %*u %lu", &pages) != 1:      # the third: of mapped files
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
    """Find where the file is mapped, which LMDB does not say: the shared map of its inode.

    Should a file of another system have the same number, its shared pages lose nothing either.
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


cdef inline void give_back(residence *r, MDB_env *env, size_t bound) noexcept nogil:
    """Unmap all pages of the archive when more than `bound` bytes are mapped than remained.

    While nobody can make the map again, and by one thread at a time.
    """
    if resident_bytes(r) > r.remained + bound and (r.map != NULL or find_map(r, env)):
        madvise(r.map, r.size, MADV_DONTNEED)
        checks_forget(env)              # what is mapped again may come from the disk
        r.remained = resident_bytes(r)
