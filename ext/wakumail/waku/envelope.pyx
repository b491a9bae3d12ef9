# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Envelopes (6/WAKU1, "Messages"), read, judged and hashed a packet at a time.

An envelope is the RLP list [expiry u32, ttl u32, topic 4 bytes, data, nonce u64]; a packet with
anything else in it is malformed. Its hash is the Keccak-256 of that RLP. It was created at
expiry - ttl modulo 2^32. pow.pxd defines its proof of work.
"""

from enum import IntEnum

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.math cimport INFINITY
from libc.stdint cimport UINT32_MAX, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from wakumail.waku.interest cimport Interest
from wakumail.waku.envelope_judging cimport conclude, drop_larger, is_hashed, judge_unhashed
from wakumail.base.keccak cimport keccak256, keccak256_many
from wakumail.waku.pow cimport leading_zeros, pow_of
from wakumail.waku.envelope_records cimport read_packet, read_records, shrink
from wakumail.base.rlp cimport (RLP_OK, RLP_TOO_LARGE, RLP_TRUNCATED, RLP_WRONG_TYPE,
                                rlp_header_size, rlp_item, rlp_next, rlp_reason, rlp_status,
                                rlp_write_header)

from wakumail.waku.bloom import TOPIC_SIZE
from wakumail.errors import RlpError
from wakumail.waku.interest import EVERYTHING
from wakumail.base.rlp import encode

MAX_TIME = 0xFFFFFFFF           # the last Unix second that an envelope can name
FUTURE_TOLERANCE = 10           # seconds that a creation time may lie ahead
EXPIRY_GRACE = 10               # seconds after the expiry in which an envelope is still taken
VERY_OLD_AGE = 20               # seconds after the expiry from which it counts as very old
LARGE_ENVELOPE = 50_000         # bytes of RLP from which min_pow_large holds (status-waku-usage)
MAX_ENVELOPES = 1 << 16         # of a packet; to judge them takes some 20 ms
MAX_STREAM_ENVELOPE = 1 << 24   # bytes; a frame of RLPx holds less, so no envelope is larger
MAX_ERRORS_SIZE = (1 << 20) - 64    # bytes of all errors in one Message Response; a packet of
                                    # over 1 MiB ends a connection to status-go

cdef uint64_t future_tolerance = FUTURE_TOLERANCE, expiry_grace = EXPIRY_GRACE
cdef uint64_t very_old_age = VERY_OLD_AGE
cdef uint32_t large_envelope = LARGE_ENVELOPE
cdef Py_ssize_t max_errors_size = MAX_ERRORS_SIZE

cdef enum:
    VERDICTS = DUPLICATE + 1
    MAX_BOUNDS = 64             # of Batch.sizes
    BATCH_MEMORY = 1024         # bytes: the batch object, and the objects that refer to it
    MAX_ERROR = 96              # bytes of the RLP of one envelope error
    ITEM_SIZE = 36              # bytes of creation time u32 | hash 32


class Verdict(IntEnum):
    """The judgement of an envelope; all but ACCEPTED drop it, and have a counter of that name."""

    ACCEPTED = 0
    EXPIRED = 1             # by more than EXPIRY_GRACE
    VERY_OLD = 2            # expired by more than VERY_OLD_AGE
    FROM_FUTURE = 3         # created more than FUTURE_TOLERANCE ahead
    TOO_LARGE = 4
    TTL_ZERO = 5            # the proof of work would be infinite
    LOW_POW = 6
    UNWANTED_TOPIC = 7
    DUPLICATE = 8           # received before and still live: valid, but not stored again


REFUSALS = {
    Verdict.EXPIRED: (1, "expired envelope"),
    Verdict.VERY_OLD: (1, "very old envelope"),
    Verdict.FROM_FUTURE: (1, "envelope from future"),
    Verdict.TOO_LARGE: (2, "envelope too large"),
    Verdict.TTL_ZERO: (2, "envelope with a ttl of 0"),
    Verdict.LOW_POW: (2, "too little PoW"),
    Verdict.UNWANTED_TOPIC: (2, "unwanted topic"),
}
"""Code and text of the errors that tell a sender that an envelope was not taken.

