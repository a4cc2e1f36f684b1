/* pack.c: msgpack. Reading trusts nothing: every length is held against the end, nesting is counted on a
 * stack of fixed size, and a hostile count costs nothing, because nothing is reserved for it. */
#include "pack.h"

#include "number.h"
#include "pack_put.h"

static inline uint64_t big_endian (const char *p, unsigned size) {
    switch (size) {
    case 1: return (unsigned char) *p;
    case 2: return __builtin_bswap16 (load_u16 (p));
    case 4: return __builtin_bswap32 (load_u32 (p));
    default: return __builtin_bswap64 (load_u64 (p));
    }
}

/* ---- reading ---- */

static const char *read_text (const char *p, const char *end, uint64_t size, uint8_t tag, value_t *value) {
    if (unlikely ((uint64_t) (end - p) < size))
        return NULL;
    if (tag == TAG_STR && unlikely (!utf8_valid (p, (uint32_t) size)))
        return NULL;
    *value = (value_t){.p = p, .size = (uint32_t) size, .tag = tag};
    return p + size;
}

/* Behind the first byte: a length of 1, 2 or 4 bytes and the text. */
static const char *read_long_text (const char *p, const char *end, unsigned width, uint8_t tag,
                                   value_t *value) {
    if (unlikely (end - p < (ptrdiff_t) width))
        return NULL;
    return read_text (p + width, end, big_endian (p, width), tag, value);
}

static const char *read_number (const char *p, const char *end, unsigned first, value_t *value) {
    unsigned width = first < FIRST_UINT_8 ? 4u << (first - FIRST_FLOAT_32) : 1u << (first & 3);
    if (unlikely (end - p < (ptrdiff_t) width))
        return NULL;
    uint64_t bits = big_endian (p, width);
    if (first == FIRST_FLOAT_32) {
        uint32_t half = (uint32_t) bits;
        float narrow;
        memcpy (&narrow, &half, sizeof narrow);
        *value = value_float ((double) narrow);
    } else if (first == FIRST_FLOAT_64) {
        double wide;
        memcpy (&wide, &bits, sizeof wide);
        *value = value_float (wide);
    } else if (first == FIRST_UINT_64 && bits > INT64_MAX) {
        *value = value_float ((double) bits);
    } else if (first < FIRST_INT_8) {
        *value = value_int ((int64_t) bits);
    } else {
        unsigned unused = 64 - 8 * width;
        *value = value_int ((int64_t) (bits << unused) >> unused);
    }
    return p + width;
}

static const char *read_time (const char *p, const char *end, unsigned first, value_t *value) {
    if (first == FIRST_EXT_8) { /* our own writers never take this form, others may */
        if (p == end || (unsigned char) *p++ != PACK_TIME_SIZE)
            return NULL;
    }
    if (end - p < 1 + PACK_TIME_SIZE || *p != PACK_EXT_TIME)
        return NULL;
    *value = value_time ((int64_t) big_endian (p + 1, PACK_TIME_SIZE));
    return p + 1 + PACK_TIME_SIZE;
}

/* The head of a list or a map: its count; what follows is the first item. */
static const char *read_count (const char *p, const char *end, unsigned first, uint32_t *count) {
    if (first < FIRST_NIL) {
        *count = first & 15;
        return p;
    }
    unsigned width = first & 1 ? 4 : 2;
    if (unlikely (end - p < (ptrdiff_t) width))
        return NULL;
    *count = (uint32_t) big_endian (p, width);
    return p + width;
}

static inline const char *read_one (const char *p, const char *end, value_t *value, uint32_t *count) {
    if (unlikely (p >= end))
        return NULL;
    unsigned first = (unsigned char) *p++;
    if (first < FIRST_MAP_SHORT || first >= FIRST_INT_SHORT) {
        *value = value_int ((int8_t) first);
        return p;
    }
    if (first >= FIRST_TEXT_SHORT && first < FIRST_NIL)
        return read_text (p, end, first & PACK_TEXT_SHORT, TAG_STR, value);
    if (first < FIRST_TEXT_SHORT || first >= FIRST_LIST_16) {
        bool is_map = first < FIRST_LIST_SHORT || first >= FIRST_MAP_16;
        value->tag = is_map ? TAG_MAP : TAG_LIST;
        return read_count (p, end, first, count);
    }
    if (first >= FIRST_FLOAT_32 && first <= FIRST_INT_64)
        return read_number (p, end, first, value);
    switch (first) {
    case FIRST_NIL: *value = value_null(); return p;
    case FIRST_FALSE: *value = value_bool (false); return p;
    case FIRST_TRUE: *value = value_bool (true); return p;
    case FIRST_BYTES_8:
    case FIRST_BYTES_16:
    case FIRST_BYTES_32: return read_long_text (p, end, 1u << (first - FIRST_BYTES_8), TAG_BYTES, value);
    case FIRST_TEXT_8:
    case FIRST_TEXT_16:
    case FIRST_TEXT_32: return read_long_text (p, end, 1u << (first - FIRST_TEXT_8), TAG_STR, value);
    case FIRST_EXT_8:
    case FIRST_EXT_OF_8: return read_time (p, end, first, value);
    default: return NULL;
    }
}

