/* Keccak-f[1600] over LANE; if LANE is a vector, also hashes LANES messages at once.

   keccak.h includes this once for each type of lane, with LANE, LANES, NAME and TARGET set. Word
   x + 5y of the state is the lane (x, y) of FIPS 202, section 3.1.2. */

#define ROTATE(word, n) ((word) << (n) | (word) >> ((64 - (n)) & 63))

/* Row y of the next state: its five words are those at `i0`..`i4`, rotated by `n0`..`n4` bits. */
#define ROW(y, i0, n0, i1, n1, i2, n2, i3, n3, i4, n4) do { \
    LANE b0 = ROTATE(a[i0] ^ d[i0 % 5], n0); \
    LANE b1 = ROTATE(a[i1] ^ d[i1 % 5], n1); \
    LANE b2 = ROTATE(a[i2] ^ d[i2 % 5], n2); \
    LANE b3 = ROTATE(a[i3] ^ d[i3 % 5], n3); \
    LANE b4 = ROTATE(a[i4] ^ d[i4 % 5], n4); \
    e[5 * y] = b0 ^ (~b1 & b2); \
    e[5 * y + 1] = b1 ^ (~b2 & b3); \
    e[5 * y + 2] = b2 ^ (~b3 & b4); \
    e[5 * y + 3] = b3 ^ (~b4 & b0); \
    e[5 * y + 4] = b4 ^ (~b0 & b1); \
} while (0)

TARGET static inline __attribute__((always_inline))
void NAME(round)(const LANE *a, LANE *e, uint64_t constant)
{
    LANE c[5], d[5];
    for (int x = 0; x < 5; x++)
        c[x] = a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20];
    for (int x = 0; x < 5; x++)
        d[x] = c[(x + 4) % 5] ^ ROTATE(c[(x + 1) % 5], 1);
    ROW(0, 0, 0, 6, 44, 12, 43, 18, 21, 24, 14);
    e[0] ^= constant;
    ROW(1, 3, 28, 9, 20, 10, 3, 16, 45, 22, 61);
    ROW(2, 1, 1, 7, 6, 13, 25, 19, 8, 20, 18);
    ROW(3, 4, 27, 5, 36, 11, 10, 17, 15, 23, 56);
    ROW(4, 2, 62, 8, 55, 14, 39, 15, 41, 21, 2);
}

TARGET static inline __attribute__((always_inline))
void NAME(permute)(LANE *a)
{
    LANE e[25];
    for (int round = 0; round < 24; round += 2) {
        NAME(round)(a, e, keccak_round_constants[round]);
        NAME(round)(e, a, keccak_round_constants[round + 1]);
    }
}

#if LANES == 1
TARGET static void NAME(absorb)(LANE *state, const uint8_t *block)
{
    LANE a[25];
    memcpy(a, state, sizeof a);
    for (int i = 0; i < KECCAK_RATE / 8; i++)
        a[i] ^= keccak_word(block + 8 * i);
    NAME(permute)(a);
    memcpy(state, a, sizeof a);
}
#else
TARGET static void NAME(absorb)(LANE *state, const LANE *block)
{
    LANE a[25];
    memcpy(a, state, sizeof a);
    for (int i = 0; i < KECCAK_RATE / 8; i++)
        a[i] ^= block[i];
    NAME(permute)(a);
    memcpy(state, a, sizeof a);
}

TARGET static inline __attribute__((always_inline))
void NAME(load)(LANE *block, int lane, const uint8_t *from)
{
    for (int i = 0; i < KECCAK_RATE / 8; i++)
        block[i][lane] = keccak_word(from + 8 * i);
}

/* Absorb `blocks` whole blocks of data into each of LANES states. */
TARGET static void NAME(beside)(uint64_t *const *states, const uint8_t *const *data, size_t blocks)
{
    LANE state[25], block[KECCAK_RATE / 8];
    for (int i = 0; i < 25; i++)
        for (int lane = 0; lane < LANES; lane++)
            state[i][lane] = states[lane][i];
    for (size_t at = 0; at < KECCAK_RATE * blocks; at += KECCAK_RATE) {
        for (int lane = 0; lane < LANES; lane++)
            NAME(load)(block, lane, data[lane] + at);
        NAME(absorb)(state, block);
    }
    for (int i = 0; i < 25; i++)
        for (int lane = 0; lane < LANES; lane++)
            states[lane][i] = state[i][lane];
}

/* A lane that has finished a message takes the next one, so that no lane is idle while messages
   wait. The last message is hashed alone, which is faster. */
TARGET static void NAME(many)(const keccak_message *messages, size_t count, uint8_t *digests)
{
    uint8_t room[KECCAK_RATE];
    keccak_reader readers[LANES] = {0};
    LANE state[25] = {0}, block[KECCAK_RATE / 8] = {0};
    size_t next = 0, open = 0;
    for (; next < LANES && next < count; next++, open++)
        readers[next].message = &messages[next];
    while (open > 1) {
        for (int lane = 0; lane < LANES; lane++)
            if (readers[lane].message)
                NAME(load)(block, lane, keccak_read(&readers[lane], room));
        NAME(absorb)(state, block);
        for (int lane = 0; lane < LANES; lane++) {
            if (!readers[lane].last)
                continue;
            uint8_t *digest = digests + KECCAK_DIGEST * (readers[lane].message - messages);
            for (int i = 0; i < KECCAK_DIGEST / 8; i++)
                keccak_put_word(digest + 8 * i, state[i][lane]);
            for (int i = 0; i < 25; i++)
                state[i][lane] = 0;
            readers[lane] = (keccak_reader) {.message = next < count ? &messages[next++] : NULL};
            open -= readers[lane].message == NULL;
        }
    }
    for (int lane = 0; lane < LANES; lane++) {
        if (!readers[lane].message)
            continue;
        uint64_t alone[25];
        for (int i = 0; i < 25; i++)
            alone[i] = state[i][lane];
        keccak_finish(keccak_best_absorber(), alone, &readers[lane],
                      digests + KECCAK_DIGEST * (readers[lane].message - messages));
    }
}
#endif

#undef ROW
#undef ROTATE
#undef TARGET
#undef NAME
#undef LANES
#undef LANE
