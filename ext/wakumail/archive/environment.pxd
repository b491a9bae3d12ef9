"""One LMDB environment, which all threads of this process share.

Transactions hold the gate shared. A new map size and closing need that there is no transaction, so
they hold it exclusively. A thread must not hold the GIL while it waits for the gate, because a
reader inside may want the GIL. Functions that return int return 0, an LMDB code, an errno, or one
of the codes below.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free
from libc.string cimport strdup
from posix.unistd cimport getpid

from wakumail.archive.horizon cimport write_horizon
from wakumail.archive.layout cimport FORMAT, get32, put32, value_of
from wakumail.archive.lmdb cimport *
from wakumail.archive.next_sequence cimport write_next_sequence
from wakumail.base.pthread cimport *
from wakumail.archive.resident cimport (
    MAX_RESIDENT_READING, close_residence, give_back, is_due, open_residence, residence)
from wakumail.archive.sieves cimport drop_sieves, sieves

cdef extern from *:
    """
    #include <pthread.h>
    /* By default glibc lets readers pass a waiting writer, which could then wait forever. */
    static int gate_init(pthread_rwlock_t *gate) {
        pthread_rwlockattr_t attributes;
        int rc = pthread_rwlockattr_init(&attributes);
        if (rc)
            return rc;
    #ifdef PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP
        pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    #endif
        rc = pthread_rwlock_init(gate, &attributes);
        pthread_rwlockattr_destroy(&attributes);
        return rc;
    }
    """
    int gate_init(pthread_rwlock_t *gate) nogil

cdef enum:
    CLOSED = -1             # codes of our own, as in our headers; LMDB's lie below -30000
    FORKED = -2
    FOREIGN = -3
    UNKNOWN_FORMAT = -4
    TORN = -5
    SUMS_DIFFER = -9        # a sum does not fit the rows that it is of

    MAX_READERS = 512       # transactions of all processes at once
    MAX_IDLE = 32           # ended read transactions kept for the next readers
    MODE = 0o600            # of data.mdb and lock.mdb

cdef extern from "checks.h":
    enum:
        DAMAGED "CHECKS_LEAPT"  # damage ended the work in its middle
        CHECKS_EMPTY            # data.mdb is empty, and we may not write
        CHECKS_IRREGULAR        # data.mdb or lock.mdb is not a regular file
        CHECKS_METAS            # opening found meta pages that do not fit together

cdef extern from "locks.h":
    enum:
        LOCKS_NO_MEMORY     # codes too, documented there
        LOCKS_APART


cdef struct pin:            # a read transaction that outlives the call that began it
    MDB_txn *txn            # NULL before it begins and after it ended
    pin *next


cdef struct environment:
    MDB_env *env            # NULL before opening and after closing
    MDB_dbi meta            # the databases, see layout.pxd
    MDB_dbi days
    MDB_dbi topics
    MDB_dbi times
    MDB_dbi postings
    MDB_dbi chunks
    MDB_dbi arrivals
    MDB_dbi sums
    uint32_t format         # of the file, once it was checked
    int pid                 # of the process that opened it: LMDB does not survive a fork
    char *path              # of the directory, and how it was opened: see reopen
    unsigned int flags
    size_t map_size
    size_t openings
    bint lost               # its files are closed after a failure; who comes next opens them again
    bint unsettled          # the next commit writes its meta page though nothing has changed
    pthread_rwlock_t gate
    pthread_mutex_t idle_lock
    MDB_txn *idle[MAX_IDLE]
    int idle_count
    pin *pins
    pthread_mutex_t resident_lock
    residence resident
    sieves sieves
    bint always_ahead       # for tests: see Archive._read_ahead_always
    size_t written          # index rows since a commit last checked what is resident


cdef inline int open_files(environment *e) noexcept nogil:
    """Open or create the files; the system does not read ahead, for answers lie scattered."""
    cdef int dead
    cdef int rc = mdb_env_create(&e.env)
    if rc:
        e.env = NULL
        return rc
    rc = mdb_env_set_mapsize(e.env, e.map_size)
    if not rc:
        rc = mdb_env_set_maxreaders(e.env, MAX_READERS)
    if not rc:
        rc = mdb_env_set_maxdbs(e.env, 8)
    if not rc:
        rc = mdb_env_open(e.env, e.path, e.flags | MDB_NOTLS | MDB_NORDAHEAD, MODE)
    if not rc:
        rc = checks_attach(e.env)
    if not rc:
        rc = mdb_reader_check(e.env, &dead)
    if rc:
        checks_detach(e.env)
        mdb_env_close(e.env)
        e.env = NULL
    else:
        e.openings += 1
        open_residence(&e.resident)
    return rc


cdef inline int open_environment(environment *e, const char *path, unsigned int flags,
                                 size_t map_size) noexcept nogil:
    """Open an environment for the first time."""
    free(e.path)
    e.path = strdup(path)
    if e.path == NULL:
        return ENOMEM
    e.pid = getpid()
    e.flags, e.map_size = flags, map_size
    return open_files(e)


cdef struct metas_look:
    MDB_env *env
    MDB_envinfo info


cdef inline int look_at_metas(void *context) noexcept nogil:
    cdef metas_look *look = <metas_look *> context
    return mdb_env_info(look.env, &look.info)


cdef inline int read_info(environment *e, MDB_envinfo *info) noexcept nogil:
    """Get the sizes of the file and the map; DAMAGED if the meta pages cannot be read."""
    cdef metas_look look
    cdef int rc
    look.env = e.env
    rc = checks_guard(e.env, &look_at_metas, &look)
    info[0] = look.info
    return rc


cdef inline int write_format(environment *e, MDB_txn *txn) noexcept nogil:
    cdef uint8_t number[4]
    cdef MDB_val key = value_of(b"format", 6)
    cdef MDB_val value = value_of(number, 4)
    put32(number, FORMAT)
    return mdb_put(txn, e.meta, &key, &value, 0)


cdef inline int create_tables(environment *e, MDB_txn *txn) noexcept nogil:
    cdef int rc = mdb_dbi_open(txn, b"meta", MDB_CREATE, &e.meta)
    if not rc:
        rc = write_format(e, txn)
    if not rc:
        rc = write_next_sequence(txn, e.meta, 0)
    return rc if rc else write_horizon(txn, e.meta, 0)


cdef inline int check_format(environment *e, MDB_txn *txn) noexcept nogil:
    cdef MDB_val value
    cdef MDB_val key = value_of(b"format", 6)
    cdef int rc = mdb_dbi_open(txn, b"meta", 0, &e.meta)
    if not rc:
        rc = mdb_get(txn, e.meta, &key, &value)
    if rc:
        return FOREIGN if rc == MDB_NOTFOUND or rc == MDB_INCOMPATIBLE else rc
    if value.mv_size != 4:
        return FOREIGN
    e.format = get32(<const uint8_t *> value.mv_data)
    return 0 if e.format == FORMAT else UNKNOWN_FORMAT


cdef inline int open_tables_in(environment *e, MDB_txn *txn, bint readonly) noexcept nogil:
    cdef MDB_stat stat
    cdef unsigned int flags = 0 if readonly else MDB_CREATE
    cdef int rc = mdb_stat(txn, MAIN_DBI, &stat)
    if not rc:
        if stat.ms_entries == 0 and not readonly:
            rc = create_tables(e, txn)
        else:
            rc = check_format(e, txn)
    if not rc:
        rc = mdb_dbi_open(txn, b"days", flags, &e.days)
    if not rc:
        rc = mdb_dbi_open(txn, b"topics", flags, &e.topics)
    if not rc:
        rc = mdb_dbi_open(txn, b"times", flags, &e.times)
    if not rc:
        rc = mdb_dbi_open(txn, b"postings", flags, &e.postings)
    if not rc:
        rc = mdb_dbi_open(txn, b"chunks", flags, &e.chunks)
    if not rc:
        rc = mdb_dbi_open(txn, b"arrivals", flags, &e.arrivals)
    if not rc:
        rc = mdb_dbi_open(txn, b"sums", flags, &e.sums)
    return FOREIGN if rc == MDB_NOTFOUND else rc


cdef struct tables_opening:
    environment *env
    MDB_txn *txn
    bint readonly


cdef inline int do_open_tables(void *context) noexcept nogil:
    cdef tables_opening *opening = <tables_opening *> context
    cdef int rc = open_tables_in(opening.env, opening.txn, opening.readonly)
    if rc:
        mdb_txn_abort(opening.txn)
        return rc
    return mdb_txn_commit(opening.txn)


cdef inline int open_tables(environment *e, bint readonly) noexcept nogil:
    """Open the databases. In an empty file create them, all or none."""
    cdef MDB_envinfo info
    cdef tables_opening opening
    cdef int rc = read_info(e, &info)
    if rc:
        return rc
    opening.env, opening.readonly = e, readonly
    rc = mdb_txn_begin(e.env, NULL, MDB_RDONLY if readonly else 0, &opening.txn)
    if rc:
        return rc
    rc = checks_guard(e.env, &do_open_tables, &opening)
    if rc == DAMAGED and readonly:
        mdb_txn_abort(opening.txn)
    elif rc == DAMAGED:
        checks_abandon(opening.txn)
    return rc


cdef inline void close_files(environment *e) noexcept nogil:
    """End all transactions of this process, none of which is at work, and close."""
    if e.env == NULL:
        return
    while e.idle_count:
        e.idle_count -= 1
        mdb_txn_abort(e.idle[e.idle_count])
    while e.pins != NULL:
        mdb_txn_abort(e.pins.txn)
        e.pins.txn = NULL
        e.pins = e.pins.next
    close_residence(&e.resident)
    checks_detach(e.env)
    mdb_env_close(e.env)
    e.env = NULL


cdef inline void close_environment(environment *e) noexcept nogil:
    """Wait for the transactions of this process and close. A second call does nothing."""
    if e.path == NULL or getpid() != e.pid:
        return
    pthread_rwlock_wrlock(&e.gate)
    close_files(e)
    drop_sieves(&e.sieves)
    free(e.path)
    e.path = NULL
    e.lost = False
    pthread_rwlock_unlock(&e.gate)


cdef inline int without_files(environment *e) noexcept nogil:
    """The code for those who come while the files are closed."""
    return MDB_PANIC if e.lost else CLOSED


cdef inline int reopen(environment *e, size_t openings) noexcept nogil:
    """Close and open it again, unless another thread has: it was opened `openings` times before.

    LMDB gives an environment up (MDB_PANIC) when it could not write a meta page, for that page may
    be on disk or not. It may also be in memory only, as if it were committed. So the next commit
    writes one of its own, even if it has nothing else to write: what it confirms is on disk then.
    """
    cdef MDB_envinfo info
    cdef int rc = 0
    pthread_rwlock_wrlock(&e.gate)
    if e.path == NULL:
        rc = CLOSED
    elif e.openings == openings:
        if e.env != NULL and read_info(e, &info) == 0:
            e.map_size = info.me_mapsize
        close_files(e)
        rc = open_files(e)
        if not rc:
            rc = open_tables(e, True)
            if rc:
                close_files(e)
        e.lost = rc != 0
        e.unsettled = True
    pthread_rwlock_unlock(&e.gate)
    return rc


cdef inline int resize_map(environment *e, size_t seen, size_t size) noexcept nogil:
    """Map `size` bytes (0: the size that the file asks for) instead of `seen`.

    Does nothing if another thread has changed the size meanwhile. After a failure there may be no
    map at all, so the files are closed; who comes next opens them again.
    """
    cdef MDB_envinfo info
    cdef int rc = 0
    pthread_rwlock_wrlock(&e.gate)
    if e.env == NULL:
        rc = without_files(e)
    else:
        rc = read_info(e, &info)
        if not rc and (not seen or info.me_mapsize == seen):
            rc = mdb_env_set_mapsize(e.env, size)
            if not rc:
                rc = checks_attach(e.env)
            e.resident.map = NULL
            if rc:
                e.map_size = size if size else info.me_mapsize
                close_files(e)
                e.lost = True
    pthread_rwlock_unlock(&e.gate)
    return rc


cdef inline int enter(environment *e) noexcept nogil:
    """Enter the gate. After 0 the caller has to `leave`."""
    cdef int rc = 0
    if e.pid and getpid() != e.pid:
        return FORKED
    pthread_rwlock_rdlock(&e.gate)
    if e.env == NULL:
        rc = without_files(e)
    if rc:
        pthread_rwlock_unlock(&e.gate)
    return rc


cdef inline void leave(environment *e) noexcept nogil:
    pthread_rwlock_unlock(&e.gate)


cdef inline void bound_resident(environment *e, size_t bound) noexcept nogil:
    """Give mapped pages back, within the gate; nothing to do while another thread does so."""
    if pthread_mutex_trylock(&e.resident_lock) == 0:
        give_back(&e.resident, e.env, bound)
        pthread_mutex_unlock(&e.resident_lock)


cdef inline MDB_txn *take_idle(environment *e) noexcept nogil:
    """An ended read transaction, or NULL if there is none."""
    cdef MDB_txn *txn = NULL
    pthread_mutex_lock(&e.idle_lock)
    if e.idle_count:
        e.idle_count -= 1
        txn = e.idle[e.idle_count]
    pthread_mutex_unlock(&e.idle_lock)
    return txn


cdef inline int take_reader(environment *e, MDB_txn **txn) noexcept nogil:
    """Get a read transaction: an idle one, or a new one."""
    cdef int dead, rc
    bound_resident(e, MAX_RESIDENT_READING)
    txn[0] = take_idle(e)
    if txn[0] != NULL:
        rc = mdb_txn_renew(txn[0])
        if rc:
            mdb_txn_abort(txn[0])
            txn[0] = NULL
        return rc
    rc = mdb_txn_begin(e.env, NULL, MDB_RDONLY, txn)
    if rc == MDB_READERS_FULL and mdb_reader_check(e.env, &dead) == 0 and dead:
        rc = mdb_txn_begin(e.env, NULL, MDB_RDONLY, txn)
    return rc


cdef inline int begin(environment *e, bint write, MDB_txn **txn) noexcept nogil:
    """Enter the gate and begin a transaction. After 0 end it, with end_read if it reads."""
    cdef MDB_envinfo info
    cdef bint reopened = False
    cdef size_t openings
    cdef int rc
    while True:
        openings = e.openings
        rc = enter(e)
        if rc == 0:
            rc = read_info(e, &info)    # no page of the file is read while LMDB holds a lock
            if rc == 0:
                rc = mdb_txn_begin(e.env, NULL, 0, txn) if write else take_reader(e, txn)
            if rc == 0:
                return 0
            leave(e)
        if rc == MDB_MAP_RESIZED:       # another process has grown the file
            rc = resize_map(e, 0, 0)
        if rc == MDB_PANIC and not reopened:
            reopened = True
            rc = reopen(e, openings)
        if rc:
            return rc


cdef inline int begin_at_once(environment *e, MDB_txn **txn) noexcept nogil:
    """As begin, to read, for a thread that may not wait: PRESENCE_ABSENT where it would have to.

    That is where the map is changed, or is due to be given back, and where no ended transaction is
    left to begin again.
    """
    cdef int rc = PRESENCE_ABSENT
    if (e.pid and getpid() != e.pid) or pthread_rwlock_tryrdlock(&e.gate):
        return rc
    if e.env != NULL and not is_due(&e.resident, MAX_RESIDENT_READING):
        txn[0] = take_idle(e)
        if txn[0] != NULL:
            rc = mdb_txn_renew(txn[0])
            if rc == 0:
                return 0
            mdb_txn_abort(txn[0])
    pthread_rwlock_unlock(&e.gate)
    return PRESENCE_ABSENT


cdef inline void end_read(environment *e, MDB_txn *txn) noexcept nogil:
    mdb_txn_reset(txn)
    pthread_mutex_lock(&e.idle_lock)
    if e.idle_count < MAX_IDLE:
        e.idle[e.idle_count] = txn
        e.idle_count += 1
        txn = NULL
    pthread_mutex_unlock(&e.idle_lock)
    mdb_txn_abort(txn)                  # does nothing for NULL
    leave(e)


cdef inline int pin_read(environment *e, pin *p) noexcept nogil:
    """Begin a read transaction that does not hold the gate; use it between enter and leave.

    Cursors point into the map, so open and close them in there too. The transaction itself does
    not, so the map can be made again meanwhile. Closing the environment ends the transaction.
    """
    cdef int rc = begin(e, False, &p.txn)
    if rc:
        p.txn = NULL
        return rc
    pthread_mutex_lock(&e.idle_lock)
    p.next = e.pins
    e.pins = p
    pthread_mutex_unlock(&e.idle_lock)
    leave(e)
    return 0


cdef inline void unpin(environment *e, pin *p) noexcept nogil:
    """End a pinned transaction. A second call does nothing."""
    cdef pin **at = &e.pins
    if getpid() != e.pid:
        return
    pthread_rwlock_rdlock(&e.gate)
    pthread_mutex_lock(&e.idle_lock)
    if p.txn != NULL:
        while at[0] != p:
            at = &at[0].next
        at[0] = p.next
        mdb_txn_abort(p.txn)
        p.txn = NULL
    pthread_mutex_unlock(&e.idle_lock)
    pthread_rwlock_unlock(&e.gate)
