"""The rows of the archive, byte by byte.

One LMDB environment with eight named databases. Numbers are big-endian, so that LMDB's order of
bytes is the order of the numbers.

    database  key                                            value
    meta      "format"                                       version u32
              "next"                                         sequence u48 of the next envelope
              "pruned"                                       created u32: the horizon
              "log"                                          sequence u64 | made u64 | name: the
                                                             place in the log of a cluster; absent
                                                             without
              "sorting"                                      copied u64 | bound: see sorter.pxd;
                                                             absent unless a day is being sorted
    days      day u16                                        envelopes u64 | bytes u64 | topics u32
                                                             | unsorted u64 | sum 32
    sums      minute u32                                     envelopes u32 | sum 32
    topics    day u16 | topic 4                              envelopes u32
    times     created u32 | hash 16                          topic 4 | place u48
    postings  day u16 | topic 4 | second u24 | hash 16       place u48
    chunks    day u16 | place u48 of the last envelope       count u32 | end u32 * count | envelopes
              day u16 | sequence u48 of the last envelope    MOVED + count u32 | slot u32 * count
    arrivals  sequence u48 of the last envelope              day u16

    created   Unix seconds at which the envelope was made: expiry - ttl, modulo 2^32
    day       created / 86400, and second = created % 86400
    minute    created / 60
    hash      the first 16 bytes of the Keccak-256 of the envelope's RLP. Two envelopes of a second
              do not agree in 128 bits by accident. An attacker who makes two that do only has one
              of their own envelopes taken for the other.
    sequence  the number of an envelope in the order of commits; dense, never used twice
    place     where an envelope lies in its day: its sequence or, in a sorted day, SORTED + slot
    slot      the number of an envelope among the sorted ones of its day, from 0; NO_SLOT for one
              that was pruned
    unsorted  the number of envelopes whose place is their sequence
    copied    bytes of the envelopes that lie in two chunks at the moment
    end       bytes from the first envelope of the chunk to the end of this one
    sum       of the whole hashes, 32 bytes each, as little-endian numbers modulo 2^256
    made      Unix nanoseconds at which the log was made; its name is UTF-8
    horizon   pruning has deleted what was created before it, if later than 0. It only rises;
              what arrives later may be older.

`times` has the order of the archive (created, hash) and finds duplicates. `postings` has the same
order within each topic of a day. A bloom is tested against `topics`. A chunk is a run of envelopes
(as RLP) of one day that came one after another, so that few overflow pages are half empty and a day
is deleted in few steps. A day that is over is sorted: its envelopes are moved to chunks with one
topic after another. Of the chunks in which they arrived, rows with their slots remain.

Keys begin with a time, so that one commit touches neighbouring pages; with a hash or a topic in
front it would touch pages everywhere. Two archives compare their envelopes by the sums. Those of
minutes and days cover any range with few rows; the envelopes of the minutes at its ends are hashed
again. A minute without envelopes has no row.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from wakumail.archive.lmdb cimport MDB_CORRUPTED, MDB_val
from wakumail.base.sum256 cimport sum256, sum256_read, sum256_write

cdef enum:
    FORMAT = 3              # the version of these rows
    DAY = 86400             # seconds
    MINUTE = 60
    DAY_MINUTES = 1440

    HASH_PREFIX = 16        # bytes of a hash that rows hold
    ITEM_SIZE = 36          # bytes of created u32 | hash 32, which name an envelope
    SEQUENCE_SIZE = 6       # sizes of keys and values, in bytes
    TIME_KEY = 20
    TIME_VALUE = 10
    POSTING_KEY = 25
    TOPIC_KEY = 6
    DAY_KEY = 2
    DAY_VALUE = 60
    CHUNK_KEY = 8
    SUM_KEY = 4
    SUM_VALUE = 36
    HORIZON_SIZE = 4
    LOG_PLACE_SIZE = 16     # bytes before the name

    SORTED_BIT = 47         # of a place
    NO_SLOT = 0xffffffff
    MOVED = 0x80000000      # of the count of a chunk


cdef struct day_totals:     # a value of `days`
    uint64_t envelopes
    uint64_t bytes
    uint32_t topics         # distinct ones
    uint64_t unsorted       # envelopes whose place is their sequence
    sum256 sum              # of the hashes


cdef struct chunk:          # a row of `chunks` with envelopes, checked
    uint32_t day
    uint64_t first          # places
    uint64_t last
    const uint8_t *ends
    const uint8_t *envelopes
    size_t size             # bytes of envelopes


cdef struct moved_chunk:    # a row of `chunks` whose envelopes were moved, checked
    uint32_t day
    uint64_t first          # sequences
    uint64_t last
    const uint8_t *slots


cdef inline uint32_t get16(const uint8_t *at) noexcept nogil:
    return <uint32_t> at[0] << 8 | at[1]


cdef inline uint32_t get24(const uint8_t *at) noexcept nogil:
    return <uint32_t> at[0] << 16 | <uint32_t> at[1] << 8 | at[2]


cdef inline uint32_t get32(const uint8_t *at) noexcept nogil:
    return <uint32_t> at[0] << 24 | <uint32_t> at[1] << 16 | <uint32_t> at[2] << 8 | at[3]


cdef inline uint64_t get48(const uint8_t *at) noexcept nogil:
    return <uint64_t> get16(at) << 32 | get32(at + 2)


cdef inline uint64_t get64(const uint8_t *at) noexcept nogil:
    return <uint64_t> get32(at) << 32 | get32(at + 4)


cdef inline void put16(uint8_t *at, uint32_t value) noexcept nogil:
    at[0] = <uint8_t> (value >> 8)
    at[1] = <uint8_t> value


cdef inline void put24(uint8_t *at, uint32_t value) noexcept nogil:
    at[0] = <uint8_t> (value >> 16)
    put16(at + 1, value)


cdef inline void put32(uint8_t *at, uint32_t value) noexcept nogil:
    put16(at, value >> 16)
    put16(at + 2, value)


cdef inline void put48(uint8_t *at, uint64_t value) noexcept nogil:
    put16(at, <uint32_t> (value >> 32))
    put32(at + 2, <uint32_t> value)


cdef inline void put64(uint8_t *at, uint64_t value) noexcept nogil:
    put32(at, <uint32_t> (value >> 32))
    put32(at + 4, <uint32_t> value)


cdef inline MDB_val value_of(const void *data, size_t size) noexcept nogil:
    cdef MDB_val value
    value.mv_size = size
    value.mv_data = <void *> data
    return value


cdef inline void put_chunk_key(uint8_t *key, uint32_t day, uint64_t place) noexcept nogil:
    put16(key, day)
    put48(key + 2, place)


cdef inline void put_time_key(uint8_t *key, uint32_t created, const uint8_t *hash) noexcept nogil:
    put32(key, created)
    memcpy(key + 4, hash, HASH_PREFIX)


cdef inline void put_posting_key(uint8_t *key, uint32_t created, const uint8_t *topic,
                                 const uint8_t *hash) noexcept nogil:
    put16(key, created // DAY)
    memcpy(key + DAY_KEY, topic, 4)
    put24(key + TOPIC_KEY, created % DAY)
    memcpy(key + TOPIC_KEY + 3, hash, HASH_PREFIX)


cdef inline int read_day(const MDB_val *value, day_totals *totals) noexcept nogil:
    """Read a value of `days`; MDB_CORRUPTED if it has another size."""
    cdef const uint8_t *at = <const uint8_t *> value.mv_data
    if value.mv_size != DAY_VALUE:
        return MDB_CORRUPTED
    totals.envelopes = get64(at)
    totals.bytes = get64(at + 8)
    totals.topics = get32(at + 16)
    totals.unsorted = get64(at + 20)
    sum256_read(&totals.sum, at + 28)
    return 0


cdef inline void put_day(uint8_t *value, const day_totals *totals) noexcept nogil:
    put64(value, totals.envelopes)
    put64(value + 8, totals.bytes)
    put32(value + 16, totals.topics)
    put64(value + 20, totals.unsorted)
    sum256_write(&totals.sum, value + 28)


cdef inline bint is_sorted(uint64_t place) noexcept nogil:
    return place >> SORTED_BIT != 0


cdef inline uint64_t sorted_place(uint32_t slot) noexcept nogil:
    return <uint64_t> 1 << SORTED_BIT | slot


cdef inline bint is_moved(const MDB_val *value) noexcept nogil:
    """True for a row of `chunks` whose envelopes were moved."""
    return value.mv_size >= 4 and get32(<const uint8_t *> value.mv_data) & MOVED != 0


cdef inline int read_moved(const MDB_val *key, const MDB_val *value,
                           moved_chunk *out) noexcept nogil:
    """Read a row of `chunks` whose envelopes were moved; MDB_CORRUPTED if its parts do not fit."""
    cdef const uint8_t *at = <const uint8_t *> value.mv_data
    cdef uint64_t count
    if key.mv_size != CHUNK_KEY or not is_moved(value):
        return MDB_CORRUPTED
    count = get32(at) & ~<uint32_t> MOVED
    out.day = get16(<const uint8_t *> key.mv_data)
    out.last = get48(<const uint8_t *> key.mv_data + 2)
    if count == 0 or count > out.last + 1 or 4 + 4 * count != value.mv_size or is_sorted(out.last):
        return MDB_CORRUPTED
    out.first = out.last + 1 - count
    out.slots = at + 4
    return 0


cdef inline uint32_t slot_of(const moved_chunk *source, uint64_t sequence) noexcept nogil:
    return get32(source.slots + 4 * (sequence - source.first))


cdef inline int read_chunk(const MDB_val *key, const MDB_val *value, chunk *out) noexcept nogil:
    """Read a row of `chunks`; MDB_CORRUPTED if its parts do not fit together.

    Only the last of the ends is checked: most readers use few, and chunk_envelopes checks those.
    """
    cdef const uint8_t *at = <const uint8_t *> value.mv_data
    cdef uint64_t count
    if key.mv_size != CHUNK_KEY or value.mv_size < 4:
        return MDB_CORRUPTED
    out.day = get16(<const uint8_t *> key.mv_data)
    out.last = get48(<const uint8_t *> key.mv_data + 2)
    count = get32(at)
    if count == 0 or count > out.last + 1 or 4 + 4 * count > value.mv_size:
        return MDB_CORRUPTED
    out.first = out.last + 1 - count
    out.ends = at + 4
    out.envelopes = at + 4 + 4 * count
    out.size = value.mv_size - 4 - 4 * count
    return 0 if get32(out.ends + 4 * (count - 1)) == out.size else MDB_CORRUPTED


cdef inline int chunk_envelopes(const chunk *source, uint64_t first, uint64_t last,
                                const uint8_t **data, size_t *size) noexcept nogil:
    """Find the bytes of the envelopes `first` to `last`, which lie one after another."""
    cdef size_t start = 0
    cdef size_t end
    if not source.first <= first <= last <= source.last:
        return MDB_CORRUPTED
    if first > source.first:
        start = get32(source.ends + 4 * (first - source.first - 1))
    end = get32(source.ends + 4 * (last - source.first))
    if start >= end or end > source.size:
        return MDB_CORRUPTED
    data[0] = source.envelopes + start
    size[0] = end - start
    return 0
