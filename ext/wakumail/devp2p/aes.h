/* AES-256 (FIPS 197) one way: single blocks, and counter mode (SP 800-38A, section 6.5).

   With the AES instructions of x86, counter mode works on eight blocks at a time. Other processors
   run plain C: its look-ups in the S-box leave traces of the key in a cache that others share. */
#ifndef WAKUMAIL_AES_H
#define WAKUMAIL_AES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cpu.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define AES_X86 1
#include <immintrin.h>
#endif

#define AES_BLOCK 16            /* bytes */
#define AES_KEY 32              /* bytes */
#define AES_ROUNDS 14

typedef struct {
    uint8_t round_key[AES_ROUNDS + 1][AES_BLOCK];
    bool instructions;          /* true: use those of the processor */
} aes_key;

typedef struct {                /* the next block to encrypt, as one 128-bit number */
    uint64_t high;
    uint64_t low;
} aes_counter;

static const uint8_t aes_sbox[256] = {
    0x63, 0x7c, 0x77, 0x7b, 0xf2, 0x6b, 0x6f, 0xc5, 0x30, 0x01, 0x67, 0x2b, 0xfe, 0xd7, 0xab, 0x76,
    0xca, 0x82, 0xc9, 0x7d, 0xfa, 0x59, 0x47, 0xf0, 0xad, 0xd4, 0xa2, 0xaf, 0x9c, 0xa4, 0x72, 0xc0,
    0xb7, 0xfd, 0x93, 0x26, 0x36, 0x3f, 0xf7, 0xcc, 0x34, 0xa5, 0xe5, 0xf1, 0x71, 0xd8, 0x31, 0x15,
    0x04, 0xc7, 0x23, 0xc3, 0x18, 0x96, 0x05, 0x9a, 0x07, 0x12, 0x80, 0xe2, 0xeb, 0x27, 0xb2, 0x75,
    0x09, 0x83, 0x2c, 0x1a, 0x1b, 0x6e, 0x5a, 0xa0, 0x52, 0x3b, 0xd6, 0xb3, 0x29, 0xe3, 0x2f, 0x84,
    0x53, 0xd1, 0x00, 0xed, 0x20, 0xfc, 0xb1, 0x5b, 0x6a, 0xcb, 0xbe, 0x39, 0x4a, 0x4c, 0x58, 0xcf,
    0xd0, 0xef, 0xaa, 0xfb, 0x43, 0x4d, 0x33, 0x85, 0x45, 0xf9, 0x02, 0x7f, 0x50, 0x3c, 0x9f, 0xa8,
    0x51, 0xa3, 0x40, 0x8f, 0x92, 0x9d, 0x38, 0xf5, 0xbc, 0xb6, 0xda, 0x21, 0x10, 0xff, 0xf3, 0xd2,
    0xcd, 0x0c, 0x13, 0xec, 0x5f, 0x97, 0x44, 0x17, 0xc4, 0xa7, 0x7e, 0x3d, 0x64, 0x5d, 0x19, 0x73,
    0x60, 0x81, 0x4f, 0xdc, 0x22, 0x2a, 0x90, 0x88, 0x46, 0xee, 0xb8, 0x14, 0xde, 0x5e, 0x0b, 0xdb,
    0xe0, 0x32, 0x3a, 0x0a, 0x49, 0x06, 0x24, 0x5c, 0xc2, 0xd3, 0xac, 0x62, 0x91, 0x95, 0xe4, 0x79,
    0xe7, 0xc8, 0x37, 0x6d, 0x8d, 0xd5, 0x4e, 0xa9, 0x6c, 0x56, 0xf4, 0xea, 0x65, 0x7a, 0xae, 0x08,
    0xba, 0x78, 0x25, 0x2e, 0x1c, 0xa6, 0xb4, 0xc6, 0xe8, 0xdd, 0x74, 0x1f, 0x4b, 0xbd, 0x8b, 0x8a,
    0x70, 0x3e, 0xb5, 0x66, 0x48, 0x03, 0xf6, 0x0e, 0x61, 0x35, 0x57, 0xb9, 0x86, 0xc1, 0x1d, 0x9e,
    0xe1, 0xf8, 0x98, 0x11, 0x69, 0xd9, 0x8e, 0x94, 0x9b, 0x1e, 0x87, 0xe9, 0xce, 0x55, 0x28, 0xdf,
    0x8c, 0xa1, 0x89, 0x0d, 0xbf, 0xe6, 0x42, 0x68, 0x41, 0x99, 0x2d, 0x0f, 0xb0, 0x54, 0xbb, 0x16,
};

static bool aes_has_instructions(void)
{
    return cpu_has.aes;
}

/* The key schedule (FIPS 197, section 5.2). */
static void aes_init(aes_key *key, const uint8_t *secret, bool instructions)
{
    uint8_t *words = key->round_key[0];
    uint8_t constant = 1;
    memcpy(words, secret, AES_KEY);
    for (int at = AES_KEY; at < AES_BLOCK * (AES_ROUNDS + 1); at += 4) {
        const uint8_t *last = words + at - 4;
        uint8_t word[4] = {last[0], last[1], last[2], last[3]};
        if (at % AES_KEY == 0) {
            word[0] = aes_sbox[last[1]] ^ constant;
            word[1] = aes_sbox[last[2]];
            word[2] = aes_sbox[last[3]];
            word[3] = aes_sbox[last[0]];
            constant <<= 1;
        } else if (at % AES_KEY == AES_BLOCK) {
            for (int i = 0; i < 4; i++)
                word[i] = aes_sbox[last[i]];
        }
        for (int i = 0; i < 4; i++)
            words[at + i] = words[at - AES_KEY + i] ^ word[i];
    }
    key->instructions = instructions;
}

