"""A range of envelopes walked in cells: whole days and minutes by their sums, others one by one.

Envelopes have the order (created, hash), with all 32 bytes of the hash. The walk goes into a day or
a minute only if it has more than `most_of_day` or `most_of_minute` envelopes, or lies in the range
in part. So nothing is hashed but the envelopes of the minutes at the ends, and of minutes with
more. Rows out of order are damage: a walk ends, whatever the file has.
Functions that return int return 0, STOP, or a code as in environment.pxd.
"""

from libc.stdint cimport UINT32_MAX, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from wakumail.archive.chunks cimport forget_chunk
from wakumail.archive.environment cimport SUMS_DIFFER, environment
from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *
from wakumail.archive.scanner cimport STOP, seek
from wakumail.archive.sums cimport *
from wakumail.archive.whole_hashes cimport add_row, hash_block, hash_rows
from wakumail.waku.envelope cimport HASH_BLOCK

cdef enum:
    BEHIND_ALL = (49710 + 1) * DAY_MINUTES      # minutes up to the end of the last day


cdef struct bound:              # before the item, and behind those that are less
    uint8_t item[ITEM_SIZE]
    bint behind_all             # `item` is unset


cdef struct range_walk:
    environment *env
    MDB_txn *txn
    bound lower                 # within the range
    bound upper                 # behind it
    uint64_t most_of_day
    uint64_t most_of_minute
    # Takes the next cell, `at` its first second or its item; may return STOP.
    int (*take)(range_walk *w, const uint8_t *at, const fold *cell) noexcept nogil
    void *taker                 # for `take`
    size_t together             # rows that are hashed together, at most HASH_BLOCK
    uint64_t hashed             # bytes of envelopes

    MDB_cursor *days            # opened when first used
    MDB_cursor *sums
    MDB_cursor *times
    MDB_cursor *chunks
    chunk recent
    hash_block block


cdef inline int open_cursor(range_walk *w, MDB_dbi table, MDB_cursor **cursor) noexcept nogil:
    return 0 if cursor[0] != NULL else mdb_cursor_open(w.txn, table, cursor)


cdef inline void put_second(uint8_t *item, uint32_t created) noexcept nogil:
    memset(item, 0, ITEM_SIZE)
    put32(item, created)


cdef inline int take_block(range_walk *w, const bound *lower, const bound *upper,
                           fold *found) noexcept nogil:
    """Hash the rows of the block, and take those that lie in the range."""
    cdef const uint8_t *item
    cdef fold cell
    cdef size_t i
    cdef int rc = hash_rows(&w.block)
    if rc:
        return rc
    for i in range(w.block.count):
        w.hashed += w.block.messages[i].size[0]
        item = w.block.items + i * ITEM_SIZE
        if (memcmp(item, lower.item, ITEM_SIZE) < 0
                or not upper.behind_all and memcmp(item, upper.item, ITEM_SIZE) >= 0):
            continue
        memset(&cell, 0, sizeof(cell))
        fold_hash(&cell, item + 4)
        fold_add(found, &cell)
        rc = w.take(w, item, &cell)
        if rc:
            return rc
    w.block.count = 0
    return 0


cdef inline int walk_items(range_walk *w, const bound *lower, const bound *upper,
                           fold *found) noexcept nogil:
    """Take each envelope between the bounds; adds them to `found`."""
    cdef uint8_t last[TIME_KEY]
    cdef bint begun = False
    cdef MDB_val key, value
    cdef int rc = 0
    if lower.behind_all:
        return 0
    rc = open_cursor(w, w.env.times, &w.times)
    if not rc:
        rc = open_cursor(w, w.env.chunks, &w.chunks)
    if not rc:
        rc = seek(w.times, &key, &value, lower.item, TIME_KEY)
    w.block.count = 0
    while not rc:
        if key.mv_size != TIME_KEY or value.mv_size != TIME_VALUE:
            return MDB_CORRUPTED
        if not upper.behind_all and memcmp(key.mv_data, upper.item, TIME_KEY) > 0:
            break
        if begun and memcmp(key.mv_data, last, TIME_KEY) <= 0:
            return MDB_CORRUPTED
        memcpy(last, key.mv_data, TIME_KEY)
        begun = True
        rc = add_row(&w.block, w.chunks, &w.recent, <const uint8_t *> key.mv_data,
                     <const uint8_t *> value.mv_data)
        if not rc and w.block.count == w.together:
            rc = take_block(w, lower, upper, found)
        if not rc:
            rc = mdb_cursor_get(w.times, &key, &value, MDB_NEXT)
    if rc and rc != MDB_NOTFOUND:
        return rc
    return take_block(w, lower, upper, found)


cdef inline int walk_minute(range_walk *w, uint32_t minute, fold *found) noexcept nogil:
    """Take each envelope of a whole minute."""
    cdef bound lower, upper
    cdef uint64_t end = (<uint64_t> minute + 1) * MINUTE
    put_second(lower.item, minute * MINUTE)
    put_second(upper.item, <uint32_t> end)
    lower.behind_all, upper.behind_all = False, end >> 32 != 0
    return walk_items(w, &lower, &upper, found)