const char *pack_head (const char *p, const char *end, value_t *value, uint32_t *count) {
    return read_one (p, end, value, count);
}

typedef struct level {
    uint32_t left; /* items, pairs in a map */
    bool is_map;
} level_t;

/* Over the `count` items of a container, and all that is in them. */
static const char *skip_items (const char *p, const char *end, bool is_map, uint32_t count) {
    level_t levels[PACK_DEPTH_MAX];
    uint32_t depth = 0;
    levels[0] = (level_t){count, is_map};
    for (;;) {
        level_t *level = &levels[depth];
        if (level->left == 0) {
            if (depth == 0)
                return p;
            depth--;
            continue;
        }
        level->left--;
        value_t value = value_missing();
        if (level->is_map && (!(p = read_one (p, end, &value, &count)) || value.tag != TAG_STR))
            return NULL;
        if (!(p = read_one (p, end, &value, &count)))
            return NULL;
        if (value.tag < TAG_LIST)
            continue;
        if (++depth == PACK_DEPTH_MAX)
            return NULL;
        levels[depth] = (level_t){count, value.tag == TAG_MAP};
    }
}

const char *pack_read (const char *p, const char *end, value_t *value) {
    uint32_t count = 0;
    const char *next = read_one (p, end, value, &count);
    if (!next || value->tag < TAG_LIST)
        return next;
    next = skip_items (next, end, value->tag == TAG_MAP, count);
    if (!next || unlikely (next - p > (ptrdiff_t) UINT32_MAX))
        return NULL;
    value->p = p;
    value->size = (uint32_t) (next - p);
    return next;
}

const char *pack_open (const value_t *value, uint32_t *count) {
    return read_count (value->p + 1, value->p + value->size, (unsigned char) *value->p, count);
}

bool pack_get (const value_t *map, const char *name, uint32_t name_size, value_t *value) {
    uint32_t count;
    const char *end = map->p + map->size, *p = pack_open (map, &count);
    bool is_found = false;
    while (p && count--) {
        value_t key, item;
        p = pack_read (p, end, &key);
        if (!p || !(p = pack_read (p, end, &item)))
            break;
        if (key.size == name_size && memcmp (key.p, name, name_size) == 0) {
            *value = item;
            is_found = true;
        }
    }
    return is_found;
}

/* ---- writing ---- */

/* Where to write `more` bytes besides a head, or NULL; what was written up to `end` is then part of `out`. */
static inline char *write_begin (buffer_t *out, size_t more) {
    return likely (buffer_room (out, PACK_HEAD_ROOM + more)) ? out->data + out->size : NULL;
}
static inline bool write_end (buffer_t *out, const char *end) {
    out->size = (size_t) (end - out->data);
    return true;
}

bool pack_write_int (buffer_t *out, int64_t value) {
    char *p = write_begin (out, 0);
    return p && write_end (out, pack_put_int (p, value));
}

static bool write_after (buffer_t *out, char *p, const char *bytes, uint32_t size) {
    if (size) /* no bytes may be at no place */
        memcpy (p, bytes, size);
    return write_end (out, p + size);
}

bool pack_write_text (buffer_t *out, const char *text, uint32_t size) {
    char *p = write_begin (out, size);
    return p && write_after (out, pack_put_text_head (p, size), text, size);
}

static bool write_bytes (buffer_t *out, const char *bytes, uint32_t size) {
    char *p = write_begin (out, size);
    return p && write_after (out, pack_put_bytes_head (p, size), bytes, size);
}

static bool write_time (buffer_t *out, int64_t us) {
    char *p = write_begin (out, PACK_TIME_SIZE);
    return p && write_end (out, pack_put_time (p, us));
}

static bool write_float (buffer_t *out, double value) {
    char *p = write_begin (out, 0);
    return p && write_end (out, pack_put_float (p, value));
}

bool pack_write_list (buffer_t *out, uint32_t count) {
    char *p = write_begin (out, 0);
    return p && write_end (out, pack_put_count (p, false, count));
}

bool pack_write_map (buffer_t *out, uint32_t count) {
    char *p = write_begin (out, 0);
    return p && write_end (out, pack_put_count (p, true, count));
}

bool pack_write (buffer_t *out, const value_t *value) {
    switch (value->tag) {
    case TAG_BOOL: return buffer_put_byte (out, (char) (value->i ? FIRST_TRUE : FIRST_FALSE));
    case TAG_INT: return pack_write_int (out, value->i);
    case TAG_FLOAT: return write_float (out, value->f);
    case TAG_TIME: return write_time (out, value->i);
    case TAG_STR: return pack_write_text (out, value->p, value->size);
    case TAG_BYTES: return write_bytes (out, value->p, value->size);
    case TAG_LIST:
    case TAG_MAP: return buffer_put (out, value->p, value->size);
    default: return buffer_put_byte (out, (char) FIRST_NIL);
    }
}
