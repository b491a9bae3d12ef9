"""Pruning: deletes the oldest envelopes, a slice at a time. Later commits use their pages.

An envelope is gone when its rows in the indexes are deleted. Its bytes lie in a chunk with other
envelopes of its day that arrived with it. The chunk is deleted when its newest envelope is older
than all that remain, at the latest after its day. Until then `days` counts its bytes. In a sorted
day every topic's chunks reach over the whole day: they go after it.

A slice is bounded, so that commits of others need not wait long. What it leaves goes first in the
next one.
"""

from libc.stdint cimport UINT32_MAX, UINT64_MAX, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from wakumail.waku.envelope cimport created_of, envelope_fields, read_envelope
from wakumail.archive.change cimport write
from wakumail.archive.clock cimport monotonic_ns
from wakumail.archive.environment cimport environment
from wakumail.archive.horizon cimport raise_horizon
from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *
from wakumail.archive.pruned_day cimport *
from wakumail.archive.pruned_minute cimport *
from wakumail.base.rlp cimport RLP_OK
from wakumail.base.sum256 cimport sum256_subtract

cdef enum:
    CHUNKS_PER_SLICE = 512      # 4 MiB: some milliseconds
    SLICE_NS = 20000000         # after which a slice ends, if it waits for the disk


cdef inline int drop_posting(pruning *p, const uint8_t *time_key,
                             const uint8_t *topic) noexcept nogil:
    """Delete the posting of a row of `times`."""
    cdef uint8_t key_bytes[POSTING_KEY]
    cdef MDB_val key = value_of(key_bytes, POSTING_KEY)
    cdef MDB_val value
    cdef int rc
    put_posting_key(key_bytes, get32(time_key), topic, time_key + 4)
    rc = mdb_cursor_get(p.postings, &key, &value, MDB_SET)
    if not rc:
        rc = mdb_cursor_del(p.postings, 0)
    return MDB_CORRUPTED if rc == MDB_NOTFOUND else rc


cdef inline int drop_from_topic(pruning *p, uint32_t day, const uint8_t *topic,
                                bint *was_last) noexcept nogil:
    """Decrement the envelopes of a topic and day."""
    cdef uint8_t key_bytes[TOPIC_KEY]
    cdef uint8_t number[4]
    cdef MDB_val key = value_of(key_bytes, TOPIC_KEY)
    cdef MDB_val value
    cdef uint32_t count
    cdef int rc
    put16(key_bytes, day)
    memcpy(key_bytes + DAY_KEY, topic, 4)
    rc = mdb_cursor_get(p.topics, &key, &value, MDB_SET_KEY)
    if rc:
        return MDB_CORRUPTED if rc == MDB_NOTFOUND else rc
    if value.mv_size != 4:
        return MDB_CORRUPTED
    count = get32(<const uint8_t *> value.mv_data)
    was_last[0] = count <= 1
    if was_last[0]:
        return mdb_cursor_del(p.topics, 0)
    put32(number, count - 1)
    value = value_of(number, 4)
    return mdb_cursor_put(p.topics, &key, &value, MDB_CURRENT)


cdef inline int take_from_day(pruning *p, uint32_t day, const day_totals *less) noexcept nogil:
    """Subtract from the totals of a day; delete a day without envelopes and bytes."""
    cdef uint8_t key_bytes[DAY_KEY]
    cdef uint8_t value_bytes[DAY_VALUE]
    cdef MDB_val key = value_of(key_bytes, DAY_KEY)
    cdef MDB_val value
    cdef day_totals left
    cdef int rc
    put16(key_bytes, day)
    rc = mdb_get(p.txn, p.env.days, &key, &value)
    if not rc:
        rc = read_day(&value, &left)
    if rc:
        return MDB_CORRUPTED if rc == MDB_NOTFOUND else rc
    if (left.envelopes < less.envelopes or left.bytes < less.bytes
            or left.topics < less.topics or left.unsorted < less.unsorted):
        return MDB_CORRUPTED
    left.envelopes -= less.envelopes
    left.bytes -= less.bytes
    left.topics -= less.topics
    left.unsorted -= less.unsorted
    sum256_subtract(&left.sum, &less.sum)
    if left.envelopes == 0 and left.bytes == 0:
        return mdb_del(p.txn, p.env.days, &key, NULL)
    put_day(value_bytes, &left)
    value = value_of(value_bytes, DAY_VALUE)
    return mdb_put(p.txn, p.env.days, &key, &value, 0)


