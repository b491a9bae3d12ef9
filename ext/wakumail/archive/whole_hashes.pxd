"""The whole hashes of envelopes: rows hold 16 bytes of them, so the envelopes are hashed again.

Functions that return int return 0 or a code as in environment.pxd.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy, memset

from wakumail.archive.chunks cimport find_envelope
from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *
from wakumail.base.keccak cimport keccak256_many, keccak_message
from wakumail.waku.envelope cimport HASH_BLOCK


cdef struct hash_block:         # envelopes that are hashed together
    size_t count                # at most HASH_BLOCK
    uint8_t[HASH_BLOCK * ITEM_SIZE] items
    keccak_message[HASH_BLOCK] messages     # they point into the map, at the envelopes
    uint8_t[HASH_BLOCK * 32] digests


cdef inline int add_row(hash_block *block, MDB_cursor *chunks, chunk *recent, const uint8_t *key,
                        const uint8_t *value) noexcept nogil:
    """Add the envelope of a row of `times` to a block that is not full."""
    cdef keccak_message *message = &block.messages[block.count]
    cdef const uint8_t *data
    cdef size_t size
    cdef int rc = find_envelope(chunks, recent, get32(key) // DAY, get48(value + 4), &data, &size)
    if rc:
        return rc
    memset(message, 0, sizeof(message[0]))
    message.part[0], message.size[0] = data, size
    memcpy(block.items + block.count * ITEM_SIZE, key, TIME_KEY)
    block.count += 1
    return 0


cdef inline int hash_rows(hash_block *block) noexcept nogil:
    """Complete the items; MDB_CORRUPTED if a row has another hash than its envelope."""
    cdef uint8_t *item
    cdef const uint8_t *digest
    cdef size_t i
    keccak256_many(block.messages, block.count, block.digests)
    for i in range(block.count):
        item, digest = block.items + i * ITEM_SIZE, block.digests + 32 * i
        if memcmp(item + 4, digest, HASH_PREFIX) != 0:
            return MDB_CORRUPTED
        memcpy(item + 4, digest, 32)
    return 0