cdef inline int walk_minutes(range_walk *w, uint32_t minute, uint32_t end,
                             fold *found) noexcept nogil:
    """Take whole minutes up to, but without, `end`; adds them to `found`."""
    cdef uint8_t bytes[ITEM_SIZE]
    cdef MDB_val key, value
    cdef fold stored, items
    cdef int rc = open_cursor(w, w.env.sums, &w.sums)
    put32(bytes, minute)
    key = value_of(bytes, SUM_KEY)
    if not rc:
        rc = mdb_cursor_get(w.sums, &key, &value, MDB_SET_RANGE)
    while not rc:
        if key.mv_size != SUM_KEY or read_sum(&value, &stored):
            return MDB_CORRUPTED
        if get32(<const uint8_t *> key.mv_data) < minute:
            return MDB_CORRUPTED
        minute = get32(<const uint8_t *> key.mv_data)
        if minute >= end:
            return 0
        if stored.count > w.most_of_minute:
            memset(&items, 0, sizeof(items))
            rc = walk_minute(w, minute, &items)
            if not rc and not fold_equal(&items, &stored):
                rc = SUMS_DIFFER
        elif stored.count:
            put_second(bytes, minute * MINUTE)
            rc = w.take(w, bytes, &stored)
        fold_add(found, &stored)
        minute += 1
        if not rc:
            rc = mdb_cursor_get(w.sums, &key, &value, MDB_NEXT)
    return 0 if rc == MDB_NOTFOUND else rc


cdef inline int walk_days(range_walk *w, uint32_t day, uint32_t end) noexcept nogil:
    """Take whole days up to, but without, `end`."""
    cdef uint8_t bytes[ITEM_SIZE]
    cdef MDB_val key, value
    cdef day_totals totals
    cdef fold stored, minutes
    cdef int rc = open_cursor(w, w.env.days, &w.days)
    put16(bytes, day)
    key = value_of(bytes, DAY_KEY)
    if not rc:
        rc = mdb_cursor_get(w.days, &key, &value, MDB_SET_RANGE)
    while not rc:
        if key.mv_size != DAY_KEY or read_day(&value, &totals):
            return MDB_CORRUPTED
        if get16(<const uint8_t *> key.mv_data) < day:
            return MDB_CORRUPTED
        day = get16(<const uint8_t *> key.mv_data)
        if day >= end:
            return 0
        stored.count, stored.sum = totals.envelopes, totals.sum
        if stored.count > w.most_of_day:
            memset(&minutes, 0, sizeof(minutes))
            rc = walk_minutes(w, day * DAY_MINUTES, (day + 1) * DAY_MINUTES, &minutes)
            if not rc and not fold_equal(&minutes, &stored):
                rc = SUMS_DIFFER
        elif stored.count:
            put_second(bytes, day * DAY)
            rc = w.take(w, bytes, &stored)
        day += 1
        if not rc:
            rc = mdb_cursor_get(w.days, &key, &value, MDB_NEXT)
    return 0 if rc == MDB_NOTFOUND else rc


cdef inline int walk_whole(range_walk *w, uint32_t minute, uint32_t end) noexcept nogil:
    """Take the whole minutes up to, but without, `end`, those of whole days together."""
    cdef uint32_t day = (minute + DAY_MINUTES - 1) // DAY_MINUTES
    cdef uint32_t end_day = end // DAY_MINUTES
    cdef fold unused
    cdef int rc
    memset(&unused, 0, sizeof(unused))
    if day >= end_day:
        return walk_minutes(w, minute, end, &unused)
    rc = walk_minutes(w, minute, day * DAY_MINUTES, &unused)
    if not rc:
        rc = walk_days(w, day, end_day)
    if not rc:
        rc = walk_minutes(w, end_day * DAY_MINUTES, end, &unused)
    return rc


cdef inline uint32_t first_whole_minute(const bound *lower) noexcept nogil:
    cdef uint8_t start[ITEM_SIZE]
    cdef uint32_t minute = get32(lower.item) // MINUTE
    put_second(start, minute * MINUTE)
    return minute + (memcmp(start, lower.item, ITEM_SIZE) != 0)


cdef inline int walk_range(range_walk *w) noexcept nogil:
    """Take all cells of the range in their order. The caller closes the cursors."""
    cdef bound first, last          # of the whole minutes
    cdef fold unused
    cdef uint32_t minute, end
    cdef int rc = 0
    if (w.lower.behind_all or not w.upper.behind_all
            and memcmp(w.lower.item, w.upper.item, ITEM_SIZE) >= 0):
        return 0
    forget_chunk(&w.recent)
    memset(&unused, 0, sizeof(unused))
    minute = first_whole_minute(&w.lower)
    end = BEHIND_ALL if w.upper.behind_all else get32(w.upper.item) // MINUTE
    if minute > end:                # both bounds lie in one minute
        return walk_items(w, &w.lower, &w.upper, &unused)
    put_second(first.item, minute * MINUTE)
    first.behind_all = minute > UINT32_MAX // MINUTE
    put_second(last.item, end * MINUTE)
    last.behind_all = w.upper.behind_all
    if memcmp(first.item, w.lower.item, ITEM_SIZE) != 0:
        rc = walk_items(w, &w.lower, &first, &unused)
    if not rc:
        rc = walk_whole(w, minute, end)
    if not rc and not last.behind_all and memcmp(last.item, w.upper.item, ITEM_SIZE) != 0:
        rc = walk_items(w, &last, &w.upper, &unused)
    return rc


cdef inline void close_walk(range_walk *w) noexcept nogil:
    """Close the cursors, before the transaction ends."""
    if w.days != NULL:
        mdb_cursor_close(w.days)
    if w.sums != NULL:
        mdb_cursor_close(w.sums)
    if w.times != NULL:
        mdb_cursor_close(w.times)
    if w.chunks != NULL:
        mdb_cursor_close(w.chunks)
    w.days = w.sums = w.times = w.chunks = NULL
