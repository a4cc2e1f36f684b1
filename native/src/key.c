/* key.c: keys as canonical bytes. The commonest key by far, one text of at most 31 bytes, never leaves the
 * registers between its text and its hash: reading back bytes just written would wait for the store. */
#include "key.h"
#include "hash.h"
#include "pack.h"

enum { FIXSTR = 0xa0, FIXSTR_MAX = 31 };

static inline void store_little (char *p, uint64_t word) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64 (word);
#endif
    memcpy (p, &word, 8);
}

/* The `count` ≤ 8 bytes that end at `end`, where at least 8 bytes may be read before `end`. */
static inline uint64_t load_last (const char *end, size_t count) {
    return count ? load_little (end - 8) >> (8 * (8 - count)) : 0;
}

/* Text of 0 to 31 bytes: its header and bytes as up to four words, stored and hashed. */
static void make_short (const char *text, uint32_t size, char *out, bkey_t *key) {
    uint64_t header = FIXSTR | size;
    uint64_t state = HASH_SEED;
    if (likely (size <= 15)) {
        uint64_t first = size >= 8 ? load_little (text) : load_short (text, size);
        uint64_t second = size >= 8 ? load_last (text + size, size - 8) : 0;
        uint64_t left = header | first << 8, right = first >> 56 | second << 8;
        store_little (out, left);
        store_little (out + 8, right);
        state = hash_block (state, left, right);
    } else {
        const char *end = text + size;
        uint64_t first = load_little (text), second = load_little (text + 8);
        uint64_t third = size >= 24 ? load_little (text + 16) : load_last (end, size - 16);
        uint64_t fourth = size >= 24 ? load_last (end, size - 24) : 0;
        uint64_t words[4] = {header | first << 8, first >> 56 | second << 8, second >> 56 | third << 8,
                             third >> 56 | fourth << 8};
        for (int i = 0; i < 4; i++)
            store_little (out + 8 * i, words[i]);
        state = hash_block (state, words[0], words[1]);
        state = hash_block (state, words[2], words[3]);
    }
    key->bytes = out;
    key->size = size + 1;
    key->hash = hash_end (state, size + 1);
}

/* 2^63: the first float that is no int64. */
#define INT64_EDGE 9223372036854775808.0

/* 1.0 is 1 and -0.0 is 0: equal numbers are one key. NaN equals nothing, not even itself: no key. */
static bool write_float (double number, buffer_t *out, fault_t *fault) {
    if (unlikely (number != number))
        return fault_set (fault, REASON_KEY, "NaN cannot be a key");
    value_t value = value_float (number);
    if (number >= -INT64_EDGE && number < INT64_EDGE && (double) (int64_t) number == number)
        value = value_int ((int64_t) number);
    return pack_write (out, &value) || fault_set (fault, REASON_LIMIT, "no memory for the key");
}

static bool write_value (const value_t *value, bool null_allowed, buffer_t *out, fault_t *fault) {
    switch (value->tag) {
    case TAG_MISSING:
    case TAG_NULL:
        if (!null_allowed)
            return fault_set (fault, REASON_KEY, "the key is null");
        break;
    case TAG_FLOAT: return write_float (value->f, out, fault);
    case TAG_LIST: return fault_set (fault, REASON_KEY, "a list cannot be a key");
    case TAG_MAP: return fault_set (fault, REASON_KEY, "a map cannot be a key");
    default: break;
    }
    return pack_write (out, value) || fault_set (fault, REASON_LIMIT, "no memory for the key");
}

bool key_make_text (const value_t *value, buffer_t *out, bkey_t *key) {
    if (unlikely (value->tag != TAG_STR || value->size > FIXSTR_MAX || out->capacity < FIXSTR_MAX + 1))
        return false;
    make_short (value->p, value->size, out->data, key);
    out->size = key->size;
    return true;
}

bool key_make (const value_t *row, const uint16_t *slots, uint32_t count, bool null_allowed, buffer_t *out,
               bkey_t *key, fault_t *fault) {
    out->size = 0;
    if (unlikely (!buffer_room (out, FIXSTR_MAX + 1)))
        return fault_set (fault, REASON_LIMIT, "no memory for the key");
    if (likely (count == 1 && key_make_text (&row[slots[0]], out, key)))
        return true;
    for (uint32_t i = 0; i < count; i++)
        if (unlikely (!write_value (&row[slots[i]], null_allowed, out, fault)))
            return false;
    key->bytes = out->data;
    key->size = (uint32_t) out->size;
    key->hash = hash_bytes (out->data, out->size);
    return true;
}

void key_read (const bkey_t *key, value_t *row, const uint16_t *slots, uint32_t count) {
    const char *p = key->bytes, *end = p + key->size;
    for (uint32_t i = 0; i < count; i++) {
        value_t *value = &row[slots[i]];
        uint8_t header = p < end ? (uint8_t) *p : 0xc0;
        if (likely ((header & 0xe0) == FIXSTR && (header & FIXSTR_MAX) < end - p)) {
            *value = value_text (p + 1, header & FIXSTR_MAX);
            p += 1 + value->size;
        } else if (p >= end || (p = pack_read (p, end, value)) == NULL) {
            /* Not one of our keys: the slots still get defined values. */
            *value = value_null();
            p = end;
        }
    }
}
