"""A page: a slice of a query, copied out of the map as an RLP list, and the next position."""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint8_t
from libc.stdlib cimport malloc
from libc.string cimport memcpy, memset

from wakumail.archive.environment cimport begin, begin_at_once, end_read
from wakumail.base.keccak cimport keccak256
from wakumail.archive.layout cimport HASH_PREFIX, TIME_KEY
from wakumail.archive.lmdb cimport MDB_CORRUPTED, checks_guard, presence_begin, presence_end
from wakumail.archive.planner cimport run_scan
from wakumail.base.rlp cimport RLP_OK, rlp_header_size, rlp_write_header
from wakumail.archive.scanner cimport PAUSED, close_cursors, join_hits, scan
from wakumail.waku.envelope cimport envelope_fields, read_envelope

cdef enum:
    # The bounds of a page that is read at once, besides AT_ONCE_HITS: some tenths of a millisecond.
    AT_ONCE_BYTES = 64 << 10
    AT_ONCE_ENTRIES = 1000  # of the index
    AT_ONCE_USES = 500      # of pages of the file


cdef struct reading:
    scan scan               # its fields hold the hits once it has ended
    const uint8_t *position # 36 bytes; NULL: the beginning of the query
    uint8_t *room           # for the packet; a larger packet is in `large` instead
    size_t room_size
    uint8_t *large
    size_t size             # of the packet
    int rc


cdef inline bint are_envelopes(const uint8_t *at, const uint8_t *end, size_t count) noexcept nogil:
    cdef envelope_fields fields
    while count and read_envelope(&at, end, &fields) == RLP_OK:
        count -= 1
    return count == 0 and at == end


cdef inline int copy_packet(reading *r) noexcept nogil:
    """Copy the hits. A damaged one is refused, for a client cannot read the packet that holds it.

    That tells only some damage of an envelope; a hash for each would cost more than the rest.
    """
    cdef uint8_t *out = r.room
    cdef uint8_t *hits
    r.size = rlp_header_size(r.scan.payload) + r.scan.payload
    if r.size > r.room_size:
        out = r.large = <uint8_t *> malloc(r.size)
        if out == NULL:
            return ENOMEM
    hits = out + rlp_write_header(out, r.scan.payload, True)
    join_hits(hits, r.scan.hits, r.scan.count)
    return 0 if are_envelopes(hits, out + r.size, r.scan.count) else MDB_CORRUPTED


cdef inline int fill_page(void *context) noexcept nogil:
    """Scan and copy: all that touches the map."""
    cdef reading *r = <reading *> context
    cdef scan *s = &r.scan
    cdef int rc = run_scan(s, r.position)
    if not rc and s.count:
        keccak256(s.hits[s.count - 1].data, s.hits[s.count - 1].size, s.last_hash)
    return rc if rc else copy_packet(r)


cdef inline void fill_and_end(reading *r) noexcept nogil:
    """Fill the page, whose transaction has begun, and end that."""
    cdef scan *s = &r.scan
    r.rc = checks_guard(s.env.env, &fill_page, r)
    close_cursors(s)
    end_read(s.env, s.txn)


cdef inline void read_page(void *context) noexcept nogil:
    """Read a page in a transaction of its own: all work that may wait, without the GIL."""
    cdef reading *r = <reading *> context
    r.rc = begin(r.scan.env, False, &r.scan.txn)
    if not r.rc:
        fill_and_end(r)


cdef inline void read_page_at_once(reading *r) noexcept nogil:
    """As read_page, but PRESENCE_ABSENT if it would have to wait, or touch many pages."""
    r.rc = begin_at_once(r.scan.env, &r.scan.txn)
    if not r.rc:
        presence_begin(r.scan.env.env, AT_ONCE_USES)
        fill_and_end(r)
        presence_end()


cdef inline bytes position_behind(const reading *r, bytes position):
    """The position of the next page, after one that began at `position`."""
    cdef const scan *s = &r.scan
    cdef uint8_t place[36]
    if (s.count or s.damaged) and (s.at_hit or s.state != PAUSED):
        memcpy(place, s.last_row, TIME_KEY)
        memcpy(place + TIME_KEY, s.last_hash + HASH_PREFIX, HASH_PREFIX)
    elif s.moved:
        memcpy(place, s.bound, TIME_KEY)
        memset(place + TIME_KEY, 0, sizeof(place) - TIME_KEY)
    else:
        return position
    return place[:36]
