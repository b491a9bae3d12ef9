# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Envelopes (6/WAKU1, "Messages"): read, judged and hashed by the packet, and mined.

An envelope is the RLP list [expiry u32, ttl u32, topic 4 bytes, data, nonce u64]; anything else
in its place makes the packet malformed. Its hash is the Keccak-256 of that RLP, its creation time
expiry - ttl modulo 2^32. For its proof of work see envelope.pxd.
"""

from enum import IntEnum

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY
from libc.stdint cimport UINT32_MAX, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from wakumail.bloom cimport bloom_covers
from wakumail.keccak cimport (keccak256, keccak256_many, keccak_digest, keccak_init,
                              keccak_sponge, keccak_update)
from wakumail.rlp cimport (RLP_OK, RLP_TOO_LARGE, RLP_TRUNCATED, RLP_WRONG_SIZE, RLP_WRONG_TYPE,
                           rlp_item, rlp_next, rlp_reason, rlp_status)

from wakumail.errors import RlpError
from wakumail.rlp import encode

TOPIC_SIZE = 4                  # bytes
FUTURE_TOLERANCE = 10           # seconds that a creation time may lie ahead
EXPIRY_GRACE = 10               # seconds after the expiry in which an envelope is still taken
VERY_OLD_AGE = 20               # seconds after the expiry from which the sender is told
LARGE_ENVELOPE = 50_000         # bytes of RLP from which min_pow_large holds (status-waku-usage)
MAX_ENVELOPES = 1 << 16         # of a packet; judging so many takes some 20 ms
MAX_STREAM_ENVELOPE = 1 << 24   # bytes; a frame of RLPx holds less, so no envelope is larger
MAX_ERRORS = 1000               # that a batch lists, of up to MAX_ENVELOPES bad ones

cdef uint64_t future_tolerance = FUTURE_TOLERANCE, expiry_grace = EXPIRY_GRACE
cdef uint64_t very_old_age = VERY_OLD_AGE
cdef uint32_t large_envelope = LARGE_ENVELOPE

cdef enum:
    EXPIRED = 1, VERY_OLD, FROM_FUTURE, TOO_LARGE, TTL_ZERO, LOW_POW, UNWANTED_TOPIC, VERDICTS
    FIRST_ROOM = 16             # records of a new batch
    FEW = 4                     # envelopes whose two hashes fit into eight lanes together
    MINE_SLICE = 16384          # nonces between two looks at pending signals: about 5 ms


class Verdict(IntEnum):
    """What became of an envelope; all but ACCEPTED drop it, each is counted under its name."""

    ACCEPTED = 0
    EXPIRED = 1             # by more than EXPIRY_GRACE: dropped in silence
    VERY_OLD = 2            # expired by more than VERY_OLD_AGE: the sender is told
    FROM_FUTURE = 3         # created more than FUTURE_TOLERANCE ahead: the sender is told
    TOO_LARGE = 4
    TTL_ZERO = 5            # its proof of work would be infinite
    LOW_POW = 6
    UNWANTED_TOPIC = 7


cdef class Rules:
    """What `judge` asks of an envelope. Immutable.

    min_pow, min_pow_large: the proof of work below and from LARGE_ENVELOPE bytes on.
    max_envelope_size: bytes of RLP.
    topics, bloom: those wanted. `topics` wins over `bloom` (6/WAKU1, "Bloom Filter Field"); no
    topics at all want nothing; with neither, every topic is wanted.
    ValueError for a PoW that is negative or not finite, a topic that has not 4 bytes, a bloom
    that has not 64.
    """

    cdef readonly double min_pow
    cdef readonly double min_pow_large
    cdef readonly uint32_t max_envelope_size
    cdef readonly object topics     # frozenset of bytes, or None
    cdef readonly bytes bloom
    cdef const uint8_t *bloom_bits  # of bloom; NULL: none was given
    cdef bytes packed               # the topics in ascending order
    cdef const uint8_t *topics_at   # of packed; NULL: none were given
    cdef Py_ssize_t topic_count

    def __cinit__(self, *, double min_pow=0.002, double min_pow_large=0.000002,
                  uint32_t max_envelope_size=1 << 20, object topics=None, bytes bloom=None):
        if not (0 <= min_pow < INFINITY and 0 <= min_pow_large < INFINITY):
            raise ValueError("a minimum PoW is finite and not negative")
        if bloom is not None:
            if len(bloom) != 64:
                raise ValueError(f"a bloom has 64 bytes, not {len(bloom)}")
            self.bloom_bits = <const uint8_t *> PyBytes_AS_STRING(bloom)
        self.min_pow = min_pow
        self.min_pow_large = min_pow_large
        self.max_envelope_size = max_envelope_size
        self.bloom = bloom
        if topics is not None:
            self.topics = frozenset(topics)
            if any(len(topic) != TOPIC_SIZE for topic in self.topics):
                raise ValueError("a topic has 4 bytes")
            self.packed = b"".join(sorted(self.topics))
            self.topics_at = <const uint8_t *> PyBytes_AS_STRING(self.packed)
            self.topic_count = len(self.topics)

    cdef bint wants(self, uint32_t topic) noexcept nogil:
        cdef Py_ssize_t low = 0, high = self.topic_count, middle
        cdef uint32_t found
        if not self.topics_at:
            return not self.bloom_bits or bloom_covers(self.bloom_bits, topic)
        while low < high:
            middle = (low + high) // 2
            found = topic_value(self.topics_at + 4 * middle)
            if found == topic:
                return True
            if found < topic:
                low = middle + 1
            else:
                high = middle
        return False

    cdef uint32_t verdict_unhashed(self, const envelope_record *record,
                                   uint64_t now) noexcept nogil:
        """All that can be said without the proof of work."""
        if record.ttl == 0:
            return TTL_ZERO
        if record.size > self.max_envelope_size:
            return TOO_LARGE
        if record.created > now and record.created - now > future_tolerance:
            return FROM_FUTURE
        if record.expiry + very_old_age < now:
            return VERY_OLD
        if record.expiry + expiry_grace < now:
            return EXPIRED
        return ACCEPTED if self.wants(record.topic) else UNWANTED_TOPIC

    cdef bint enough(self, const envelope_record *record) noexcept nogil:
        return record.pow >= (self.min_pow if record.size < large_envelope else self.min_pow_large)


cdef void settle(hash_queue *queue, Batch batch, Rules rules, uint64_t now) noexcept nogil:
    """Hash all that was asked for; of many envelopes, those with enough work are hashed in turn.

    The new questions take the places of old ones that were answered: never more than there were.
    """
    cdef size_t asked = queue.count, i
    cdef uint64_t ttl
    cdef envelope_record *record
    keccak256_many(queue.messages, asked, queue.digests)
    queue.count = 0
    for i in range(asked):
        record = queue.pending[i].record
        if not queue.pending[i].proven_size:
            memcpy(record.hash, queue.digests + 32 * i, 32)
            continue
        ttl = record.ttl
        if rules is not None and record.created > now:
            # The deployed code lets the work of an envelope from the future count for less.
            ttl += record.created - now + 1
        record.pow = pow_of(leading_zeros(queue.digests + 32 * i),
                            queue.pending[i].proven_size, ttl)
        if rules is not None and not rules.enough(record):
            record.verdict = LOW_POW
        elif batch.count > FEW:
            ask_hash(queue, batch.data, record)


cdef class Envelope:
    """One envelope: its RLP and what stands in it. Made by `decode` and `make_envelope`.

    expiry, ttl, created: seconds; topic: 4 bytes; hash: 32 bytes, the Keccak-256 of `rlp`.
    """

    cdef readonly bytes rlp
    cdef readonly bytes hash
    cdef readonly bytes topic
    cdef readonly bytes data
    cdef readonly uint32_t expiry
    cdef readonly uint32_t ttl
    cdef readonly uint32_t created
    cdef readonly uint64_t nonce

    def __init__(self):
        raise TypeError("an Envelope is made by Envelope.decode or make_envelope")

    @staticmethod
    def decode(bytes rlp not None):
        """The envelope that `rlp` is, neither more nor less; RlpError when it is none."""
        batch, _ = parse_stream(rlp, final=True)
        if len(batch) != 1:
            raise RlpError(f"{len(batch)} envelopes in place of one")
        return batch[0]

    @property
    def pow(self):
        """The proof of work at any time after the creation; infinite for a ttl of 0."""
        cdef hash_queue queue
        cdef envelope_record record
        queue.count = 0
        record.offset = 0
        record.size = <uint32_t> len(self.rlp)
        ask_pow(&queue, <const uint8_t *> PyBytes_AS_STRING(self.rlp), &record)
        keccak256_many(queue.messages, 1, queue.digests)
        return pow_of(leading_zeros(queue.digests), queue.pending[0].proven_size, self.ttl)

    def __eq__(self, other):
        return self.rlp == (<Envelope> other).rlp if isinstance(other, Envelope) else NotImplemented

    def __hash__(self):
        return hash(self.rlp)

    def __repr__(self):
        return f"<Envelope {self.hash.hex()} topic={self.topic.hex()} created={self.created}>"


cdef class Batch:
    """The envelopes of one packet, in its order, with what was judged of each.

    raw: the packet; accepted: how many were; accepted_size: the bytes of their RLP.
    """

    def __cinit__(self):
        self.raw = b""

    def __dealloc__(self):
        free(self.records)

    def __len__(self):
        return self.count

    def __getitem__(self, Py_ssize_t index):
        return make_from(self, record_at(self, index))

    def __iter__(self):
        cdef Py_ssize_t index
        for index in range(self.count):
            yield make_from(self, &self.records[index])

    def verdict(self, Py_ssize_t index):
        """The Verdict on the envelope at `index`."""
        return Verdict(record_at(self, index).verdict)

    @property
    def rejections(self):
        """How many envelopes each Verdict dropped; without those that dropped none."""
        cdef Py_ssize_t[VERDICTS] counts
        cdef Py_ssize_t index
        memset(counts, 0, sizeof(counts))
        for index in range(self.count):
            counts[self.records[index].verdict] += 1
        return {Verdict(index): counts[index] for index in range(1, VERDICTS) if counts[index]}

    @property
    def errors(self):
        """(hash, Verdict) of what a Message Response reports, MAX_ERRORS at most."""
        cdef Py_ssize_t index
        cdef list found = []
        for index in range(self.count):
            if len(found) < MAX_ERRORS and self.records[index].verdict in (VERY_OLD, FROM_FUTURE):
                found.append((digest_bytes(self.records[index].hash), self.verdict(index)))
        return found


cdef envelope_record *record_at(Batch batch, Py_ssize_t index) except NULL:
    if index < 0:
        index += batch.count
    if not 0 <= index < batch.count:
        raise IndexError(f"{batch.count} envelopes")
    return &batch.records[index]


cdef bytes digest_bytes(const uint8_t *digest):
    return PyBytes_FromStringAndSize(<const char *> digest, 32)


cdef Envelope make_from(Batch batch, const envelope_record *record):
    cdef Envelope envelope = Envelope.__new__(Envelope)
    cdef envelope_fields fields
    cdef const uint8_t *at = batch.data + record.offset
    read_envelope(&at, at + record.size, &fields)
    envelope.rlp = batch.raw[record.offset:record.offset + record.size]
    envelope.topic = PyBytes_FromStringAndSize(<const char *> fields.topic.data, TOPIC_SIZE)
    envelope.data = PyBytes_FromStringAndSize(<const char *> fields.data.data,
                                              <Py_ssize_t> fields.data.size)
    envelope.expiry = record.expiry
    envelope.ttl = record.ttl
    envelope.created = record.created
    envelope.nonce = fields.nonce
    if record.verdict in (ACCEPTED, VERY_OLD, FROM_FUTURE):
        envelope.hash = digest_bytes(record.hash)
    else:
        envelope.hash = PyBytes_FromStringAndSize(NULL, 32)
        keccak256(fields.rlp, fields.size, <uint8_t *> PyBytes_AS_STRING(envelope.hash))
    return envelope


cdef Batch new_batch(bytes raw):
    cdef Batch batch = Batch.__new__(Batch)
    if len(raw) > UINT32_MAX:
        raise ValueError("a batch is at most 2^32 - 1 bytes")
    batch.raw = raw
    batch.data = <const uint8_t *> PyBytes_AS_STRING(raw)
    return batch


cdef int resize(Batch batch, Py_ssize_t room) except -1 nogil:
    cdef void *records = realloc(batch.records, room * sizeof(envelope_record))
    if not records:
        with gil:
            raise MemoryError
    batch.records = <envelope_record *> records
    batch.room = room
    return 0


cdef int append(Batch batch, const envelope_fields *fields) except -1 nogil:
    cdef envelope_record *record
    if batch.count == batch.room:
        resize(batch, batch.room + batch.room // 2 + FIRST_ROOM)
    record = &batch.records[batch.count]
    memset(record, 0, sizeof(record[0]))
    record.offset = <uint32_t> (fields.rlp - batch.data)
    record.size = <uint32_t> fields.size
    record.expiry = <uint32_t> fields.expiry
    record.ttl = <uint32_t> fields.ttl
    record.created = record.expiry - record.ttl
    record.topic = topic_value(fields.topic.data)
    batch.count += 1
    return 0


cdef int read_records(Batch batch, const uint8_t *at, const uint8_t *end) except -1 nogil:
    """A record for each of the envelopes that stand one after another up to `end`."""
    cdef envelope_fields fields
    cdef rlp_status status
    while at < end:
        status = read_envelope(&at, end, &fields)
        if status != RLP_OK:
            with gil:
                raise RlpError(f"envelope {batch.count}: {rlp_reason(status)}")
        append(batch, &fields)
    if batch.count:
        resize(batch, batch.count)
    return 0


cdef void judge_all(Batch batch, Rules rules, uint64_t now) noexcept nogil:
    """Fill in verdicts, hashes and proofs of work; without rules all are accepted."""
    cdef hash_queue queue
    cdef envelope_record *record
    cdef Py_ssize_t i
    queue.count = 0
    for i in range(batch.count):
        record = &batch.records[i]
        if rules is not None:
            record.verdict = rules.verdict_unhashed(record, now)
        if record.verdict == ACCEPTED:
            ask_pow(&queue, batch.data, record)
        if (record.verdict == VERY_OLD or record.verdict == FROM_FUTURE
                or record.verdict == ACCEPTED and batch.count <= FEW):
            ask_hash(&queue, batch.data, record)
        while queue.count == HASH_BLOCK:
            settle(&queue, batch, rules, now)
    while queue.count:
        settle(&queue, batch, rules, now)
    for i in range(batch.count):
        if batch.records[i].verdict == ACCEPTED:
            batch.accepted += 1
            batch.accepted_size += batch.records[i].size


cdef Batch read_packet(bytes packet, Rules rules, uint64_t now):
    cdef Batch batch = new_batch(packet)
    cdef const uint8_t *at = batch.data
    cdef const uint8_t *end = at + len(packet)
    cdef rlp_item whole
    cdef rlp_status status = rlp_next(&at, end, &whole)
    if status == RLP_OK and not whole.is_list:
        status = RLP_WRONG_TYPE
    elif status == RLP_OK and at != end:
        status = RLP_WRONG_SIZE
    if status != RLP_OK:
        raise RlpError(f"packet of envelopes: {rlp_reason(status)}")
    with nogil:
        read_records(batch, whole.data, end)
    if rules is not None and batch.count > MAX_ENVELOPES:
        raise RlpError(f"more than {MAX_ENVELOPES} envelopes")
    with nogil:
        judge_all(batch, rules, now)
    return batch


def judge(bytes packet not None, Rules rules not None, uint64_t now):
    """The Batch of a Messages packet (one RLP list of envelopes) as `rules` see it at `now`.

    now: Unix seconds. RlpError when the packet or any envelope in it is malformed: it is to be
    ignored whole, or when there are more than MAX_ENVELOPES. ValueError for a packet of 2^32 bytes or more.
    """
    return read_packet(packet, rules, now)


def parse(bytes packet not None):
    """As `judge`, but every envelope is accepted, whatever its age, size and proof of work."""
    return read_packet(packet, None, 0)


def parse_stream(bytes data not None, *, bint final):
    """The whole envelopes that `data` begins with, all accepted, and the bytes that they take.

    data: envelopes one after another, as in a dump. What is left over is the beginning of an
    envelope, of MAX_STREAM_ENVELOPE bytes at most: put it before the bytes that come next. With
    `final` there are none to come. RlpError for anything else than envelopes, for a larger one,
    and for a rest when `final`. ValueError for 2^32 bytes or more.
    """
    cdef Batch batch = new_batch(data)
    cdef const uint8_t *end = batch.data
    cdef const uint8_t *stop = end + len(data)
    cdef const uint8_t *start = end
    cdef Py_ssize_t most = MAX_STREAM_ENVELOPE
    cdef rlp_item whole
    cdef rlp_status status = RLP_OK
    while status == RLP_OK and end < stop:
        start = end
        status = rlp_next(&end, stop, &whole)
        if not whole.is_list:
            status = RLP_WRONG_TYPE
        elif (stop if status == RLP_TRUNCATED else end) - start > most:
            status = RLP_TOO_LARGE
    if status != RLP_OK and (final or status != RLP_TRUNCATED):
        raise RlpError(f"envelope at byte {start - batch.data}: {rlp_reason(status)}")
    with nogil:
        read_records(batch, batch.data, end)
        judge_all(batch, None, 0)
    return batch, end - batch.data


def make_envelope(uint32_t expiry, uint32_t ttl, bytes topic not None, bytes data not None,
                  uint64_t nonce):
    """The envelope of these fields; ValueError when the topic has not 4 bytes."""
    if len(topic) != TOPIC_SIZE:
        raise ValueError(f"a topic has 4 bytes, not {len(topic)}")
    return Envelope.decode(encode([expiry, ttl, topic, data, nonce]))


cdef int zeros_for(double target, size_t proven_size, uint32_t ttl) except -1:
    cdef int zeros
    for zeros in range(256 + 1):    # the bits of a digest may all be zero
        if pow_of(zeros, proven_size, ttl) >= target:
            return zeros
    raise ValueError(f"no nonce shows a PoW of {target}")


cdef bint search(const keccak_sponge *proven, int zeros, uint64_t count,
                 uint64_t *nonce) noexcept nogil:
    """Try `count` nonces from `nonce[0]` on; it is the one found, or the next one to try."""
    cdef keccak_sponge sponge
    cdef uint8_t[8] tail
    cdef uint8_t[32] digest
    while count:
        write_nonce(tail, nonce[0])
        sponge = proven[0]
        keccak_update(&sponge, tail, sizeof(tail))
        keccak_digest(&sponge, digest)
        if leading_zeros(digest) >= zeros:
            return True
        nonce[0] += 1
        count -= 1
    return False


def mine(uint32_t expiry, uint32_t ttl, bytes topic not None, bytes data not None, *,
         double target, object max_nonces=None, uint64_t start=0):
    """The first nonce from `start` on that shows a PoW of at least `target`.

    None when `max_nonces` were tried, or all that are left: to stop in between, call it for some
    at a time and go on from `start + max_nonces`. Signals are looked at every few milliseconds.
    ValueError when the topic has not 4 bytes, the ttl is 0 or no nonce can do.
    """
    cdef keccak_sponge proven
    cdef bytes encoded
    cdef uint64_t nonce = start, count
    cdef int zeros
    cdef bint found
    if len(topic) != TOPIC_SIZE:
        raise ValueError(f"a topic has 4 bytes, not {len(topic)}")
    if ttl == 0:
        raise ValueError("an envelope with a ttl of 0 is refused")
    encoded = encode([expiry, ttl, topic, data])
    zeros = zeros_for(target, len(encoded), ttl)
    keccak_init(&proven)
    keccak_update(&proven, <const uint8_t *> PyBytes_AS_STRING(encoded), len(encoded))
    left = 2**64 - start if max_nonces is None else min(max_nonces, 2**64 - start)
    while left > 0:
        count = min(left, MINE_SLICE)
        with nogil:
            found = search(&proven, zeros, count, &nonce)
        if found:
            return nonce
        PyErr_CheckSignals()
        left -= count
    return None
