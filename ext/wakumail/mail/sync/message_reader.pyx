# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Reconciliation messages, checked and read (negentropy, protocol v1).

    message   version 1 | range*
    range     upper bound | mode varint | payload
    bound     varint 0 for infinity, else 1 + time - time of the bound before | varint size | prefix
    payload   skip: nothing; fingerprint: 16 bytes; ids: varint count | 32 bytes each

A varint has groups of 7 bits, the highest first; all but the last have the high bit set.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport UINT64_MAX, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from wakumail.archive.results import Bound
from wakumail.mail.sync.message_errors import (
    BoundDescending,
    BoundInvalid,
    BytesTrailing,
    MessageEmpty,
    MessageTooLarge,
    MessageTruncated,
    ModeUnknown,
    TooManyRanges,
    VarintNotMinimal,
    VarintTooLarge,
    VersionInvalid,
    VersionUnknown,
)

VERSION = 0x61              # protocol v1
SKIP, FINGERPRINT, IDS = SKIP_MODE, FINGERPRINT_MODE, IDS_MODE
MAX_MESSAGE = 1 << 20       # bytes
MAX_RANGES = 1 << 16        # of a message; each costs the archive some 10 us

cdef size_t max_ranges = MAX_RANGES

cdef enum:
    FIRST_VERSION = 0x60    # a version byte lies between these two
    LAST_VERSION = 0x6f
    SKIP_MODE = 0
    FINGERPRINT_MODE = 1
    IDS_MODE = 2
    FINGERPRINT_SIZE = 16
    ID_SIZE = 32

cdef struct a_range:
    uint64_t time           # of the upper bound
    const uint8_t *prefix
    size_t prefix_size
    uint64_t mode
    const uint8_t *payload
    size_t payload_size


@cython.final
cdef class MessageReader:
    """The ranges of a message: an iterator of (upper bound, mode, payload).

    payload: nothing for SKIP, 16 bytes for FINGERPRINT, 32 bytes for each id for IDS. The whole
    message is checked at the start: every error is a NegentropyError.
    """

    cdef bytes message
    cdef const uint8_t *at
    cdef const uint8_t *end
    cdef uint64_t time      # of the last bound

    def __cinit__(self, bytes message not None):
        if not message:
            raise MessageEmpty("a message without a version")
        if len(message) > MAX_MESSAGE:
            raise MessageTooLarge(f"a message of {len(message)} bytes")
        if not FIRST_VERSION <= message[0] <= LAST_VERSION:
            raise VersionInvalid(f"{message[0]:#04x} is no version")
        if message[0] != VERSION:
            raise VersionUnknown(f"version {message[0] - FIRST_VERSION}")
        self.message = message
        self.end = <const uint8_t *> PyBytes_AS_STRING(message) + len(message)
        self.rewind()
        self.check()
        self.rewind()

    def __iter__(self):
        return self

    def __next__(self):
        cdef a_range found
        if self.at == self.end:
            raise StopIteration
        self.read(&found)
        return (Bound(found.time, string(found.prefix, found.prefix_size)), found.mode,
                string(found.payload, found.payload_size))

    cdef void rewind(self) noexcept:
        self.at = <const uint8_t *> PyBytes_AS_STRING(self.message) + 1
        self.time = 0

    cdef int check(self) except -1:
        """Read all ranges, and hold each bound against the one before."""
        cdef a_range found
        cdef uint64_t before = 0, time = 0
        cdef uint8_t place[ID_SIZE]
        cdef uint8_t last[ID_SIZE]
        cdef size_t ranges = 0
        cdef bint is_ended = False
        memset(last, 0, ID_SIZE)
        while self.at < self.end:
            ranges += 1
            if ranges > max_ranges:
                raise TooManyRanges(f"more than {MAX_RANGES:,} ranges")
            if is_ended:
                self.check_rest()
                return 0
            self.read(&found)
            memset(place, 0, ID_SIZE)
            memcpy(place, found.prefix, found.prefix_size)
            if found.time == before and memcmp(place, last, ID_SIZE) < 0:
                raise BoundDescending("a bound before the last one")
            before = found.time
            memcpy(last, place, ID_SIZE)
            is_ended = found.time == UINT64_MAX
        return 0

    cdef int check_rest(self) except -1:
        """Check the rest: a frame limit may leave the fingerprint of nothing behind infinity."""
        if (self.end - self.at != 3 + FINGERPRINT_SIZE or self.at[0] or self.at[1]
                or self.at[2] != FINGERPRINT_MODE):
            raise BytesTrailing("bytes behind the last range")
        return 0

    cdef int read(self, a_range *found) except -1:
        cdef uint64_t number = self.read_varint()
        if number == 0:
            found.time = UINT64_MAX
        elif self.time == UINT64_MAX or number - 1 >= UINT64_MAX - self.time:
            raise BoundInvalid("a bound behind infinity")
        else:
            found.time = self.time + number - 1
        self.time = found.time
        found.prefix_size = self.read_varint()
        if found.prefix_size > ID_SIZE or (found.prefix_size and number == 0):
            raise BoundInvalid(f"a bound with a prefix of {found.prefix_size} bytes")
        found.prefix = self.take(found.prefix_size)
        found.mode = self.read_varint()
        found.payload_size = 0
        if found.mode == FINGERPRINT_MODE:
            found.payload_size = FINGERPRINT_SIZE
        elif found.mode == IDS_MODE:
            number = self.read_varint()
            if number > <uint64_t> (self.end - self.at) // ID_SIZE:
                raise MessageTruncated("fewer ids than announced")
            found.payload_size = number * ID_SIZE
        elif found.mode != SKIP_MODE:
            raise ModeUnknown(f"mode {found.mode}")
        found.payload = self.take(found.payload_size)
        return 0

    cdef uint64_t read_varint(self) except? 0:
        cdef uint64_t value = 0
        cdef uint8_t group = 0x80
        if self.at < self.end and self.at[0] == 0x80:
            raise VarintNotMinimal("a number with a leading zero")
        while group >= 0x80:
            if self.at == self.end:
                raise MessageTruncated("the message ends within a number")
            if value > UINT64_MAX >> 7:
                raise VarintTooLarge("a number of more than 64 bits")
            group = self.at[0]
            value = value << 7 | group & 0x7f
            self.at += 1
        return value

    cdef const uint8_t *take(self, size_t size) except NULL:
        cdef const uint8_t *taken = self.at
        if size > <size_t> (self.end - self.at):
            raise MessageTruncated("the message ends within a range")
        self.at += size
        return taken


cdef inline bytes string(const uint8_t *at, size_t size):
    return PyBytes_FromStringAndSize(<const char *> at, size)
