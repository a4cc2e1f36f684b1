/* pack_put.h: msgpack into memory that has room: PACK_HEAD_ROOM bytes, more than most heads and numbers take,
 * because eight bytes are written at once. All return the first byte behind what they wrote. */
#ifndef BETTONG_PACK_PUT_H
#define BETTONG_PACK_PUT_H

#include "decimal.h"

enum {
    PACK_HEAD_ROOM = 9,
    PACK_COUNT_SHORT = 15,
    PACK_TEXT_SHORT = 31,
    PACK_EXT_TIME = 1,
    PACK_TIME_SIZE = 8
};

/* First bytes; those not named here are small ints and the short forms of text, lists and maps. */
enum pack_first {
    FIRST_MAP_SHORT = 0x80,
    FIRST_LIST_SHORT = 0x90,
    FIRST_TEXT_SHORT = 0xa0,
    FIRST_NIL = 0xc0,
    FIRST_FALSE = 0xc2,
    FIRST_TRUE = 0xc3,
    FIRST_BYTES_8 = 0xc4,
    FIRST_BYTES_16,
    FIRST_BYTES_32,
    FIRST_EXT_8 = 0xc7,
    FIRST_FLOAT_32 = 0xca,
    FIRST_FLOAT_64,
    FIRST_UINT_8 = 0xcc,
    FIRST_UINT_16,
    FIRST_UINT_32,
    FIRST_UINT_64,
    FIRST_INT_8 = 0xd0,
    FIRST_INT_16,
    FIRST_INT_32,
    FIRST_INT_64,
    FIRST_EXT_OF_8 = 0xd7,
    FIRST_TEXT_8 = 0xd9,
    FIRST_TEXT_16,
    FIRST_TEXT_32,
    FIRST_LIST_16 = 0xdc,
    FIRST_LIST_32,
    FIRST_MAP_16 = 0xde,
    FIRST_MAP_32,
    FIRST_INT_SHORT = 0xe0
};

/* `first` and a number of 1, 2, 4 or 8 bytes. */
static inline char *pack_put_head (char *p, unsigned first, uint64_t number, unsigned size) {
    *p = (char) first;
    number = __builtin_bswap64 (number << (64 - 8 * size));
    memcpy (p + 1, &number, sizeof number);
    return p + 1 + size;
}

static inline char *pack_put_first (char *p, unsigned first) {
    *p = (char) first;
    return p + 1;
}

static inline char *pack_put_int (char *p, int64_t value) {
    uint64_t bits = (uint64_t) value;
    if (value >= -32 && value < 128)
        return pack_put_first (p, (unsigned) bits & 0xff);
    if (value >= 0) {
        if (value <= UINT8_MAX)
            return pack_put_head (p, FIRST_UINT_8, bits, 1);
        if (value <= UINT16_MAX)
            return pack_put_head (p, FIRST_UINT_16, bits, 2);
        return value <= UINT32_MAX ? pack_put_head (p, FIRST_UINT_32, bits, 4)
                                   : pack_put_head (p, FIRST_UINT_64, bits, 8);
    }
    if (value >= INT8_MIN)
        return pack_put_head (p, FIRST_INT_8, bits, 1);
    if (value >= INT16_MIN)
        return pack_put_head (p, FIRST_INT_16, bits, 2);
    return value >= INT32_MIN ? pack_put_head (p, FIRST_INT_32, bits, 4)
                              : pack_put_head (p, FIRST_INT_64, bits, 8);
}

static inline char *pack_put_float (char *p, double value) {
    uint64_t bits;
    memcpy (&bits, &value, sizeof bits);
    return pack_put_head (p, FIRST_FLOAT_64, bits, 8);
}

/* Takes ten bytes. */
static inline char *pack_put_time (char *p, int64_t us) {
    *p = (char) FIRST_EXT_OF_8;
    return pack_put_head (p + 1, PACK_EXT_TIME, (uint64_t) us, PACK_TIME_SIZE);
}

/* The head of a text of `size` bytes, which follow. */
static inline char *pack_put_text_head (char *p, uint32_t size) {
    if (likely (size <= PACK_TEXT_SHORT))
        return pack_put_first (p, FIRST_TEXT_SHORT | size);
    if (size <= UINT8_MAX)
        return pack_put_head (p, FIRST_TEXT_8, size, 1);
    return size <= UINT16_MAX ? pack_put_head (p, FIRST_TEXT_16, size, 2)
                              : pack_put_head (p, FIRST_TEXT_32, size, 4);
}

static inline char *pack_put_bytes_head (char *p, uint32_t size) {
    if (size <= UINT8_MAX)
        return pack_put_head (p, FIRST_BYTES_8, size, 1);
    return size <= UINT16_MAX ? pack_put_head (p, FIRST_BYTES_16, size, 2)
                              : pack_put_head (p, FIRST_BYTES_32, size, 4);
}

/* The head of a list, or of a map, of `count` items, which follow. */
static inline char *pack_put_count (char *p, bool is_map, uint32_t count) {
    if (likely (count <= PACK_COUNT_SHORT))
        return pack_put_first (p, (is_map ? FIRST_MAP_SHORT : FIRST_LIST_SHORT) | count);
    if (count <= UINT16_MAX)
        return pack_put_head (p, is_map ? FIRST_MAP_16 : FIRST_LIST_16, count, 2);
    return pack_put_head (p, is_map ? FIRST_MAP_32 : FIRST_LIST_32, count, 4);
}

#endif
