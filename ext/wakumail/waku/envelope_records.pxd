"""Reading packets into the records of a batch."""

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport realloc
from libc.string cimport memset

from wakumail.waku.envelope cimport (Batch, created_of, envelope_fields, envelope_record,
                                     packet_record, read_envelope)
from wakumail.waku.bloom cimport topic_value
from wakumail.base.rlp cimport (RLP_OK, RLP_TOO_LARGE, RLP_WRONG_SIZE, RLP_WRONG_TYPE, rlp_item,
                                rlp_next, rlp_status)

cdef enum:
    FIRST_RECORDS = 16      # records of a new batch


cdef inline int resize(Batch batch, Py_ssize_t room) except -1 nogil:
    cdef void *records = realloc(batch.records, room * sizeof(envelope_record))
    if not records:
        with gil:
            raise MemoryError
    batch.records = <envelope_record *> records
    batch.room = room
    return 0


cdef inline int shrink(Batch batch) except -1 nogil:
    """Free the memory of records that are not used."""
    if batch.count:
        resize(batch, batch.count)
    return 0


cdef inline int append(Batch batch, const envelope_fields *fields) except -1 nogil:
    cdef envelope_record *record
    if batch.count == batch.room:
        resize(batch, batch.room + batch.room // 2 + FIRST_RECORDS)
    record = &batch.records[batch.count]
    memset(record, 0, sizeof(record[0]))
    record.offset = <uint32_t> (fields.rlp - batch.data)
    record.size = <uint32_t> fields.size
    record.expiry = <uint32_t> fields.expiry
    record.ttl = <uint32_t> fields.ttl
    record.created = created_of(fields)
    record.topic = topic_value(fields.topic.data)
    batch.count += 1
    return 0


cdef inline int read_records(Batch batch, const uint8_t *at, const uint8_t *end,
                             Py_ssize_t most) except -1 nogil:
    """Append a record for each envelope up to `end`, until the batch has `most` records.

    Returns the rlp_status of the first fault; RLP_TOO_LARGE for one envelope too many.
    """
    cdef envelope_fields fields
    cdef rlp_status status
    while at < end:
        status = read_envelope(&at, end, &fields)
        if status != RLP_OK:
            return status
        if batch.count == most:
            return RLP_TOO_LARGE
        append(batch, &fields)
    return RLP_OK


cdef inline int read_packet(Batch batch, packet_record *packet, Py_ssize_t most) except -1 nogil:
    """Append the records of a packet, at most `most`; none if it is malformed."""
    cdef const uint8_t *at = batch.data + packet.offset
    cdef const uint8_t *end = at + packet.size
    cdef Py_ssize_t first = batch.count
    cdef rlp_item whole
    packet.status = rlp_next(&at, end, &whole)
    if packet.status == RLP_OK and not whole.is_list:
        packet.status = RLP_WRONG_TYPE
    elif packet.status == RLP_OK and at != end:
        packet.status = RLP_WRONG_SIZE
    elif packet.status == RLP_OK:
        packet.status = read_records(batch, whole.data, end, first + most)
    packet.count = <uint32_t> (batch.count - first)
    if packet.status != RLP_OK:
        batch.count = first
        batch.malformed += 1
    return 0
