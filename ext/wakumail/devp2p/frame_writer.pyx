# cython: language_level=3
"""RLPx frames to be sent: packets wait here until they are encrypted, on demand.

frame_encryption.h shows how a frame looks, and how those of several connections are made side by
side.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t

from wakumail.base.jobs cimport Job
from wakumail.devp2p.frame_stream cimport KEY_SIZE, MAX_FRAME_SIZE, stream, stream_init

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


cdef class FrameWriter:
    """The frames that one connection sends.

    `aes` and `mac` are 32-byte keys; the MAC absorbs `seed` first. A writer shares nothing with the
    reader of the connection: frames may be encrypted in one thread while another thread reads
    frames and adds packets.
    """

    cdef stream egress
    cdef list packets       # (prefix, data) of those that wait
    cdef readonly Py_ssize_t waiting    # bytes of all frames that are not encrypted yet
    cdef bint encrypting    # stays true after a failure: the peer could read no later frame

    def __cinit__(self, bytes aes not None, bytes mac not None, bytes seed not None):
        if len(aes) != KEY_SIZE or len(mac) != KEY_SIZE:
            raise ValueError(f"a key has {KEY_SIZE} bytes")
        stream_init(&self.egress, aes, mac, seed, len(seed))
        self.packets = []
        self.waiting = 0
        self.encrypting = False

    def add(self, bytes data not None, bytes prefix not None=b""):
        """Add a frame of `prefix` and `data`, 1 to MAX_FRAME_SIZE bytes; ValueError otherwise."""
        cdef Py_ssize_t size = len(prefix) + len(data)
        if not 0 < size <= MAX_FRAME_SIZE:
            raise ValueError(f"a frame holds 1 to {MAX_FRAME_SIZE} bytes, not {size}")
        cdef tuple packet = (prefix, data)
        self.packets.append(packet)
        self.waiting += frame_size(size)

    def encrypt(self):
        """Encrypt all packets that wait; returns their frames, joined."""
        cdef Encryption job = Encryption((self,))
        if self.waiting > MAX_WITH_GIL:
            return job.do()[0]
        encrypt_all(&job.encryption)
        return job.finish()[0]

    cdef list take(self):
        """Take out the packets that wait; the writer is `encrypting` from now on."""
        if self.encrypting:
            raise RuntimeError("frames of this connection are being encrypted")
        self.encrypting = True
        packets, self.packets = self.packets, []
        return packets


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
    cdef frame_data *table

    def __cinit__(self, writers):
        cdef FrameWriter writer
        cdef list packets
        cdef frame_job *jobs
        cdef Py_ssize_t total = 0, at = 0
        cdef size_t i
        self.writers, self.taken, self.frames = list(writers), [], []
        for writer in self.writers:
            packets = writer.take()
            self.taken.append(packets)
            total += len(packets)
        jobs = <frame_job *> PyMem_Malloc(len(self.writers) * sizeof(frame_job))
        self.encryption = encryption(keccak_best(KECCAK_AVX512), jobs, len(self.writers))
        self.table = <frame_data *> PyMem_Malloc(total * sizeof(frame_data))
        if jobs == NULL or self.table == NULL:
            raise MemoryError
        for i, (writer, packets) in enumerate(zip(self.writers, self.taken)):
            room = PyBytes_FromStringAndSize(NULL, _list_packets(self.table + at, packets))
            self.frames.append(room)
            jobs[i].egress = &writer.egress
            jobs[i].packets = self.table + at
            jobs[i].count = len(packets)
            jobs[i].frame = <uint8_t *> PyBytes_AS_STRING(room)
            at += len(packets)
        self.job.run, self.job.context = encrypt_all, &self.encryption

    def __dealloc__(self):
        PyMem_Free(self.encryption.jobs)
        PyMem_Free(self.table)

    cdef object finish(self):
        cdef FrameWriter writer
        for writer, frames in zip(self.writers, self.frames):
            writer.waiting -= len(frames)
            writer.encrypting = False
        return self.frames


cdef Py_ssize_t _list_packets(frame_data *table, list packets) except -1:
    """Point at the bytes of `packets`, which must stay alive; returns the bytes of their frames."""
    cdef bytes prefix, data
    cdef Py_ssize_t size = 0
    cdef size_t i
    for i, (prefix, data) in enumerate(packets):
        table[i].piece[0] = <const uint8_t *> PyBytes_AS_STRING(prefix)
        table[i].size[0] = PyBytes_GET_SIZE(prefix)
        table[i].piece[1] = <const uint8_t *> PyBytes_AS_STRING(data)
        table[i].size[1] = PyBytes_GET_SIZE(data)
        size += frame_size(table[i].size[0] + table[i].size[1])
    return size


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
