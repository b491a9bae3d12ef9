"""The checks of chunks: each envelope is whole, in its order, and has its rows in the indexes.

Problems are noted. Functions that return int return 0 or a code as in environment.pxd.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset

from wakumail.waku.envelope cimport HASH_BLOCK, created_of, envelope_fields, read_envelope
from wakumail.archive.chunks cimport AHEAD, find_place
from wakumail.base.keccak cimport keccak256_many, keccak_message
from wakumail.archive.layout cimport *
from wakumail.archive.lead cimport keep_lead
from wakumail.archive.lmdb cimport *
from wakumail.archive.problem cimport note, text
from wakumail.base.rlp cimport RLP_OK
from wakumail.archive.rowcheck cimport find_value, leads_to, note_envelope, note_row, verifier
from wakumail.archive.slotcheck cimport has_slot, keep_slot
from wakumail.archive.stairs cimport arrived_first
from wakumail.archive.sumcheck cimport take_hash
from wakumail.base.sum256 cimport sum256, sum256_add, sum256_read


cdef inline void ask_rows(verifier *v, const envelope_fields *fields, const uint8_t *digests,
                          size_t count) noexcept nogil:
    """Ask the disk together for the pages where the rows of these envelopes should be."""
    cdef uint8_t[HASH_BLOCK][TIME_KEY] time_keys
    cdef uint8_t[HASH_BLOCK][POSTING_KEY] posting_keys
    cdef uint32_t created
    cdef size_t i
    for i in range(count):
        created = created_of(&fields[i])
        put_time_key(time_keys[i], created, digests + 32 * i)
        put_posting_key(posting_keys[i], created, fields[i].topic.data, digests + 32 * i)
    ahead_keys(v.times, time_keys, count, TIME_KEY)
    ahead_keys(v.postings, posting_keys, count, POSTING_KEY)


cdef inline int find_posting(verifier *v, uint32_t created, const uint8_t *topic,
                             const uint8_t *digest, MDB_val *value) noexcept nogil:
    cdef uint8_t key[POSTING_KEY]
    put_posting_key(key, created, topic, digest)
    return find_value(v.postings, key, POSTING_KEY, value)


cdef inline int check_posting(verifier *v, uint32_t created, uint64_t place,
                              const uint8_t *topic, const uint8_t *digest) noexcept nogil:
    """Check that an envelope has its posting, which may lead to a copy (see sorter.pxd)."""
    cdef MDB_val value
    cdef text what = NULL
    cdef int rc = find_posting(v, created, topic, digest, &value)
    if rc:
        return rc
    v.posted += value.mv_size != 0
    if value.mv_size == 0:
        what = b"an envelope is missing in `postings`"
    elif not leads_to(&value, place):
        if (value.mv_size == SEQUENCE_SIZE and not is_sorted(place)
                and is_sorted(get48(<const uint8_t *> value.mv_data))):
            v.copied_postings += 1
        else:
            what = b"`postings` has another place for an envelope"
    if what != NULL:
        note_envelope(v, what, created // DAY, place, digest, 32)
    return 0


cdef inline int check_copy(verifier *v, uint32_t created, uint64_t place, const uint8_t *topic,
                           const uint8_t *digest, bint *is_copy) noexcept nogil:
    """Look if `postings` lead to an envelope that `times` finds elsewhere."""
    cdef MDB_val value
    cdef int rc = find_posting(v, created, topic, digest, &value)
    is_copy[0] = leads_to(&value, place)
    v.copies += is_copy[0]
    return rc


cdef inline bint was_pruned(const verifier *v, const uint8_t *time_key,
                            uint64_t place) noexcept nogil:
    """True if an envelope without rows may be pruned, its chunk not yet (see pruner.pxd).

    If it came again after that, the row is that of its second arrival. A sorted one does not tell
    when it arrived, but none is pruned that is younger than the horizon.
    """
    if is_sorted(place):
        return get32(time_key) <= v.pruned
    return arrived_first(&v.stairs, time_key, place)


cdef inline int check_envelope(verifier *v, uint64_t place, const envelope_fields *fields,
                               const uint8_t *digest) noexcept nogil:
    """Check that an envelope has its rows, or none because it was pruned."""
    cdef uint8_t key[TIME_KEY]
    cdef MDB_val value
    cdef const uint8_t *row
    cdef text what = NULL
    cdef uint32_t created = created_of(fields)
    cdef sum256 number
    cdef bint is_copy = False
    cdef int rc
    put_time_key(key, created, digest)
    rc = find_value(v.times, key, TIME_KEY, &value)
    if rc:
        return rc
    row = <const uint8_t *> value.mv_data
    if value.mv_size == TIME_VALUE and get48(row + 4) == place:
        v.envelopes += 1
        if is_sorted(place) and not has_slot(&v.slots[created // DAY], <uint32_t> place):
            note_envelope(v, b"an envelope is missing in the order of arrival", created // DAY,
                          place, digest, 32)
        sum256_read(&number, digest)
        sum256_add(&v.days[created // DAY].sum, &number)
        if not take_hash(&v.sums, created, digest):
            note_envelope(v, b"an envelope is missing in `sums`", created // DAY, place, digest, 32)
        if memcmp(row, fields.topic.data, 4) != 0:
            what = b"`times` has another topic for an envelope"
        rc = check_posting(v, created, place, fields.topic.data, digest)
    else:
        if value.mv_size == TIME_VALUE and is_sorted(place) and not is_sorted(get48(row + 4)):
            rc = check_copy(v, created, place, fields.topic.data, digest, &is_copy)
        if not is_copy and not was_pruned(v, key, place):
            what = (b"`times` has another place for an envelope" if value.mv_size
                    else b"an envelope is missing in `times`")
    if what != NULL:
        note_envelope(v, what, created // DAY, place, digest, 32)
    return rc


cdef inline int check_chunk(verifier *v, const chunk *source) noexcept nogil:
    """Check all envelopes of a chunk; their hashes are made many at once."""
    cdef keccak_message[HASH_BLOCK] messages
    cdef envelope_fields[HASH_BLOCK] fields
    cdef uint64_t[HASH_BLOCK] places
    cdef uint8_t[HASH_BLOCK * 32] digests
    cdef const uint8_t *at
    cdef const uint8_t *end
    cdef uint64_t place = source.first
    cdef size_t size, count, i
    cdef int rc
    v.days[source.day].bytes += source.size
    v.checked += source.size
    while place <= source.last:
        count = 0
        while count < HASH_BLOCK and place <= source.last:
            if chunk_envelopes(source, place, place, &at, &size):
                note(&v.problems, b"a chunk does not say where an envelope ends", source.day,
                     place)
                return 0
            memset(&messages[count], 0, sizeof(messages[count]))
            messages[count].part[0] = at
            messages[count].size[0] = size
            places[count] = place
            place += 1
            end = at + size
            if read_envelope(&at, end, &fields[count]) != RLP_OK or at != end:
                note(&v.problems, b"an envelope is not canonical RLP", source.day, place - 1)
            elif created_of(&fields[count]) // DAY != source.day:
                note(&v.problems, b"an envelope lies in the chunk of another day", source.day,
                     place - 1)
            else:
                count += 1
        keccak256_many(messages, count, digests)
        if v.ahead.waits.met:
            ask_rows(v, fields, digests, count)
        for i in range(count):
            rc = check_envelope(v, places[i], &fields[i], digests + 32 * i)
            if rc:
                return rc
    return 0


cdef inline int check_moved(verifier *v, const moved_chunk *moved) noexcept nogil:
    """Check that each slot is one of a chunk and arrived once, and keep it."""
    cdef uint64_t sequence
    cdef uint32_t slot
    cdef text what
    cdef int rc
    for sequence in range(moved.first, moved.last + 1):
        slot = slot_of(moved, sequence)
        if slot == NO_SLOT:
            continue
        rc = find_place(v.chunks, moved.day, sorted_place(slot))
        what = NULL
        if rc == MDB_NOTFOUND or slot >= v.next:
            what = b"a slot in the order of arrival is in no chunk"
        elif has_slot(&v.slots[moved.day], slot):
            what = b"a slot arrived twice"
        elif rc == 0:
            rc = keep_slot(&v.slots[moved.day], slot)
        if what != NULL:
            note(&v.problems, what, moved.day, sequence)
        elif rc:
            return rc
    return 0


cdef inline int take_arrival(verifier *v, const MDB_val *key,
                             const MDB_val *value) noexcept nogil:
    """Check a row of `arrivals` and its chunk."""
    cdef uint8_t chunk_bytes[CHUNK_KEY]
    cdef MDB_val chunk_key = value_of(chunk_bytes, CHUNK_KEY)
    cdef MDB_val row
    cdef chunk source
    cdef moved_chunk moved
    cdef uint64_t first, last
    cdef uint32_t day
    cdef bint was_moved
    cdef int rc
    if key.mv_size != SEQUENCE_SIZE or value.mv_size != DAY_KEY:
        note_row(v, b"a row of `arrivals` has the wrong size", key)
        return 0
    last = get48(<const uint8_t *> key.mv_data)
    day = get16(<const uint8_t *> value.mv_data)
    put_chunk_key(chunk_bytes, day, last)
    rc = keep_lead(&v.ahead, v.arrivals, v.chunks, last)
    if not rc:
        rc = find_value(v.chunks, chunk_bytes, CHUNK_KEY, &row)
    if rc:
        return rc
    if last >= v.next:
        note(&v.problems, b"a sequence that was not assigned yet is stored", day, last)
    if row.mv_data == NULL:
        note(&v.problems, b"`arrivals` names a chunk that is missing", day, last)
        return 0
    was_moved = is_moved(&row)
    rc = (read_moved(&chunk_key, &row, &moved) if was_moved
          else read_chunk(&chunk_key, &row, &source))
    if rc or is_sorted(last):
        note(&v.problems, b"a chunk's parts do not fit together", day, last)
        return 0
    first = moved.first if was_moved else source.first
    if first < v.behind:
        note(&v.problems, b"a chunk has sequences that another one has, too", day, first)
    v.behind = last + 1
    return check_moved(v, &moved) if was_moved else check_chunk(v, &source)


cdef inline int ask_sorted(verifier *v, const MDB_val *first) noexcept nogil:
    """Ask the disk for the next chunks together, once for each AHEAD of them."""
    cdef MDB_val key = first[0]
    cdef ahead_list pages
    cdef int rc
    if not v.ahead.waits.met or v.sorted_asked:
        v.sorted_asked -= v.sorted_asked != 0
        return 0
    pages.count = 0
    rc = mdb_cursor_get(v.chunks, &key, NULL, MDB_SET_RANGE)
    while not rc and v.sorted_asked < AHEAD:
        ahead_value(v.chunks, &pages)
        v.sorted_asked += 1
        rc = mdb_cursor_get(v.chunks, &key, NULL, MDB_NEXT)
    ahead_ask(v.chunks, &pages)
    return 0 if rc == MDB_NOTFOUND else rc


cdef inline int take_sorted(verifier *v, const MDB_val *key) noexcept nogil:
    """Check a chunk of a sorted day."""
    cdef const uint8_t *at = <const uint8_t *> key.mv_data
    cdef MDB_val value
    cdef chunk source
    cdef int rc = ask_sorted(v, key)
    if not rc:
        rc = find_value(v.chunks, at, CHUNK_KEY, &value)
    if rc:
        return rc
    if read_chunk(key, &value, &source) or not is_sorted(source.first):
        note(&v.problems, b"a chunk's parts do not fit together", get16(at), get48(at + DAY_KEY))
        return 0
    if source.day == v.sorted_day and source.first < v.sorted_behind:
        note(&v.problems, b"a chunk has slots that another one has, too", source.day, source.first)
    v.sorted_day, v.sorted_behind = source.day, source.last + 1
    return check_chunk(v, &source)


cdef inline int take_chunk(verifier *v, const MDB_val *key, const MDB_val *value) noexcept nogil:
    """Check the envelopes of a chunk to which no row of `arrivals` leads: that of a sorted day."""
    cdef const uint8_t *at = <const uint8_t *> key.mv_data
    cdef MDB_val row
    cdef chunk source
    cdef int rc
    if key.mv_size != CHUNK_KEY:
        note_row(v, b"a row of `chunks` has the wrong size", key)
        return 0
    if is_sorted(get48(at + DAY_KEY)):
        return take_sorted(v, key)
    rc = find_value(v.arrivals, at + DAY_KEY, SEQUENCE_SIZE, &row)
    if rc or row.mv_size == DAY_KEY and memcmp(row.mv_data, at, DAY_KEY) == 0:
        return rc
    note(&v.problems, b"a chunk is missing in `arrivals`", get16(at), get48(at + DAY_KEY))
    rc = find_value(v.chunks, at, CHUNK_KEY, &row)
    if rc:
        return rc
    if read_chunk(key, &row, &source):
        note(&v.problems, b"a chunk's parts do not fit together", get16(at), get48(at + DAY_KEY))
        return 0
    return check_chunk(v, &source)
