"""The codes of environment.pxd: those of a damaged file, and a text for each."""

from libc.stdint cimport uint32_t

from wakumail.archive.environment cimport (
    CHECKS_EMPTY, CHECKS_IRREGULAR, CHECKS_METAS, CLOSED, DAMAGED, FOREIGN, FORKED, LOCKS_APART,
    LOCKS_NO_MEMORY, SUMS_DIFFER, TORN, UNKNOWN_FORMAT)
from wakumail.archive.layout cimport FORMAT
from wakumail.archive.lmdb cimport *


cdef inline bint is_damage(int rc) noexcept nogil:
    """True for a code that says that the file is damaged. MDB_NOTFOUND: a row is missing."""
    return (rc == DAMAGED or rc == CHECKS_METAS or rc == SUMS_DIFFER or rc == MDB_CORRUPTED
            or rc == MDB_NOTFOUND or rc == MDB_PAGE_NOTFOUND or rc == MDB_BAD_TXN
            or rc == MDB_CURSOR_FULL or rc == MDB_BAD_VALSIZE)


cdef inline str explain(int rc, str path, uint32_t format):
    """Say why the archive at `path` refuses, and what to do. `format` is that of its file."""
    if rc == CLOSED:
        return f"{path} is closed"
    if rc == FORKED:
        return f"{path} was opened before a fork; open it in each process"
    if rc == FOREIGN or rc == MDB_INVALID or rc == MDB_VERSION_MISMATCH:
        return f"{path}/data.mdb is not an archive of wakumail"
    if rc == UNKNOWN_FORMAT:
        return (f"{path} has format {format}, this version reads format {FORMAT}; with the version"
                " that made it: `wakumail archive export FILE --datadir OLD`, then with this one:"
                " `wakumail archive import FILE --datadir NEW`")
    if rc == TORN:
        return f"{path}/data.mdb is torn: its end is missing; restore a backup"
    if rc == CHECKS_EMPTY:
        return f"{path}/data.mdb is empty; if it held envelopes, restore a backup"
    if rc == CHECKS_IRREGULAR:
        return f"{path}: data.mdb or lock.mdb is not a regular file"
    if rc == CHECKS_METAS:
        return (f"{path} is damaged: the meta pages of data.mdb do not fit together, so the last"
                " commits may be missing; restore a backup")
    if rc == SUMS_DIFFER:
        return (f"{path} is damaged: its sums do not fit its envelopes; export it and import that"
                " into a new archive, or restore a backup")
    if is_damage(rc) or rc == MDB_INCOMPATIBLE:
        return f"{path} is damaged; restore a backup"
    if rc == LOCKS_NO_MEMORY:
        return f"{path}: the system gives no shared memory for its locks (shmget)"
    if rc == LOCKS_APART:
        return (f"{path} is open in another container, by another user or by another program; "
                f"all that open it need the same IPC namespace")
    if rc == MDB_PANIC:
        return f"{path}: a write failed half-way; restart the process"
    return f"{path}: {mdb_strerror(rc).decode()}"
