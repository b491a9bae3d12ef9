# cython: language_level=3
"""RLPx frames to be sent: packets wait here until they are encrypted, on demand.

frame_encryption.h shows how a frame looks, and how those of several connections are made side by
side.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from wakumail.base.jobs cimport Job
from wakumail.base.rlp cimport (
    MAX_HEADER, RLP_OK, RLP_WRONG_TYPE, rlp_header_size, rlp_item, rlp_next, rlp_reason, rlp_status,
    rlp_write_header)
from wakumail.base.snappy cimport MAX_STORE_PREFIX, write_store_prefix
from wakumail.devp2p.frame_stream cimport KEY_SIZE, MAX_FRAME_SIZE, stream, stream_init

from wakumail.errors import RlpError

cdef extern from "frame_encryption.h" nogil:
    enum keccak_way:
        KECCAK_PORTABLE
        KECCAK_BMI
        KECCAK_AVX2
        KECCAK_AVX512
    bint keccak_can(keccak_way way)
    keccak_way keccak_best(keccak_way way)
    ctypedef struct frame_data:
        const uint8_t *piece[2]
        size_t size[2]
    ctypedef struct frame_job:
        stream *egress
        const frame_data *packets
        size_t count
        uint8_t *frame
    size_t frame_size(size_t size)
    void frames_encrypt(keccak_way way, frame_job *jobs, size_t count)

cdef enum:
    MAX_WITH_GIL = 2048     # bytes: encrypted in less time than giving the GIL away may cost


@cython.internal
cdef class PacketTable:
    """Packets that wait to be encrypted: where their bytes lie, and what keeps those alive."""

    cdef frame_data *rows
    cdef size_t count
    cdef size_t room
    cdef Py_ssize_t frames  # bytes
    cdef list held

    def __cinit__(self):
        self.held = []

    def __dealloc__(self):
        PyMem_Free(self.rows)

    cdef int reserve(self, size_t count) except -1:
        """Have room for so many packets more."""
        cdef size_t room
        cdef void *grown
        if count <= self.room - self.count:
            return 0
        room = self.count + (count if count > self.count + 4 else self.count + 4)
        grown = PyMem_Realloc(self.rows, room * sizeof(frame_data))
        if grown == NULL:
            raise MemoryError
        self.rows, self.room = <frame_data *> grown, room
        return 0

    cdef void add(self, const uint8_t *prefix, size_t prefix_size, const uint8_t *data,
                  size_t size) noexcept:
        """Add a packet in two pieces, of bytes that are held. There must be room for it."""
        cdef frame_data *row = &self.rows[self.count]
        row.piece[0], row.size[0] = prefix, prefix_size
        row.piece[1], row.size[1] = data, size
        self.count += 1
        self.frames += frame_size(prefix_size + size)


cdef class FrameWriter:
    """The frames that one connection sends.

    `aes` and `mac` are 32-byte keys; the MAC absorbs `seed` first. A writer shares nothing with the
    reader of the connection: frames may be encrypted in one thread while another thread reads
    frames and adds packets.
    """

    cdef stream egress
    cdef PacketTable packets            # those that wait
    cdef readonly Py_ssize_t waiting    # bytes of all frames that are not encrypted yet
    cdef bint encrypting    # stays true after a failure: the peer could read no later frame

    def __cinit__(self, bytes aes not None, bytes mac not None, bytes seed not None):
        if len(aes) != KEY_SIZE or len(mac) != KEY_SIZE:
            raise ValueError(f"a key has {KEY_SIZE} bytes")
        stream_init(&self.egress, aes, mac, seed, len(seed))
        self.packets = PacketTable()
        self.waiting = 0
        self.encrypting = False

    def add(self, bytes data not None, bytes prefix not None=b""):
        """Add a frame of `prefix` and `data`, 1 to MAX_FRAME_SIZE bytes; ValueError otherwise."""
        cdef PacketTable packets = self.packets
        cdef Py_ssize_t size = PyBytes_GET_SIZE(prefix) + PyBytes_GET_SIZE(data)
        if not 0 < size <= MAX_FRAME_SIZE:
            raise ValueError(f"a frame holds 1 to {MAX_FRAME_SIZE} bytes, not {size}")
        packets.reserve(1)
        packets.held.append(prefix)
        packets.held.append(data)
        packets.add(<const uint8_t *> PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix),
                    <const uint8_t *> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        self.waiting += frame_size(size)

    def add_each(self, bytes items not None, bytes prefix not None, *, bint stored):
        """Add a frame for each item of an RLP list: `prefix`, and a list of this item alone.

        If `stored`, that list is a Snappy block. Returns the bytes of all these lists, not counting
        what the blocks add. RlpError if `items` is not exactly one list, ValueError if an item fits
        into no frame; then nothing is added.
        """
        cdef PacketTable packets = self.packets
        cdef size_t room = PyBytes_GET_SIZE(prefix) + MAX_STORE_PREFIX + MAX_HEADER
        cdef Py_ssize_t waited = packets.frames
        cdef Py_ssize_t total = 0
        cdef rlp_item whole, item
        cdef const uint8_t *at
        cdef const uint8_t *start
        cdef uint8_t *out
        cdef uint8_t *head
        cdef size_t size
        cdef size_t count = _count_items(items, MAX_FRAME_SIZE - room, &whole)
        cdef bytes heads = PyBytes_FromStringAndSize(NULL, count * room)
        packets.reserve(count)
        packets.held.append(items)
        packets.held.append(heads)
        out, at = <uint8_t *> PyBytes_AS_STRING(heads), whole.data
        while at < whole.data + whole.size:
            start, head = at, out
            rlp_next(&at, whole.data + whole.size, &item)
            size = at - start
            total += rlp_header_size(size) + size
            memcpy(out, PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix))
            out += PyBytes_GET_SIZE(prefix)
            if stored:
                out += write_store_prefix(out, rlp_header_size(size) + size)
            out += rlp_write_header(out, size, True)
            packets.add(head, out - head, start, size)
        self.waiting += packets.frames - waited
        return total

    def encrypt(self):
        """Encrypt all packets that wait; returns their frames, joined."""
        cdef Encryption job = Encryption((self,))
        if self.waiting > MAX_WITH_GIL:
            return job.do()[0]
        encrypt_all(&job.encryption)
        return job.finish()[0]

    cdef PacketTable take(self):
        """Take out the packets that wait; the writer is `encrypting` from now on."""
        if self.encrypting:
            raise RuntimeError("frames of this connection are being encrypted")
        self.encrypting = True
        packets, self.packets = self.packets, PacketTable()
        return packets


cdef size_t _count_items(bytes items, size_t most, rlp_item *whole) except? 0:
    """The number of items of an RLP list of items of up to `most` bytes each."""
    cdef const uint8_t *at = <const uint8_t *> PyBytes_AS_STRING(items)
    cdef const uint8_t *end = at + PyBytes_GET_SIZE(items)
    cdef const uint8_t *start
    cdef rlp_item item
    cdef size_t count = 0
    cdef rlp_status status = rlp_next(&at, end, whole)
    if status == RLP_OK and not whole.is_list:
        status = RLP_WRONG_TYPE
    if status == RLP_OK and at != end:
        raise RlpError("bytes after the item")
    at = whole.data
    while status == RLP_OK and at < end:
        start = at
        status = rlp_next(&at, end, &item)
        if status == RLP_OK and <size_t> (at - start) > most:
            raise ValueError(f"an item of {at - start} bytes fits into no frame")
        count += 1
    if status != RLP_OK:
        raise RlpError(rlp_reason(status))
    return count


cdef struct encryption:
    keccak_way way
    frame_job *jobs
    size_t count


cdef void encrypt_all(void *context) noexcept nogil:
    cdef const encryption *s = <const encryption *> context
    frames_encrypt(s.way, s.jobs, s.count)


cdef class Encryption(Job):
    """The job that encrypts the packets of several `writers`, faster than one after the other.

    Its result is a list with the bytes that FrameWriter.encrypt returns, for each writer. Packets
    that are added meanwhile wait for the next job. RuntimeError for a writer whose frames are being
    encrypted already.
    """

    cdef list writers
    cdef list taken         # the packets of each writer
    cdef list frames        # the frames of each writer
    cdef encryption encryption

    def __cinit__(self, writers):
        cdef FrameWriter writer
        cdef PacketTable packets
        cdef frame_job *job
        self.writers, self.taken, self.frames = list(writers), [], []
        job = <frame_job *> PyMem_Malloc(len(self.writers) * sizeof(frame_job))
        if job == NULL:
            raise MemoryError
        self.encryption = encryption(keccak_best(KECCAK_AVX512), job, len(self.writers))
        for writer in self.writers:
            packets = writer.take()
            room = PyBytes_FromStringAndSize(NULL, packets.frames)
            self.taken.append(packets)
            self.frames.append(room)
            job.egress = &writer.egress
            job.packets = packets.rows
            job.count = packets.count
            job.frame = <uint8_t *> PyBytes_AS_STRING(room)
            job += 1
        self.job.run, self.job.context = encrypt_all, &self.encryption

    def __dealloc__(self):
        PyMem_Free(self.encryption.jobs)

    cdef object finish(self):
        cdef FrameWriter writer
        for writer, frames in zip(self.writers, self.frames):
            writer.waiting -= len(frames)
            writer.encrypting = False
        return self.frames


# -- for tests ------------------------------------------------------------------------------------

cdef dict _WAYS = {
    "portable": KECCAK_PORTABLE,
    "bmi": KECCAK_BMI,
    "avx2": KECCAK_AVX2,
    "avx512": KECCAK_AVX512,
}


def _encrypt_with(str way, writers):
    """For tests: the result of Encryption(writers), in one of the ways of _keccak256_many_with."""
    cdef keccak_way number = _WAYS[way]
    if not keccak_can(number):
        raise ValueError(f"this processor has no {way}")
    cdef Encryption job = Encryption(writers)
    job.encryption.way = number
    return job.do()
