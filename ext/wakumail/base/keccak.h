/* Keccak-256 with the padding of Ethereum (0x01, not SHA-3's 0x06), for one message or many.

   The permutation is written once, in keccak_rounds.h, over a lane type. A plain word hashes one
   message; a vector of four or eight words hashes four or eight messages at once. */
#ifndef WAKUMAIL_KECCAK_H
#define WAKUMAIL_KECCAK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cpu.h"

#define KECCAK_RATE 136         /* bytes absorbed per permutation */
#define KECCAK_DIGEST 32        /* bytes */
#define KECCAK_PARTS 3          /* pieces of one message */

typedef struct {
    uint64_t state[25];
    uint8_t block[KECCAK_RATE]; /* being filled */
    uint32_t fill;              /* bytes in `block`, always below KECCAK_RATE */
} keccak_sponge;

typedef struct {
    const uint8_t *part[KECCAK_PARTS];
    size_t size[KECCAK_PARTS];
} keccak_message;

static const uint64_t keccak_round_constants[24] = {
    0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000,
    0x000000000000808b, 0x0000000080000001, 0x8000000080008081, 0x8000000000008009,
    0x000000000000008a, 0x0000000000000088, 0x0000000080008009, 0x000000008000000a,
    0x000000008000808b, 0x800000000000008b, 0x8000000000008089, 0x8000000000008003,
    0x8000000000008002, 0x8000000000000080, 0x000000000000800a, 0x800000008000000a,
    0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
};

static inline uint64_t keccak_word(const uint8_t *data)
{
    uint64_t word;
    memcpy(&word, data, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

static inline void keccak_put_word(uint8_t *out, uint64_t word)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    memcpy(out, &word, sizeof word);
}

/* The place of a lane in its message. */
typedef struct {
    const keccak_message *message;
    size_t offset;              /* of the next byte in the current piece */
    int part;                   /* KECCAK_PARTS after the last one */
    bool last;                  /* true once the padded block was read */
} keccak_reader;

/* The next block of the message: in place if it lies in one piece, else copied to `room`. */
static inline const uint8_t *keccak_read(keccak_reader *reader, uint8_t *room)
{
    const keccak_message *message = reader->message;
    size_t filled = 0;
    while (reader->part < KECCAK_PARTS) {
        const uint8_t *piece = message->part[reader->part];
        size_t left = message->size[reader->part] - reader->offset;
        size_t take = KECCAK_RATE - filled;
        if (left < take) {
            take = left;
        } else if (!filled) {
            reader->offset += KECCAK_RATE;
            return piece + reader->offset - KECCAK_RATE;
        }
        if (take) {             /* the address of an empty piece may be NULL */
            memcpy(room + filled, piece + reader->offset, take);
            filled += take;
            reader->offset += take;
        }
        if (filled == KECCAK_RATE)
            return room;
        reader->part++;
        reader->offset = 0;
    }
    memset(room + filled, 0, KECCAK_RATE - filled);
    room[filled] = 0x01;
    room[KECCAK_RATE - 1] |= 0x80;
    reader->last = true;
    return room;
}

#define LANE uint64_t
#define LANES 1
#define NAME(what) keccak_##what##_portable
#define TARGET
#include "keccak_rounds.h"

typedef void (*keccak_absorber)(uint64_t *state, const uint8_t *block);

#if defined(__x86_64__) && defined(__GNUC__)
#define KECCAK_X86 1

/* The rounds consist of and-not and of rotation into another register, which BMI has. */
#define LANE uint64_t
#define LANES 1
#define NAME(what) keccak_##what##_bmi
#define TARGET __attribute__((target("bmi,bmi2")))
#include "keccak_rounds.h"
#endif

/* The ways to hash, from the slowest to the fastest. */
enum keccak_way { KECCAK_PORTABLE, KECCAK_BMI, KECCAK_AVX2, KECCAK_AVX512 };

static bool keccak_can(enum keccak_way way)
{
#ifdef KECCAK_X86
    if (way == KECCAK_BMI)
        return cpu_has.bmi;
    if (way == KECCAK_AVX2)
        return cpu_has.avx2;
    if (way == KECCAK_AVX512)
        return cpu_has.avx512;
#endif
    return way == KECCAK_PORTABLE;
}

static keccak_absorber keccak_best_absorber(void)
{
#ifdef KECCAK_X86
    if (keccak_can(KECCAK_BMI))
        return keccak_absorb_bmi;
#endif
    return keccak_absorb_portable;
}

/* Absorb the rest of a message into `state` and write the digest. */
static void keccak_finish(keccak_absorber absorb, uint64_t *state, keccak_reader *reader,
                          uint8_t *digest)
{
    uint8_t room[KECCAK_RATE];
    while (!reader->last)
        absorb(state, keccak_read(reader, room));
    for (int i = 0; i < KECCAK_DIGEST / 8; i++)
        keccak_put_word(digest + 8 * i, state[i]);
}

#ifdef KECCAK_X86
typedef uint64_t keccak_lane4 __attribute__((vector_size(32)));

#define LANE keccak_lane4
#define LANES 4
#define NAME(what) keccak_##what##_avx2
#define TARGET __attribute__((target("avx2")))
#include "keccak_rounds.h"

/* Four lanes here too. With rotations and 32 registers, four lanes cost the same as one lane does
   without them; and if a long message is among short ones, more lanes would only be idle. */
#define LANE keccak_lane4
#define LANES 4
#define NAME(what) keccak_##what##_avx512
#define TARGET __attribute__((target("avx512f,avx512vl")))
#include "keccak_rounds.h"
#endif

#define KECCAK_LANES 4

/* The fewest streams for which keccak_absorb_beside is faster. With AVX-512 one is enough: four
   lanes cost no more than a plain word does. */
static size_t keccak_worthwhile(enum keccak_way way)
{
    return way == KECCAK_AVX512 ? 1 : way == KECCAK_AVX2 ? 2 : KECCAK_LANES + 1;
}

/* Absorb `blocks` whole blocks into each of KECCAK_LANES states, in a worthwhile way. */
static void keccak_absorb_beside(enum keccak_way way, uint64_t *const *states,
                                 const uint8_t *const *data, size_t blocks)
{
#ifdef KECCAK_X86
    if (way == KECCAK_AVX512)
        keccak_beside_avx512(states, data, blocks);
    else
        keccak_beside_avx2(states, data, blocks);
#endif
}

static void keccak_many_in_turn(keccak_absorber absorb, const keccak_message *messages,
                                size_t count, uint8_t *digests)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t state[25] = {0};
        keccak_reader reader = {.message = &messages[i]};
        keccak_finish(absorb, state, &reader, digests + KECCAK_DIGEST * i);
    }
}

