/* key.h: a key as canonical bytes: its values in msgpack, typed, an integral float as its int (S10). */
#ifndef BETTONG_KEY_H
#define BETTONG_KEY_H

#include "buffer.h"
#include "fault.h"

#define SHARD_COUNT 64

/* bkey_t is in cdefs.h: bytes, size, hash (full avalanche; the shard is its top six bits). */

uint64_t hash_bytes (const char *bytes, size_t size);
uint32_t crc32_bytes (const char *bytes, size_t size); /* IEEE, as zlib.crc32 */
static inline uint32_t key_shard (uint64_t hash) { return (uint32_t) (hash >> 58); }

/* Append the key of `count` slots to `out` (cleared first) and describe it. NaN, lists, maps and, without
 * `null_allowed`, nulls are faults (REASON_KEY). */
bool key_make (const value_t *row, const uint16_t *slots, uint32_t count, bool null_allowed, buffer_t *out,
               bkey_t *key, fault_t *fault);
/* The same of one text of at most 31 bytes, the commonest key by far. False, and nothing done, when it is anything else
 * or there is no room for it yet. */
bool key_make_text (const value_t *value, buffer_t *out, bkey_t *key);
/* The values of a key into `count` slots; text points into the key's bytes. */
void key_read (const bkey_t *key, value_t *row, const uint16_t *slots, uint32_t count);

#endif
