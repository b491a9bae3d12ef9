"""Sorting: moves the envelopes of a day that is over, so that each topic's lie together on disk.

A day is sorted in slices, each a transaction of its own, in two passes. The first one walks the
postings of the day. It copies the envelopes to chunks with one topic after another, and points the
postings there. `times` and the order of arrival still lead to the originals. The second one walks
the chunks with the originals. It points `times` to the copies, and leaves of each chunk the slots
of its envelopes: that is how the order of arrival finds them. Each pass writes its rows in the
order of their keys, so a page of an index is written about once.

The bound of the bookmark says where the next slice begins: in the first pass behind a posting (or
at the day alone), in the second one at the key of a chunk.

A day with a damaged envelope is not sorted any further: moved, it would damage more.

What arrives in a day while it is sorted, or later, stays where it arrived. When the day is sorted
again, only such envelopes are moved: behind those that were. So an envelope is moved once.
Functions that return int return 0 or a code as in environment.pxd.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memset

from wakumail.archive.bookmark cimport *
from wakumail.archive.change cimport write
from wakumail.archive.chunks cimport AHEAD, find_envelope, forget_chunk, read_ahead, wanted_row
from wakumail.archive.clock cimport monotonic_ns
from wakumail.archive.environment cimport environment
from wakumail.archive.horizon cimport read_horizon
from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *
from wakumail.archive.scanner cimport reserve_one
from wakumail.archive.writer cimport CHUNK_SIZE, count_rows
from wakumail.base.keccak cimport keccak256_many, keccak_message
from wakumail.base.rlp cimport RLP_OK
from wakumail.waku.envelope cimport HASH_BLOCK, created_of, envelope_fields, read_envelope

cdef enum:
    MAX_VISITS = 4096           # postings, or chunks, that a slice looks at
    CHUNKS_AHEAD = 16           # that are asked of the disk together


cdef struct copied_row:         # an envelope of the chunk that is being filled
    uint8_t key[POSTING_KEY]
    uint32_t end                # bytes from the first envelope of the chunk to the end of this one


cdef struct moved_row:          # an envelope of the chunk that is being left
    uint8_t key[TIME_KEY]
    uint8_t value[TIME_VALUE]   # the new one
    uint32_t slot               # or NO_SLOT


cdef struct posting_run:        # postings of the day, those of its sorted envelopes left out
    uint8_t bound[POSTING_KEY]  # the run lies before it, the next one behind
    size_t bound_size
    size_t count
    uint8_t[AHEAD][POSTING_KEY] keys
    wanted_row[AHEAD] wanted


cdef struct chunk_move:         # a chunk whose envelopes are moved
    const chunk *source
    size_t count                # envelopes
    size_t moved                # of them, those that were not pruned
    size_t bytes                # of these


cdef struct sorting:
    environment *env
    MDB_txn *txn
    uint32_t day                # that is begun if none is being sorted
    size_t max_bytes            # of the envelopes of this slice, about
    int64_t max_ns              # nanoseconds that it takes, about
    uint64_t moved              # envelopes that it has moved
    uint64_t done               # bytes that it has copied, or whose originals it has deleted
    bint more                   # True if the day needs a further slice

    bookmark mark
    uint32_t pruned             # the horizon
    int64_t end                 # nanoseconds of the monotonic clock at which the slice ends
    size_t visits
    uint64_t added              # bytes of the copies
    uint64_t removed            # bytes of the originals
    MDB_cursor *times
    MDB_cursor *postings
    MDB_cursor *chunks
    MDB_cursor *originals       # a cursor of `chunks`
    chunk recent
    uint32_t next_slot
    copied_row *rows            # the caller frees these three
    size_t row_count
    size_t row_room
    uint8_t *bytes              # of the envelopes of `rows`: room for CHUNK_SIZE, or a larger one
    size_t bytes_room
    moved_row *moves
    size_t move_room


cdef inline bint slice_is_full(const sorting *s) noexcept nogil:
    return s.done >= s.max_bytes or s.visits >= MAX_VISITS or monotonic_ns() >= s.end


cdef inline int find_next_slot(sorting *s) noexcept nogil:
    """Find the slot behind those of the day."""
    cdef uint8_t key_bytes[CHUNK_KEY]
    cdef MDB_val key = value_of(key_bytes, CHUNK_KEY)
    cdef uint64_t last
    cdef int rc
    put_chunk_key(key_bytes, s.mark.day + 1, 0)
    rc = mdb_cursor_get(s.chunks, &key, NULL, MDB_SET_RANGE)
    if rc == 0 or rc == MDB_NOTFOUND:
        rc = mdb_cursor_get(s.chunks, &key, NULL, MDB_LAST if rc else MDB_PREV)
    s.next_slot = 0
    if rc:
        return 0 if rc == MDB_NOTFOUND else rc
    if key.mv_size != CHUNK_KEY:
        return MDB_CORRUPTED
    last = get48(<const uint8_t *> key.mv_data + DAY_KEY)
    if get16(<const uint8_t *> key.mv_data) == s.mark.day and is_sorted(last):
        s.next_slot = <uint32_t> last + 1
    return 0


cdef inline void keep_bound(sorting *s, const uint8_t *key, size_t size) noexcept nogil:
    memcpy(s.mark.bound, key, size)
    s.mark.bound_size = size


cdef inline int write_copies(sorting *s) noexcept nogil:
    """Write the chunk of `rows`, and point their postings to it."""
    cdef uint8_t key_bytes[CHUNK_KEY]
    cdef uint8_t place[SEQUENCE_SIZE]
    cdef MDB_val key, value
    cdef uint8_t *out
    cdef size_t i
    cdef size_t count = s.row_count
    cdef uint32_t size
    cdef int rc
    if count == 0:
        return 0
    size = s.rows[count - 1].end
    put_chunk_key(key_bytes, s.mark.day, sorted_place(s.next_slot + <uint32_t> count - 1))
    key, value = value_of(key_bytes, CHUNK_KEY), value_of(NULL, 4 + 4 * count + size)
    rc = mdb_cursor_put(s.chunks, &key, &value, MDB_NOOVERWRITE | MDB_RESERVE)
    if rc:
        return MDB_CORRUPTED if rc == MDB_KEYEXIST else rc
    out = <uint8_t *> value.mv_data
    put32(out, <uint32_t> count)
    for i in range(count):
        put32(out + 4 + 4 * i, s.rows[i].end)
    memcpy(out + 4 + 4 * count, s.bytes, size)
    for i in range(count):
        put48(place, sorted_place(s.next_slot + <uint32_t> i))
        key, value = value_of(s.rows[i].key, POSTING_KEY), value_of(place, SEQUENCE_SIZE)
        rc = mdb_cursor_put(s.postings, &key, &value, 0)
        if rc:
            return rc
    count_rows(s.env, count)
    keep_bound(s, s.rows[count - 1].key, POSTING_KEY)
    s.next_slot += <uint32_t> count
    s.done += size
    s.added += size
    s.row_count = 0
    return 0


cdef inline int copy_envelope(sorting *s, const uint8_t *posting, uint64_t place) noexcept nogil:
    """Add an envelope to `rows`; writes these first if they have no room for it."""
    cdef copied_row *row
    cdef const uint8_t *data
    cdef size_t size
    cdef size_t begin = s.rows[s.row_count - 1].end if s.row_count else 0
    cdef int rc = find_envelope(s.originals, &s.recent, s.mark.day, place, &data, &size)
    if rc:
        return rc
    if s.row_count and 4 + 4 * (s.row_count + 1) + begin + size > CHUNK_SIZE:
        rc = write_copies(s)
        begin = 0
        if not rc:      # writing may have moved what lies in a leaf
            forget_chunk(&s.recent)
            rc = find_envelope(s.originals, &s.recent, s.mark.day, place, &data, &size)
        if rc:
            return rc
    rc = reserve_one(<void **> &s.rows, &s.row_room, s.row_count, sizeof(copied_row))
    if not rc and begin + size > s.bytes_room:
        rc = reserve_one(<void **> &s.bytes, &s.bytes_room, begin + size, 1)
    if rc:
        return rc
    memcpy(s.bytes + begin, data, size)
    row = &s.rows[s.row_count]
    memcpy(row.key, posting, POSTING_KEY)
    row.end = <uint32_t> (begin + size)
    s.row_count += 1
    return 0


cdef inline int next_postings(sorting *s, posting_run *run) noexcept nogil:
    """Take the next run, of up to AHEAD postings; MDB_NOTFOUND at the end of the day."""
    cdef MDB_val value
    cdef MDB_val key = value_of(run.bound, run.bound_size)
    cdef const uint8_t *at
    cdef uint64_t place
    cdef int rc = mdb_cursor_get(s.postings, &key, &value, MDB_SET_RANGE)
    run.count = 0
    if (rc == 0 and run.bound_size == POSTING_KEY
            and memcmp(key.mv_data, run.bound, POSTING_KEY) == 0):
        rc = mdb_cursor_get(s.postings, &key, &value, MDB_NEXT)
    while rc == 0 and run.count < AHEAD and s.visits < MAX_VISITS:
        if key.mv_size != POSTING_KEY or value.mv_size != SEQUENCE_SIZE:
            return MDB_CORRUPTED
        at = <const uint8_t *> key.mv_data
        if get16(at) != s.mark.day:
            return MDB_NOTFOUND
        s.visits += 1
        memcpy(run.bound, at, POSTING_KEY)
        run.bound_size = POSTING_KEY
        place = get48(<const uint8_t *> value.mv_data)
        if not is_sorted(place):
            memcpy(run.keys[run.count], at, POSTING_KEY)
            run.wanted[run.count].created = s.mark.day * DAY + get24(at + TOPIC_KEY)
            run.wanted[run.count].place = place
            run.count += 1
        rc = mdb_cursor_get(s.postings, &key, &value, MDB_NEXT)
    return rc


cdef inline int copy_envelopes(sorting *s) noexcept nogil:
    """A slice of the first pass."""
    cdef posting_run run
    cdef size_t i
    cdef bint at_end = False
    cdef int rc = find_next_slot(s)
    run.bound_size = s.mark.bound_size
    memcpy(run.bound, s.mark.bound, run.bound_size)
    while not rc and not at_end and not slice_is_full(s):
        rc = next_postings(s, &run)
        at_end = rc == MDB_NOTFOUND
        if rc and not at_end:
            return rc
        rc = read_ahead(s.originals, run.wanted, run.count)
        forget_chunk(&s.recent)
        for i in range(run.count):
            if not rc:
                rc = copy_envelope(s, run.keys[i], run.wanted[i].place)
    # A chunk that is not full is left to the next slice, if this one has written any.
    if not rc and (at_end or not s.added):
        rc = write_copies(s)
    if not rc and not s.row_count:
        keep_bound(s, run.bound, run.bound_size)
    if not rc and at_end:
        put_chunk_key(s.mark.bound, s.mark.day, 0)
        s.mark.bound_size = CHUNK_KEY
    s.mark.copied += s.added
    return rc


cdef inline int find_move(sorting *s, uint64_t sequence, moved_row *row) noexcept nogil:
    """Find the slot of an original, whose key of `times` is in `row`; NO_SLOT if it was pruned.

    MDB_NOTFOUND if it has no copy. MDB_CORRUPTED if it has no row, and is too young to be pruned.
    """
    cdef uint8_t posting[POSTING_KEY]
    cdef MDB_val value
    cdef MDB_val key = value_of(row.key, TIME_KEY)
    cdef uint64_t place
    cdef int rc = mdb_cursor_get(s.times, &key, &value, MDB_SET_KEY)
    row.slot = NO_SLOT
    if rc == 0 and value.mv_size != TIME_VALUE:
        return MDB_CORRUPTED
    if rc == MDB_NOTFOUND or rc == 0 and get48(<const uint8_t *> value.mv_data + 4) != sequence:
        return 0 if get32(row.key) <= s.pruned else MDB_CORRUPTED
    if rc:
        return rc
    memcpy(row.value, value.mv_data, TIME_VALUE)
    put_posting_key(posting, get32(row.key), row.value, row.key + 4)
    key = value_of(posting, POSTING_KEY)
    rc = mdb_cursor_get(s.postings, &key, &value, MDB_SET_KEY)
    if rc or value.mv_size != SEQUENCE_SIZE:
        return MDB_CORRUPTED if rc == MDB_NOTFOUND or not rc else rc
    place = get48(<const uint8_t *> value.mv_data)
    if not is_sorted(place):
        return MDB_NOTFOUND
    row.slot = <uint32_t> place
    put48(row.value + 4, place)
    return 0


cdef inline int find_some(sorting *s, chunk_move *move, size_t done, size_t count) noexcept nogil:
    """Find the slots of `count` envelopes behind those that are `done`, at most HASH_BLOCK."""
    cdef keccak_message[HASH_BLOCK] messages
    cdef uint8_t[HASH_BLOCK * 32] digests
    cdef envelope_fields fields
    cdef moved_row *rows = &s.moves[done]
    cdef uint64_t first = move.source.first + done
    cdef const uint8_t *at
    cdef size_t size, i
    cdef int rc
    for i in range(count):
        rc = chunk_envelopes(move.source, first + i, first + i, &at, &size)
        if rc:
            return rc
        memset(&messages[i], 0, sizeof(messages[i]))
        messages[i].part[0], messages[i].size[0] = at, size
        if read_envelope(&at, at + size, &fields) != RLP_OK:
            return MDB_CORRUPTED
        put32(rows[i].key, created_of(&fields))
    keccak256_many(messages, count, digests)
    for i in range(count):
        memcpy(rows[i].key + 4, digests + 32 * i, HASH_PREFIX)
        rc = find_move(s, first + i, &rows[i])
        if rc:
            return rc
        if rows[i].slot != NO_SLOT:
            move.moved += 1
            move.bytes += messages[i].size[0]
    return 0


cdef inline int find_moves(sorting *s, chunk_move *move) noexcept nogil:
    """Find the slots of all envelopes of a chunk; MDB_NOTFOUND if one has no copy."""
    cdef size_t done = 0
    cdef size_t block
    cdef int rc = 0
    if move.count > s.move_room:
        rc = reserve_one(<void **> &s.moves, &s.move_room, move.count, sizeof(moved_row))
    while not rc and done < move.count:
        block = move.count - done if move.count - done < HASH_BLOCK else HASH_BLOCK
        rc = find_some(s, move, done, block)
        done += block
    return rc


cdef inline int move_chunk(sorting *s, const chunk *source) noexcept nogil:
    """Point `times` to the copies of a chunk's envelopes, and leave their slots of the chunk.

    A chunk to which envelopes were added since the first pass stays as it is.
    """
    cdef uint8_t key_bytes[CHUNK_KEY]
    cdef MDB_val key, value
    cdef uint8_t *out
    cdef size_t i
    cdef size_t size = source.size
    cdef chunk_move move = chunk_move(source, source.last + 1 - source.first, 0, 0)
    cdef int rc = find_moves(s, &move)
    put_chunk_key(key_bytes, source.day, source.last)
    if rc:
        return 0 if rc == MDB_NOTFOUND else rc
    for i in range(move.count):
        if s.moves[i].slot == NO_SLOT:
            continue
        key = value_of(s.moves[i].key, TIME_KEY)
        value = value_of(s.moves[i].value, TIME_VALUE)
        rc = mdb_cursor_put(s.times, &key, &value, 0)
        if rc:
            return rc
    key, value = value_of(key_bytes, CHUNK_KEY), value_of(NULL, 4 + 4 * move.count)
    rc = mdb_cursor_put(s.chunks, &key, &value, MDB_RESERVE)
    if rc:
        return rc
    out = <uint8_t *> value.mv_data
    put32(out, <uint32_t> (move.count | MOVED))
    for i in range(move.count):
        put32(out + 4 + 4 * i, s.moves[i].slot)
    count_rows(s.env, move.count)
    s.moved += move.moved
    s.removed += size
    s.mark.copied -= move.bytes if move.bytes < s.mark.copied else s.mark.copied
    return 0


cdef inline int ask_ahead(sorting *s) noexcept nogil:
    """Ask for the pages of the next chunks with originals."""
    cdef MDB_val key = value_of(s.mark.bound, CHUNK_KEY)
    cdef ahead_list pages
    cdef int i
    cdef int rc = mdb_cursor_get(s.originals, &key, NULL, MDB_SET_RANGE)
    pages.count = 0
    for i in range(CHUNKS_AHEAD):
        if rc:
            break
        ahead_value(s.originals, &pages)
        rc = mdb_cursor_get(s.originals, &key, NULL, MDB_NEXT)
    ahead_ask(s.originals, &pages)
    return 0 if rc == MDB_NOTFOUND else rc


cdef inline int move_chunks(sorting *s) noexcept nogil:
    """A slice of the second pass."""
    cdef MDB_val key, value
    cdef chunk source
    cdef uint64_t last
    cdef int rc
    while not slice_is_full(s):
        rc = ask_ahead(s) if s.visits % CHUNKS_AHEAD == 0 else 0
        if rc:
            return rc
        key = value_of(s.mark.bound, CHUNK_KEY)
        rc = mdb_cursor_get(s.originals, &key, &value, MDB_SET_RANGE)
        if rc and rc != MDB_NOTFOUND:
            return rc
        if rc == 0 and key.mv_size != CHUNK_KEY:
            return MDB_CORRUPTED
        if (rc or get16(<const uint8_t *> key.mv_data) != s.mark.day
                or is_sorted(get48(<const uint8_t *> key.mv_data + DAY_KEY))):
            s.more = False
            return 0
        s.visits += 1
        last = get48(<const uint8_t *> key.mv_data + DAY_KEY)
        if not is_moved(&value):
            rc = read_chunk(&key, &value, &source)
            if not rc:
                s.done += source.size
                rc = move_chunk(s, &source)
            if rc:
                return rc
        put48(s.mark.bound + DAY_KEY, last + 1)
    return 0


cdef inline int change_day(sorting *s) noexcept nogil:
    """Bring the totals of the day up to date."""
    cdef uint8_t key_bytes[DAY_KEY]
    cdef uint8_t value_bytes[DAY_VALUE]
    cdef MDB_val value
    cdef MDB_val key = value_of(key_bytes, DAY_KEY)
    cdef day_totals totals
    cdef int rc
    if not s.added and not s.removed:
        return 0
    put16(key_bytes, s.mark.day)
    rc = mdb_get(s.txn, s.env.days, &key, &value)
    if not rc:
        rc = read_day(&value, &totals)
    if rc:
        return MDB_CORRUPTED if rc == MDB_NOTFOUND else rc
    totals.bytes += s.added
    if totals.bytes < s.removed or totals.unsorted < s.moved:
        return MDB_CORRUPTED
    totals.bytes -= s.removed
    totals.unsorted -= s.moved
    if totals.envelopes == 0 and totals.bytes == 0:
        return mdb_del(s.txn, s.env.days, &key, NULL)
    put_day(value_bytes, &totals)
    value = value_of(value_bytes, DAY_VALUE)
    return mdb_put(s.txn, s.env.days, &key, &value, 0)


cdef inline int begin_slice(sorting *s, MDB_txn *txn) noexcept nogil:
    """Read the bookmark, or begin the day, and open the cursors."""
    cdef environment *e = s.env
    cdef int rc = read_bookmark(txn, e.meta, &s.mark)
    if rc == MDB_NOTFOUND:
        begin_day(&s.mark, s.day)
        rc = 0
    s.txn = txn
    s.moved = s.done = s.added = s.removed = s.visits = s.row_count = 0
    s.more = True
    s.end = monotonic_ns() + s.max_ns
    if not rc:
        rc = read_horizon(txn, e.meta, &s.pruned)
    if not rc:
        rc = mdb_cursor_open(txn, e.times, &s.times)
    if not rc:
        rc = mdb_cursor_open(txn, e.postings, &s.postings)
    if not rc:
        rc = mdb_cursor_open(txn, e.chunks, &s.chunks)
    if not rc:
        rc = mdb_cursor_open(txn, e.chunks, &s.originals)
    return rc


cdef inline int sort_rows(void *work, MDB_txn *txn, bint *changed) noexcept nogil:
    """Make all changes of a slice."""
    cdef sorting *s = <sorting *> work
    cdef int rc = begin_slice(s, txn)
    changed[0] = True
    if not rc:
        rc = move_chunks(s) if s.mark.bound_size == CHUNK_KEY else copy_envelopes(s)
    if not rc:
        rc = change_day(s)
    if rc:
        return rc
    if s.more:
        return write_bookmark(txn, s.env.meta, &s.mark)
    return remove_bookmark(txn, s.env.meta)


cdef inline int sort_slice(sorting *s) noexcept nogil:
    """Sort one slice in one transaction. The caller sets env, day, max_bytes and max_ns."""
    cdef int rc = write(s.env, &sort_rows, s)
    free(s.rows)
    free(s.bytes)
    free(s.moves)
    return rc
