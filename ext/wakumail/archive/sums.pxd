"""The rows of `sums`: for each minute, the number of its envelopes and the sum of their hashes.

Functions that return int return 0 or a code as in environment.pxd. To a commit, a row of another
size is an empty set: the archive takes envelopes even if its sums are damaged.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *
from wakumail.base.sum256 cimport *


cdef struct fold:           # a set of envelopes
    uint64_t count
    sum256 sum              # of their hashes


cdef inline int read_sum(const MDB_val *value, fold *out) noexcept nogil:
    """Read a value of `sums`; MDB_CORRUPTED if it has another size."""
    cdef const uint8_t *at = <const uint8_t *> value.mv_data
    if value.mv_size != SUM_VALUE:
        return MDB_CORRUPTED
    out.count = get32(at)
    sum256_read(&out.sum, at + 4)
    return 0


cdef inline void fold_hash(fold *f, const uint8_t *hash) noexcept nogil:
    """Add one envelope."""
    cdef sum256 number
    sum256_read(&number, hash)
    sum256_add(&f.sum, &number)
    f.count += 1


cdef inline void fold_add(fold *f, const fold *more) noexcept nogil:
    f.count += more.count
    sum256_add(&f.sum, &more.sum)


cdef inline bint fold_equal(const fold *one, const fold *other) noexcept nogil:
    return one.count == other.count and sum256_equal(&one.sum, &other.sum)


cdef inline int put_sum(MDB_cursor *sums, uint32_t minute, const fold *f,
                        bint found) noexcept nogil:
    """Write the row of a minute; `found`: the cursor is there, which saves the search."""
    cdef uint8_t key_bytes[SUM_KEY]
    cdef uint8_t value_bytes[SUM_VALUE]
    cdef MDB_val key = value_of(key_bytes, SUM_KEY)
    cdef MDB_val value = value_of(value_bytes, SUM_VALUE)
    put32(key_bytes, minute)
    put32(value_bytes, <uint32_t> f.count)
    sum256_write(&f.sum, value_bytes + 4)
    return mdb_cursor_put(sums, &key, &value, MDB_CURRENT if found else 0)


cdef inline int find_sum(MDB_cursor *sums, uint32_t minute, fold *out) noexcept nogil:
    """Go to the row of a minute and read it; MDB_NOTFOUND if there is none."""
    cdef uint8_t key_bytes[SUM_KEY]
    cdef MDB_val value
    cdef MDB_val key = value_of(key_bytes, SUM_KEY)
    cdef int rc
    put32(key_bytes, minute)
    rc = mdb_cursor_get(sums, &key, &value, MDB_SET_KEY)
    if rc:
        return rc
    if read_sum(&value, out):
        memset(out, 0, sizeof(out[0]))
    return 0


cdef inline int add_to_minute(MDB_cursor *sums, uint32_t minute, fold *added) noexcept nogil:
    """Add the stored sum of a minute to `added`, and store that."""
    cdef fold old
    cdef int rc = find_sum(sums, minute, &old)
    if rc and rc != MDB_NOTFOUND:
        return rc
    if rc == 0:
        fold_add(added, &old)
    return put_sum(sums, minute, added, rc == 0)