cdef inline int drop_rows(pruning *p) noexcept nogil:
    """Delete the rows of the oldest envelopes, minute by minute and day by day."""
    cdef MDB_val key, value
    cdef uint8_t row_key[TIME_KEY]      # copies: LMDB's pointers are valid until the next write
    cdef uint8_t row[TIME_VALUE]
    cdef pruned_minute minute
    cdef day_totals less
    cdef uint32_t day = NO_DAY
    cdef uint32_t created
    cdef bint was_last
    cdef int rc = mdb_cursor_open(p.txn, p.env.sums, &minute.sums)
    if rc:
        return rc
    minute.minute, minute.chunks = NO_MINUTE, p.chunks
    memset(&less, 0, sizeof(less))
    rc = mdb_cursor_get(p.times, &key, &value, MDB_FIRST)
    while not rc and p.envelopes < p.limit:
        if key.mv_size != TIME_KEY or value.mv_size != TIME_VALUE:
            return MDB_CORRUPTED
        memcpy(row_key, key.mv_data, TIME_KEY)
        memcpy(row, value.mv_data, TIME_VALUE)
        created = get32(row_key)
        if created >= p.before:
            break
        if created // MINUTE != minute.minute:
            rc = leave_minute(&minute, True, &less.sum)
            if not rc and created // DAY != day:
                if less.envelopes:
                    rc = take_from_day(p, day, &less)
                memset(&less, 0, sizeof(less))
                day = created // DAY
            if not rc:
                rc = enter_minute(&minute, created // MINUTE, p.before, p.limit - p.envelopes)
            if rc:
                return rc
        rc = note_gone(&minute, row_key, row)
        if not rc:
            rc = mdb_cursor_del(p.times, 0)
        if not rc:
            rc = drop_posting(p, row_key, row)
        if not rc:
            rc = drop_from_topic(p, day, row, &was_last)
        if rc:
            return rc
        less.envelopes += 1
        less.topics += was_last
        less.unsorted += not is_sorted(get48(row + 4))
        p.envelopes += 1
        p.newest = created
        rc = mdb_cursor_get(p.times, &key, &value, MDB_FIRST)
    if rc and rc != MDB_NOTFOUND:
        return rc
    if rc == 0 and key.mv_size != TIME_KEY:
        return MDB_CORRUPTED
    rc = leave_minute(&minute, rc == MDB_NOTFOUND
                      or get32(<const uint8_t *> key.mv_data) // MINUTE != minute.minute, &less.sum)
    if not rc and less.envelopes:
        rc = take_from_day(p, day, &less)
    return rc


cdef inline int read_bytes(const MDB_val *key, const MDB_val *value, chunk *out) noexcept nogil:
    """Read a row of `chunks`; one whose envelopes were moved has no bytes."""
    cdef moved_chunk moved
    cdef int rc
    if not is_moved(value):
        return read_chunk(key, value, out)
    rc = read_moved(key, value, &moved)
    out.day, out.first, out.last, out.size = moved.day, moved.first, moved.last, 0
    return rc


cdef inline int drop_arrival(pruning *p, uint64_t last) noexcept nogil:
    """Delete the arrival of a chunk."""
    cdef uint8_t arrival[SEQUENCE_SIZE]
    cdef MDB_val key = value_of(arrival, SEQUENCE_SIZE)
    cdef int rc
    put48(arrival, last)
    rc = mdb_del(p.txn, p.env.arrivals, &key, NULL)
    return MDB_CORRUPTED if rc == MDB_NOTFOUND else rc


cdef inline int drop_days(pruning *p) noexcept nogil:
    """Delete the oldest whole days that are due, as long as the limit of the slice allows.

    With a large day, deleted now or not read yet, the slice has `ended`.
    """
    cdef uint8_t key_bytes[DAY_KEY]
    cdef MDB_val key, value
    cdef day_totals totals
    cdef MDB_cursor *days
    cdef uint32_t day
    cdef int rc = mdb_cursor_open(p.txn, p.env.days, &days)
    if rc:
        return rc
    rc = mdb_cursor_get(days, &key, &value, MDB_FIRST)
    while not rc and not p.ended:
        rc = read_day(&value, &totals)
        if rc or key.mv_size != DAY_KEY:
            return MDB_CORRUPTED
        day = get16(<const uint8_t *> key.mv_data)
        if totals.envelopes:
            if not is_due(p, day, &totals):
                return 0
            p.ended = is_large(p, &totals)
            if p.ended and not was_read(p, day):
                p.unread = day
                return 0
            rc = drop_day(p, day, &totals)
            if rc:
                return rc
            p.envelopes += totals.envelopes
        put16(key_bytes, day + 1)
        key = value_of(key_bytes, DAY_KEY)
        rc = mdb_cursor_get(days, &key, &value, MDB_SET_RANGE)
    return 0 if rc == MDB_NOTFOUND else rc


cdef inline int oldest_left(pruning *p, uint64_t *created) noexcept nogil:
    """Find when the oldest envelope was created; UINT64_MAX if there is none."""
    cdef MDB_val key, value
    cdef int rc = mdb_cursor_get(p.times, &key, &value, MDB_FIRST)
    created[0] = UINT64_MAX
    if rc == 0:
        if key.mv_size != TIME_KEY:
            return MDB_CORRUPTED
        created[0] = get32(<const uint8_t *> key.mv_data)
    return 0 if rc == MDB_NOTFOUND else rc


cdef inline int newest_in(const chunk *source, uint32_t *created) noexcept nogil:
    """Find when the newest envelope of a chunk was created."""
    cdef envelope_fields fields
    cdef const uint8_t *at = source.envelopes
    cdef const uint8_t *end = at + source.size
    cdef uint32_t one
    created[0] = 0
    while at < end:
        if read_envelope(&at, end, &fields) != RLP_OK:
            return MDB_CORRUPTED
        one = created_of(&fields)
        if one > created[0]:
            created[0] = one
    return 0


cdef inline bint is_full(const pruning *p) noexcept nogil:
    """True if a slice deletes no more chunks."""
    return (p.ended or p.deleted_chunks >= CHUNKS_PER_SLICE
            or p.deleted_chunks and (monotonic_ns() >= p.end or p.env.always_ahead))


cdef inline int ask_ahead(MDB_cursor *chunks) noexcept nogil:
    """Ask the disk for what the next slice reads of the chunks from the cursor's place on."""
    cdef leaf l
    cdef size_t count = 0
    cdef size_t branch = 0
    cdef size_t asked = 0
    cdef int rc = 0
    while not rc and count < CHUNKS_PER_SLICE:
        ahead_leaves(chunks, &branch)
        ahead_heads(chunks, &asked)
        leaf_of(chunks, &l)
        count += l.count - l.at
        leaf_end(chunks)
        rc = mdb_cursor_get(chunks, NULL, NULL, MDB_NEXT)
    return 0 if rc == MDB_NOTFOUND else rc


cdef inline int take_bytes(pruning *p, uint32_t day, uint64_t size) noexcept nogil:
    """Subtract the bytes of deleted chunks from the totals of their day."""
    cdef day_totals less
    if not size:
        return 0
    memset(&less, 0, sizeof(less))
    less.bytes = size
    p.bytes += size
    return take_from_day(p, day, &less)


cdef inline int drop_chunks(pruning *p, uint64_t oldest) noexcept nogil:
    """Delete the first chunks as long as all their envelopes are older than `oldest`.

    Of those whose envelopes were moved that is certain only once their day is over. They come first
    in their day, so none remains that leads to a chunk that is gone. `more` if some are left to the
    next slice.
    """
    cdef MDB_val key, value
    cdef chunk source
    cdef uint32_t newest
    cdef uint32_t day = NO_DAY
    cdef uint64_t size = 0          # of that day's
    cdef int rc = mdb_cursor_get(p.chunks, &key, &value, MDB_FIRST)
    while not rc:
        rc = read_bytes(&key, &value, &source)
        if rc:
            return rc
        if source.day >= oldest // DAY:
            if is_moved(&value):
                break
            rc = newest_in(&source, &newest)
            if rc:
                return rc
            if source.day > oldest // DAY or newest >= oldest:
                break
        if is_full(p):
            p.more = True
            rc = ask_ahead(p.chunks)
            break
        if source.day != day:
            rc = take_bytes(p, day, size)
            day, size = source.day, 0
        if not rc and not is_sorted(source.last):
            rc = drop_arrival(p, source.last)
        if not rc:
            rc = mdb_cursor_del(p.chunks, 0)
        if rc:
            return rc
        size += source.size
        p.deleted_chunks += 1
        rc = mdb_cursor_get(p.chunks, &key, &value, MDB_NEXT)
    if rc and rc != MDB_NOTFOUND:
        return rc
    return take_bytes(p, day, size)


cdef inline int drop_envelopes(pruning *p, uint64_t *oldest) noexcept nogil:
    """Delete whole days and rows, and then the chunks that hold nothing else."""
    cdef int rc = drop_days(p)
    if not rc and not p.ended:
        rc = drop_rows(p)
    if not rc:
        rc = oldest_left(p, oldest)
    if not rc and p.envelopes:      # those of the newest one's second may not all be gone
        rc = raise_horizon(p.txn, p.env.meta, p.newest + (p.newest < oldest[0]
                                                          and p.newest < UINT32_MAX))
    return rc if rc else drop_chunks(p, oldest[0])


cdef inline int begin_deleting(pruning *p, MDB_txn *txn) noexcept nogil:
    """Forget a try before this one, and open the cursors."""
    cdef environment *e = p.env
    cdef int rc = mdb_cursor_open(txn, e.times, &p.times)
    p.txn = txn
    p.envelopes = p.bytes = p.deleted_chunks = 0
    p.ended = p.more = False
    p.unread = NO_DAY
    if not rc:
        rc = mdb_cursor_open(txn, e.postings, &p.postings)
    if not rc:
        rc = mdb_cursor_open(txn, e.topics, &p.topics)
    if not rc:
        rc = mdb_cursor_open(txn, e.chunks, &p.chunks)
    return rc


cdef inline int prune(void *work, MDB_txn *txn, bint *changed) noexcept nogil:
    """Do all deletions of a slice."""
    cdef pruning *p = <pruning *> work
    cdef uint64_t oldest
    cdef int rc = begin_deleting(p, txn)
    if not rc:
        rc = oldest_left(p, &oldest)
    if not rc:
        rc = drop_chunks(p, oldest)
    if not rc and not p.more:
        rc = drop_envelopes(p, &oldest)
    p.more = p.more or oldest < p.before and oldest < UINT64_MAX
    changed[0] = p.envelopes or p.deleted_chunks
    return rc


cdef inline int prune_slice(pruning *p) noexcept nogil:
    """Prune one slice, in one transaction. The caller sets env, before, limit and reading."""
    cdef int rc
    p.end = monotonic_ns() + SLICE_NS
    rc = write(p.env, &prune, p)
    if not rc and p.unread != NO_DAY:
        rc = read_day_ahead(p)
        if not rc and not p.deleted_chunks and not p.envelopes and was_read(p, p.unread):
            rc = write(p.env, &prune, p)
    if not rc and p.ended and p.envelopes:
        memset(p.reading, 0, sizeof(p.reading[0]))      # what comes to that day is read anew
    return rc