/* As keccak256_many, in a way for which keccak_can() is true. */
static void keccak_many_with(enum keccak_way way, const keccak_message *messages, size_t count,
                             uint8_t *digests)
{
#ifdef KECCAK_X86
    if (way == KECCAK_AVX512)
        keccak_many_avx512(messages, count, digests);
    else if (way == KECCAK_AVX2)
        keccak_many_avx2(messages, count, digests);
    else if (way == KECCAK_BMI)
        keccak_many_in_turn(keccak_absorb_bmi, messages, count, digests);
    else
#endif
        keccak_many_in_turn(keccak_absorb_portable, messages, count, digests);
}

/* The fastest way that this processor can run, up to `way`. */
static enum keccak_way keccak_best(enum keccak_way way)
{
    while (!keccak_can(way))
        way--;
    return way;
}

static void keccak256_many(const keccak_message *messages, size_t count, uint8_t *digests)
{
    keccak_many_with(keccak_best(count > 1 ? KECCAK_AVX512 : KECCAK_BMI), messages, count, digests);
}

static void keccak256(const uint8_t *data, size_t size, uint8_t *digest)
{
    keccak_message message = {.part = {data}, .size = {size}};
    keccak256_many(&message, 1, digest);
}

static void keccak_init(keccak_sponge *sponge)
{
    memset(sponge, 0, sizeof *sponge);
}

static void keccak_update(keccak_sponge *sponge, const uint8_t *data, size_t size)
{
    keccak_absorber absorb = keccak_best_absorber();
    size_t room = KECCAK_RATE - sponge->fill;
    if (sponge->fill && size >= room) {
        memcpy(sponge->block + sponge->fill, data, room);
        absorb(sponge->state, sponge->block);
        sponge->fill = 0;
        data += room;
        size -= room;
    }
    for (; size >= KECCAK_RATE; data += KECCAK_RATE, size -= KECCAK_RATE)
        absorb(sponge->state, data);
    if (size)                   /* the address of no bytes may be NULL */
        memcpy(sponge->block + sponge->fill, data, size);
    sponge->fill += size;
}

static void keccak_digest(const keccak_sponge *sponge, uint8_t *digest)
{
    keccak_message rest = {.part = {sponge->block}, .size = {sponge->fill}};
    keccak_reader reader = {.message = &rest};
    uint64_t state[25];
    memcpy(state, sponge->state, sizeof state);
    keccak_finish(keccak_best_absorber(), state, &reader, digest);
}

/* As keccak_digest, then keccak_update with `size` bytes, which at most fill the open block. If
   they do, both permutations are made side by side where that is faster. */
static void keccak_digest_and_update(enum keccak_way way, keccak_sponge *sponge,
                                     const uint8_t *data, size_t size, uint8_t *digest)
{
    if (sponge->fill + size < KECCAK_RATE || keccak_worthwhile(way) > 2) {
        keccak_digest(sponge, digest);
        keccak_update(sponge, data, size);
        return;
    }
    uint8_t room[KECCAK_RATE];
    uint64_t ended[25], nobody[25] = {0};
    keccak_message rest = {.part = {sponge->block}, .size = {sponge->fill}};
    keccak_reader reader = {.message = &rest};
    const uint8_t *last = keccak_read(&reader, room);
    memcpy(ended, sponge->state, sizeof ended);
    memcpy(sponge->block + sponge->fill, data, size);
    uint64_t *states[KECCAK_LANES] = {sponge->state, ended, nobody, nobody};
    const uint8_t *blocks[KECCAK_LANES] = {sponge->block, last, last, last};
    keccak_absorb_beside(way, states, blocks, 1);
    for (int i = 0; i < KECCAK_DIGEST / 8; i++)
        keccak_put_word(digest + 8 * i, ended[i]);
    sponge->fill = 0;
}

#endif
