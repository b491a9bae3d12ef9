/* Encrypts packets as frames: those of one connection in order, those of several side by side.

   A frame on the wire is

       header 16 | header MAC 16 | frame data and padding 16 * n | frame MAC 16

   The header, before its encryption, is `size u24 BE | c2 80 80 | zeros`. After the size comes a
   list of capability id and context id, which nobody uses. */
#ifndef WAKUMAIL_FRAME_ENCRYPTION_H
#define WAKUMAIL_FRAME_ENCRYPTION_H

#include "frame_stream.h"

#define FRAME_CHUNK 16          /* blocks of Keccak that are copied, encrypted and hashed at a time:
                                   they stay in the nearest cache, even for four connections */

typedef struct {                /* frame data in two pieces */
    const uint8_t *piece[2];
    size_t size[2];
} frame_data;

typedef struct {                /* the packets that one connection has to send */
    stream *egress;
    const frame_data *packets;  /* the first has the open frame */
    size_t count;
    uint8_t *frame;             /* output: that frame, then the others */
    size_t padded;              /* bytes of its data */
    size_t encrypted;           /* bytes of `padded`, always whole blocks */
    size_t absorbed;            /* bytes of `encrypted` */
} frame_job;

static inline size_t frame_pad(size_t size)
{
    return (size + STREAM_BLOCK - 1) & ~(size_t) (STREAM_BLOCK - 1);
}

static inline size_t frame_least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Bytes on the wire of a frame with `size` bytes of data. */
static inline size_t frame_size(size_t size)
{
    return STREAM_HEADER + frame_pad(size) + STREAM_BLOCK;
}

/* Copy `size` bytes of frame data, from `at` on; zeros follow the end of the packet. */
static void frame_copy(const frame_data *packet, size_t at, uint8_t *out, size_t size)
{
    for (int i = 0; i < 2; i++) {
        size_t skipped = frame_least(at, packet->size[i]);
        size_t take = frame_least(size, packet->size[i] - skipped);
        if (take)               /* an empty piece may have no address */
            memcpy(out, packet->piece[i] + skipped, take);
        at -= skipped;
        out += take;
        size -= take;
    }
    memset(out, 0, size);
}

/* Encrypt the data up to `end`, with all of the block that `end` lies in. */
static void frame_encrypt(frame_job *job, size_t end)
{
    uint8_t *data = job->frame + STREAM_HEADER + job->encrypted;
    size_t size = frame_pad(end) - frame_least(frame_pad(end), job->encrypted);
    frame_copy(job->packets, job->encrypted, data, size);
    aes_ctr(&job->egress->cipher, &job->egress->counter, data, size / STREAM_BLOCK);
    job->encrypted += size;
}

/* Encrypt and absorb up to `end`, without lanes. */
static void frame_absorb(frame_job *job, size_t end)
{
    while (job->absorbed < end) {
        size_t size = frame_least(end - job->absorbed, FRAME_CHUNK * KECCAK_RATE);
        frame_encrypt(job, job->absorbed + size);
        keccak_update(&job->egress->mac, job->frame + STREAM_HEADER + job->absorbed, size);
        job->absorbed += size;
    }
}

/* Begin the frame of the next packet: its header, and the data that fills the open Keccak block.
   The MAC of the header does not depend on those data, so both permutations are made side by
   side. */
static void frame_begin(enum keccak_way way, frame_job *job)
{
    stream *egress = job->egress;
    size_t size = job->packets->size[0] + job->packets->size[1];
    uint8_t header[STREAM_BLOCK] = {(uint8_t) (size >> 16), (uint8_t) (size >> 8), (uint8_t) size,
                                    0xc2, 0x80, 0x80};
    aes_ctr(&egress->cipher, &egress->counter, header, 1);
    stream_absorb_seed(egress, header);
    memcpy(job->frame, header, STREAM_BLOCK);
    job->padded = frame_pad(size);
    job->encrypted = job->absorbed = 0;
    size_t filling = frame_least(KECCAK_RATE - egress->mac.fill, job->padded);
    frame_encrypt(job, filling);
    keccak_digest_and_update(way, &egress->mac, job->frame + STREAM_HEADER, filling,
                             egress->digest);
    memcpy(job->frame + STREAM_BLOCK, egress->digest, STREAM_BLOCK);
    job->absorbed = filling;
}

/* End the frame that is open: the rest of its data, and its MAC. */
static void frame_end(frame_job *job)
{
    frame_absorb(job, job->padded);
    stream_stir_data(job->egress);
    job->frame += STREAM_HEADER + job->padded;
    memcpy(job->frame, job->egress->digest, STREAM_BLOCK);
    job->frame += STREAM_BLOCK;
    job->packets++;
    job->count--;
}

/* Blocks of the open frame that are left for a lane. */
static inline size_t frame_blocks(const frame_job *job)
{
    return (job->padded - job->absorbed) / KECCAK_RATE;
}

/* Go on to the next frame with work for a lane; false when all is encrypted. */
static bool frame_next(enum keccak_way way, frame_job *job)
{
    for (; job->count; frame_end(job)) {
        frame_begin(way, job);
        if (frame_blocks(job))
            return true;
    }
    return false;
}

/* Take `blocks` blocks of each of up to KECCAK_LANES jobs; the other lanes hash for nobody. */
static void frames_step(enum keccak_way way, frame_job **jobs, size_t count, size_t blocks)
{
    uint64_t nobody[25] = {0};
    uint64_t *states[KECCAK_LANES];
    const uint8_t *data[KECCAK_LANES];
    for (size_t lane = 0; lane < KECCAK_LANES; lane++) {
        frame_job *job = jobs[lane < count ? lane : 0];
        frame_encrypt(job, job->absorbed + KECCAK_RATE * blocks);
        states[lane] = lane < count ? job->egress->mac.state : nobody;
        data[lane] = job->frame + STREAM_HEADER + job->absorbed;
    }
    keccak_absorb_beside(way, states, data, blocks);
    for (size_t lane = 0; lane < count; lane++)
        jobs[lane]->absorbed += KECCAK_RATE * blocks;
}

/* Encrypt all packets of all jobs, each of another connection. A lane that has finished one takes
   the next, so that with unequal lengths none is idle while jobs wait. */
static void frames_encrypt(enum keccak_way way, frame_job *jobs, size_t count)
{
    frame_job *lanes[KECCAK_LANES];
    size_t open = 0;
    for (;;) {
        for (; open < KECCAK_LANES && count; jobs++, count--)
            if (frame_next(way, jobs))
                lanes[open++] = jobs;
        if (!open)
            return;
        if (open < keccak_worthwhile(way)) {
            frame_job *job = lanes[--open];
            do
                frame_end(job);
            while (frame_next(way, job));
            continue;
        }
        size_t blocks = FRAME_CHUNK;
        for (size_t lane = 0; lane < open; lane++)
            blocks = frame_least(blocks, frame_blocks(lanes[lane]));
        frames_step(way, lanes, open, blocks);
        for (size_t lane = open; lane-- > 0;) {
            if (frame_blocks(lanes[lane]))
                continue;
            frame_end(lanes[lane]);
            if (!frame_next(way, lanes[lane]))
                lanes[lane] = lanes[--open];
        }
    }
}

#endif
