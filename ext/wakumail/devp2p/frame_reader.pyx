# cython: language_level=3
"""RLPx frames that a peer sends: checked, decrypted and returned in order.

Source of all rules: RLPx, "Framing" and "MAC"; frame_encryption.h shows how a frame looks. The
list of capability id and context id that follows the size in a header is not looked at.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memmove

from wakumail.base.snappy cimport read_elements, read_size
from wakumail.devp2p.frame_stream cimport (KEY_SIZE, MAX_FRAME_SIZE, stream, stream_decrypt,
                                           stream_decrypt_header, stream_init)

from wakumail.errors import FrameError

cdef extern from "aes.h" nogil:
    ctypedef struct aes_key:
        pass
    ctypedef struct aes_counter:
        uint64_t high
        uint64_t low
    bint aes_has_instructions()
    void aes_init(aes_key *key, const uint8_t *secret, bint instructions)
    void aes_encrypt(const aes_key *key, const uint8_t *source, uint8_t *out)
    void aes_ctr(const aes_key *key, aes_counter *counter, uint8_t *data, size_t blocks)

cdef enum:
    BLOCK = 16              # bytes of an AES block, and of a MAC
    HEADER = 2 * BLOCK      # bytes: the header and its MAC
    BUFFER_SIZE = 1 << 16   # bytes offered for one read, unless a longer frame is on its way
    MIN_BUFFER = 1 << 14    # bytes: less is not offered, the buffer is moved or made anew first
    MAX_UNPULLED = 1 << 20  # bytes of whole frames that may wait to be pulled
    MAX_WITH_GIL = 2048     # bytes: done in less time than giving the GIL away may cost
    RUN_SIZE = 1 << 16      # bytes of payloads that are returned together
    RUN_LENGTH = 256        # payloads that are returned together; empty ones take some 1 ms

MAX_FRAME = MAX_FRAME_SIZE
MAX_RUN_SIZE = RUN_SIZE
MAX_RUN_LENGTH = RUN_LENGTH


cdef enum fault:            # of the next frame
    NO_FAULT, HEADER_MAC, NO_DATA, TOO_LONG, FRAME_MAC


cdef inline Py_ssize_t pad(Py_ssize_t size) noexcept nogil:
    return (size + BLOCK - 1) & ~(BLOCK - 1)


cdef struct run:            # payloads, one after another
    uint8_t *payloads       # RUN_SIZE bytes
    uint32_t[RUN_LENGTH] ends
    Py_ssize_t length
    Py_ssize_t size         # of all payloads


cdef bint run_append(run *self, const uint8_t *data, Py_ssize_t size, uint64_t limit,
                     bint compressed) noexcept nogil:
    """Append a payload of at most `limit` bytes; False when it is larger, or does not inflate."""
    cdef const uint8_t *end = data + size
    cdef uint64_t whole = size
    if compressed and not read_size(&data, end, &whole):
        return False
    if whole > min(limit, <uint64_t> (RUN_SIZE - self.size)):
        return False
    if not compressed:
        memcpy(self.payloads + self.size, data, size)
    elif not read_elements(data, end, self.payloads + self.size, whole):
        return False
    self.size += whole
    self.ends[self.length] = <uint32_t> self.size
    self.length += 1
    return True


cdef class FrameReader:
    """The frames that one connection receives; not for several threads at once.

    `aes` and `mac` are 32-byte keys; the MAC absorbs `seed` first. `max_frame` is the maximum of
    bytes of frame data. After a FrameError every call raises another.

    Received bytes lie in one buffer. There is none while nothing is held; otherwise it has at most
    about twice the bytes that have arrived, however long a frame the peer has announced.
    """

    cdef stream ingress
    cdef bytearray room     # empty while nothing is held
    cdef Py_ssize_t start   # of what is held in `room`
    cdef Py_ssize_t end
    cdef Py_ssize_t size    # of the frame data on its way; 0 while its header is awaited
    cdef bint opened        # the frame has come, and is decrypted in place
    cdef fault fault        # of that frame; it is raised when it is its turn
    cdef Py_ssize_t max_frame
    cdef bint failed

    def __cinit__(self, bytes aes not None, bytes mac not None, bytes seed not None,
                  *, Py_ssize_t max_frame=MAX_FRAME_SIZE):
        if len(aes) != KEY_SIZE or len(mac) != KEY_SIZE:
            raise ValueError(f"a key has {KEY_SIZE} bytes")
        if not 0 < max_frame <= MAX_FRAME_SIZE:
            raise ValueError(f"max_frame is 1 to {MAX_FRAME_SIZE} bytes")
        stream_init(&self.ingress, aes, mac, seed, len(seed))
        self.room = bytearray()
        self.start = self.end = self.size = 0
        self.max_frame = max_frame
        self.opened = self.failed = False
        self.fault = NO_FAULT

    def get_buffer(self, hint):
        """A buffer for received bytes (asyncio.BufferedProtocol), never empty.

        The next call has to be `received`, with the number of bytes written to it. BufferError
        when a MiB of frames waits for next_frame: the owner should pull before it reads on.
        """
        self._check()
        cdef Py_ssize_t missing = self._missing()
        if missing <= -MAX_UNPULLED:
            raise BufferError("frames wait to be pulled")
        if self._free() < (missing if 0 < missing < MIN_BUFFER else MIN_BUFFER):
            self._move(self._wanted())
        return memoryview(self.room)[self.end:]

    def received(self, Py_ssize_t count):
        """The first `count` bytes of the buffer were written."""
        self._check()
        if not 0 <= count <= self._free():
            raise ValueError(f"{count} bytes do not fit into the buffer")
        self.end += count

    def feed(self, data):
        """Receive `data`, as if it had been written into the buffer."""
        cdef Py_buffer view
        self._check()
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if self._free() < view.len:
                self._move(max(self._wanted(), self.end - self.start + view.len))
            if view.len:        # memmove: `data` may be a view of our buffer
                memmove(self._bytes() + self.end, view.buf, view.len)
            self.end += view.len
        finally:
            PyBuffer_Release(&view)

    def next_frame(self):
        """The decrypted data of the next frame without its padding, None until it is complete.

        The view is read-only and valid until the next call of any method: it lies in the buffer.
        FrameError for a wrong MAC, no data at all or more than `max_frame`.
        """
        self._check()
        cdef bytearray room = self.room     # stays alive without the GIL
        cdef uint8_t *data = self._bytes()
        cdef Py_ssize_t size
        self._open_header(data)
        if self.size <= MAX_WITH_GIL or self._missing() > 0:
            self._open(data)
        else:
            with nogil:
                self._open(data)
        if self.fault != NO_FAULT:
            self._fail()
        if not self.opened:
            self._settle()
            return None
        size = self.size
        view = memoryview(room)[self.start:self.start + size].toreadonly()
        self._step()
        return view

    def next_payloads(self, bytes prefix not None, uint64_t limit, *, bint compressed):
        """The data after `prefix` of each of the next frames, joined, and the end of each.

        Takes frames while they are complete, begin with `prefix` and have at most `limit` bytes
        after it, inflated if `compressed`; at most MAX_RUN_LENGTH frames and MAX_RUN_SIZE bytes in
        all. None if the next frame is no such frame: next_frame returns it then, or its fault.
        """
        self._check()
        cdef bytearray room = self.room     # stays alive without the GIL
        cdef uint8_t *data = self._bytes()
        cdef const uint8_t *start = <const uint8_t *> PyBytes_AS_STRING(prefix)
        cdef Py_ssize_t start_size = len(prefix)
        cdef Py_ssize_t i
        cdef run taken
        self._open_header(data)
        if self._missing() > 0:
            return None
        taken.length = taken.size = 0
        taken.payloads = <uint8_t *> malloc(RUN_SIZE)
        if taken.payloads == NULL:
            raise MemoryError
        try:
            if self.end - self.start <= MAX_WITH_GIL:
                self._take_run(&taken, data, start, start_size, limit, compressed)
            else:
                with nogil:
                    self._take_run(&taken, data, start, start_size, limit, compressed)
            if not taken.length:
                return None
            payloads = PyBytes_FromStringAndSize(<const char *> taken.payloads, taken.size)
            return payloads, [taken.ends[i] for i in range(taken.length)]
        finally:
            free(taken.payloads)

    @property
    def buffered(self):
        """Bytes that have arrived and were not returned yet."""
        return self.end - self.start

    @property
    def capacity(self):
        """Bytes of memory that the buffer has now."""
        return len(self.room)

    # -- inside -----------------------------------------------------------------------------------

    cdef int _check(self) except -1:
        if self.failed:
            raise FrameError("the stream of frames has failed before")
        return 0

    cdef int _fail(self) except -1:
        cdef fault fault = self.fault
        cdef Py_ssize_t size = self.size
        self.failed = True
        self.room = bytearray()
        self.start = self.end = self.size = 0
        if fault == HEADER_MAC:
            raise FrameError("a frame header with a wrong MAC")
        if fault == NO_DATA:
            raise FrameError("a frame without data")
        if fault == TOO_LONG:
            raise FrameError(f"a frame of {size} bytes, where {self.max_frame} are allowed")
        raise FrameError("a frame with a wrong MAC")

    cdef void _open_header(self, uint8_t *data) noexcept nogil:
        """Decrypt the next header in `data`, the buffer, if it is there and not decrypted yet."""
        cdef uint8_t *header = data + self.start
        if self.size or self.fault != NO_FAULT or self.end - self.start < HEADER:
            return
        if not stream_decrypt_header(&self.ingress, header):
            self.fault = HEADER_MAC
            return
        self.size = <Py_ssize_t> header[0] << 16 | <Py_ssize_t> header[1] << 8 | header[2]
        self.start += HEADER
        if not self.size:
            self.fault = NO_DATA
        elif self.size > self.max_frame:
            self.fault = TOO_LONG

    cdef void _open(self, uint8_t *data) noexcept nogil:
        """Decrypt the next frame in `data`, the buffer, if all of it has come."""
        self._open_header(data)
        if self.opened or self.fault != NO_FAULT or self._missing() > 0:
            return
        if stream_decrypt(&self.ingress, data + self.start, pad(self.size)):
            self.opened = True
        else:
            self.fault = FRAME_MAC

    cdef inline void _step(self) noexcept nogil:
        """Go on after the frame that was opened."""
        self.start += pad(self.size) + BLOCK
        self.size = 0
        self.opened = False

    cdef void _take_run(self, run *taken, uint8_t *data, const uint8_t *prefix, Py_ssize_t size,
                        uint64_t limit, bint compressed) noexcept nogil:
        """Append the payloads of frames in `data`, the buffer, as long as they fit the run."""
        while taken.length < RUN_LENGTH:
            self._open(data)
            if (not self.opened or self.size < size
                    or memcmp(data + self.start, prefix, size) != 0
                    or not run_append(taken, data + self.start + size, self.size - size, limit,
                                      compressed)):
                return
            self._step()

    cdef inline uint8_t *_bytes(self):
        return <uint8_t *> PyByteArray_AS_STRING(self.room)

    cdef inline Py_ssize_t _free(self):
        return len(self.room) - self.end

    cdef inline Py_ssize_t _missing(self) noexcept nogil:
        """Bytes that the header or the frame still lacks; negative if more has come."""
        cdef Py_ssize_t whole = pad(self.size) + BLOCK if self.size else HEADER
        return whole - (self.end - self.start)

    cdef Py_ssize_t _wanted(self):
        """The best capacity: for one more read, or twice what is held if a long frame is coming."""
        cdef Py_ssize_t held = self.end - self.start
        return held + max(BUFFER_SIZE, min(self._missing(), held))

    cdef int _settle(self) except -1:
        """Free memory if the buffer is much larger than what it holds."""
        if self.start == self.end:
            self.start = self.end = 0
            if len(self.room):
                self.room = bytearray()
        elif len(self.room) > 2 * self._wanted():
            self._move(self._wanted())
        return 0

    cdef int _move(self, Py_ssize_t capacity) except -1:
        """Move what is held to the front of a buffer of about `capacity` bytes.

        A view keeps the old buffer alive, so whoever still has one sees stale bytes at worst.
        """
        cdef bytearray room = self.room
        cdef Py_ssize_t held = self.end - self.start
        if not capacity <= len(room) <= 2 * capacity:
            room = PyByteArray_FromStringAndSize(NULL, capacity)
        if held:
            memmove(PyByteArray_AS_STRING(room), self._bytes() + self.start, held)
        self.room = room
        self.start = 0
        self.end = held
        return 0


# -- for tests ------------------------------------------------------------------------------------


def _aes_ways():
    """For tests: the ways to compute AES that this processor has."""
    return ("portable", "instructions") if aes_has_instructions() else ("portable",)


def _aes_block(str way, bytes key, bytes block):
    """For tests: one block encrypted with a 32-byte key in one of _aes_ways."""
    cdef uint8_t[BLOCK] out
    cdef aes_key schedule = _aes_schedule(way, key)
    if len(block) != BLOCK:
        raise ValueError(f"a block has {BLOCK} bytes")
    aes_encrypt(&schedule, block, out)
    return PyBytes_FromStringAndSize(<char *> out, BLOCK)


def _aes_ctr(str way, bytes key, bytes counter, bytes data):
    """For tests: whole blocks in counter mode, and the counter after them."""
    cdef aes_key schedule = _aes_schedule(way, key)
    cdef aes_counter count
    cdef bytearray out = bytearray(data)
    if len(counter) != BLOCK or len(data) % BLOCK:
        raise ValueError(f"a counter and a block have {BLOCK} bytes")
    count.high = int.from_bytes(counter[:8], "big")
    count.low = int.from_bytes(counter[8:], "big")
    aes_ctr(&schedule, &count, <uint8_t *> PyByteArray_AS_STRING(out), len(data) // BLOCK)
    return bytes(out), count.high.to_bytes(8, "big") + count.low.to_bytes(8, "big")


cdef aes_key _aes_schedule(str way, bytes key) except *:
    cdef aes_key schedule
    if len(key) != KEY_SIZE or way not in _aes_ways():
        raise ValueError(f"no {way} AES with a key of {len(key)} bytes")
    aes_init(&schedule, key, way == "instructions")
    return schedule
