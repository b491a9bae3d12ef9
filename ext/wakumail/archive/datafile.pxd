"""The file data.mdb in the file system: its length, room to grow, its name, copies of it.

Unless they say otherwise, functions return 0 or a code as in environment.pxd.
"""

from libc.errno cimport EDQUOT, EEXIST, EFAULT, EFBIG, ENAMETOOLONG, ENOSPC, errno
from libc.stdio cimport snprintf
from posix.fcntl cimport O_CLOEXEC, O_DIRECTORY, O_RDONLY, O_RDWR, open, posix_fallocate
from posix.stat cimport fstat, struct_stat
from posix.unistd cimport F_OK, access, close, fsync, link, unlink

from wakumail.archive.environment cimport (
    DAMAGED, TORN, enter, environment, leave, read_info, resize_map)
from wakumail.archive.lmdb cimport *

cdef extern from "<stdlib.h>" nogil:
    int mkostemp(char *template, int flags)

cdef extern from *:
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <sys/resource.h>
    #include <sys/statvfs.h>
    /* The errno of growing a file of `size` bytes by `more`, or 0. The file does not grow. */
    static int probe_room(int fd, off_t size, off_t more) {
        struct rlimit limit;
        struct statvfs room;
        if (!getrlimit(RLIMIT_FSIZE, &limit) && limit.rlim_cur < (rlim_t) (size + more))
            return EFBIG;
    #ifdef FALLOC_FL_KEEP_SIZE
        if (!fallocate(fd, FALLOC_FL_KEEP_SIZE, size, more))
            return 0;
        if (errno != EOPNOTSUPP)
            return errno;
    #endif
        return !fstatvfs(fd, &room) && room.f_bavail * room.f_frsize < (fsblkcnt_t) more
            ? ENOSPC : 0;
    }
    """
    int probe_room(int fd, long size, long more) nogil

cdef enum:
    MAX_UNWRITTEN = 16 << 20    # bytes that may be missing at the end of an intact file
    # Bytes to allocate, to see if the file system is full. The system takes a write in pieces of at
    # most so many bytes, and cuts it short before the first piece that does not fit.
    PROBE_SIZE = 2 << 20
    PATH_SIZE = 4096            # bytes of a path, with its zero


cdef inline bint is_full(int rc) noexcept nogil:
    """True if a code says that there is no room."""
    return rc == ENOSPC or rc == EDQUOT or rc == EFBIG


cdef struct free_counting:
    MDB_txn *txn
    size_t first
    size_t last
    size_t count


cdef inline int do_count_free_pages(void *context) noexcept nogil:
    cdef free_counting *counting = <free_counting *> context
    cdef MDB_cursor *cursor
    cdef MDB_val key, value
    cdef const size_t *pages
    cdef size_t i
    cdef int rc = mdb_cursor_open(counting.txn, FREE_DBI, &cursor)
    if rc:
        return rc
    rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST)
    while not rc:
        pages = <const size_t *> value.mv_data          # their number, then each
        if value.mv_size < 8 or pages[0] > value.mv_size // 8 - 1:
            rc = MDB_CORRUPTED
            break
        for i in range(pages[0]):
            counting.count += counting.first <= pages[1 + i] <= counting.last
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)
    mdb_cursor_close(cursor)
    return 0 if rc == MDB_NOTFOUND else rc


cdef inline int count_free_pages(environment *e, size_t first, size_t last,
                                 size_t *count) noexcept nogil:
    """Count the free ones of the pages `first` to `last`, in an environment just opened."""
    cdef free_counting counting
    cdef int rc
    counting.first, counting.last, counting.count = first, last, 0
    rc = mdb_txn_begin(e.env, NULL, MDB_RDONLY, &counting.txn)
    if rc:
        return rc
    rc = checks_guard(e.env, &do_count_free_pages, &counting)
    mdb_txn_abort(counting.txn)
    count[0] = counting.count
    return rc


cdef inline int fill_up(environment *e, const char *file, size_t size, size_t missing,
                        size_t page_size) noexcept nogil:
    """Allocate the missing pages of a file if all are free; else TORN, and nothing is changed.

    The list of free pages is read first: where it lies in what is missing, the guard ends that.
    """
    cdef size_t first = size // page_size
    cdef size_t last = (size + missing) // page_size - 1
    cdef size_t free_pages
    cdef int fd
    cdef int rc = count_free_pages(e, first, last, &free_pages)
    if rc or free_pages != last + 1 - first:
        return TORN
    fd = open(file, O_RDWR | O_CLOEXEC)
    if fd < 0:
        return errno
    rc = posix_fallocate(fd, size, missing)
    close(fd)
    return rc


cdef inline int check_length(environment *e, const char *directory) noexcept nogil:
    """TORN if pages in use are missing at the file's end: to read them would end the process.

    LMDB does not write a page that is taken and freed in the same commit. So an intact file may
    lack pages at its end, all of them free.
    """
    cdef MDB_envinfo info
    cdef MDB_stat stat
    cdef struct_stat status
    cdef char path[PATH_SIZE]
    cdef size_t size, needed
    cdef int fd
    cdef int rc = read_info(e, &info)
    if not rc:
        rc = mdb_env_stat(e.env, &stat)
    if not rc:
        rc = mdb_env_get_fd(e.env, &fd)
    if rc:
        return rc
    if fstat(fd, &status):
        return errno
    needed = (info.me_last_pgno + 1) * stat.ms_psize
    size = <size_t> status.st_size
    if size >= needed:
        return 0
    if needed - size > MAX_UNWRITTEN:
        return TORN
    if snprintf(path, PATH_SIZE, b"%s/data.mdb", directory) >= PATH_SIZE:
        return ENAMETOOLONG
    return fill_up(e, path, size, needed - size, stat.ms_psize)


cdef inline bint cannot_grow(environment *e) noexcept nogil:
    """True if the disk is full: LMDB reports a short write as EIO."""
    cdef struct_stat status
    cdef int fd
    cdef bint full
    if enter(e):
        return False
    mdb_env_get_fd(e.env, &fd)
    full = fstat(fd, &status) == 0 and is_full(probe_room(fd, status.st_size, PROBE_SIZE))
    leave(e)
    return full


cdef inline int sync_directory(const char *directory, const char *below) noexcept nogil:
    """Sync the names in the directory `directory` + `below`: a file's own sync leaves them out."""
    cdef char path[PATH_SIZE]
    cdef int fd
    cdef int rc = 0
    if snprintf(path, PATH_SIZE, b"%s%s", directory, below) >= PATH_SIZE:
        return ENAMETOOLONG
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if fd < 0:
        return errno
    if fsync(fd):
        rc = errno
    close(fd)
    return rc


