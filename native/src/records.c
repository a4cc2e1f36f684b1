/* records.c: the numbers of a link's records, and their frames. */
#include "records.h"

#include <string.h>

#include "checksum.h"

static uint32_t get_length (const uint8_t *from) {
    return (uint32_t) from[0] << 24 | (uint32_t) from[1] << 16 | (uint32_t) from[2] << 8 | from[3];
}

static char *put_length (char *out, uint32_t length) {
    for (int shift = 24; shift >= 0; shift -= 8)
        *out++ = (char) (length >> shift);
    return out;
}

static char *put_little (char *out, uint64_t number, int bytes) {
    for (int i = 0; i < bytes; i++)
        *out++ = (char) (number >> 8 * i);
    return out;
}

/* ---- records ---- */

/* The bytes before what a bin holds, `*length` bytes; 0 when there is no whole bin at `at`. */
static size_t bin_head (const uint8_t *at, size_t left, uint32_t *length) {
    if (left < 2 || at[0] < 0xc4 || at[0] > 0xc6)
        return 0;
    size_t head = 1 + ((size_t) 1 << (at[0] - 0xc4));
    if (head > left)
        return 0;
    uint32_t found = 0;
    for (size_t i = 1; i < head; i++)
        found = found << 8 | at[i];
    *length = found;
    return found <= left - head ? head : 0;
}

int64_t bins_count (const char *packed, size_t size) {
    const uint8_t *at = (const uint8_t *) packed;
    int64_t count = 0;
    for (size_t left = size; left; count++) {
        uint32_t length;
        size_t head = bin_head (at, left, &length);
        if (!head)
            return -1;
        at += head + length;
        left -= head + length;
    }
    return count;
}

uint32_t bins_fit (const char *packed, size_t size, uint32_t most, size_t room, size_t *taken,
                   size_t *framed) {
    const uint8_t *at = (const uint8_t *) packed;
    size_t left = size, used = 0;
    uint32_t count = 0;
    for (; count < most; count++) {
        uint32_t length;
        size_t head = bin_head (at, left, &length);
        if (!head || (count && used + length + RECORD_EXTRA_BYTES > room))
            break;
        used += length + RECORD_EXTRA_BYTES;
        at += head + length;
        left -= head + length;
    }
    *taken = size - left;
    *framed = used - count;
    return count;
}

int64_t frames_count (const char *framed, size_t size) {
    const uint8_t *at = (const uint8_t *) framed;
    int64_t count = 0;
    for (size_t left = size; left; count++) {
        if (left < FRAME_HEAD_BYTES)
            return -1;
        uint32_t length = get_length (at);
        left -= FRAME_HEAD_BYTES;
        if (length > left)
            return -1;
        at += FRAME_HEAD_BYTES + length;
        left -= length;
    }
    return count;
}

/* ---- numbers ---- */

static char *put_entry (char *out, unsigned shard, uint64_t number) {
    *out++ = (char) shard;
    return put_little (out, number, 8);
}

static uint64_t get_number (const char *entry) {
    uint64_t number = 0;
    for (int i = 8; i > 0; i--)
        number = number << 8 | (uint8_t) entry[i];
    return number;
}

bool shards_count (const char *shards, uint32_t count, uint32_t *counts) {
    memset (counts, 0, RECORDS_SHARDS * sizeof *counts);
    for (uint32_t i = 0; i < count; i++) {
        if ((uint8_t) shards[i] >= RECORDS_SHARDS)
            return false;
        counts[(uint8_t) shards[i]]++;
    }
    return true;
}

/* The first number of each shard that has records, as a vector; `next` goes on behind them. */
static char *put_numbers (char *out, const uint32_t *counts, uint64_t *next) {
    for (unsigned shard = 0; shard < RECORDS_SHARDS; shard++)
        if (counts[shard]) {
            out = put_entry (out, shard, next[shard]);
            next[shard] += counts[shard];
        }
    return out;
}

numbers_t records_check (const char *vector, size_t size, const char *shards, uint32_t count,
                         const uint64_t *next, uint64_t most, uint64_t *after) {
    uint32_t counts[RECORDS_SHARDS];
    if (!shards_count (shards, count, counts))
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

/* ---- a message ---- */

static char *put_frames (char *out, const char *packed, uint32_t count) {
    const uint8_t *at = (const uint8_t *) packed;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t length = 0;
        at += bin_head (at, SIZE_MAX, &length);
        out = put_length (out, length);
        memcpy (out, at, length);
        out += length;
        at += length;
    }
    return out;
}

size_t data_pack (const char *head, const char *shards, uint32_t count, const char *packed, uint64_t *next,
                  char *out) {
    uint32_t counts[RECORDS_SHARDS];
    if (!shards_count (shards, count, counts))
        return 0;
    memcpy (out, head, DATA_HEAD_BYTES);
    char *end = put_numbers (out + DATA_HEAD_BYTES, counts, next);
    put_little (out + 2, (uint64_t) (end - out - DATA_HEAD_BYTES) / VECTOR_ENTRY_BYTES, 2);
    put_little (out + 4, count, 4);
    memcpy (end, shards, count);
    end = put_frames (end + count, packed, count);
    end = put_little (end, xxh64_bytes (out, (size_t) (end - out)), 8);
    return (size_t) (end - out);
}
