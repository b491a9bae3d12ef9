# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The live envelopes, and which peer has which.

The envelopes are kept in the order in which they came. Each peer has a cursor in that order, so
that its next packet costs no more than the envelopes that came since; and a bit on each envelope,
which is set if the peer has sent it or was sent it. A table finds an envelope by its hash. A wheel
of lists, one for each second, has the envelopes that expire then.
No loop uses a Python object, but all hold the GIL: most end within microseconds, and a GIL that was
released may take milliseconds to come back.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport UINT64_MAX, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from wakumail.waku.envelope cimport ACCEPTED, DUPLICATE, Batch, KnownHashes, envelope_record
from wakumail.waku.interest cimport Interest
from wakumail.base.rlp cimport rlp_header_size, rlp_write_header

from wakumail.waku.envelope import EXPIRY_GRACE

ENVELOPE_OVERHEAD = 176
"""Bytes that an envelope counts for, beside its RLP and the bits of slots."""

WORD_OVERHEAD = 24
"""Bytes that an envelope counts for per 64 slots: a word of bits, with room to grow."""

MAX_POOL_ENVELOPES = 1 << 30
"""The greatest `max_envelopes` of a pool."""

MAX_LIMITED_TOPICS = MAX_USES
"""Topics that a peer with topic limits is sent per second; envelopes of others are sent later."""

cdef uint64_t expiry_grace = EXPIRY_GRACE
cdef uint64_t envelope_overhead = ENVELOPE_OVERHEAD, word_overhead = WORD_OVERHEAD

cdef enum:
    WHEEL_SECONDS = 4096        # seconds that one turn of the wheel takes
    SWEEP_SLOTS = 64            # slots that peers have left before their bits are cleared
    FIRST_PLACE_BITS = 8        # logarithm of FIRST_PLACES
    FIRST_PLACES = 1 << FIRST_PLACE_BITS    # places of an empty pool
    HASH_SIZE = 32


