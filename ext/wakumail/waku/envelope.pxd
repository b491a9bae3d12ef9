"""Envelopes for the other kernels: the records of a packet that was read, and the reader."""

from libc.stdint cimport UINT32_MAX, UINT64_MAX, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from wakumail.waku.interest cimport Interest
from wakumail.base.keccak cimport keccak_message
from wakumail.waku.pow cimport write_nonce
from wakumail.base.rlp cimport (RLP_OK, RLP_WRONG_SIZE, RLP_WRONG_TYPE, rlp_item, rlp_next,
                                rlp_status, rlp_uint, rlp_write_header)


cdef enum:
    ACCEPTED, EXPIRED, VERY_OLD, FROM_FUTURE, TOO_LARGE, TTL_ZERO, LOW_POW, UNWANTED_TOPIC
    DUPLICATE               # verdicts: see class Verdict
    HASH_BLOCK = 256        # messages hashed together: packets and their first envelopes


cdef struct envelope_record:
    uint32_t offset         # of the envelope's RLP in Batch.raw
    uint32_t size           # bytes of that RLP
    uint32_t expiry         # Unix seconds
    uint32_t ttl            # seconds
    uint32_t created        # see created_of
    uint32_t topic          # big-endian value of its four bytes
    uint32_t verdict        # ACCEPTED, or the reason of the drop
    double pow              # as judged; set only if ACCEPTED, LOW_POW or DUPLICATE
    uint8_t hash[32]        # Keccak-256 of the RLP; set only if is_hashed


cdef struct packet_record:
    uint32_t offset         # of the packet in Batch.raw
    uint32_t size           # bytes of the packet
    uint32_t status         # an rlp_status; the records of a malformed packet are left out
    uint32_t count          # of its records; if malformed, of those before the fault
    uint8_t hash[32]        # Keccak-256 of the packet, if `confirming`


cdef class Batch:
    cdef readonly bytes raw                 # the bytes that the records point into
    cdef const uint8_t *data                # of raw; lives as long as this object
    cdef packet_record *packet_records      # NULL if the envelopes came in no packets
    cdef Py_ssize_t packet_count
    cdef readonly Py_ssize_t malformed      # number of malformed packets
    cdef bint confirming                    # the hashes of packets are wanted
    cdef envelope_record *records           # of all envelopes, in order, dropped ones too
    cdef Py_ssize_t count                   # of records
    cdef Py_ssize_t room                    # records that fit into the allocated memory
    cdef readonly Py_ssize_t accepted       # number of records with verdict ACCEPTED
    cdef readonly Py_ssize_t accepted_size  # bytes of RLP of accepted envelopes


cdef class Rules:
    cdef readonly double min_pow
    cdef readonly double min_pow_large
    cdef readonly uint32_t max_envelope
    cdef readonly Interest interest
    cdef uint32_t verdict_unhashed(self, const envelope_record *record,
                                   uint64_t now) noexcept nogil
    cdef bint enough(self, const envelope_record *record) noexcept nogil


cdef class KnownHashes:
    cdef bint has(self, const uint8_t *hash) noexcept nogil


cdef struct envelope_fields:
    const uint8_t *rlp
    size_t size             # bytes of the RLP
    const uint8_t *proven   # the items that the proof of work covers: all but the nonce
    size_t proven_size
    uint64_t expiry
    uint64_t ttl
    uint64_t nonce
    rlp_item topic
    rlp_item data


cdef inline rlp_status read_uint(const uint8_t **cursor, const uint8_t *end, uint64_t limit,
                                 uint64_t *value) noexcept nogil:
    cdef rlp_item item
    cdef rlp_status status = rlp_next(cursor, end, &item)
    return rlp_uint(&item, limit, value) if status == RLP_OK else status


cdef inline rlp_status read_string(const uint8_t **cursor, const uint8_t *end,
                                   rlp_item *item) noexcept nogil:
    cdef rlp_status status = rlp_next(cursor, end, item)
    return RLP_WRONG_TYPE if status == RLP_OK and item.is_list else status


cdef inline rlp_status read_envelope(const uint8_t **cursor, const uint8_t *end,
                                     envelope_fields *fields) noexcept nogil:
    """Read the envelope at `cursor[0]` and step past it; fields after a fault are zero."""
    cdef rlp_item whole
    cdef rlp_status status
    cdef const uint8_t *at
    cdef const uint8_t *stop
    memset(fields, 0, sizeof(fields[0]))
    fields.rlp = cursor[0]
    status = rlp_next(cursor, end, &whole)
    if not whole.is_list:
        return RLP_WRONG_TYPE
    if status != RLP_OK:
        return status
    fields.size = cursor[0] - fields.rlp
    fields.proven = at = whole.data
    stop = at + whole.size
    status = read_uint(&at, stop, UINT32_MAX, &fields.expiry)
    if status == RLP_OK:
        status = read_uint(&at, stop, UINT32_MAX, &fields.ttl)
    if status == RLP_OK:
        status = read_string(&at, stop, &fields.topic)
    if status == RLP_OK:
        status = read_string(&at, stop, &fields.data)
    fields.proven_size = at - whole.data
    if status == RLP_OK:
        status = read_uint(&at, stop, UINT64_MAX, &fields.nonce)
    if status == RLP_OK and (at != stop or fields.topic.size != 4):
        status = RLP_WRONG_SIZE
    return status


cdef inline uint32_t created_of(const envelope_fields *fields) noexcept nogil:
    """The creation time of an envelope in Unix seconds: expiry - ttl, modulo 2^32."""
    return <uint32_t> (fields.expiry - fields.ttl)


cdef struct pending_hash:
    uint8_t *hash           # output; NULL: it is a proof of work
    envelope_record *record # the envelope with that proof of work
    size_t proven_size      # bytes of the list that the proof of work covers
    uint8_t[5] header       # of that list
    uint8_t[8] nonce


cdef struct hash_queue:
    size_t count
    pending_hash[HASH_BLOCK] pending
    keccak_message[HASH_BLOCK] messages
    uint8_t[HASH_BLOCK * 32] digests


cdef inline void ask_hash(hash_queue *queue, const uint8_t *data, size_t size,
                          uint8_t *hash) noexcept nogil:
    cdef keccak_message *message = &queue.messages[queue.count]
    memset(message, 0, sizeof(message[0]))
    message.part[0] = data
    message.size[0] = size
    queue.pending[queue.count].hash = hash
    queue.count += 1


cdef inline void ask_pow(hash_queue *queue, const uint8_t *data,
                         envelope_record *record) noexcept nogil:
    """Queue the PoW hash of an envelope that was read before, so that its RLP is known to be valid.

    RLP is canonical, so the list that is hashed is a header and the items as they are.
    """
    cdef pending_hash *pending = &queue.pending[queue.count]
    cdef keccak_message *message = &queue.messages[queue.count]
    cdef envelope_fields fields
    cdef const uint8_t *at = data + record.offset
    read_envelope(&at, at + record.size, &fields)
    write_nonce(pending.nonce, fields.nonce)
    message.part[0] = pending.header
    message.size[0] = rlp_write_header(pending.header, fields.proven_size, True)
    message.part[1] = fields.proven
    message.size[1] = fields.proven_size
    message.part[2] = pending.nonce
    message.size[2] = sizeof(pending.nonce)
    pending.hash = NULL
    pending.record = record
    pending.proven_size = message.size[0] + message.size[1]
    queue.count += 1


cdef Batch new_batch(bytes raw)
