/* records.c: the numbers of a link's records, and their frames. */
#include "records.h"

#include <string.h>

bool records_frame (const char *lengths, uint32_t count, const char *body, size_t size, char *out) {
    const uint8_t *from = (const uint8_t *) lengths;
    for (uint32_t i = 0; i < count; i++, from += 4) {
        size_t length =
            (size_t) from[0] | (size_t) from[1] << 8 | (size_t) from[2] << 16 | (size_t) from[3] << 24;
        if (length > size)
            return false;
        char head[4] = {(char) from[3], (char) from[2], (char) from[1], (char) from[0]};
        memcpy (out, head, 4);
        memcpy (out + 4, body, length);
        out += 4 + length;
        body += length;
        size -= length;
    }
    return size == 0;
}

/* ---- numbers ---- */

static char *put_entry (char *out, unsigned shard, uint64_t number) {
    *out++ = (char) shard;
    for (int i = 0; i < 8; i++)
        *out++ = (char) (number >> 8 * i);
    return out;
}

static uint64_t get_number (const char *entry) {
    uint64_t number = 0;
    for (int i = 8; i > 0; i--)
        number = number << 8 | (uint8_t) entry[i];
    return number;
}

/* How many records each shard has; false when one of them is no shard. */
static bool count_shards (const char *shards, uint32_t count, uint32_t *counts) {
    memset (counts, 0, RECORDS_SHARDS * sizeof *counts);
    for (uint32_t i = 0; i < count; i++) {
        if ((uint8_t) shards[i] >= RECORDS_SHARDS)
            return false;
        counts[(uint8_t) shards[i]]++;
    }
    return true;
}

size_t records_number (const char *shards, uint32_t count, uint64_t *next, char *out) {
    uint32_t counts[RECORDS_SHARDS];
    if (!count_shards (shards, count, counts))
        return 0;
    char *end = out;
    for (unsigned shard = 0; shard < RECORDS_SHARDS; shard++)
        if (counts[shard]) {
            end = put_entry (end, shard, next[shard]);
            next[shard] += counts[shard];
        }
    return (size_t) (end - out);
}

numbers_t records_check (const char *vector, size_t size, const char *shards, uint32_t count,
                         const uint64_t *next, uint64_t most, uint64_t *after) {
    uint32_t counts[RECORDS_SHARDS];
    if (!count_shards (shards, count, counts))
        return NUMBERS_GARBLED;
    memcpy (after, next, RECORDS_SHARDS * sizeof *after);
    numbers_t found = NUMBERS_NEXT;
    int above = -1;
    uint64_t numbered = 0;
    for (const char *entry = vector; entry < vector + size; entry += VECTOR_ENTRY_BYTES) {
        int shard = (uint8_t) *entry;
        uint64_t first = get_number (entry);
        if (shard <= above || shard >= RECORDS_SHARDS || !counts[shard] || !first ||
            first > most - counts[shard])
            return NUMBERS_GARBLED;
        if (first > next[shard])
            found = NUMBERS_LATER;
        else if (first < next[shard] && found == NUMBERS_NEXT)
            found = NUMBERS_EARLIER;
        if (first + counts[shard] > after[shard])
            after[shard] = first + counts[shard];
        numbered += counts[shard];
        above = shard;
    }
    return numbered == count ? found : NUMBERS_GARBLED;
}

size_t vector_pack (const uint64_t *next, char *out) {
    char *end = out;
    for (unsigned shard = 0; shard < RECORDS_SHARDS; shard++)
        if (next[shard] != 1)
            end = put_entry (end, shard, next[shard]);
    return (size_t) (end - out);
}
