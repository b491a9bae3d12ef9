"""The minute whose oldest envelopes a slice of pruning deletes, and what that does to its sum.

A minute that goes as a whole loses its row. Of one that goes in part, only the deleted envelopes
are hashed. The row's own count says beforehand which it will be. If that is wrong, so is the row,
and it stays wrong until the minute is gone: pruning does not depend on the sums.
Functions that return int return 0 or a code as in environment.pxd.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from wakumail.archive.chunks cimport forget_chunk
from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *
from wakumail.archive.sums cimport *
from wakumail.archive.whole_hashes cimport add_row, hash_block, hash_rows
from wakumail.base.sum256 cimport sum256, sum256_add, sum256_subtract
from wakumail.waku.envelope cimport HASH_BLOCK

cdef enum:
    NO_MINUTE = 0xffffffff


cdef struct pruned_minute:
    MDB_cursor *sums
    MDB_cursor *chunks
    uint32_t minute         # NO_MINUTE before the first
    bint in_part
    fold gone               # the deleted ones, if it goes in part
    chunk recent
    hash_block block        # of them, those that are not in `gone` yet


cdef inline int enter_minute(pruned_minute *m, uint32_t minute, uint64_t before,
                             uint64_t limit) noexcept nogil:
    """Begin to delete from a minute what was created `before`, at most `limit` envelopes."""
    cdef fold stored
    cdef int rc = find_sum(m.sums, minute, &stored)
    if rc and rc != MDB_NOTFOUND:
        return rc
    m.minute = minute
    m.in_part = rc == 0 and (stored.count > limit or (<uint64_t> minute + 1) * MINUTE > before)
    memset(&m.gone, 0, sizeof(m.gone))
    m.block.count = 0
    forget_chunk(&m.recent)
    return 0


cdef inline int hash_gone(pruned_minute *m) noexcept nogil:
    cdef size_t i
    cdef int rc = hash_rows(&m.block)
    if rc:
        return rc
    for i in range(m.block.count):
        fold_hash(&m.gone, m.block.items + i * ITEM_SIZE + 4)
    m.block.count = 0
    return 0


cdef inline int note_gone(pruned_minute *m, const uint8_t *key,
                          const uint8_t *value) noexcept nogil:
    """Note a row of `times` that is deleted."""
    cdef int rc
    if not m.in_part:
        return 0
    rc = add_row(&m.block, m.chunks, &m.recent, key, value)
    if not rc and m.block.count == HASH_BLOCK:
        rc = hash_gone(m)
    return rc


cdef inline int leave_minute(pruned_minute *m, bint emptied, sum256 *less) noexcept nogil:
    """End it; adds to `less` the hashes that its day has lost. `emptied`: it has no rows left."""
    cdef fold stored
    cdef int rc
    if m.minute == NO_MINUTE:
        return 0
    rc = find_sum(m.sums, m.minute, &stored)
    if rc or not emptied and not m.in_part:
        return 0 if rc == MDB_NOTFOUND else rc
    if emptied:
        sum256_add(less, &stored.sum)
        return mdb_cursor_del(m.sums, 0)
    rc = hash_gone(m)
    if rc:
        return rc
    sum256_add(less, &m.gone.sum)
    if stored.count < m.gone.count:
        return 0
    stored.count -= m.gone.count
    sum256_subtract(&stored.sum, &m.gone.sum)
    return put_sum(m.sums, m.minute, &stored, True)
