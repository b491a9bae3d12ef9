# cython: language_level=3
"""RLPx frames to be sent: packets wait here, and are encrypted and authenticated when asked for.

Not the sealing of messages: see message.py. How a frame looks, and how those of several
connections are made side by side, stands in seal.h.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t

from wakumail.stream cimport KEY, LARGEST, stream, stream_init

cdef extern from "seal.h" nogil:
    enum keccak_way:
        KECCAK_PORTABLE
        KECCAK_BMI
        KECCAK_AVX2
        KECCAK_AVX512
    bint keccak_can(keccak_way way)
    keccak_way keccak_best(keccak_way way)
    ctypedef struct seal_packet:
        const uint8_t *piece[2]
        size_t size[2]
    ctypedef struct seal_job:
        stream *egress
        const seal_packet *packets
        size_t count
        uint8_t *frame
    size_t seal_size(size_t size)
    void seal_with(keccak_way way, seal_job *jobs, size_t count)

cdef enum:
    BRIEF = 2048            # bytes: done in less time than giving the GIL away may cost


cdef class FrameWriter:
    """What one connection sends.

    `aes` and `mac` are 32-byte keys, `seed` is what the MAC absorbs first. It has nothing in common
    with the reader of the connection, so that frames may be sealed in one thread while others are
    read, and packets added, in another.
    """

    cdef stream egress
    cdef list packets       # that wait: (prefix, data)
    cdef readonly Py_ssize_t waiting    # bytes of all frames that are not sealed yet
    cdef bint sealing       # for ever after a failure: the peer would understand no later frame

    def __cinit__(self, bytes aes not None, bytes mac not None, bytes seed not None):
        if len(aes) != KEY or len(mac) != KEY:
            raise ValueError(f"a key has {KEY} bytes")
        stream_init(&self.egress, aes, mac, seed, len(seed))
        self.packets = []
        self.waiting = 0
        self.sealing = False

    def add(self, bytes data not None, bytes prefix not None=b""):
        """Let `prefix` and `data` together be one frame (1 to LARGEST bytes, else ValueError)."""
        cdef Py_ssize_t size = len(prefix) + len(data)
        if not 0 < size <= LARGEST:
            raise ValueError(f"a frame holds 1 to {LARGEST} bytes, not {size}")
        cdef tuple packet = (prefix, data)
        self.packets.append(packet)
        self.waiting += seal_size(size)

    def seal(self):
        """All that waits, as frames one after the other."""
        return _seal([self], keccak_best(KECCAK_AVX512))[0]

    cdef list take(self):
        """The packets that wait; the writer is being sealed from now on."""
        if self.sealing:
            raise RuntimeError("frames of this connection are being sealed")
        self.sealing = True
        packets, self.packets = self.packets, []
        return packets


def seal_together(list writers not None):
    """What waits in each of `writers`, as FrameWriter.seal gives it, in less time.

    Packets may be added meanwhile and wait for the next call. RuntimeError for a writer whose
    frames are being sealed already.
    """
    return _seal(writers, keccak_best(KECCAK_AVX512))


cdef list _seal(list writers, keccak_way way):
    cdef FrameWriter writer
    cdef list packets
    cdef list taken = []    # stays alive without the GIL
    cdef list frames = []
    cdef size_t count = len(writers), i
    cdef Py_ssize_t total = 0, at = 0, size = 0
    for writer in writers:
        packets = writer.take()
        taken.append(packets)
        total += len(packets)
    cdef seal_job *jobs = <seal_job *> PyMem_Malloc(count * sizeof(seal_job))
    cdef seal_packet *table = <seal_packet *> PyMem_Malloc(total * sizeof(seal_packet))
    try:
        if jobs == NULL or table == NULL:
            raise MemoryError
        for i in range(count):
            writer, packets = writers[i], taken[i]
            room = PyBytes_FromStringAndSize(NULL, _list_packets(table + at, packets))
            frames.append(room)
            jobs[i].egress = &writer.egress
            jobs[i].packets = table + at
            jobs[i].count = len(packets)
            jobs[i].frame = <uint8_t *> PyBytes_AS_STRING(room)
            at += len(packets)
            size += len(room)
        if size <= BRIEF:
            seal_with(way, jobs, count)
        else:
            with nogil:
                seal_with(way, jobs, count)
    finally:
        PyMem_Free(jobs)
        PyMem_Free(table)
    for i in range(count):
        writer = writers[i]
        writer.waiting -= len(frames[i])
        writer.sealing = False
    return frames


cdef Py_ssize_t _list_packets(seal_packet *table, list packets) except -1:
    """Point at the bytes of `packets`, which stay alive; answers how many their frames have."""
    cdef bytes prefix, data
    cdef Py_ssize_t size = 0
    cdef size_t i
    for i, (prefix, data) in enumerate(packets):
        table[i].piece[0] = <const uint8_t *> PyBytes_AS_STRING(prefix)
        table[i].size[0] = PyBytes_GET_SIZE(prefix)
        table[i].piece[1] = <const uint8_t *> PyBytes_AS_STRING(data)
        table[i].size[1] = PyBytes_GET_SIZE(data)
        size += seal_size(table[i].size[0] + table[i].size[1])
    return size


# -- for tests ------------------------------------------------------------------------------------

cdef dict _WAYS = {
    "portable": KECCAK_PORTABLE,
    "bmi": KECCAK_BMI,
    "avx2": KECCAK_AVX2,
    "avx512": KECCAK_AVX512,
}


def _seal_with(str way, list writers not None):
    """For tests: as seal_together, in a way of _keccak256_many_with."""
    cdef keccak_way number = _WAYS[way]
    if not keccak_can(number):
        raise ValueError(f"this processor has no {way}")
    return _seal(writers, number)
