"""Envelopes that are asked for by name: their creation times and whole hashes, as items.

Functions that return int return 0 or a code as in environment.pxd.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport bsearch, qsort
from libc.string cimport memcmp, memcpy, memset

from wakumail.archive.chunks cimport find_envelope, forget_chunk
from wakumail.archive.environment cimport environment
from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *
from wakumail.archive.scanner cimport hit, join_hits, reserve_one, seek
from wakumail.base.keccak cimport keccak256_many, keccak_message
from wakumail.waku.envelope cimport HASH_BLOCK

cdef enum:
    MAX_FINDING_ROWS = 65536    # of `times`, 2 to 10 ms


cdef struct naming:
    environment *env
    MDB_txn *txn
    const uint8_t *items
    size_t count
    uint8_t *absent             # room for all items: those that are not stored
    size_t absent_count

    size_t max_bytes            # of the envelopes
    size_t taken                # items that are dealt with
    hit *found                  # the envelopes, in the map; the caller frees it
    size_t found_count
    size_t found_room
    size_t size                 # bytes of them
    uint8_t *out                # for copy_found: room for `size` bytes

    MDB_cursor *times           # for close_naming
    MDB_cursor *chunks
    chunk recent


cdef inline void note_absent(naming *n, const uint8_t *item) noexcept nogil:
    memcpy(n.absent + n.absent_count * ITEM_SIZE, item, ITEM_SIZE)
    n.absent_count += 1


cdef inline int find_row(MDB_cursor *times, const uint8_t *item, MDB_val *value) noexcept nogil:
    """Find the row of `times` of an item; MDB_NOTFOUND if there is none."""
    cdef MDB_val key = value_of(item, TIME_KEY)
    cdef int rc = mdb_cursor_get(times, &key, value, MDB_SET_KEY)
    if rc:
        return rc
    return 0 if value.mv_size == TIME_VALUE else MDB_CORRUPTED


cdef inline int find_absent(void *context) noexcept nogil:
    """Note the items that have no row."""
    cdef naming *n = <naming *> context
    cdef MDB_val value
    cdef size_t i
    cdef int rc = mdb_cursor_open(n.txn, n.env.times, &n.times)
    for i in range(n.count):
        if rc:
            return rc
        rc = find_row(n.times, n.items + i * ITEM_SIZE, &value)
        if rc == MDB_NOTFOUND:
            note_absent(n, n.items + i * ITEM_SIZE)
            rc = 0
    return rc


cdef inline int take_envelope(naming *n, const keccak_message *message, const uint8_t *item,
                              const uint8_t *digest) noexcept nogil:
    """Take an envelope, or note that the item is absent; MDB_NOTFOUND if there is no room."""
    cdef size_t size = message.size[0]
    cdef int rc
    if size and memcmp(digest, item + 4, HASH_PREFIX) != 0:
        return MDB_CORRUPTED
    if size == 0 or memcmp(digest, item + 4, 32) != 0:
        note_absent(n, item)
    else:
        if n.found_count and n.size + size > n.max_bytes:
            return MDB_NOTFOUND
        rc = reserve_one(<void **> &n.found, &n.found_room, n.found_count, sizeof(hit))
        if rc:
            return rc
        n.found[n.found_count].data, n.found[n.found_count].size = message.part[0], size
        n.found_count += 1
        n.size += size
    n.taken += 1
    return 0


cdef inline int look_up(naming *n, const uint8_t *item, keccak_message *message) noexcept nogil:
    """Point a message at the envelope of an item; it stays empty if there is none."""
    cdef MDB_val value
    cdef int rc = find_row(n.times, item, &value)
    memset(message, 0, sizeof(message[0]))
    if rc:
        return 0 if rc == MDB_NOTFOUND else rc
    return find_envelope(n.chunks, &n.recent, get32(item) // DAY,
                         get48(<const uint8_t *> value.mv_data + 4), &message.part[0],
                         &message.size[0])


cdef inline int find_envelopes(void *context) noexcept nogil:
    """Find the envelopes of the items, in their order, as long as there is room for them."""
    cdef naming *n = <naming *> context
    cdef keccak_message[HASH_BLOCK] messages
    cdef uint8_t[HASH_BLOCK * 32] digests
    cdef const uint8_t *items
    cdef size_t count, i
    cdef int rc = mdb_cursor_open(n.txn, n.env.times, &n.times)
    if not rc:
        rc = mdb_cursor_open(n.txn, n.env.chunks, &n.chunks)
    forget_chunk(&n.recent)
    while not rc and n.taken < n.count:
        items = n.items + n.taken * ITEM_SIZE
        count = n.count - n.taken if n.count - n.taken < HASH_BLOCK else HASH_BLOCK
        for i in range(count):
            rc = look_up(n, items + i * ITEM_SIZE, &messages[i])
            if rc:
                return rc
        keccak256_many(messages, count, digests)
        for i in range(count):
            rc = take_envelope(n, &messages[i], items + i * ITEM_SIZE, digests + 32 * i)
            if rc:
                break
    return 0 if rc == MDB_NOTFOUND else rc


cdef inline int copy_found(void *context) noexcept nogil:
    """Copy the envelopes out of the map, to `out`."""
    cdef naming *n = <naming *> context
    join_hits(n.out, n.found, n.found_count)
    return 0


cdef inline void close_naming(void *question) noexcept nogil:
    """Close the cursors, before the transaction ends."""
    cdef naming *n = <naming *> question
    if n.times != NULL:
        mdb_cursor_close(n.times)
    if n.chunks != NULL:
        mdb_cursor_close(n.chunks)
    n.times = n.chunks = NULL


cdef struct finding:            # envelopes asked for by their hashes and a range of times
    environment *env
    MDB_txn *txn
    uint32_t first              # created, both inclusive
    uint32_t last
    uint8_t *hashes             # whole ones; they are sorted here, once it has to be
    size_t count
    size_t next                 # of the hashes: all before were found, as long as none is sorted
    bint is_sorted
    uint8_t *items              # room for `count`
    size_t found
    size_t rows                 # of `times` that were looked at
    MDB_cursor *times           # for close_finding


cdef inline int hash_order(const void *one, const void *other) noexcept nogil:
    return memcmp(one, other, HASH_PREFIX)


cdef inline const uint8_t *find_hash(finding *f, const uint8_t *hash) noexcept nogil:
    """Find a hash by its first half. Most are asked for in the order of the rows."""
    cdef const uint8_t *next = f.hashes + 32 * f.next
    if not f.is_sorted:
        if memcmp(next, hash, HASH_PREFIX) == 0:
            f.next += 1
            return next
        f.is_sorted = True
        qsort(f.hashes, f.count, 32, &hash_order)
    return <const uint8_t *> bsearch(hash, f.hashes, f.count, 32, &hash_order)


cdef inline int find_hashes(void *context) noexcept nogil:
    """Find the hashes among the first rows of the range."""
    cdef finding *f = <finding *> context
    cdef uint8_t bound[TIME_KEY]
    cdef MDB_val key, value
    cdef const uint8_t *at
    cdef const uint8_t *hash
    cdef int rc = mdb_cursor_open(f.txn, f.env.times, &f.times)
    memset(bound, 0, TIME_KEY)
    put32(bound, f.first)
    if not rc:
        rc = seek(f.times, &key, &value, bound, TIME_KEY)
    while not rc and f.found < f.count and f.rows < MAX_FINDING_ROWS:
        f.rows += 1
        if key.mv_size != TIME_KEY:
            return MDB_CORRUPTED
        at = <const uint8_t *> key.mv_data
        if get32(at) > f.last:
            break
        hash = find_hash(f, at + 4)
        if hash != NULL:
            memcpy(f.items + f.found * ITEM_SIZE, at, 4)
            memcpy(f.items + f.found * ITEM_SIZE + 4, hash, 32)
            f.found += 1
        rc = mdb_cursor_get(f.times, &key, &value, MDB_NEXT)
    return 0 if rc == MDB_NOTFOUND else rc


cdef inline void close_finding(void *question) noexcept nogil:
    """Close the cursor, before the transaction ends."""
    cdef finding *f = <finding *> question
    if f.times != NULL:
        mdb_cursor_close(f.times)
    f.times = NULL
