# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Rate limits of topics (6/WAKU1, "Rate Limits Field"): token buckets for each topic of each peer.

One packet may have 65,000 topics. With Python objects for each they took 0.3 s.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from wakumail.waku.envelope cimport Batch

cdef enum:
    BUCKETS = 16384         # topics of peers that are remembered
    CHAINS = 2 * BUCKETS    # a power of two

MAX_TOPICS = BUCKETS
"""Topics of peers that a limiter remembers, at 56 bytes each."""


cdef struct topic_buckets:
    uint64_t peer           # hash of the node id
    uint32_t topic          # big-endian value of its four bytes
    uint32_t next           # number of the next one of its chain; 0: none
    uint32_t older          # numbers of its neighbours in the order of use; 0: it is the first
    uint32_t newer          # or the last
    double time             # of its last use
    double envelopes        # tokens
    double size             # tokens, in bytes


cdef struct topic_total:
    uint64_t size           # bytes of RLP
    uint32_t envelopes      # 0: this place is free
    uint32_t topic
    uint32_t first          # number of the topic's first envelope


cdef class TopicLimiter:
    """Token buckets for the envelopes of a topic and for their bytes, for each topic of each peer.

    Both rates are per second; 0 sets no limit. The buckets hold what one second gains, but at least
    one envelope and `least_burst` bytes. At most MAX_TOPICS are remembered. The topic that was idle
    longest is forgotten first, and starts full again.
    """
    cdef double envelope_rate
    cdef double envelope_burst
    cdef double size_rate
    cdef double size_burst
    cdef topic_buckets *buckets     # from number 1 on; number 0 closes the circle of their uses
    cdef uint32_t *chains           # numbers of the first ones of all chains; 0: none
    cdef uint32_t used              # buckets that have a topic

    def __cinit__(self, double envelope_rate, double size_rate, double least_burst):
        self.envelope_rate = envelope_rate
        self.envelope_burst = max(1.0, envelope_rate)
        self.size_rate = size_rate
        self.size_burst = max(size_rate, least_burst)
        self.buckets = <topic_buckets *> calloc(BUCKETS + 1, sizeof(topic_buckets))
        self.chains = <uint32_t *> calloc(CHAINS, sizeof(uint32_t))
        if not self.buckets or not self.chains:
            raise MemoryError

    def __dealloc__(self):
        free(self.buckets)
        free(self.chains)

    def take(self, bytes node_id not None, Batch batch not None, double now):
        """Take the envelopes of a peer, dropped ones too, and their bytes from the buckets.

        `now` is seconds of any clock. Returns two flags: False if a topic had too few envelopes
        left, and if one had too few bytes left. From such a bucket nothing is taken.
        """
        cdef uint64_t peer = <uint64_t> hash(node_id)   # keyed, so that nobody can choose chains
        cdef size_t places = 1
        while places < 2 * <size_t> batch.count:
            places *= 2
        cdef topic_total *totals = <topic_total *> calloc(places, sizeof(topic_total))
        if not totals:
            raise MemoryError
        cdef bint envelopes_left = True, size_left = True
        with nogil:
            add_up(batch, peer, totals, places - 1)
            self.take_totals(batch, peer, totals, places - 1, now, &envelopes_left, &size_left)
        free(totals)
        return envelopes_left, size_left

    cdef void take_totals(self, Batch batch, uint64_t peer, const topic_total *totals, size_t mask,
                          double now, bint *envelopes_left, bint *size_left) noexcept nogil:
        """Take from the buckets of each topic once, in the order of their first envelopes."""
        cdef const topic_total *total
        cdef topic_buckets *bucket
        cdef double elapsed
        cdef Py_ssize_t index
        for index in range(batch.count):
            total = &totals[place_of(totals, mask, peer, batch.records[index].topic)]
            if total.first != <uint32_t> index:
                continue
            bucket = self.bucket_of(peer, total.topic, now)
            elapsed = max(0.0, now - bucket.time)
            bucket.time = now
            if not take_tokens(&bucket.envelopes, self.envelope_rate, self.envelope_burst, elapsed,
                               total.envelopes):
                envelopes_left[0] = False
            if not take_tokens(&bucket.size, self.size_rate, self.size_burst, elapsed, total.size):
                size_left[0] = False

    cdef topic_buckets *bucket_of(self, uint64_t peer, uint32_t topic, double now) noexcept nogil:
        """The buckets of a topic, as those used last; full ones if they were not remembered."""
        cdef uint32_t *chain = &self.chains[mixed(peer, topic) & (CHAINS - 1)]
        cdef uint32_t number = chain[0]
        cdef topic_buckets *bucket = &self.buckets[number]
        while number and (bucket.topic != topic or bucket.peer != peer):
            number = bucket.next
            bucket = &self.buckets[number]
        if number:
            self.take_out(bucket)
        else:
            number = self.free_number()
            bucket = &self.buckets[number]
            bucket.peer = peer
            bucket.topic = topic
            bucket.time = now
            bucket.envelopes = self.envelope_burst
            bucket.size = self.size_burst
            bucket.next = chain[0]      # read here: free_number may have changed the chain
            chain[0] = number
        bucket.newer = 0
        bucket.older = self.buckets[0].older
        self.buckets[bucket.older].newer = number
        self.buckets[0].older = number
        return bucket

    cdef uint32_t free_number(self) noexcept nogil:
        """The number of buckets that have no topic; it may be that of those idle longest."""
        cdef uint32_t number
        cdef uint32_t *link
        cdef topic_buckets *oldest
        if self.used < BUCKETS:
            self.used += 1
            return self.used
        number = self.buckets[0].newer
        oldest = &self.buckets[number]
        self.take_out(oldest)
        link = &self.chains[mixed(oldest.peer, oldest.topic) & (CHAINS - 1)]
        while link[0] != number:
            link = &self.buckets[link[0]].next
        link[0] = oldest.next
        return number

    cdef void take_out(self, topic_buckets *bucket) noexcept nogil:
        """Take buckets out of the order of use."""
        self.buckets[bucket.older].newer = bucket.newer
        self.buckets[bucket.newer].older = bucket.older


