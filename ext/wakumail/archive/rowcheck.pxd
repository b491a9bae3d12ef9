"""The checks of single rows, and what they remember for rows of other tables.

Problems of a row are noted. Functions that return int return 0 or a code as in environment.pxd.
"""

from libc.stdint cimport UINT64_MAX, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from wakumail.waku.envelope cimport HASH_BLOCK, envelope_fields, read_envelope
from wakumail.archive.chunks cimport AHEAD, find_place
from wakumail.archive.environment cimport environment, pin
from wakumail.base.keccak cimport keccak256, keccak256_many, keccak_message
from wakumail.archive.layout cimport *
from wakumail.archive.lead cimport keep_lead, lead
from wakumail.archive.lmdb cimport *
from wakumail.archive.problem cimport NOWHERE, compare, name_key, note, problem, problem_list, text
from wakumail.base.pthread cimport pthread_mutex_t
from wakumail.base.rlp cimport RLP_OK
from wakumail.archive.scanner cimport reserve_one
from wakumail.archive.slotcheck cimport day_slots, has_slot, keep_slot
from wakumail.archive.sumcheck cimport keep_sum, sum_check, take_hash
from wakumail.archive.sums cimport fold, read_sum
from wakumail.base.sum256 cimport sum256, sum256_add, sum256_equal, sum256_read

cdef enum:
    MAX_KEY = 511               # bytes of any key (lmdb.h, mdb_env_get_maxkeysize)
    DAY_COUNT = 1 << 16


cdef struct stair:              # a row of `times` with a smaller sequence than all before it
    uint8_t key[TIME_KEY]
    uint64_t sequence


cdef struct verifier:
    environment *env
    pin held
    pthread_mutex_t lock        # one step at a time
    problem_list problems
    uint64_t total              # bytes of all rows, according to the totals
    uint64_t next               # sequence
    uint32_t pruned             # the horizon
    day_totals *days            # as found

    int phase
    uint8_t bound[MAX_KEY]      # the key of the last row that this phase checked
    size_t bound_size           # 0 before the first one
    uint64_t checked            # bytes of rows in this step

    MDB_cursor *walked          # all cursors are only open during a step
    MDB_cursor *times
    MDB_cursor *postings
    MDB_cursor *chunks
    MDB_cursor *arrivals
    MDB_cursor *topics

    uint64_t time_rows
    uint64_t envelopes          # with a row in `times`
    uint64_t posted             # of them with a row in `postings`
    uint64_t posting_rows
    stair *stairs
    size_t stair_count
    size_t stair_room
    lead ahead
    size_t branch               # the page whose leaves were asked of the disk last
    uint64_t behind             # sequence of the last arrival + 1
    uint64_t copied_postings    # those that lead to a copy, of envelopes that `times` finds elsewhere
    uint64_t copies             # found in the chunks
    day_slots *slots            # of each day, in the order of arrival
    uint32_t sorted_day         # of the last chunk with sorted envelopes
    uint64_t sorted_behind      # place of the last one in it + 1
    size_t sorted_asked         # chunks that were asked of the disk, and have not come yet
    uint8_t topic[TOPIC_KEY]    # of the last posting
    uint64_t topic_rows         # postings with that topic
    sum_check sums


cdef inline int find_value(MDB_cursor *cursor, const void *bytes, size_t size,
                     MDB_val *value) noexcept nogil:
    """Get the value of a key; a missing key has a value of size 0."""
    cdef MDB_val key = value_of(bytes, size)
    cdef int rc = mdb_cursor_get(cursor, &key, value, MDB_SET_KEY)
    if rc == MDB_NOTFOUND:
        value[0] = value_of(NULL, 0)
        return 0
    return rc


cdef inline void note_row(verifier *v, text what, const MDB_val *key) noexcept nogil:
    name_key(note(&v.problems, what, NOWHERE, NOWHERE), b"key", key.mv_data, key.mv_size)


