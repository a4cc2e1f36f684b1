/* records.h: what a link does for each record and shard of a message; its layout is in docs/formats/link.md.
 *
 * A vector is packed as entries of 9 bytes, one a shard, in their order: the shard, and the number of 64 bits, little-
 * endian, that comes next. In memory it is 64 numbers; a shard without an entry comes at 1. */
#ifndef BETTONG_RECORDS_H
#define BETTONG_RECORDS_H

#include <stddef.h>

#include "value.h"

/* numbers_t is in cdefs.h. */
enum { RECORDS_SHARDS = 64, VECTOR_ENTRY_BYTES = 9, RECORD_EXTRA_BYTES = 5 /* shard and length */ };

/* `lengths` are `count` numbers of 32 bits, little-endian; `body` is the records, one behind the other. Each goes to
 * `out` behind its length, big-endian: `size` + 4 * `count` bytes. False, and nothing useful in `out`: the lengths do
 * not add up to `size`. */
bool records_frame (const char *lengths, uint32_t count, const char *body, size_t size, char *out);

/* As many records of a Python list of bytes, from `at` on, as have room with their shards and lengths; one at least, if
 * there is one. Their lengths (32 bits, little-endian) go to `lengths`, they themselves to `body`, `room` bytes, but for
 * a single one that is larger than `room`. Returns how many; `*size` is the sum of their lengths. -1: it is no list of
 * bytes. Takes the GIL. */
int64_t records_take (uintptr_t list, uint32_t at, size_t room, char *lengths, char *body, size_t *size);

/* Number `count` records, whose shards these are, on from `next`, which goes on behind them. The first number of each
 * shard goes to `out` as a vector; returns its size in bytes, 0 when a shard is none. */
size_t records_number (const char *shards, uint32_t count, uint64_t *next, char *out);

/* Hold the vector of a message with these shards against `next`: does it come next, has some of it come before, or is
 * something missing before it? `after` is `next` behind its records. NUMBERS_GARBLED when vector and shards do not
 * belong together or a number is 0 or beyond `most`. */
numbers_t records_check (const char *vector, size_t size, const char *shards, uint32_t count,
                         const uint64_t *next, uint64_t most, uint64_t *after);

/* The shards whose next number is not 1, as a vector; returns its size in bytes. */
size_t vector_pack (const uint64_t *next, char *out);

#endif