Code 1 is for a wrong time (6/WAKU1, "Batch Ack and Message Response"). status-go has 2 for all
other errors; it is in no specification.
"""

cdef struct error_template:
    size_t size                 # bytes; 0 for verdicts that are no error
    size_t hash_offset          # of the hash of the envelope
    uint8_t[MAX_ERROR] rlp      # [hash, code, text]

cdef error_template[VERDICTS] error_templates
memset(error_templates, 0, sizeof(error_templates))
for _verdict, (_code, _text) in REFUSALS.items():
    fill_template(&error_templates[_verdict], encode([bytes(32), _code, _text.encode()]))


cdef int fill_template(error_template *template, bytes error) except -1:
    assert len(error) <= MAX_ERROR
    memcpy(template.rlp, <const char *> error, len(error))
    template.size = len(error)
    template.hash_offset = error.index(bytes(32))
    return 0


cdef class Rules:
    """The conditions of `judge` for an envelope. Immutable.

    min_pow, min_pow_large: the least proof of work below LARGE_ENVELOPE bytes, and from there on.
    max_envelope: the most bytes of RLP.
    interest: the topics wanted.
    ValueError for a PoW that is negative or not finite.
    """

    def __cinit__(self, *, double min_pow, double min_pow_large,
                  uint32_t max_envelope, Interest interest not None=EVERYTHING):
        if not (0 <= min_pow < INFINITY and 0 <= min_pow_large < INFINITY):
            raise ValueError("a minimum PoW is finite and not negative")
        self.min_pow = min_pow
        self.min_pow_large = min_pow_large
        self.max_envelope = max_envelope
        self.interest = interest

    def replace(self, **changes):
        """A copy of the rules, with these changes."""
        names = ("min_pow", "min_pow_large", "max_envelope", "interest")
        return Rules(**({name: getattr(self, name) for name in names} | changes))

    cdef uint32_t verdict_unhashed(self, const envelope_record *record,
                                   uint64_t now) noexcept nogil:
        """The verdict without a hash: all but LOW_POW and DUPLICATE."""
        if record.ttl == 0:
            return TTL_ZERO
        if record.size > self.max_envelope:
            return TOO_LARGE
        if record.created > now and record.created - now > future_tolerance:
            return FROM_FUTURE
        if record.expiry + very_old_age < now:
            return VERY_OLD
        if record.expiry + expiry_grace < now:
            return EXPIRED
        return ACCEPTED if self.interest.wants_topic(record.topic) else UNWANTED_TOPIC

    cdef bint enough(self, const envelope_record *record) noexcept nogil:
        return record.pow >= (self.min_pow if record.size < large_envelope else self.min_pow_large)


cdef class KnownHashes:
    """The envelopes that are live already, for `judge`; none in this base class."""

    cdef bint has(self, const uint8_t *hash) noexcept nogil:
        return False


cdef class Envelope:
    """One envelope: its RLP and its fields. Made by `decode` and `make_envelope`.

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
        """Read an envelope; RlpError unless `rlp` is exactly one."""
        batch, _ = parse_stream(rlp, final=True)
        if len(batch) != 1:
            raise RlpError(f"{len(batch)} envelopes in place of one")
        return batch[0]

    @property
    def pow(self):
        """The proof of work, at any time after the creation; infinite for a ttl of 0."""
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
    """The envelopes of one or more packets, in order, with a verdict on each.

    raw: the packets; malformed: the number of packets that were left out; accepted: the number of
    accepted envelopes; accepted_size: the bytes of their RLP.
    """

    def __cinit__(self):
        self.raw = b""

    def __dealloc__(self):
        free(self.packet_records)
        free(self.records)

    def __len__(self):
        return self.count

    def __getitem__(self, Py_ssize_t index):
        return make_from(self, record_at(self, index))

    def __iter__(self):
        cdef Py_ssize_t index
        for index in range(self.count):
            yield make_from(self, &self.records[index])

    @property
    def memory(self):
        """Bytes of memory that the batch takes, approximately."""
        return (BATCH_MEMORY + len(self.raw) + self.packet_count * sizeof(packet_record)
                + self.room * sizeof(envelope_record))

    def verdict(self, Py_ssize_t index):
        """The Verdict on the envelope at `index`."""
        return Verdict(record_at(self, index).verdict)

    @property
    def rejections(self):
        """The number of envelopes that each Verdict dropped, for verdicts that dropped any."""
        cdef Py_ssize_t[VERDICTS] counts
        cdef Py_ssize_t index
        memset(counts, 0, sizeof(counts))
        for index in range(self.count):
            counts[self.records[index].verdict] += 1
        return {Verdict(index): counts[index] for index in range(1, VERDICTS) if counts[index]}

    @property
    def packets(self):
        """The number of well-formed packets; 0 for a stream."""
        return self.packet_count - self.malformed

    @property
    def confirmations(self):
        """(hash, errors) of each packet to confirm; empty unless it was judged with `confirming`.

        hash: the Keccak-256 of the packet. errors: the RLP list `[[hash, code, text], ...]` of all
        envelopes that were not taken (6/WAKU1, "Batch Ack and Message Response"; see REFUSALS).
        The malformed packets are left out, and the `unconfirmable` ones.
        """
        cdef packet_record *packet
        cdef Py_ssize_t i, size
        cdef Py_ssize_t first = 0
        cdef list found = []
        for i in range(self.packet_count if self.confirming else 0):
            packet = &self.packet_records[i]
            if packet.status == RLP_OK:
                size = errors_size(self, first, packet.count)
                if size <= max_errors_size:
                    found.append((digest_bytes(packet.hash),
                                  errors_of(self, first, packet.count, size)))
                first += packet.count
        return found

    @property
    def unconfirmable(self):
        """The number of packets with more errors than MAX_ERRORS_SIZE; 0 unless `confirming`.

        status-go takes the first Message Response of a packet for the only one, and an envelope
        that it does not name for stored.
        """
        cdef packet_record *packet
        cdef Py_ssize_t i
        cdef Py_ssize_t first = 0
        cdef Py_ssize_t found = 0
        for i in range(self.packet_count if self.confirming else 0):
            packet = &self.packet_records[i]
            if packet.status == RLP_OK:
                if packet.count * MAX_ERROR > max_errors_size:  # all others are small enough
                    found += errors_size(self, first, packet.count) > max_errors_size
                first += packet.count
        return found

    @property
    def items(self):
        """(creation time u32 big-endian, hash) of each envelope, 36 bytes each, joined."""
        cdef bytes joined = PyBytes_FromStringAndSize(NULL, self.count * ITEM_SIZE)
        cdef uint8_t *at = <uint8_t *> PyBytes_AS_STRING(joined)
        cdef uint32_t created
        cdef Py_ssize_t index
        for index in range(self.count):
            created = self.records[index].created
            at[0], at[1] = <uint8_t> (created >> 24), <uint8_t> (created >> 16)
            at[2], at[3] = <uint8_t> (created >> 8), <uint8_t> created
            memcpy(at + 4, self.records[index].hash, 32)
            at += ITEM_SIZE
        return joined

    def select(self, Interest interest not None):
        """The indices of the accepted envelopes whose topic is wanted, ascending."""
        cdef Py_ssize_t index
        cdef list found = []
        for index in range(self.count):
            if (self.records[index].verdict == ACCEPTED
                    and interest.wants_topic(self.records[index].topic)):
                found.append(index)
        return found

    def sizes(self, tuple bounds not None):
        """The number of accepted envelopes by size: one count for each bound, and one for the rest.

        bounds: ascending, in bytes of RLP, at most MAX_BOUNDS. A count is of the sizes up to its
        bound and over the one before; the last count is of the sizes over all bounds.
        """
        cdef uint64_t[MAX_BOUNDS] limits
        cdef Py_ssize_t[MAX_BOUNDS + 1] counts
        cdef Py_ssize_t index, i, count = len(bounds)
        if count > MAX_BOUNDS:
            raise ValueError(f"more than {MAX_BOUNDS} bounds")
        for i in range(count):
            limits[i] = bounds[i]
        memset(counts, 0, sizeof(counts))
        for index in range(self.count):
            if self.records[index].verdict == ACCEPTED:
                i = 0
                while i < count and self.records[index].size > limits[i]:
                    i += 1
                counts[i] += 1
        return [counts[i] for i in range(count + 1)]

    def stream(self):
        """The RLPs of the accepted envelopes one after another, as `parse_stream` reads them."""
        cdef bytes joined = PyBytes_FromStringAndSize(NULL, self.accepted_size)
        cdef char *at = PyBytes_AS_STRING(joined)
        cdef Py_ssize_t index
        for index in range(self.count):
            if self.records[index].verdict == ACCEPTED:
                memcpy(at, self.data + self.records[index].offset, self.records[index].size)
                at += self.records[index].size
        return joined