cdef inline uint64_t mixed(uint64_t peer, uint32_t topic) noexcept nogil:
    """The hash of a topic of a peer (the finalizer of MurmurHash3)."""
    cdef uint64_t value = peer ^ topic
    value = (value ^ (value >> 33)) * <uint64_t> 0xff51afd7ed558ccd
    value = (value ^ (value >> 33)) * <uint64_t> 0xc4ceb9fe1a85ec53
    return value ^ (value >> 33)


cdef inline size_t place_of(const topic_total *totals, size_t mask, uint64_t peer,
                            uint32_t topic) noexcept nogil:
    """The place of a topic, or a free one for it."""
    cdef size_t place = mixed(peer, topic) & mask
    while totals[place].envelopes and totals[place].topic != topic:
        place = (place + 1) & mask
    return place


cdef void add_up(Batch batch, uint64_t peer, topic_total *totals, size_t mask) noexcept nogil:
    """Write the totals of all topics into free places."""
    cdef topic_total *total
    cdef Py_ssize_t index
    for index in range(batch.count):
        total = &totals[place_of(totals, mask, peer, batch.records[index].topic)]
        if not total.envelopes:
            total.topic = batch.records[index].topic
            total.first = <uint32_t> index
        total.envelopes += 1
        total.size += batch.records[index].size


cdef inline bint take_tokens(double *tokens, double rate, double burst, double elapsed,
                             double amount) noexcept nogil:
    """False if there are fewer than `amount`: then none are taken. A rate of 0 is no limit."""
    if rate <= 0:
        return True
    tokens[0] = min(burst, tokens[0] + elapsed * rate)
    if tokens[0] < amount:
        return False
    tokens[0] -= amount
    return True