cdef inline int sync_names(const char *directory) noexcept nogil:
    """Sync the name of a directory and the names in it."""
    cdef int rc = sync_directory(directory, b"")
    return rc if rc else sync_directory(directory, b"/..")


cdef inline int write_copy(environment *e, int fd) noexcept nogil:
    """Write the current state without its free pages, and sync it."""
    cdef MDB_envinfo info
    cdef int dead, rc
    while True:
        rc = enter(e)
        if rc:
            return rc
        rc = read_info(e, &info)
        if not rc:
            rc = mdb_reader_check(e.env, &dead)
        if not rc:
            rc = mdb_env_copyfd2(e.env, fd, MDB_CP_COMPACT)
        if rc == EFAULT:                # LMDB writes long values from the map: it cannot be read
            rc = DAMAGED
        leave(e)
        if rc == MDB_MAP_RESIZED:       # another process has grown the file; nothing is written
            rc = resize_map(e, 0, 0)
            if not rc:
                continue
        break
    if not rc and fsync(fd):
        rc = errno
    return rc


cdef inline int copy_file(environment *e, const char *directory) noexcept nogil:
    """Copy into a directory without a data.mdb. The copy gets that name once it is synced."""
    cdef char path[PATH_SIZE]
    cdef char unfinished[PATH_SIZE]
    cdef int fd, rc
    if snprintf(path, PATH_SIZE, b"%s/data.mdb", directory) >= PATH_SIZE:
        return ENAMETOOLONG
    if snprintf(unfinished, PATH_SIZE, b"%s/unfinished.XXXXXX", directory) >= PATH_SIZE:
        return ENAMETOOLONG
    if access(path, F_OK) == 0:
        return EEXIST
    fd = mkostemp(unfinished, O_CLOEXEC)     # with mode 0600
    if fd < 0:
        return errno
    rc = write_copy(e, fd)
    if close(fd) and not rc:
        rc = errno
    if not rc and link(unfinished, path):
        rc = errno
    unlink(unfinished)
    if rc:
        return rc
    rc = sync_names(directory)
    if rc:
        unlink(path)
    return rc
