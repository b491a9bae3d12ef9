"""Reads in the order of arrival: envelopes, in whole chunks or parts of them, or their items.

Those of a sorted day are found by their slots, one by one.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from wakumail.archive.chunks cimport find_envelope, forget_chunk
from wakumail.archive.environment cimport environment
from wakumail.archive.layout cimport *
from wakumail.archive.lead cimport begin_lead, keep_lead, lead
from wakumail.archive.lmdb cimport *
from wakumail.archive.named cimport find_row
from wakumail.archive.scanner cimport hit, join_hits, reserve_one
from wakumail.base.keccak cimport keccak256_many, keccak_message
from wakumail.base.rlp cimport RLP_OK
from wakumail.waku.envelope cimport HASH_BLOCK, created_of, envelope_fields, read_envelope


cdef struct arrival:            # envelopes that arrived one after another
    bint is_moved
    chunk source                # if they lie there
    moved_chunk moved           # if they were moved


cdef struct arrivals_run:
    environment *env
    MDB_txn *txn
    uint8_t *out                # for copy_arrivals: room for `size` bytes
    uint64_t next               # sequence
    uint64_t until              # sequence to stop before
    size_t max_bytes
    hit *pieces
    size_t count
    size_t room
    size_t size
    chunk recent                # of the sorted ones


cdef inline int add_piece(arrivals_run *run, const hit *piece, uint64_t last) noexcept nogil:
    """Add the envelopes up to the sequence `last`."""
    cdef int rc = reserve_one(<void **> &run.pieces, &run.room, run.count, sizeof(hit))
    if rc:
        return rc
    run.pieces[run.count] = piece[0]
    run.count += 1
    run.size += piece.size
    run.next = last + 1
    return 0


cdef inline int take_arrivals(arrivals_run *run, chunk *source) noexcept nogil:
    """Take the envelopes of a chunk that there is room for; MDB_NOTFOUND if there are none.

    Sequences of a run have no gap, so that each envelope has the sequence of its place.
    """
    cdef uint64_t first = run.next if run.next > source.first else source.first
    cdef uint64_t last = first
    cdef hit piece
    cdef hit longer
    cdef int rc = chunk_envelopes(source, first, last, &piece.data, &piece.size)
    if rc:
        return rc
    if first >= run.until:
        return MDB_NOTFOUND
    if run.count and (first != run.next or run.size + piece.size > run.max_bytes):
        return MDB_NOTFOUND
    while last < source.last and last + 1 < run.until:
        rc = chunk_envelopes(source, first, last + 1, &longer.data, &longer.size)
        if rc:
            return rc
        if run.size + longer.size > run.max_bytes:
            break
        last += 1
        piece = longer
    return add_piece(run, &piece, last)


cdef inline int take_moved(arrivals_run *run, MDB_cursor *chunks,
                           const moved_chunk *moved) noexcept nogil:
    """Take moved envelopes as take_arrivals does."""
    cdef uint64_t first = run.next if run.next > moved.first else moved.first
    cdef uint64_t sequence
    cdef uint32_t slot
    cdef hit piece
    cdef int rc = 0
    for sequence in range(first, moved.last + 1):
        if rc:
            return rc
        slot = slot_of(moved, sequence)
        if run.count and (sequence != run.next or slot == NO_SLOT or run.size >= run.max_bytes):
            return MDB_NOTFOUND     # before the next one is read: it may be damaged
        if sequence >= run.until:
            return MDB_NOTFOUND
        if slot == NO_SLOT:
            run.next = sequence + 1
            continue
        rc = find_envelope(chunks, &run.recent, moved.day, sorted_place(slot), &piece.data,
                           &piece.size)
        if not rc and run.count and run.size + piece.size > run.max_bytes:
            return MDB_NOTFOUND
        if not rc:
            rc = add_piece(run, &piece, sequence)
    return rc


cdef inline int find_chunk_key(MDB_cursor *arrivals, uint64_t sequence,
                               uint8_t *chunk_key) noexcept nogil:
    """Find the key of the chunk of a sequence or, if that is gone, of the next one.

    MDB_NOTFOUND if no more came.
    """
    cdef uint8_t bound[SEQUENCE_SIZE]
    cdef MDB_val key, value
    cdef int rc
    put48(bound, sequence)
    key = value_of(bound, SEQUENCE_SIZE)
    rc = mdb_cursor_get(arrivals, &key, &value, MDB_SET_RANGE)
    if rc:
        return rc
    if key.mv_size != SEQUENCE_SIZE or value.mv_size != DAY_KEY:
        return MDB_CORRUPTED
    memcpy(chunk_key, value.mv_data, DAY_KEY)
    memcpy(chunk_key + DAY_KEY, key.mv_data, SEQUENCE_SIZE)
    return 0


cdef inline int next_arrival(MDB_cursor *arrivals, MDB_cursor *chunks, uint64_t sequence,
                             arrival *next) noexcept nogil:
    """Read the chunk of a sequence or, if that is gone, the next one; codes as find_chunk_key."""
    cdef uint8_t key_bytes[CHUNK_KEY]
    cdef MDB_val value
    cdef MDB_val key = value_of(key_bytes, CHUNK_KEY)
    cdef int rc = find_chunk_key(arrivals, sequence, key_bytes)
    if rc:
        return rc
    rc = mdb_cursor_get(chunks, &key, &value, MDB_SET_KEY)
    if rc == 0:
        next.is_moved = is_moved(&value)
        if next.is_moved:
            rc = read_moved(&key, &value, &next.moved)
        else:
            rc = read_chunk(&key, &value, &next.source)
    return MDB_CORRUPTED if rc == MDB_NOTFOUND else rc


cdef struct arrival_start:
    environment *env
    MDB_txn *txn
    uint64_t sequence           # moved to the first one from it on that is in a chunk


cdef inline uint64_t told_count(const MDB_val *chunk_value, uint64_t last) noexcept nogil:
    """The envelopes that a row of `chunks` says it has, or one if it cannot have as many."""
    cdef uint64_t count = 0
    if chunk_value.mv_size >= 4:
        count = get32(<const uint8_t *> chunk_value.mv_data) & ~<uint32_t> MOVED
    if count == 0 or count > last + 1 or 4 + 4 * count > chunk_value.mv_size:
        return 1
    return count


cdef inline void pass_pruned(arrival_start *start, const MDB_val *key,
                             const MDB_val *value) noexcept nogil:
    """Pass the sequences before a row of `chunks`, and those of it that were pruned."""
    cdef moved_chunk moved
    cdef uint64_t last = get48(<const uint8_t *> key.mv_data + DAY_KEY)
    cdef uint64_t first = last + 1 - told_count(value, last)
    if first > start.sequence:
        start.sequence = first
    if read_moved(key, value, &moved) == 0:
        while start.sequence <= last and slot_of(&moved, start.sequence) == NO_SLOT:
            start.sequence += 1


cdef inline int find_arrival_start(void *context) noexcept nogil:
    """Pass the sequences of which no chunk is left; the chunk behind them may be damaged."""
    cdef arrival_start *start = <arrival_start *> context
    cdef uint8_t key_bytes[CHUNK_KEY]
    cdef MDB_cursor *arrivals
    cdef MDB_val value
    cdef MDB_val key = value_of(key_bytes, CHUNK_KEY)
    cdef int rc = mdb_cursor_open(start.txn, start.env.arrivals, &arrivals)
    if rc:
        return rc
    rc = find_chunk_key(arrivals, start.sequence, key_bytes)
    if rc == 0:
        rc = mdb_get(start.txn, start.env.chunks, &key, &value)
    if rc == 0:
        pass_pruned(start, &key, &value)
    mdb_cursor_close(arrivals)
    return MDB_CORRUPTED if rc == MDB_NOTFOUND else rc


cdef inline int take_chunks(arrivals_run *run, MDB_cursor *arrivals,
                            MDB_cursor *chunks) noexcept nogil:
    """Take chunks from run.next on, until max_bytes are taken or no more arrived."""
    cdef arrival next
    cdef lead ahead
    cdef int rc
    forget_chunk(&run.recent)
    begin_lead(&ahead, run.env.always_ahead)
    while run.size < run.max_bytes or not run.count:
        rc = keep_lead(&ahead, arrivals, chunks, run.next)
        if not rc:
            rc = next_arrival(arrivals, chunks, run.next, &next)
        if not rc:
            if next.is_moved:
                rc = take_moved(run, chunks, &next.moved)
            else:
                rc = take_arrivals(run, &next.source)
        if rc:
            return 0 if rc == MDB_NOTFOUND else rc
    return 0


cdef inline int run_arrivals(void *context) noexcept nogil:
    """Fill a run whose next, until and max_bytes are set. The caller frees its pieces."""
    cdef arrivals_run *run = <arrivals_run *> context
    cdef environment *e = run.env
    cdef MDB_txn *txn = run.txn
    cdef MDB_cursor *arrivals
    cdef MDB_cursor *chunks
    cdef int rc = mdb_cursor_open(txn, e.arrivals, &arrivals)
    if rc:
        return rc
    rc = mdb_cursor_open(txn, e.chunks, &chunks)
    if not rc:
        rc = take_chunks(run, arrivals, chunks)
        mdb_cursor_close(chunks)
    mdb_cursor_close(arrivals)
    return rc


cdef inline int copy_arrivals(void *context) noexcept nogil:
    """Copy the pieces out of the map, to `out`."""
    cdef arrivals_run *run = <arrivals_run *> context
    join_hits(run.out, run.pieces, run.count)
    return 0


cdef struct item_run:
    environment *env
    MDB_txn *txn
    uint64_t next               # sequence
    size_t limit                # sequences to look at
    uint8_t *items              # room for `limit`
    size_t count
    MDB_cursor *arrivals        # for close_items
    MDB_cursor *chunks
    MDB_cursor *times
    chunk recent                # of the sorted ones


cdef inline int find_own_row(MDB_cursor *times, const uint8_t *item, uint64_t place) noexcept nogil:
    """MDB_NOTFOUND if the envelope of a place is pruned: its chunk may outlive it."""
    cdef MDB_val value
    cdef int rc = find_row(times, item, &value)
    if not rc and get48(<const uint8_t *> value.mv_data + 4) != place:
        return MDB_NOTFOUND         # it came again
    return rc


cdef inline int find_arrival(item_run *run, const arrival *next, uint64_t sequence,
                             const uint8_t **data, size_t *size, uint64_t *place) noexcept nogil:
    """Find an envelope of a chunk, and its place; `size` is 0 for one that was pruned."""
    cdef uint32_t slot
    place[0] = sequence
    if not next.is_moved:
        return chunk_envelopes(&next.source, sequence, sequence, data, size)
    slot = slot_of(&next.moved, sequence)
    size[0] = 0
    if slot == NO_SLOT:
        return 0
    place[0] = sorted_place(slot)
    return find_envelope(run.chunks, &run.recent, next.moved.day, place[0], data, size)


cdef inline int take_items(item_run *run, const arrival *next) noexcept nogil:
    """Take the items of a chunk from run.next on, as many as are hashed together."""
    cdef keccak_message[HASH_BLOCK] messages
    cdef uint8_t[HASH_BLOCK * 32] digests
    cdef uint32_t[HASH_BLOCK] created
    cdef uint64_t[HASH_BLOCK] places
    cdef envelope_fields fields
    cdef const uint8_t *at
    cdef uint8_t *item
    cdef size_t size, i
    cdef size_t count = 0
    cdef uint64_t last = next.moved.last if next.is_moved else next.source.last
    cdef uint64_t first = next.moved.first if next.is_moved else next.source.first
    cdef int rc
    if run.next < first:
        run.next = first
    while count < HASH_BLOCK and run.limit and run.next <= last:
        rc = find_arrival(run, next, run.next, &at, &size, &places[count])
        if rc:
            return rc
        run.next += 1
        run.limit -= 1
        if size == 0:
            continue
        memset(&messages[count], 0, sizeof(messages[count]))
        messages[count].part[0], messages[count].size[0] = at, size
        if read_envelope(&at, at + size, &fields) != RLP_OK:
            return MDB_CORRUPTED
        created[count] = created_of(&fields)
        count += 1
    keccak256_many(messages, count, digests)
    for i in range(count):
        item = run.items + run.count * ITEM_SIZE
        put32(item, created[i])
        memcpy(item + 4, digests + 32 * i, 32)
        rc = find_own_row(run.times, item, places[i])
        if rc == 0:
            run.count += 1
        elif rc != MDB_NOTFOUND:
            return rc
    return 0


cdef inline int run_items(void *context) noexcept nogil:
    """Take the items of the next `limit` sequences that are in chunks."""
    cdef item_run *run = <item_run *> context
    cdef arrival next
    cdef lead ahead
    cdef int rc = mdb_cursor_open(run.txn, run.env.arrivals, &run.arrivals)
    if not rc:
        rc = mdb_cursor_open(run.txn, run.env.chunks, &run.chunks)
    if not rc:
        rc = mdb_cursor_open(run.txn, run.env.times, &run.times)
    forget_chunk(&run.recent)
    begin_lead(&ahead, run.env.always_ahead)
    while not rc and run.limit:
        rc = keep_lead(&ahead, run.arrivals, run.chunks, run.next)
        if not rc:
            rc = next_arrival(run.arrivals, run.chunks, run.next, &next)
        if not rc:
            rc = take_items(run, &next)
    return 0 if rc == MDB_NOTFOUND else rc


cdef inline void close_items(void *question) noexcept nogil:
    """Close the cursors, before the transaction ends."""
    cdef item_run *run = <item_run *> question
    if run.arrivals != NULL:
        mdb_cursor_close(run.arrivals)
    if run.chunks != NULL:
        mdb_cursor_close(run.chunks)
    if run.times != NULL:
        mdb_cursor_close(run.times)
    run.arrivals = run.chunks = run.times = NULL
