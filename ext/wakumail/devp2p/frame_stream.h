/* One direction of an RLPx connection: its keys, and the state of its cipher and its MAC.

   Source of all rules: RLPx, "Framing" and "MAC". */
#ifndef WAKUMAIL_STREAM_H
#define WAKUMAIL_STREAM_H

#include "aes.h"
#include "keccak.h"

#define STREAM_BLOCK AES_BLOCK          /* bytes; also the size of a MAC */
#define STREAM_HEADER (2 * STREAM_BLOCK) /* bytes: the header of a frame and its MAC */

typedef struct {
    aes_key cipher;
    aes_key mac_cipher;
    aes_counter counter;
    keccak_sponge mac;
    uint8_t digest[KECCAK_DIGEST];      /* of the present state of `mac` */
} stream;

/* `aes` and `mac` are keys of AES_KEY bytes; the MAC absorbs `seed` first. */
static void stream_init(stream *self, const uint8_t *aes, const uint8_t *mac,
                        const uint8_t *seed, size_t size)
{
    bool instructions = aes_has_instructions();
    aes_init(&self->cipher, aes, instructions);
    aes_init(&self->mac_cipher, mac, instructions);
    self->counter = (aes_counter) {0, 0};
    keccak_init(&self->mac);
    keccak_update(&self->mac, seed, size);
    keccak_digest(&self->mac, self->digest);
}

/* Absorb aes(mac-secret, digest) ^ block; the MAC is then the first half of the digest to come. */
static void stream_absorb_seed(stream *self, const uint8_t *block)
{
    uint8_t seed[STREAM_BLOCK];
    aes_encrypt(&self->mac_cipher, self->digest, seed);
    for (int i = 0; i < STREAM_BLOCK; i++)
        seed[i] ^= block[i];
    keccak_update(&self->mac, seed, STREAM_BLOCK);
}

static void stream_stir(stream *self, const uint8_t *block)
{
    stream_absorb_seed(self, block);
    keccak_digest(&self->mac, self->digest);
}

/* Make `digest` the MAC of the frame data that was absorbed. */
static void stream_stir_data(stream *self)
{
    keccak_digest(&self->mac, self->digest);
    stream_stir(self, self->digest);
}

/* True if `mac` is ours; the time does not depend on where they differ. */
static bool stream_agrees(const stream *self, const uint8_t *mac)
{
    uint8_t differences = 0;
    for (int i = 0; i < STREAM_BLOCK; i++)
        differences |= self->digest[i] ^ mac[i];
    return differences == 0;
}

/* Decrypt the header in place, unless its MAC is wrong. */
static bool stream_decrypt_header(stream *self, uint8_t *header)
{
    stream_stir(self, header);
    if (!stream_agrees(self, header + STREAM_BLOCK))
        return false;
    aes_ctr(&self->cipher, &self->counter, header, 1);
    return true;
}

/* Decrypt the frame data in place, unless its MAC is wrong. */
static bool stream_decrypt(stream *self, uint8_t *data, size_t padded)
{
    keccak_update(&self->mac, data, padded);
    stream_stir_data(self);
    if (!stream_agrees(self, data + padded))
        return false;
    aes_ctr(&self->cipher, &self->counter, data, padded / STREAM_BLOCK);
    return true;
}

#endif
