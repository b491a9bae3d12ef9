"""What a slice of a query leaves in Python's hands: an RLP list, and the place to go on from."""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset

from wakumail.environment cimport begin
from wakumail.keccak cimport keccak256
from wakumail.layout cimport TIME_KEY, put32
from wakumail.planner cimport run_scan
from wakumail.scanner cimport PAUSED, join_hits, scan


cdef inline int read_page(scan *s, const uint8_t *position) noexcept nogil:
    """Begin the transaction of a slice and run it: all that may wait, in one go without the GIL."""
    cdef int rc = begin(s.env, False, &s.txn)
    if not rc:
        rc = run_scan(s, position)
    if not rc and s.count:
        keccak256(s.hits[s.count - 1].data, s.hits[s.count - 1].size, s.last_hash)
    return rc


cdef inline tuple page_of(const scan *s, bytes position):
    """The packet, the last hash and the new position of a slice that began at `position`.

    While its transaction is open.
    """
    cdef uint8_t place[36]
    cdef bytes last_hash = b""
    cdef bytes packet = join_hits(s.hits, s.count, s.payload, True)
    if s.count:
        last_hash = s.last_hash[:32]
    if s.count and (s.at_hit or s.state != PAUSED):
        put32(place, s.last_created)
        position = place[:4] + last_hash
    elif s.moved:
        memcpy(place, s.bound, TIME_KEY)
        memset(place + TIME_KEY, 0, sizeof(place) - TIME_KEY)
        position = place[:36]
    return packet, last_hash, position
