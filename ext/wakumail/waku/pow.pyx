# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Mining: the search for a nonce with enough proof of work (6/WAKU1, "PoW Requirement Field").

pow.pxd defines the proof of work.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from wakumail.base.keccak cimport keccak_digest, keccak_init, keccak_sponge, keccak_update

from wakumail.waku.bloom import TOPIC_SIZE
from wakumail.base.rlp import encode

cdef enum:
    MINE_SLICE = 16384          # nonces between two checks for pending signals: about 5 ms


cdef int zeros_for(double target, size_t proven_size, uint32_t ttl) except -1:
    cdef int zeros
    for zeros in range(256 + 1):    # the bits of a digest may all be zero
        if pow_of(zeros, proven_size, ttl) >= target:
            return zeros
    raise ValueError(f"no nonce shows a PoW of {target}")


cdef bint search(const keccak_sponge *proven, int zeros, uint64_t count,
                 uint64_t *nonce) noexcept nogil:
    """Try `count` nonces from `nonce[0]` on; sets it to the one found, or to the next to try."""
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
    """The first nonce from `start` on that gives a PoW of at least `target`.

    None after `max_nonces` nonces, or when none is left. A caller that wants to stop in between
    mines some nonces at a time, and goes on from `start + max_nonces`. Signals are checked every
    few milliseconds. ValueError when the topic does not have 4 bytes, the ttl is 0, or no nonce can
    give that PoW.
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