cdef envelope_record *record_at(Batch batch, Py_ssize_t index) except NULL:
    if index < 0:
        index += batch.count
    if not 0 <= index < batch.count:
        raise IndexError(f"{batch.count} envelopes")
    return &batch.records[index]


cdef Py_ssize_t errors_size(Batch batch, Py_ssize_t first, Py_ssize_t count) noexcept:
    """Bytes of the errors of some envelopes, without the header of their list."""
    cdef Py_ssize_t index, size = 0
    for index in range(first, first + count):
        size += error_templates[batch.records[index].verdict].size
    return size


cdef bytes errors_of(Batch batch, Py_ssize_t first, Py_ssize_t count, Py_ssize_t size):
    """The RLP list of the errors of some envelopes, of this `errors_size`.

    No object is made for each of them.
    """
    cdef Py_ssize_t index
    cdef const error_template *template
    cdef bytes found = PyBytes_FromStringAndSize(NULL, rlp_header_size(size) + size)
    cdef uint8_t *at = <uint8_t *> PyBytes_AS_STRING(found)
    at += rlp_write_header(at, size, True)
    for index in range(first, first + count):
        template = &error_templates[batch.records[index].verdict]
        memcpy(at, template.rlp, template.size)
        if template.size:
            memcpy(at + template.hash_offset, batch.records[index].hash, 32)
        at += template.size
    return found


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
    if is_hashed(batch, record.verdict):
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


