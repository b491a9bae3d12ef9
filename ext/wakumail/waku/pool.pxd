"""The structures of the pool, and the limits of topics for a peer in a second."""

from libc.stdint cimport UINT64_MAX, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

cdef extern from *:
    """
    #define prefetch(at) __builtin_prefetch(at)
    """
    void prefetch(const void *at) noexcept nogil

cdef enum:
    PREFETCH_DISTANCE = 4       # envelopes that are handled while memory is fetched
    FIRST_USES = 16             # places of a peer's first table in a second; a power of two
    MAX_USES = 8192             # topics of its largest table; half of a power of two


cdef struct live:               # an envelope of the pool; its RLP follows in memory
    live *next                  # in its bucket
    live **link                 # the pointer to it there
    live *next_due              # in its second of the wheel
    live **due_link             # the pointer to it there
    uint32_t index              # in the ring of arrivals
    uint32_t size               # bytes of the RLP
    uint8_t hash[32]


cdef inline uint8_t *rlp_of(live *envelope) noexcept nogil:
    return <uint8_t *> (envelope + 1)


cdef struct arrival:            # a place in the ring of arrivals
    uint64_t sequence           # ascending, never used again
    live *envelope              # NULL: it was dropped
    double pow
    uint32_t topic
    uint32_t expiry             # Unix seconds


cdef struct topic_use:          # the envelopes of a topic that a peer was sent in this second
    uint64_t envelopes          # 0: a free place
    uint64_t size               # bytes
    uint32_t topic


cdef struct listener:           # the peer of a slot
    bint joined
    double min_pow
    uint64_t cursor             # sequence of the next arrival to look at
    uint64_t held               # sequence of the first that a limit held back, or UINT64_MAX
    uint64_t max_envelopes      # of a topic per second; 0: no limit
    uint64_t max_size           # bytes of a topic per second; 0: no limit
    uint64_t second             # the second of `uses`
    topic_use *uses             # open addressing
    size_t room                 # places of `uses`: a power of two, or 0
    size_t topics               # places in use


cdef inline void forget_uses(listener *peer) noexcept nogil:
    free(peer.uses)
    peer.uses = NULL
    peer.room = peer.topics = 0


cdef inline void begin_second(listener *peer, uint64_t now) noexcept nogil:
    """In a new second, reset the limits and go back to the first envelope that was held back."""
    if peer.second != now:
        peer.second = now
        forget_uses(peer)
        peer.cursor = min(peer.cursor, peer.held)
        peer.held = UINT64_MAX


cdef inline topic_use *find_use(topic_use *uses, size_t room, uint32_t topic,
                                uint64_t seed) noexcept nogil:
    """The place of a topic, or the free place for it."""
    cdef size_t place = topic * seed >> 32 & (room - 1)
    while uses[place].envelopes and uses[place].topic != topic:
        place = place + 1 & (room - 1)
    return &uses[place]


cdef inline bint make_room(listener *peer, uint64_t seed) noexcept nogil:
    """Make room for one more topic, unless there are MAX_USES; False when there is no memory."""
    cdef size_t room = 2 * peer.room if peer.room else FIRST_USES
    cdef size_t i
    cdef topic_use *uses
    if 2 * (peer.topics + 1) <= peer.room or peer.topics == MAX_USES:
        return True
    uses = <topic_use *> calloc(room, sizeof(topic_use))
    if uses == NULL:
        return False
    for i in range(peer.room):
        if peer.uses[i].envelopes:
            find_use(uses, room, peer.uses[i].topic, seed)[0] = peer.uses[i]
    free(peer.uses)
    peer.uses, peer.room = uses, room
    return True


cdef inline bint spend(listener *peer, uint32_t topic, uint32_t size,
                       uint64_t seed) noexcept nogil:
    """Count one more envelope of a topic; False if the limits do not allow it in this second.

    The first envelope of a topic is always allowed, unless there are MAX_USES topics. Call
    make_room before.
    """
    cdef topic_use *use = find_use(peer.uses, peer.room, topic, seed)
    if use.envelopes == 0:
        if peer.topics == MAX_USES:
            return False
        use.topic = topic
        peer.topics += 1
    elif (peer.max_envelopes and use.envelopes >= peer.max_envelopes
          or peer.max_size and use.size + size > peer.max_size):
        return False
    use.envelopes += 1
    use.size += size
    return True


cdef struct packet_plan:        # a packet to be made
    size_t max_bytes
    size_t max_envelopes
    uint64_t now
    size_t count                # of envelopes in it, in Pool.picked
    size_t size                 # bytes of their RLP
    uint64_t reached            # sequence of the next arrival to look at