cdef inline int take_time(verifier *v, const MDB_val *key, const MDB_val *value) noexcept nogil:
    """Check a row of `times`: count it, and keep it if it is a stair."""
    cdef const uint8_t *at = <const uint8_t *> key.mv_data
    cdef uint64_t sequence
    cdef stair *top
    cdef int rc
    v.time_rows += 1
    if key.mv_size != TIME_KEY or value.mv_size != TIME_VALUE:
        note_row(v, b"a row of `times` has the wrong size", key)
        return 0
    v.days[get32(at) // DAY].envelopes += 1
    sequence = get48(<const uint8_t *> value.mv_data + 4)
    if is_sorted(sequence):
        return 0                # its chunk does not say when it arrived
    v.days[get32(at) // DAY].unsorted += 1
    if v.stair_count and v.stairs[v.stair_count - 1].sequence <= sequence:
        return 0
    rc = reserve_one(<void **> &v.stairs, &v.stair_room, v.stair_count, sizeof(stair))
    if rc:
        return rc
    top = &v.stairs[v.stair_count]
    memcpy(top.key, at, TIME_KEY)
    top.sequence = sequence
    v.stair_count += 1
    return 0


cdef inline int take_sum(verifier *v, const MDB_val *key, const MDB_val *value) noexcept nogil:
    """Check a row of `sums` and keep it."""
    cdef fold stored
    if key.mv_size != SUM_KEY or read_sum(value, &stored):
        note_row(v, b"a row of `sums` has the wrong size", key)
        return 0
    return keep_sum(&v.sums, get32(<const uint8_t *> key.mv_data), &stored)


cdef inline bint was_pruned(const verifier *v, const uint8_t *time_key,
                            uint64_t place) noexcept nogil:
    """True if an envelope without rows may be pruned, its chunk not yet (see pruner.pxd).

    Pruning deletes the oldest first. So if this envelope was pruned, all envelopes with rows that
    are older arrived later than it, and so did this one if it came again. A sorted one does not tell
    when it arrived, but none is pruned that is younger than the horizon.
    """
    cdef size_t low = 0
    cdef size_t high = v.stair_count
    cdef size_t middle
    if is_sorted(place):
        return get32(time_key) <= v.pruned
    while low < high:
        middle = (low + high) // 2
        if memcmp(v.stairs[middle].key, time_key, TIME_KEY) <= 0:
            low = middle + 1
        else:
            high = middle
    return low == 0 or v.stairs[low - 1].sequence > place


cdef inline void put_time_key(uint8_t *key, uint32_t created, const uint8_t *digest) noexcept nogil:
    put32(key, created)
    memcpy(key + 4, digest, HASH_PREFIX)


cdef inline void put_posting_key(uint8_t *key, uint32_t created, const uint8_t *topic,
                                 const uint8_t *digest) noexcept nogil:
    put16(key, created // DAY)
    memcpy(key + DAY_KEY, topic, 4)
    put24(key + TOPIC_KEY, created % DAY)
    memcpy(key + TOPIC_KEY + 3, digest, HASH_PREFIX)


cdef inline void ask_rows(verifier *v, const envelope_fields *fields, const uint8_t *digests,
                          size_t count) noexcept nogil:
    """Ask the disk together for the pages where the rows of these envelopes should be."""
    cdef uint8_t[HASH_BLOCK][TIME_KEY] time_keys
    cdef uint8_t[HASH_BLOCK][POSTING_KEY] posting_keys
    cdef uint32_t created
    cdef size_t i
    for i in range(count):
        created = <uint32_t> (fields[i].expiry - fields[i].ttl)
        put_time_key(time_keys[i], created, digests + 32 * i)
        put_posting_key(posting_keys[i], created, fields[i].topic.data, digests + 32 * i)
    ahead_keys(v.times, time_keys, count, TIME_KEY)
    ahead_keys(v.postings, posting_keys, count, POSTING_KEY)


cdef inline int find_posting(verifier *v, uint32_t created, const uint8_t *topic,
                             const uint8_t *digest, MDB_val *value) noexcept nogil:
    cdef uint8_t key[POSTING_KEY]
    put_posting_key(key, created, topic, digest)
    return find_value(v.postings, key, POSTING_KEY, value)


cdef inline bint leads_to(const MDB_val *posting, uint64_t place) noexcept nogil:
    return (posting.mv_size == SEQUENCE_SIZE
            and get48(<const uint8_t *> posting.mv_data) == place)


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
        name_key(note(&v.problems, what, created // DAY, place), b"hash", digest, 32)
    return 0


cdef inline int check_copy(verifier *v, uint32_t created, uint64_t place, const uint8_t *topic,
                           const uint8_t *digest, bint *is_copy) noexcept nogil:
    """Look if `postings` lead to an envelope that `times` finds elsewhere."""
    cdef MDB_val value
    cdef int rc = find_posting(v, created, topic, digest, &value)
    is_copy[0] = leads_to(&value, place)
    v.copies += is_copy[0]
    return rc


cdef inline int check_envelope(verifier *v, uint64_t place, const envelope_fields *fields,
                               const uint8_t *digest) noexcept nogil:
    """Check that an envelope has its rows, or none because it was pruned."""
    cdef uint8_t key[TIME_KEY]
    cdef MDB_val value
    cdef const uint8_t *row
    cdef text what = NULL
    cdef uint32_t created = <uint32_t> (fields.expiry - fields.ttl)
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
            name_key(note(&v.problems, b"an envelope is missing in the order of arrival",
                          created // DAY, place), b"hash", digest, 32)
        sum256_read(&number, digest)
        sum256_add(&v.days[created // DAY].sum, &number)
        if not take_hash(&v.sums, created, digest):
            name_key(note(&v.problems, b"an envelope is missing in `sums`", created // DAY,
                          place), b"hash", digest, 32)
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
        name_key(note(&v.problems, what, created // DAY, place), b"hash", digest, 32)
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
            elif <uint32_t> (fields[count].expiry - fields[count].ttl) // DAY != source.day:
                note(&v.problems, b"an envelope lies in the chunk of another day", source.day,
                     place - 1)
            else:
                count += 1
        keccak256_many(messages, count, digests)
        if v.ahead.on:
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
    if not v.ahead.on or v.sorted_asked:
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


cdef inline int trace_time(verifier *v, const MDB_val *key,
                               const MDB_val *value) noexcept nogil:
    """Check that a row of `times` leads to its envelope."""
    cdef const uint8_t *at = <const uint8_t *> key.mv_data
    cdef uint8_t chunk_bytes[CHUNK_KEY]
    cdef uint8_t digest[32]
    cdef MDB_val chunk_key = value_of(chunk_bytes, CHUNK_KEY)
    cdef MDB_val row
    cdef const uint8_t *data
    cdef chunk source
    cdef uint64_t place
    cdef size_t size
    cdef int rc
    if key.mv_size != TIME_KEY or value.mv_size != TIME_VALUE:
        return 0                        # noted before
    place = get48(<const uint8_t *> value.mv_data + 4)
    put_chunk_key(chunk_bytes, get32(at) // DAY, place)
    rc = mdb_cursor_get(v.chunks, &chunk_key, &row, MDB_SET_RANGE)
    if rc and rc != MDB_NOTFOUND:
        return rc
    if (rc or read_chunk(&chunk_key, &row, &source) or source.day != get32(at) // DAY
            or chunk_envelopes(&source, place, place, &data, &size)):
        data, size = NULL, 0
    keccak256(data, size, digest)
    if memcmp(digest, at + 4, HASH_PREFIX) != 0:
        name_key(note(&v.problems, b"a row of `times` leads to no envelope, or another one",
                      get32(at) // DAY, place), b"hash", at + 4, HASH_PREFIX)
    return 0


cdef inline int end_topic(verifier *v) noexcept nogil:
    """After the last posting of a topic and day: compare their number with `topics`."""
    cdef MDB_val value
    cdef problem *p
    cdef uint64_t stored = UINT64_MAX
    cdef int rc = 0
    if v.topic_rows:
        v.days[get16(v.topic)].topics += 1
        rc = find_value(v.topics, v.topic, TOPIC_KEY, &value)
    if rc or v.topic_rows == 0:
        return rc
    if value.mv_size == 4:
        stored = get32(<const uint8_t *> value.mv_data)
    if stored != v.topic_rows:
        p = note(&v.problems, b"`topics` miscounts a topic's envelopes", get16(v.topic), NOWHERE)
        name_key(p, b"topic", v.topic + DAY_KEY, 4)
        p.counted, p.stored, p.found = value.mv_size == 4, stored, v.topic_rows
    v.topic_rows = 0
    return 0


cdef inline int take_posting(verifier *v, const MDB_val *key,
                             const MDB_val *value) noexcept nogil:
    """Check a row of `postings` and count it."""
    cdef int rc = 0
    v.posting_rows += 1
    if key.mv_size != POSTING_KEY or value.mv_size != SEQUENCE_SIZE:
        note_row(v, b"a row of `postings` has the wrong size", key)
        if key.mv_size != POSTING_KEY:
            return 0
    if memcmp(v.topic, key.mv_data, TOPIC_KEY) != 0:
        rc = end_topic(v)
        memcpy(v.topic, key.mv_data, TOPIC_KEY)
    v.topic_rows += 1
    return rc


cdef inline int trace_posting(verifier *v, const MDB_val *key,
                                  const MDB_val *value) noexcept nogil:
    """Check that a row of `postings` has one in `times` with the same topic, and the same place
    unless it leads to a copy."""
    cdef const uint8_t *at = <const uint8_t *> key.mv_data
    cdef uint8_t time_key[TIME_KEY]
    cdef MDB_val row
    cdef int rc
    if key.mv_size != POSTING_KEY or value.mv_size != SEQUENCE_SIZE:
        return 0                        # noted before
    put32(time_key, get16(at) * DAY + get24(at + TOPIC_KEY))
    memcpy(time_key + 4, at + TOPIC_KEY + 3, HASH_PREFIX)
    rc = find_value(v.times, time_key, TIME_KEY, &row)
    if rc:
        return rc
    if (row.mv_size != TIME_VALUE or memcmp(row.mv_data, at + DAY_KEY, 4) != 0
            or not leads_to(value, get48(<const uint8_t *> row.mv_data + 4))
            and (is_sorted(get48(<const uint8_t *> row.mv_data + 4))
                 or not is_sorted(get48(<const uint8_t *> value.mv_data)))):
        name_key(note(&v.problems, b"a row of `postings` has none in `times`", get16(at),
                      get48(<const uint8_t *> value.mv_data)), b"hash", time_key + 4, HASH_PREFIX)
    return 0


cdef inline int take_topic(verifier *v, const MDB_val *key, const MDB_val *value) noexcept nogil:
    """Check that a row of `topics` has postings; if so, its count was compared with them."""
    cdef MDB_val found
    cdef MDB_val bound = key[0]
    cdef int rc
    if key.mv_size != TOPIC_KEY or value.mv_size != 4:
        note_row(v, b"a row of `topics` has the wrong size", key)
        return 0
    rc = mdb_cursor_get(v.postings, &bound, &found, MDB_SET_RANGE)
    if rc and rc != MDB_NOTFOUND:
        return rc
    if rc or bound.mv_size < TOPIC_KEY or memcmp(bound.mv_data, key.mv_data, TOPIC_KEY) != 0:
        name_key(note(&v.problems, b"`topics` has a topic without envelopes",
                      get16(<const uint8_t *> key.mv_data), NOWHERE),
                 b"topic", <const uint8_t *> key.mv_data + DAY_KEY, 4)
    return 0


cdef inline void compare_day(verifier *v, uint32_t day, const day_totals *stored) noexcept nogil:
    """Compare the totals of a day, then clear those that were found: a day is compared once."""
    cdef day_totals *found = &v.days[day]
    compare(&v.problems, b"`days` miscounts the envelopes", day, stored.envelopes,
            found.envelopes)
    compare(&v.problems, b"`days` miscounts the bytes", day, stored.bytes, found.bytes)
    compare(&v.problems, b"`days` miscounts the topics", day, stored.topics, found.topics)
    compare(&v.problems, b"`days` miscounts the unsorted envelopes", day, stored.unsorted,
            found.unsorted)
    if stored.envelopes == found.envelopes and not sum256_equal(&stored.sum, &found.sum):
        note(&v.problems, b"`days` has another sum", day, NOWHERE)
    memset(found, 0, sizeof(found[0]))


cdef inline int take_day(verifier *v, const MDB_val *key, const MDB_val *value) noexcept nogil:
    """Check a row of `days`."""
    cdef day_totals stored
    if key.mv_size != DAY_KEY or read_day(value, &stored):
        note_row(v, b"a row of `days` has the wrong size", key)
    else:
        compare_day(v, get16(<const uint8_t *> key.mv_data), &stored)
    return 0