cdef class Pool(KnownHashes):
    """The live envelopes, and which peer has which. A peer is a slot: a small number.

    max_bytes: bytes of the envelopes' RLP, plus `overhead` for each: about the memory they take.
    Over it, or over `max_envelopes`, the oldest envelopes are dropped; `evicted` counts them.
    An envelope is kept until EXPIRY_GRACE seconds after its expiry. From then on `judge` does not
    accept it, so a late copy is never taken for a new envelope. `expired` counts those.
    envelopes, size: the number of envelopes, and the bytes of their RLP.
    ValueError for a bound of zero, for more than MAX_POOL_ENVELOPES, and for a slot without a peer.
    After a MemoryError the pool is as it was, or has some envelopes of a batch.
    """

    cdef readonly uint64_t max_bytes
    cdef readonly uint64_t max_envelopes
    cdef readonly size_t envelopes
    cdef readonly size_t size
    cdef readonly uint64_t evicted
    cdef readonly uint64_t expired
    cdef uint64_t seed              # odd, and secret, so that nobody can fill one bucket

    # The ring of arrivals; each envelope has its index in it. The ring is made anew, without gaps,
    # when its last place is taken.
    cdef arrival *arrivals
    cdef uint64_t *known            # `words` words for each place, a bit for each slot
    cdef live **buckets             # by hash; `room` of them
    cdef size_t room                # places in the ring; a power of two
    cdef int room_bits              # logarithm of `room`
    cdef size_t words               # of bits, for each place
    cdef size_t head                # the first place in use; places are numbered without end
    cdef size_t tail                # the first place that was never used
    cdef uint64_t next_sequence

    cdef live **wheel               # by the last second of an envelope, modulo WHEEL_SECONDS
    cdef uint64_t second            # the first second that `expire` has not done

    cdef listener *slots
    cdef size_t slot_count
    cdef size_t slot_room
    cdef list interests             # of each slot; None: the peer wants nothing
    cdef list clean                 # slots without a peer, whose bits are clear
    cdef list left                  # slots without a peer, whose bits may be set

    cdef live **picked              # the envelopes of the latest packet
    cdef size_t picked_room

    def __cinit__(self, *, uint64_t max_bytes, uint64_t max_envelopes=1 << 20):
        if not (max_bytes and 0 < max_envelopes <= MAX_POOL_ENVELOPES):
            raise ValueError("a pool has room for 1 to MAX_POOL_ENVELOPES envelopes")
        self.max_bytes = max_bytes
        self.max_envelopes = max_envelopes
        self.seed = <uint64_t> <Py_ssize_t> hash(__name__) | 1
        self.interests, self.clean, self.left = [], [], []
        self.wheel = <live **> calloc(WHEEL_SECONDS, sizeof(void *))
        if self.wheel == NULL:
            raise MemoryError
        rearrange(self, 1)

    def __dealloc__(self):
        cdef size_t i
        for i in range(self.head, self.tail):
            free(arrival_at(self, i).envelope)
        for i in range(self.slot_count):
            forget_uses(&self.slots[i])
        free(self.arrivals)
        free(self.known)
        free(self.buckets)
        free(self.wheel)
        free(self.slots)
        free(self.picked)

    cdef bint has(self, const uint8_t *hash) noexcept nogil:
        return find(self, hash) != NULL

    def contains(self, bytes hash not None):
        """True if the envelope with this hash is here; ValueError unless it has 32 bytes."""
        return find(self, hash_bytes(hash)) != NULL

    def knows(self, size_t slot, bytes hash not None):
        """True if the envelope is here and the peer has sent it or was sent it; as `contains`."""
        cdef live *envelope = find(self, hash_bytes(hash))
        peer_of(self, slot)
        return envelope != NULL and is_known(self, envelope.index, slot)

    @property
    def memory(self):
        """Bytes of memory that the pool has allocated."""
        cdef size_t i
        cdef size_t total = self.envelopes * sizeof(live) + self.size
        total += self.room * (sizeof(arrival) + self.words * sizeof(uint64_t) + sizeof(void *))
        total += (WHEEL_SECONDS + self.picked_room) * sizeof(void *)
        total += self.slot_room * sizeof(listener)
        for i in range(self.slot_count):
            total += self.slots[i].room * sizeof(topic_use)
        return total

    @property
    def overhead(self):
        """Bytes that each envelope counts for, beside its RLP; it grows with the slots."""
        return overhead_of(self.words)

    def join(self):
        """The slot of a new peer, which has no envelope and wants none yet.

        It may need a bit more on each envelope; the oldest are dropped if the pool is full.
        """
        cdef size_t slot
        if not self.clean and len(self.left) >= SWEEP_SLOTS:
            clear_left(self)
        slot = self.clean.pop() if self.clean else new_slot(self)
        memset(&self.slots[slot], 0, sizeof(listener))
        self.slots[slot].joined = True
        self.slots[slot].held = UINT64_MAX
        return slot

    def leave(self, size_t slot):
        """Free the slot of a peer that is gone."""
        cdef listener *peer = peer_of(self, slot)
        self.left.append(slot)
        self.interests[slot] = None
        peer.joined = False
        forget_uses(peer)

    def set_interest(self, size_t slot, Interest interest not None, double min_pow):
        """Set the interest of the peer, and the least PoW that it takes.

        After a change all live envelopes that the peer does not have are offered again, from the
        oldest on.
        """
        cdef listener *peer = peer_of(self, slot)
        wanted = None if interest.wants_nothing() else interest     # None: no look-up at all
        if self.interests[slot] == wanted and peer.min_pow == min_pow:
            return
        self.interests[slot] = wanted
        peer.min_pow = min_pow
        peer.cursor = 0
        peer.held = UINT64_MAX

    def set_topic_limits(self, size_t slot, uint64_t envelopes, uint64_t size):
        """Set the envelopes and bytes of RLP of one topic that the peer takes per second.

        0: no limit. The first envelope of a topic in a second is sent, whatever its size.
        """
        cdef listener *peer = peer_of(self, slot)
        peer.max_envelopes = envelopes
        peer.max_size = size

    def add(self, Batch batch not None, slot, uint64_t now):
        """Add the accepted envelopes of a batch; returns the number of new ones.

        An envelope that is here already becomes DUPLICATE in the batch. One that is past its
        EXPIRY_GRACE at `now` (Unix seconds) is left out. slot: the peer that sent the batch, which
        has all its envelopes from now on; None: no peer sent it.
        """
        cdef bint was_sent = slot is not None
        cdef size_t sender = slot if was_sent else 0
        cdef size_t added = 0
        cdef Py_ssize_t i
        cdef envelope_record *record
        cdef live *envelope
        if was_sent:
            peer_of(self, sender)
        self.second = min(self.second, now)
        for i in range(batch.count):
            record = &batch.records[i]
            if i + 2 * PREFETCH_DISTANCE < batch.count:     # `find` reads uncached memory
                prefetch(bucket_of(self, record[PREFETCH_DISTANCE].hash)[0])
                prefetch(bucket_of(self, record[2 * PREFETCH_DISTANCE].hash))
            if record.verdict != ACCEPTED and record.verdict != DUPLICATE:
                continue
            envelope = find(self, record.hash)
            if record.verdict == ACCEPTED and envelope != NULL:
                record.verdict = DUPLICATE
                batch.accepted -= 1
                batch.accepted_size -= record.size
            elif record.verdict == ACCEPTED and record.expiry + expiry_grace >= now:
                envelope = enter(self, record, batch.data + record.offset)
                added += 1
            if envelope != NULL and was_sent:
                set_known(self, envelope.index, sender)
            evict(self, self.words)
        return added

    def next_size(self, size_t slot, *, uint64_t now):
        """Bytes of a packet with the next envelope for the peer alone; 0 if there is none now.

        The limits of topics are not looked at: `take` may still give another one, or None.
        """
        cdef listener *peer = peer_of(self, slot)
        cdef Interest interest = self.interests[slot]
        cdef size_t place, size = 0
        if interest is None:
            return 0
        begin_second(peer, now)
        place = place_of(self, peer.cursor)
        while place < self.tail and not is_for(self, place, slot, interest, now):
            place += 1
        if place < self.tail:
            size = arrival_at(self, place).envelope.size
            size += rlp_header_size(size)
        peer.cursor = reached_at(self, place)
        return size

    def take(self, size_t slot, *, size_t max_bytes, size_t max_envelopes=1 << 16, uint64_t now):
        """The next Messages packet for the peer; None if there is nothing to send at `now`.

        It is an RLP list of live envelopes that the peer wants and does not have, in the order in
        which they came; the peer has them from now on. The packet has at most `max_bytes`, or one
        larger envelope. Envelopes over the limit of a topic are sent in a later second.
        """
        cdef listener *peer = peer_of(self, slot)
        cdef packet_plan plan
        if self.interests[slot] is None:
            return None
        begin_second(peer, now)
        if peer.cursor == self.next_sequence:
            return None
        plan = packet_plan(max_bytes, max_envelopes, now, 0, 0, 0)
        pick(self, slot, self.interests[slot], &plan)
        packet = hand_over(self, slot, &plan) if plan.count else None
        peer.cursor = plan.reached
        return packet

    def expire(self, uint64_t now):
        """Drop envelopes over EXPIRY_GRACE seconds after their expiry; returns their number."""
        cdef uint64_t before = self.expired
        cdef uint64_t seconds = min(now - self.second, WHEEL_SECONDS) if now > self.second else 0
        cdef uint64_t i
        for i in range(seconds):
            forget_due(self, self.wheel[(self.second + i) % WHEEL_SECONDS], now)
        self.second = now
        return self.expired - before