cdef str fault_at(Py_ssize_t index, int status):
    """The text of an RlpError."""
    if index == MAX_ENVELOPES and status == RLP_TOO_LARGE:
        return f"more than {MAX_ENVELOPES} envelopes"
    return f"envelope {index}: {rlp_reason(<rlp_status> status)}"


cdef Batch read_packets(bytes raw, list ends, Rules rules, uint64_t now, KnownHashes known,
                        bint confirming):
    """Read and judge the packets that are joined in `raw`; `ends` has the end of each."""
    cdef Batch batch = new_batch(raw)
    cdef Py_ssize_t most = UINT32_MAX if rules is None else MAX_ENVELOPES
    cdef Py_ssize_t count = len(ends)
    cdef Py_ssize_t start = 0
    cdef Py_ssize_t i, end
    batch.packet_records = <packet_record *> calloc(count, sizeof(packet_record))
    if batch.packet_records == NULL:
        raise MemoryError
    for i in range(count):
        end = ends[i]
        if not start <= end <= len(raw):
            raise ValueError("packets end one after another")
        batch.packet_records[i].offset = <uint32_t> start
        batch.packet_records[i].size = <uint32_t> (end - start)
        start = end
    batch.packet_count = count
    batch.confirming = confirming
    with nogil:
        for i in range(count):
            read_packet(batch, &batch.packet_records[i], most)
        shrink(batch)
        judge_unhashed(batch, rules, now)
    conclude(batch, rules, known)
    return batch


cdef Batch read_one(bytes packet, Rules rules, uint64_t now, KnownHashes known, bint confirming):
    cdef Batch batch = read_packets(packet, [len(packet)], rules, now, known, confirming)
    cdef packet_record *record = &batch.packet_records[0]
    if record.status != RLP_OK:
        raise RlpError(fault_at(record.count, record.status))
    return batch


def judge(bytes packet not None, Rules rules not None, uint64_t now, KnownHashes known=None, *,
          bint confirming=False):
    """Judge a Messages packet (one RLP list of envelopes) by `rules` at `now`; returns a Batch.

    now: Unix seconds. known: envelopes in it are DUPLICATE, whatever their proof of work.
    confirming: true if Batch.confirmations are wanted. RlpError when there are more than
    MAX_ENVELOPES, or when the packet or any envelope in it is malformed: the whole packet is to be
    ignored. ValueError for a packet of 2^32 bytes or more.
    """
    return read_one(packet, rules, now, known, confirming)


def judge_packets(bytes payloads not None, list ends not None, Rules rules not None, uint64_t now,
                  KnownHashes known=None, *, bint confirming=False):
    """As `judge`, for several packets in one Batch, which counts the malformed ones.

    payloads: the packets, joined; ends: the offset at which each of them ends.
    """
    return read_packets(payloads, ends, rules, now, known, confirming)


def parse(bytes packet not None, *, uint32_t max_envelope=UINT32_MAX):
    """As `judge`, but accepts every envelope of at most `max_envelope` bytes of RLP."""
    cdef Batch batch = read_one(packet, None, 0, None, False)
    drop_larger(batch, max_envelope)
    return batch


def parse_stream(bytes data not None, *, bint final):
    """The complete envelopes at the start of `data`, all accepted, and the bytes that they take.

    data: envelopes one after another, as in a dump. The rest is the beginning of an envelope, at
    most MAX_STREAM_ENVELOPE bytes: put it before the bytes that come next. final: no bytes come
    after `data`. RlpError for anything but envelopes, for a larger one, and for a rest when
    `final`. ValueError for 2^32 bytes or more.
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
        status = <rlp_status> read_records(batch, batch.data, end, UINT32_MAX)
        shrink(batch)
        judge_unhashed(batch, None, 0)
    if status != RLP_OK:
        raise RlpError(fault_at(batch.count, status))
    conclude(batch, None, None)
    return batch, end - batch.data


def make_envelope(uint32_t expiry, uint32_t ttl, bytes topic not None, bytes data not None,
                  uint64_t nonce):
    """The envelope with these fields; ValueError unless the topic has 4 bytes."""
    if len(topic) != TOPIC_SIZE:
        raise ValueError(f"a topic has 4 bytes, not {len(topic)}")
    return Envelope.decode(encode([expiry, ttl, topic, data, nonce]))
