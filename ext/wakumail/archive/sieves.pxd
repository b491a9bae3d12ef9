"""Sieves of days: they hold back topics that a day does not have, before those are looked for.

A sieve is a Bloom filter in memory. Of a topic that a day has it lets every query through; of
others it holds back 99 of 100 or more. It is made from the rows of `topics` when many topics are
looked for a second time in a day that has not changed meanwhile: making it costs as much as
some hundred searches. A day that has changed has another sum of hashes, and its sieve counts no
more.

Nothing here touches the map, so damage of the file cannot end a function that holds the lock.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from wakumail.archive.layout cimport day_totals
from wakumail.base.pthread cimport *
from wakumail.base.sum256 cimport sum256

cdef enum:
    SIEVES = 64             # days that have one
    MAX_SIEVE_TOPICS = 65536 # a day with more has none
    WORD_TOPICS = 4         # topics for each word of a sieve, or down to half as many


cdef struct sieve:
    uint32_t day            # and the day as it was then: none has 0 envelopes
    uint64_t envelopes
    sum256 sum
    uint64_t *words         # NULL until it is made
    uint32_t mask           # the number of words, a power of two, less one


cdef struct sieves:
    pthread_mutex_t lock
    sieve of_days[SIEVES]   # by the number of the day, modulo SIEVES


cdef inline bint holds_for(const sieve *self, uint32_t day,
                           const day_totals *totals) noexcept nogil:
    """True if the day has the envelopes that it had when this was noted."""
    return (self.day == day and self.envelopes == totals.envelopes
            and memcmp(&self.sum, &totals.sum, sizeof(sum256)) == 0)


cdef inline uint64_t spread(uint32_t topic) noexcept nogil:
    """Bits that depend on all of a topic: those from 32 on choose a word, the last 24 four bits."""
    cdef uint64_t product = (topic + <uint64_t> 1) * <uint64_t> 0x9e3779b97f4a7c15
    return product ^ product >> 29


cdef inline uint64_t sieve_bits(uint64_t spread_topic) noexcept nogil:
    cdef uint64_t one = 1
    return (one << (spread_topic & 63) | one << (spread_topic >> 6 & 63)
            | one << (spread_topic >> 12 & 63) | one << (spread_topic >> 18 & 63))


cdef inline void let_through(sieve *self, uint32_t topic) noexcept nogil:
    cdef uint64_t bits = spread(topic)
    self.words[bits >> 32 & self.mask] |= sieve_bits(bits)


cdef inline size_t pass_topics(sieves *all_, uint32_t day, const day_totals *totals,
                               const uint32_t *topics, size_t count, uint32_t *out) noexcept nogil:
    """Write the topics that the day may have to `out`, and return their number."""
    cdef sieve *self = &all_.of_days[day % SIEVES]
    cdef uint64_t bits, wanted
    cdef size_t passed = 0
    cdef size_t i
    pthread_mutex_lock(&all_.lock)
    if self.words != NULL and holds_for(self, day, totals):
        for i in range(count):
            bits = spread(topics[i])
            wanted = sieve_bits(bits)
            out[passed] = topics[i]
            passed += self.words[bits >> 32 & self.mask] & wanted == wanted
    else:
        memcpy(out, topics, count * sizeof(uint32_t))
        passed = count
    pthread_mutex_unlock(&all_.lock)
    return passed


cdef inline bint wants_sieve(sieves *all_, uint32_t day, const day_totals *totals) noexcept nogil:
    """Note the day as it is. True if it was noted before and has no sieve."""
    cdef sieve *self = &all_.of_days[day % SIEVES]
    cdef uint64_t *old = NULL
    cdef bint noted
    if totals.topics > MAX_SIEVE_TOPICS:
        return False
    pthread_mutex_lock(&all_.lock)
    noted = holds_for(self, day, totals)
    if not noted:
        old, self.words = self.words, NULL
        self.day, self.envelopes, self.sum = day, totals.envelopes, totals.sum
    noted = noted and self.words == NULL
    pthread_mutex_unlock(&all_.lock)
    free(old)
    return noted


cdef inline bint begin_sieve(sieve *self, uint32_t day, const day_totals *totals) noexcept nogil:
    """Begin a sieve, which lets nothing through; False if there is no memory for it."""
    cdef uint32_t words = 1
    while words * WORD_TOPICS < totals.topics:
        words *= 2
    self.day, self.envelopes, self.sum, self.mask = day, totals.envelopes, totals.sum, words - 1
    self.words = <uint64_t *> calloc(words, sizeof(uint64_t))
    return self.words != NULL


cdef inline void keep_sieve(sieves *all_, sieve *made) noexcept nogil:
    """Use this sieve from now on; `made` is empty afterwards."""
    cdef sieve *self = &all_.of_days[made.day % SIEVES]
    cdef uint64_t *old
    pthread_mutex_lock(&all_.lock)
    old = self.words
    self[0] = made[0]
    made.words = NULL
    pthread_mutex_unlock(&all_.lock)
    free(old)


cdef inline void drop_sieves(sieves *all_) noexcept nogil:
    """Free all of them; nobody else may use them meanwhile."""
    cdef size_t i
    for i in range(SIEVES):
        free(all_.of_days[i].words)
        all_.of_days[i].words = NULL