cdef const uint8_t *hash_bytes(bytes hash) except NULL:
    if len(hash) != HASH_SIZE:
        raise ValueError(f"a hash has {HASH_SIZE} bytes, not {len(hash)}")
    return <const uint8_t *> PyBytes_AS_STRING(hash)


cdef listener *peer_of(Pool pool, size_t slot) except NULL:
    if slot >= pool.slot_count or not pool.slots[slot].joined:
        raise ValueError(f"slot {slot} has no peer")
    return &pool.slots[slot]


cdef inline size_t index_of(Pool pool, size_t place) noexcept nogil:
    return place & (pool.room - 1)


cdef inline arrival *arrival_at(Pool pool, size_t place) noexcept nogil:
    return &pool.arrivals[index_of(pool, place)]


cdef inline bint is_known(Pool pool, size_t index, size_t slot) noexcept nogil:
    return pool.known[index * pool.words + slot // 64] >> slot % 64 & 1


cdef inline void set_known(Pool pool, size_t index, size_t slot) noexcept nogil:
    pool.known[index * pool.words + slot // 64] |= <uint64_t> 1 << slot % 64


cdef inline live **bucket_of(Pool pool, const uint8_t *hash) noexcept nogil:
    cdef uint64_t number
    memcpy(&number, hash, sizeof(number))
    return &pool.buckets[number * pool.seed >> (64 - pool.room_bits)]


cdef live *find(Pool pool, const uint8_t *hash) noexcept nogil:
    cdef live *envelope = bucket_of(pool, hash)[0]
    while envelope != NULL and memcmp(envelope.hash, hash, HASH_SIZE) != 0:
        envelope = envelope.next
    return envelope


cdef void link(Pool pool, live *envelope) noexcept nogil:
    cdef live **bucket = bucket_of(pool, envelope.hash)
    envelope.next, envelope.link = bucket[0], bucket
    if bucket[0] != NULL:
        bucket[0].link = &envelope.next
    bucket[0] = envelope


cdef int rearrange(Pool pool, size_t words) except -1:
    """Make the ring and the buckets anew: without gaps, and half of the places free."""
    cdef size_t place, kept = 0, room = FIRST_PLACES
    cdef int bits = FIRST_PLACE_BITS
    cdef arrival *each
    cdef arrival *arrivals
    cdef uint64_t *known
    cdef live **buckets
    while room < 2 * pool.envelopes:
        room, bits = 2 * room, bits + 1
    arrivals = <arrival *> malloc(room * sizeof(arrival))
    known = <uint64_t *> malloc(room * words * sizeof(uint64_t))
    buckets = <live **> calloc(room, sizeof(void *))
    if arrivals == NULL or known == NULL or buckets == NULL:
        free(arrivals)
        free(known)
        free(buckets)
        raise MemoryError
    for place in range(pool.head, pool.tail):
        each = arrival_at(pool, place)
        if each.envelope != NULL:
            arrivals[kept] = each[0]
            memset(known + kept * words, 0, words * sizeof(uint64_t))
            memcpy(known + kept * words, pool.known + index_of(pool, place) * pool.words,
                   pool.words * sizeof(uint64_t))
            kept += 1
    free(pool.arrivals)
    free(pool.known)
    free(pool.buckets)
    pool.arrivals, pool.known, pool.buckets = arrivals, known, buckets
    pool.room, pool.room_bits, pool.words = room, bits, words
    pool.head, pool.tail = 0, kept
    for place in range(kept):
        arrivals[place].envelope.index = <uint32_t> place
        link(pool, arrivals[place].envelope)
    return 0


cdef live *enter(Pool pool, const envelope_record *record, const uint8_t *rlp) except NULL:
    cdef live *envelope
    cdef live **due
    if pool.tail - pool.head == pool.room:
        rearrange(pool, pool.words)
    envelope = <live *> malloc(sizeof(live) + record.size)
    if envelope == NULL:
        raise MemoryError
    memcpy(rlp_of(envelope), rlp, record.size)
    memcpy(envelope.hash, record.hash, HASH_SIZE)
    envelope.size = record.size
    envelope.index = <uint32_t> index_of(pool, pool.tail)
    pool.arrivals[envelope.index] = arrival(pool.next_sequence, envelope, record.pow, record.topic,
                                            record.expiry)
    memset(pool.known + envelope.index * pool.words, 0, pool.words * sizeof(uint64_t))
    pool.tail += 1
    pool.next_sequence += 1
    pool.envelopes += 1
    pool.size += record.size
    link(pool, envelope)
    due = &pool.wheel[(record.expiry + expiry_grace) % WHEEL_SECONDS]
    envelope.next_due, envelope.due_link = due[0], due
    if due[0] != NULL:
        due[0].due_link = &envelope.next_due
    due[0] = envelope
    return envelope


cdef void remove(Pool pool, live *envelope) noexcept nogil:
    envelope.link[0] = envelope.next
    if envelope.next != NULL:
        envelope.next.link = envelope.link
    envelope.due_link[0] = envelope.next_due
    if envelope.next_due != NULL:
        envelope.next_due.due_link = envelope.due_link
    pool.arrivals[envelope.index].envelope = NULL
    while pool.head < pool.tail and arrival_at(pool, pool.head).envelope == NULL:
        pool.head += 1
    pool.envelopes -= 1
    pool.size -= envelope.size
    free(envelope)


cdef inline uint64_t overhead_of(size_t words) noexcept nogil:
    return envelope_overhead + words * word_overhead


cdef void evict(Pool pool, size_t words) noexcept nogil:
    """Drop the oldest envelopes until the rest is in the bounds, with `words` words for each."""
    cdef size_t soon
    while (pool.envelopes > pool.max_envelopes
           or pool.size + pool.envelopes * overhead_of(words) > pool.max_bytes):
        soon = pool.head + PREFETCH_DISTANCE
        if soon < pool.tail:    # the oldest is in no cache
            prefetch(arrival_at(pool, soon).envelope)
        remove(pool, arrival_at(pool, pool.head).envelope)
        pool.evicted += 1


cdef void forget_due(Pool pool, live *envelope, uint64_t now) noexcept nogil:
    """Drop the expired envelopes of a list of the wheel; others in it expire turns later."""
    cdef live *later
    while envelope != NULL:
        later = envelope.next_due
        if pool.arrivals[envelope.index].expiry + expiry_grace < now:
            remove(pool, envelope)
            pool.expired += 1
        envelope = later


cdef size_t new_slot(Pool pool) except? 0:
    """A slot that no peer had before, with room for its bits."""
    cdef size_t room = 2 * pool.slot_room + 8
    cdef void *slots
    if pool.slot_count == pool.slot_room:
        slots = realloc(pool.slots, room * sizeof(listener))
        if slots == NULL:
            raise MemoryError
        pool.slots, pool.slot_room = <listener *> slots, room
    if pool.slot_count == 64 * pool.words:
        evict(pool, pool.words + 1)
        rearrange(pool, pool.words + 1)
    pool.interests.append(None)
    pool.slot_count += 1
    return pool.slot_count - 1


cdef int clear_left(Pool pool) except -1:
    """Clear the bits of the `left` slots on all envelopes, in one sweep."""
    cdef size_t place, word, slot
    cdef uint64_t *bits
    cdef uint64_t *gone = <uint64_t *> calloc(pool.words, sizeof(uint64_t))
    if gone == NULL:
        raise MemoryError
    for slot in pool.left:
        gone[slot // 64] |= <uint64_t> 1 << slot % 64
    for place in range(pool.head, pool.tail):
        bits = pool.known + index_of(pool, place) * pool.words
        for word in range(pool.words):
            bits[word] &= ~gone[word]
    free(gone)
    pool.clean, pool.left = pool.left, []
    return 0


cdef size_t place_of(Pool pool, uint64_t sequence) noexcept nogil:
    """The first place with that sequence or a later one."""
    cdef size_t low = pool.head, high = pool.tail, middle
    while low < high:
        middle = (low + high) // 2
        if arrival_at(pool, middle).sequence < sequence:
            low = middle + 1
        else:
            high = middle
    return low


cdef inline bint is_for(Pool pool, size_t place, size_t slot, Interest interest,
                        uint64_t now) noexcept:
    """True if the peer wants the envelope of a place, and does not have it."""
    cdef const arrival *each = arrival_at(pool, place)
    return (each.envelope != NULL and each.expiry >= now and each.pow >= pool.slots[slot].min_pow
            and not is_known(pool, index_of(pool, place), slot)
            and interest.wants_topic(each.topic))


cdef inline uint64_t reached_at(Pool pool, size_t place) noexcept nogil:
    """The sequence of a place, or of the next arrival behind the last."""
    return arrival_at(pool, place).sequence if place < pool.tail else pool.next_sequence


cdef int pick(Pool pool, size_t slot, Interest interest, packet_plan *plan) except -1:
    """Pick the envelopes of the next packet of a peer, within the limits of topics."""
    cdef listener *peer = &pool.slots[slot]
    cdef bint limited = peer.max_envelopes or peer.max_size
    cdef size_t place = place_of(pool, peer.cursor)
    cdef size_t size
    cdef const arrival *each
    while place < pool.tail and plan.count < plan.max_envelopes:
        each = arrival_at(pool, place)
        if is_for(pool, place, slot, interest, plan.now):
            size = plan.size + each.envelope.size
            if plan.count and rlp_header_size(size) + size > plan.max_bytes:
                break
            if limited and not make_room(peer, pool.seed):
                raise MemoryError
            if not limited or spend(peer, each.topic, each.envelope.size, pool.seed):
                append_picked(pool, plan.count, each.envelope)
                plan.count += 1
                plan.size = size
            elif peer.held == UINT64_MAX:
                peer.held = each.sequence
        place += 1
    plan.reached = reached_at(pool, place)
    return 0


cdef int append_picked(Pool pool, size_t count, live *envelope) except -1:
    cdef size_t room = 2 * pool.picked_room + 16
    cdef void *picked
    if count == pool.picked_room:
        picked = realloc(pool.picked, room * sizeof(void *))
        if picked == NULL:
            raise MemoryError
        pool.picked, pool.picked_room = <live **> picked, room
    pool.picked[count] = envelope
    return 0


cdef bytes hand_over(Pool pool, size_t slot, const packet_plan *plan):
    """The packet of the picked envelopes; the peer has them from now on."""
    cdef bytes packet = PyBytes_FromStringAndSize(NULL, rlp_header_size(plan.size) + plan.size)
    cdef uint8_t *out = <uint8_t *> PyBytes_AS_STRING(packet)
    cdef size_t i
    out += rlp_write_header(out, plan.size, True)
    for i in range(plan.count):
        memcpy(out, rlp_of(pool.picked[i]), pool.picked[i].size)
        out += pool.picked[i].size
        set_known(pool, pool.picked[i].index, slot)
    return packet
