"""Declares the parts of LMDB that the archive uses (lmdb.h documents each call)."""

from libc.stdint cimport uint8_t, uint16_t

cdef enum:
    FREE_DBI = 0            # the handle of LMDB's list of free pages
    MAIN_DBI = 1            # the handle of the names of databases


cdef extern from "lmdb.h" nogil:
    ctypedef struct MDB_env
    ctypedef struct MDB_txn
    ctypedef struct MDB_cursor
    ctypedef unsigned int MDB_dbi

    ctypedef struct MDB_val:
        size_t mv_size
        void *mv_data

    ctypedef struct MDB_stat:
        unsigned int ms_psize
        size_t ms_branch_pages
        size_t ms_leaf_pages
        size_t ms_overflow_pages
        size_t ms_entries

    ctypedef struct MDB_envinfo:
        size_t me_mapsize
        size_t me_last_pgno

    ctypedef enum MDB_cursor_op:
        MDB_FIRST
        MDB_LAST
        MDB_NEXT
        MDB_PREV
        MDB_SET
        MDB_SET_KEY
        MDB_SET_RANGE

    enum:
        MDB_NOSYNC          # environment flags
        MDB_RDONLY
        MDB_NOTLS
        MDB_NORDAHEAD
        MDB_CP_COMPACT      # copy flag
        MDB_CREATE          # database flags
        MDB_NOOVERWRITE     # write flags
        MDB_CURRENT
        MDB_RESERVE
        MDB_KEYEXIST        # return codes; others are an errno
        MDB_NOTFOUND
        MDB_PAGE_NOTFOUND
        MDB_CORRUPTED
        MDB_PANIC
        MDB_VERSION_MISMATCH
        MDB_INVALID
        MDB_MAP_FULL
        MDB_READERS_FULL
        MDB_MAP_RESIZED
        MDB_INCOMPATIBLE
        MDB_BAD_TXN
        MDB_BAD_VALSIZE
        MDB_CURSOR_FULL

    char *mdb_strerror(int code)

    int mdb_env_create(MDB_env **env)
    int mdb_env_open(MDB_env *env, const char *path, unsigned int flags, int mode)
    int mdb_env_stat(MDB_env *env, MDB_stat *stat)
    int mdb_env_info(MDB_env *env, MDB_envinfo *info)
    int mdb_env_sync(MDB_env *env, int force)
    void mdb_env_close(MDB_env *env)
    int mdb_env_copyfd2(MDB_env *env, int fd, unsigned int flags)
    int mdb_env_get_fd(MDB_env *env, int *fd)
    int mdb_env_set_mapsize(MDB_env *env, size_t size)
    int mdb_env_set_maxreaders(MDB_env *env, unsigned int readers)
    int mdb_env_set_maxdbs(MDB_env *env, MDB_dbi databases)
    int mdb_reader_check(MDB_env *env, int *dead)

    int mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned int flags, MDB_txn **txn)
    int mdb_txn_commit(MDB_txn *txn)
    void mdb_txn_abort(MDB_txn *txn)
    void mdb_txn_reset(MDB_txn *txn)
    int mdb_txn_renew(MDB_txn *txn)

    int mdb_dbi_open(MDB_txn *txn, const char *name, unsigned int flags, MDB_dbi *dbi)
    int mdb_stat(MDB_txn *txn, MDB_dbi dbi, MDB_stat *stat)
    int mdb_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value)
    int mdb_del(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value)
    int mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned int flags)

    int mdb_cursor_open(MDB_txn *txn, MDB_dbi dbi, MDB_cursor **cursor)
    void mdb_cursor_close(MDB_cursor *cursor)
    int mdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op)
    int mdb_cursor_put(MDB_cursor *cursor, MDB_val *key, MDB_val *value, unsigned int flags)
    int mdb_cursor_del(MDB_cursor *cursor, unsigned int flags)


cdef extern from "ahead.h" nogil:
    # Documented there.
    ctypedef struct ahead_list:
        size_t count

    void ahead_keys(MDB_cursor *cursor, const void *keys, size_t count, size_t size)
    bint ahead_value(MDB_cursor *cursor, ahead_list *list_)
    void ahead_ask(MDB_cursor *cursor, ahead_list *list_)
    size_t ahead_branches(MDB_cursor *cursor, MDB_val *from_, MDB_val *to)
    void ahead_heads(MDB_cursor *cursor, size_t *asked)
    void ahead_leaves(MDB_cursor *cursor, size_t *asked)


cdef extern from "presence.h" nogil:
    # Documented there.
    enum:
        PRESENCE_ABSENT

    void presence_begin(MDB_env *env, size_t uses)
    int presence_of(MDB_env *env, const void *at, size_t size)
    void presence_end()


cdef extern from "leaf.h" nogil:
    # Documented there.
    ctypedef struct leaf:
        unsigned int at
        unsigned int count

    enum:
        LEAF_STAYS

    ctypedef struct leaf_rows:
        uint16_t key_size
        uint16_t value_size
        uint16_t prefix
        uint8_t first[4]
        uint8_t behind[4]

    void leaf_of(MDB_cursor *cursor, leaf *out)
    void leaf_end(MDB_cursor *cursor)
    int leaf_drop(MDB_cursor *cursor, const leaf_rows *rows, bint unread)
    void leaf_count(MDB_cursor *cursor, size_t rows)
    const uint8_t *leaf_key(const leaf *of_, unsigned int row)
    const uint8_t *leaf_value(const leaf *of_, unsigned int row, uint16_t key_size)
    bint leaf_has(const leaf *of_, unsigned int row, uint16_t key_size, uint16_t value_size)


cdef extern from "checks.h" nogil:
    # Documented there.
    ctypedef int (*checks_work)(void *context) noexcept nogil

    int checks_attach(MDB_env *env)
    void checks_detach(MDB_env *env)
    int checks_guard(MDB_env *env, checks_work work, void *context)
    void checks_abandon(MDB_txn *txn)
