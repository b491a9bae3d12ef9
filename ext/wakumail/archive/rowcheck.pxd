"""The checks of the rows of the indexes, and what they remember for rows of other tables.

Problems are noted. Functions that return int return 0 or a code as in environment.pxd.
"""

from libc.stdint cimport UINT64_MAX, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from wakumail.archive.environment cimport environment, pin
from wakumail.base.keccak cimport keccak256
from wakumail.archive.layout cimport *
from wakumail.archive.lead cimport lead
from wakumail.archive.lmdb cimport *
from wakumail.archive.problem cimport NOWHERE, compare, name_key, note, problem, problem_list, text
from wakumail.base.pthread cimport pthread_mutex_t
from wakumail.archive.slotcheck cimport day_slots
from wakumail.archive.stairs cimport add_stair, stairs
from wakumail.archive.sumcheck cimport keep_sum, sum_check
from wakumail.archive.sums cimport fold, read_sum
from wakumail.base.sum256 cimport sum256_equal

cdef enum:
    MAX_KEY = 511               # bytes of any key (lmdb.h, mdb_env_get_maxkeysize)
    DAY_COUNT = 1 << 16


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

    lead ahead
    size_t branch               # the page whose leaves were asked of the disk last
    size_t sorted_asked         # chunks that were asked of the disk, and have not come yet

    uint64_t time_rows          # counted
    uint64_t envelopes          # with a row in `times`
    uint64_t posted             # of them with a row in `postings`
    uint64_t posting_rows
    uint64_t copied_postings    # that lead to a copy, of envelopes that `times` finds elsewhere
    uint64_t copies             # found in the chunks

    stairs stairs               # kept for the chunks
    sum_check sums
    day_slots *slots            # of each day, in the order of arrival

    uint64_t behind             # sequence of the last arrival + 1
    uint32_t sorted_day         # of the last chunk with sorted envelopes
    uint64_t sorted_behind      # place of the last one in it + 1
    uint8_t topic[TOPIC_KEY]    # of the last posting
    uint64_t topic_rows         # postings with that topic


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


cdef inline void note_envelope(verifier *v, text what, uint32_t day, uint64_t place,
                               const uint8_t *hash, size_t size) noexcept nogil:
    """Note what is wrong with an envelope; `size`: bytes of its hash that are known."""
    name_key(note(&v.problems, what, day, place), b"hash", hash, size)


cdef inline bint leads_to(const MDB_val *posting, uint64_t place) noexcept nogil:
    return (posting.mv_size == SEQUENCE_SIZE
            and get48(<const uint8_t *> posting.mv_data) == place)


cdef inline int take_time(verifier *v, const MDB_val *key, const MDB_val *value) noexcept nogil:
    """Check a row of `times` and count it."""
    cdef const uint8_t *at = <const uint8_t *> key.mv_data
    cdef uint64_t sequence
    v.time_rows += 1
    if key.mv_size != TIME_KEY or value.mv_size != TIME_VALUE:
        note_row(v, b"a row of `times` has the wrong size", key)
        return 0
    v.days[get32(at) // DAY].envelopes += 1
    sequence = get48(<const uint8_t *> value.mv_data + 4)
    if is_sorted(sequence):
        return 0                # its chunk does not say when it arrived
    v.days[get32(at) // DAY].unsorted += 1
    return add_stair(&v.stairs, at, sequence)


cdef inline int take_sum(verifier *v, const MDB_val *key, const MDB_val *value) noexcept nogil:
    """Check a row of `sums` and keep it."""
    cdef fold stored
    if key.mv_size != SUM_KEY or read_sum(value, &stored):
        note_row(v, b"a row of `sums` has the wrong size", key)
        return 0
    return keep_sum(&v.sums, get32(<const uint8_t *> key.mv_data), &stored)


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
        note_envelope(v, b"a row of `times` leads to no envelope, or another one",
                      get32(at) // DAY, place, at + 4, HASH_PREFIX)
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
    put_time_key(time_key, get16(at) * DAY + get24(at + TOPIC_KEY), at + TOPIC_KEY + 3)
    rc = find_value(v.times, time_key, TIME_KEY, &row)
    if rc:
        return rc
    if (row.mv_size != TIME_VALUE or memcmp(row.mv_data, at + DAY_KEY, 4) != 0
            or not leads_to(value, get48(<const uint8_t *> row.mv_data + 4))
            and (is_sorted(get48(<const uint8_t *> row.mv_data + 4))
                 or not is_sorted(get48(<const uint8_t *> value.mv_data)))):
        note_envelope(v, b"a row of `postings` has none in `times`", get16(at),
                      get48(<const uint8_t *> value.mv_data), time_key + 4, HASH_PREFIX)
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
