/* records.h: what a link does for each record and shard of a message; its layout is in docs/formats/link.md.
 *
 * A vector is packed as entries of 9 bytes, one a shard, in their order: the shard, and the number of 64 bits, little-
 * endian, that comes next. In memory it is 64 numbers; a shard without an entry comes at 1. */
#ifndef BETTONG_RECORDS_H
#define BETTONG_RECORDS_H

#include <stddef.h>

#include "value.h"

/* numbers_t is in cdefs.h. */
enum {
    RECORDS_SHARDS = 64,
    VECTOR_ENTRY_BYTES = 9,
    FRAME_HEAD_BYTES = 4,   /* a record's length on the wire */
    RECORD_EXTRA_BYTES = 5, /* and its shard */
    DATA_HEAD_BYTES = 32
};

/* How many msgpack bins stand one behind the other in `packed`; -1 when anything else does. */
int64_t bins_count (const char *packed, size_t size);

/* How many bins from here on, `most` at most, have room as records with their lengths and shards; one, if there is one,
 * has it always. They take `*taken` bytes of `packed`, and `*framed` with 32 bits of length before each. */
uint32_t bins_fit (const char *packed, size_t size, uint32_t most, size_t room, size_t *taken,
                   size_t *framed);

/* How many records stand one behind the other, each behind its length (32 bits, big-endian); -1 when the lengths do not
 * add up to `size`. */
int64_t frames_count (const char *framed, size_t size);

/* How many of these records each shard has; false when one of them is no shard. */
bool shards_count (const char *shards, uint32_t count, uint32_t *counts);

/* A DATA message: `head` (DATA_HEAD_BYTES) with its counts filled in, the number of each shard's first record as a
 * vector, on from `next`, which goes on behind them, `count` shards, as many bins of `packed`, the checksum. Returns its
 * size; 0 when a shard is none. `bins_fit` has found that the bins are there and how much room they take in `out`. */
size_t data_pack (const char *head, const char *shards, uint32_t count, const char *packed, uint64_t *next,
                  char *out);

/* Hold the vector of a message with these shards against `next`: does it come next, has some of it come before, or is
 * something missing before it? `after` is `next` behind its records. NUMBERS_GARBLED when vector and shards do not
 * belong together or a number is 0 or beyond `most`. */
numbers_t records_check (const char *vector, size_t size, const char *shards, uint32_t count,
                         const uint64_t *next, uint64_t most, uint64_t *after);

/* The shards whose next number is not 1, as a vector; returns its size in bytes. */
size_t vector_pack (const uint64_t *next, char *out);

#endif