/* Doubles each of the four bytes in GF(2^8). */
static inline uint32_t aes_double(uint32_t bytes)
{
    return (bytes & 0x7f7f7f7f) << 1 ^ (bytes >> 7 & 0x01010101) * 0x1b;
}

static inline uint32_t aes_rotate(uint32_t bytes, int n)
{
    return bytes >> n | bytes << (32 - n);
}

static void aes_encrypt_portable(const aes_key *key, const uint8_t *in, uint8_t *out)
{
    uint8_t state[AES_BLOCK], moved[AES_BLOCK];
    for (int i = 0; i < AES_BLOCK; i++)
        state[i] = in[i] ^ key->round_key[0][i];
    for (int round = 1; round <= AES_ROUNDS; round++) {
        for (int i = 0; i < AES_BLOCK; i++)     /* SubBytes and ShiftRows */
            moved[i] = aes_sbox[state[(i + 4 * (i % 4)) % AES_BLOCK]];
        for (int i = 0; i < AES_BLOCK; i += 4) {
            uint32_t column = moved[i] | (uint32_t) moved[i + 1] << 8 |
                              (uint32_t) moved[i + 2] << 16 | (uint32_t) moved[i + 3] << 24;
            uint32_t next = aes_rotate(column, 8);
            if (round < AES_ROUNDS)             /* MixColumns */
                column = aes_double(column ^ next) ^ next ^ aes_rotate(column, 16) ^
                         aes_rotate(column, 24);
            for (int j = 0; j < 4; j++)
                state[i + j] = (uint8_t) (column >> 8 * j) ^ key->round_key[round][i + j];
        }
    }
    memcpy(out, state, AES_BLOCK);
}

static inline void aes_count(aes_counter *counter)
{
    if (!++counter->low)
        counter->high++;
}

static void aes_ctr_portable(const aes_key *key, aes_counter *counter, uint8_t *data,
                             size_t blocks)
{
    uint8_t stream[AES_BLOCK];
    for (; blocks; blocks--, data += AES_BLOCK) {
        for (int i = 0; i < 8; i++) {
            stream[i] = (uint8_t) (counter->high >> (56 - 8 * i));
            stream[8 + i] = (uint8_t) (counter->low >> (56 - 8 * i));
        }
        aes_count(counter);
        aes_encrypt_portable(key, stream, stream);
        for (int i = 0; i < AES_BLOCK; i++)
            data[i] ^= stream[i];
    }
}

#ifdef AES_X86
#define AES_TARGET __attribute__((target("aes,sse2")))
#define AES_AT_ONCE 8           /* blocks: enough to hide the latency of the instructions */

AES_TARGET static inline __attribute__((always_inline))
void aes_rounds_x86(const aes_key *key, __m128i *blocks, int count)
{
    const __m128i *round_key = (const __m128i *) key->round_key;
    __m128i now = _mm_loadu_si128(round_key);
    for (int i = 0; i < count; i++)
        blocks[i] = _mm_xor_si128(blocks[i], now);
    for (int round = 1; round < AES_ROUNDS; round++) {
        now = _mm_loadu_si128(round_key + round);
        for (int i = 0; i < count; i++)
            blocks[i] = _mm_aesenc_si128(blocks[i], now);
    }
    now = _mm_loadu_si128(round_key + AES_ROUNDS);
    for (int i = 0; i < count; i++)
        blocks[i] = _mm_aesenclast_si128(blocks[i], now);
}

AES_TARGET static inline __attribute__((always_inline))
void aes_ctr_step_x86(const aes_key *key, aes_counter *counter, uint8_t *data, int count)
{
    __m128i stream[AES_AT_ONCE];
    __m128i *block = (__m128i *) data;
    for (int i = 0; i < count; i++) {
        stream[i] = _mm_set_epi64x((long long) __builtin_bswap64(counter->low),
                                   (long long) __builtin_bswap64(counter->high));
        aes_count(counter);
    }
    aes_rounds_x86(key, stream, count);
    for (int i = 0; i < count; i++)
        _mm_storeu_si128(block + i, _mm_xor_si128(_mm_loadu_si128(block + i), stream[i]));
}

AES_TARGET static void aes_ctr_x86(const aes_key *key, aes_counter *counter, uint8_t *data,
                                   size_t blocks)
{
    for (; blocks >= AES_AT_ONCE; blocks -= AES_AT_ONCE, data += AES_BLOCK * AES_AT_ONCE)
        aes_ctr_step_x86(key, counter, data, AES_AT_ONCE);
    for (; blocks; blocks--, data += AES_BLOCK)
        aes_ctr_step_x86(key, counter, data, 1);
}

AES_TARGET static void aes_encrypt_x86(const aes_key *key, const uint8_t *in, uint8_t *out)
{
    __m128i block = _mm_loadu_si128((const __m128i *) in);
    aes_rounds_x86(key, &block, 1);
    _mm_storeu_si128((__m128i *) out, block);
}
#endif

/* Encrypt one block; `out` may be `in`. */
static void aes_encrypt(const aes_key *key, const uint8_t *in, uint8_t *out)
{
#ifdef AES_X86
    if (key->instructions) {
        aes_encrypt_x86(key, in, out);
        return;
    }
#endif
    aes_encrypt_portable(key, in, out);
}

/* Encrypt or decrypt whole blocks in place, and leave `counter` at the block after them. */
static void aes_ctr(const aes_key *key, aes_counter *counter, uint8_t *data, size_t blocks)
{
#ifdef AES_X86
    if (key->instructions) {
        aes_ctr_x86(key, counter, data, blocks);
        return;
    }
#endif
    aes_ctr_portable(key, counter, data, blocks);
}

#endif
