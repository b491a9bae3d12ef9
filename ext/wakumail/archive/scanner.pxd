"""One slice of a query: its state, the collection of its hits, and the walk over all times.

The order is (created, hash), ascending or descending. Nothing is copied: a slice ends with pointers
into the map, which are valid as long as its transaction. Functions that return int return 0, a code
as in environment.pxd, or STOP.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memcmp, memcpy

from wakumail.waku.bloom cimport bloom_covers
from wakumail.archive.chunks cimport AHEAD, MOST_AHEAD, find_envelope, read_ahead, wanted_row
from wakumail.archive.disk_waits cimport disk_waits, look_for_waits
from wakumail.archive.environment cimport environment
from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *
from wakumail.archive.sieves cimport sieve
from wakumail.base.keccak cimport keccak256
from wakumail.base.rlp cimport RLP_OK, rlp_header_size
from wakumail.waku.envelope cimport envelope_fields, read_envelope

cdef enum:
    STOP = -100             # the slice has ended; `state` says why

    EXHAUSTED = 0           # states: nothing remains
    MORE = 1                # at least one more envelope remains
    PAUSED = 2              # the budget ran out

    AT_ONCE_HITS = 64       # of a page that is read at once

    EVERY_TOPIC = 0         # kinds of queries
    TOPIC_SET = 1
    TOPIC_BLOOM = 2


cdef struct query_terms:
    uint32_t lower          # of created, both inclusive
    uint32_t upper
    bint newest_first
    int kind
    uint32_t *topics        # ascending, distinct
    size_t topic_count
    uint8_t bloom[64]


cdef struct hit:            # an envelope in the map
    const uint8_t *data
    size_t size


cdef struct source:         # the postings of one topic and day, at the next one
    uint64_t order          # its second and first hash bytes: nearly always enough to compare
    const uint8_t *key
    const uint8_t *value
    uint64_t prefix         # the topic key that all these postings begin with
    MDB_cursor *cursor


cdef struct next_days:      # as days_ahead.pxd asks for them
    uint32_t asked          # the number of days that were asked for together
    uint32_t last           # of them; not before the current day in the query's order
    uint32_t visited        # the number of days that were visited
    uint64_t seconds        # of these, those that the query wants
    uint32_t next_look      # the number visited after which to look if the thread has waited


cdef struct scan:
    const query_terms *terms
    size_t limit            # envelopes
    size_t max_bytes        # of the packet, its list header included
    int64_t budget          # index entries that may still be looked at
    bint lenient            # what is damaged is left out; otherwise it is an error
    int64_t overdraft       # entries by which this day may exceed it: see charge_plan
    uint8_t bound[TIME_KEY] # the next entry is the first one at this key, or `behind` it
    bint behind
    bint moved              # True if the bound has changed since the beginning

    environment *env
    MDB_txn *txn
    MDB_cursor *days        # opened when first used
    MDB_cursor *topics
    MDB_cursor *times
    MDB_cursor *chunks
    chunk recent            # the chunk of the last hit

    uint32_t day            # the current day, and the seconds of it that the query wants
    uint32_t first
    uint32_t last
    uint32_t *possible      # wanted topics that the day may have; room for all of the query's
    size_t possible_count
    sieve sieve             # of the day, while it is made
    uint32_t *matched       # topics of the day that the query wants
    size_t matched_count
    size_t matched_room
    source *sources         # a heap, the next entry on top
    size_t source_count
    size_t source_room
    MDB_cursor **cursors    # for sources
    size_t cursor_count
    size_t cursor_room

    int state
    hit *hits
    size_t count
    size_t hit_room
    size_t payload          # bytes of all hits
    size_t damaged          # envelopes that were left out
    bint at_once            # only a small page is wanted: no envelope is read of a larger one
    uint8_t last_row[TIME_KEY]  # the key in `times` of the last hit, or of one left out behind it
    uint8_t last_hash[32]   # of the last hit
    bint at_hit             # the bound is the last hit

    disk_waits waits        # once any is met, envelopes wait and their pages are asked for together
    size_t next_look        # the number of hits before which to look for waits
    wanted_row *waiting     # the envelopes that wait, with the hash of each in its row
    size_t waiting_count
    size_t waiting_room
    size_t typical          # bytes of an envelope of the day, about; 0 if that is not known
    next_days next_days
    MDB_cursor *asking      # of `postings`, for days that were not reached yet
    uint8_t *asked_keys     # those whose pages are asked for together


cdef inline int topic_order(const void *one, const void *other) noexcept nogil:
    cdef uint32_t a = (<const uint32_t *> one)[0]
    cdef uint32_t b = (<const uint32_t *> other)[0]
    return (a > b) - (a < b)


cdef inline void sort_topics(query_terms *terms) noexcept nogil:
    """Sort the topics and drop duplicates."""
    cdef size_t i
    cdef size_t kept = 0
    qsort(terms.topics, terms.topic_count, sizeof(uint32_t), &topic_order)
    for i in range(terms.topic_count):
        if kept == 0 or terms.topics[kept - 1] != terms.topics[i]:
            terms.topics[kept] = terms.topics[i]
            kept += 1
    terms.topic_count = kept


cdef inline int reserve_one(void **items, size_t *room, size_t count, size_t size) noexcept nogil:
    """Let an array of `count` items of `size` bytes have room for one more; 0 or ENOMEM."""
    cdef void *grown
    if count < room[0]:
        return 0
    grown = realloc(items[0], (2 * count + 64) * size)
    if grown == NULL:
        return ENOMEM
    items[0] = grown
    room[0] = 2 * count + 64
    return 0


cdef inline int reserve_keys(scan *s, size_t count, size_t size) noexcept nogil:
    """Let `asked_keys` have room for `count` keys of `size` bytes; 0 or ENOMEM."""
    free(s.asked_keys)
    s.asked_keys = <uint8_t *> malloc((count + 1) * size)
    return 0 if s.asked_keys != NULL else ENOMEM


cdef inline int open_once(scan *s, MDB_dbi table, MDB_cursor **cursor) noexcept nogil:
    return 0 if cursor[0] != NULL else mdb_cursor_open(s.txn, table, cursor)


cdef inline int seek(MDB_cursor *cursor, MDB_val *key, MDB_val *value, const uint8_t *bound,
                     size_t size) noexcept nogil:
    """Go to the first row at the bound or behind it; MDB_NOTFOUND if there is none."""
    cdef int rc
    key[0] = value_of(bound, size)
    rc = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE)
    return MDB_CORRUPTED if rc == 0 and key.mv_size != size else rc


cdef inline int seek_in_order(MDB_cursor *cursor, MDB_val *key, MDB_val *value,
                              const uint8_t *bound, size_t size, bint behind,
                              bint descending) noexcept nogil:
    """Go to the first row in an order: at the bound or, always if `behind`, after it. As seek."""
    cdef int rc = seek(cursor, key, value, bound, size)
    if descending and rc == MDB_NOTFOUND:
        return mdb_cursor_get(cursor, key, value, MDB_LAST)
    if rc:
        return rc
    if memcmp(key.mv_data, bound, size) != 0:
        return mdb_cursor_get(cursor, key, value, MDB_PREV) if descending else 0
    if not behind:
        return 0
    return mdb_cursor_get(cursor, key, value, MDB_PREV if descending else MDB_NEXT)


cdef inline bint has_topic(const uint32_t *topics, size_t count, uint32_t topic) noexcept nogil:
    """Binary search without branches: the half in which a topic lies cannot be predicted."""
    cdef const uint32_t *base = topics
    cdef size_t half
    if count == 0:
        return False
    while count > 1:
        half = count // 2
        base = base + half if base[half] <= topic else base
        count -= half
    return base[0] == topic


cdef inline bint wants(const query_terms *terms, uint32_t topic) noexcept nogil:
    if terms.kind == EVERY_TOPIC:
        return True
    if terms.kind == TOPIC_BLOOM:
        return bloom_covers(terms.bloom, topic)
    return has_topic(terms.topics, terms.topic_count, topic)


cdef inline bint may_match(const scan *s, uint8_t first) noexcept nogil:
    """True if the query may want a topic with this first byte: a bloom needs a bit in its byte.

    This holds too for topics whose first bit the Go form drops: another bit of the same byte is
    needed then.
    """
    return (s.terms.kind != TOPIC_BLOOM or s.terms.bloom[first >> 3] != 0
            or s.terms.bloom[32 + (first >> 3)] != 0)


cdef inline uint32_t next_match(const scan *s, uint32_t first) noexcept nogil:
    """The least first byte from `first` on that may match; 256 if there is none."""
    while first < 256 and not may_match(s, <uint8_t> first):
        first = (first | 7) + 1
    return first


cdef inline bint is_sound(const hit *found, const uint8_t *hash) noexcept nogil:
    """True for an envelope whose hash begins as that of its row."""
    cdef envelope_fields fields
    cdef uint8_t digest[32]
    cdef const uint8_t *at = found.data
    if read_envelope(&at, at + found.size, &fields) != RLP_OK or fields.size != found.size:
        return False
    keccak256(found.data, found.size, digest)
    return memcmp(digest, hash, HASH_PREFIX) == 0


cdef inline int collect(scan *s, uint32_t created, uint64_t place,
                        const uint8_t *hash) noexcept nogil:
    """Add an envelope to the page; STOP if it has no room."""
    cdef hit found
    cdef size_t payload
    cdef int rc = find_envelope(s.chunks, &s.recent, created // DAY, place,
                                &found.data, &found.size)
    if s.at_once and not rc:
        rc = presence_of(s.env.env, found.data, found.size)
    if s.lenient and (rc == MDB_CORRUPTED or rc == 0 and not is_sound(&found, hash)):
        s.damaged += 1
        put_time_key(s.last_row, created, hash)
        return 0
    if rc:
        return rc
    payload = s.payload + found.size
    if s.count and payload + rlp_header_size(payload) > s.max_bytes:
        s.state = MORE
        return STOP
    rc = reserve_one(<void **> &s.hits, &s.hit_room, s.count, sizeof(hit))
    if rc:
        return rc
    s.hits[s.count] = found
    s.count += 1
    s.payload = payload
    put_time_key(s.last_row, created, hash)
    return 0


cdef inline bint reads_ahead(scan *s) noexcept nogil:
    """True once the thread was seen to wait. It looks before the hits 0, 1, 2, 4, 8, ..."""
    if s.count >= s.next_look:
        s.next_look = 2 * s.count if s.count else 1
        look_for_waits(&s.waits)
    return s.waits.met


cdef inline int collect_waiting(scan *s) noexcept nogil:
    """Add the envelopes that wait, in their order; STOP if the page has no room for one."""
    cdef size_t i
    cdef int rc = 0
    if s.waiting_count and s.waits.met:
        rc = read_ahead(s.chunks, s.waiting, s.waiting_count)
        if s.lenient and rc == MDB_CORRUPTED:
            rc = 0                  # `collect` meets it
    for i in range(s.waiting_count):
        if rc:
            break
        rc = collect(s, s.waiting[i].created, s.waiting[i].place, s.waiting[i].hash)
    s.waiting_count = 0
    return rc


cdef inline size_t most_waiting(const scan *s) noexcept nogil:
    """The number of envelopes that may wait: no more than the page may have room for."""
    cdef size_t room = s.max_bytes - s.payload if s.payload < s.max_bytes else 0
    if not s.typical:
        return AHEAD
    return room // s.typical + 1 if room // s.typical < MOST_AHEAD else MOST_AHEAD


cdef inline int want(scan *s, uint32_t created, const uint8_t *hash,
                     uint64_t place) noexcept nogil:
    """Add an envelope to the page, now or with those behind it; STOP if it has no room."""
    cdef wanted_row *row
    cdef int rc
    if s.count + s.waiting_count == s.limit:
        rc = collect_waiting(s)
        s.state = MORE
        return rc if rc else STOP
    rc = open_once(s, s.env.chunks, &s.chunks)
    if rc:
        return rc
    if not s.at_once and not reads_ahead(s):
        return collect(s, created, place, hash)
    if s.at_once and s.waiting_count == AT_ONCE_HITS:
        return PRESENCE_ABSENT
    rc = reserve_one(<void **> &s.waiting, &s.waiting_room, s.waiting_count, sizeof(wanted_row))
    if rc:
        return rc
    row = &s.waiting[s.waiting_count]
    row.created, row.place = created, place
    memcpy(row.hash, hash, HASH_PREFIX)
    s.waiting_count += 1
    return collect_waiting(s) if s.waiting_count >= most_waiting(s) else 0


cdef inline int spend_entries(scan *s, int64_t entries) noexcept nogil:
    """Charge the budget for entries that were looked at; STOP if it is used up."""
    s.budget -= entries
    if s.budget > -s.overdraft:
        return 0
    s.state = PAUSED
    return STOP


cdef inline int visit(scan *s, uint32_t created, const uint8_t *hash, uint64_t place,
                      bint wanted) noexcept nogil:
    """Add an entry to the page if it is wanted, and step over it."""
    cdef int rc
    if wanted:
        rc = want(s, created, hash, place)
        if rc:
            return rc
    put_time_key(s.bound, created, hash)
    s.behind = s.moved = True
    s.at_hit = wanted
    return spend_entries(s, 1)


cdef inline int walk(scan *s) noexcept nogil:
    """Visit all entries of `times` from s.first to s.last and test each topic."""
    cdef bint descending = s.terms.newest_first
    cdef MDB_cursor_op step = MDB_PREV if descending else MDB_NEXT
    cdef MDB_val key, value
    cdef const uint8_t *at
    cdef const uint8_t *row
    cdef uint32_t created
    cdef int rc = open_once(s, s.env.times, &s.times)
    if rc:
        return rc
    rc = seek_in_order(s.times, &key, &value, s.bound, TIME_KEY, s.behind, descending)
    while rc == 0:
        if key.mv_size != TIME_KEY or value.mv_size != TIME_VALUE:
            return MDB_CORRUPTED
        at, row = <const uint8_t *> key.mv_data, <const uint8_t *> value.mv_data
        created = get32(at)
        if not s.first <= created <= s.last:
            return 0
        rc = visit(s, created, at + 4, get48(row + 4), wants(s.terms, get32(row)))
        if rc:
            return rc
        rc = mdb_cursor_get(s.times, &key, &value, step)
    return 0 if rc == MDB_NOTFOUND else rc


cdef inline void close_cursors(scan *s) noexcept nogil:
    """Close all cursors of the slice, before its transaction ends, and free its memory."""
    cdef size_t i
    for i in range(s.cursor_count):
        mdb_cursor_close(s.cursors[i])
    if s.days != NULL:
        mdb_cursor_close(s.days)
    if s.topics != NULL:
        mdb_cursor_close(s.topics)
    if s.times != NULL:
        mdb_cursor_close(s.times)
    if s.chunks != NULL:
        mdb_cursor_close(s.chunks)
    if s.asking != NULL:
        mdb_cursor_close(s.asking)
    free(s.possible)
    free(s.sieve.words)
    free(s.asked_keys)
    free(s.cursors)
    free(s.sources)
    free(s.matched)
    free(s.waiting)


cdef inline void join_hits(uint8_t *out, const hit *hits, size_t count) noexcept nogil:
    """Copy hits out of the map to `out`, one after another."""
    cdef size_t i
    for i in range(count):
        memcpy(out, hits[i].data, hits[i].size)
        out += hits[i].size
