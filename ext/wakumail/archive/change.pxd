"""A change of the rows: one write transaction, committed as a whole or not at all.

Functions return 0 or a code as in environment.pxd.
"""

from wakumail.archive.environment cimport (
    DAMAGED, begin, environment, leave, read_info, resize_map, write_format)
from wakumail.archive.lmdb cimport *

ctypedef int (*writing)(void *work, MDB_txn *txn, bint *changed) noexcept nogil


cdef struct change_call:        # the call of a `writing`
    writing change
    void *work
    MDB_txn *txn
    bint changed
    environment *env


cdef inline int settle(environment *e, MDB_txn *txn, bint *changed) noexcept nogil:
    """Let a transaction that has changed nothing write its meta page nevertheless: see reopen."""
    changed[0] = True
    return write_format(e, txn)


cdef inline int make_change(void *context) noexcept nogil:
    """Call the `writing`, then commit its changes; both read the map."""
    cdef change_call *call = <change_call *> context
    cdef int rc = call.change(call.work, call.txn, &call.changed)
    if not rc and not call.changed and call.env.unsettled:
        rc = settle(call.env, call.txn, &call.changed)
    if rc or not call.changed:
        mdb_txn_abort(call.txn)
        return rc
    return mdb_txn_commit(call.txn)


cdef inline int write(environment *e, writing change, void *work) noexcept nogil:
    """Run `change` in a transaction and commit its changes; if it fails, nothing is committed.

    If the map is too small it grows, and `change` runs again, from the beginning.
    """
    cdef MDB_envinfo info
    cdef change_call call
    cdef int dead, rc
    call.change, call.work, call.env = change, work, e
    while True:
        rc = begin(e, True, &call.txn)
        if rc:
            return rc
        call.changed = False
        rc = read_info(e, &info)
        if not rc:
            rc = mdb_reader_check(e.env, &dead)     # a killed reader keeps old pages in use
        if rc:
            mdb_txn_abort(call.txn)
        else:
            rc = checks_guard(e.env, &make_change, &call)
            if rc == DAMAGED:
                checks_abandon(call.txn)
            elif rc == 0 and call.changed:
                e.unsettled = False
        leave(e)
        if rc != MDB_MAP_FULL:
            return rc
        rc = resize_map(e, info.me_mapsize, 2 * info.me_mapsize)
        if rc:
            return rc
