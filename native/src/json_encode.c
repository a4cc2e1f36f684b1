/* json_encode.c: values as JSON, compact, UTF-8 as it is, escaped as little as JSON allows.
 *
 * What JSON has no word for becomes null and is counted: NaN and infinities, and a time beyond the years that
 * RFC 3339 can write. */
#include "encode.h"
#include "number.h"
#include "pack.h"

/* Behind the backslash, for the bytes that need one; 'u' is followed by four hexadecimal digits. */
static const char ESCAPES[256] = {
    ['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r',
    [0x00] = 'u', [0x01] = 'u',  [0x02] = 'u', [0x03] = 'u', [0x04] = 'u', [0x05] = 'u', [0x06] = 'u',
    [0x07] = 'u', [0x0b] = 'u',  [0x0e] = 'u', [0x0f] = 'u', [0x10] = 'u', [0x11] = 'u', [0x12] = 'u',
    [0x13] = 'u', [0x14] = 'u',  [0x15] = 'u', [0x16] = 'u', [0x17] = 'u', [0x18] = 'u', [0x19] = 'u',
    [0x1a] = 'u', [0x1b] = 'u',  [0x1c] = 'u', [0x1d] = 'u', [0x1e] = 'u', [0x1f] = 'u',
};
static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

enum { ESCAPE_MAX = 6, KEY_CHUNK = 16, FLOAT_EXPONENT_ALL = 0x7ff };

/* ---- text ---- */

/* How many bytes at `p` stand for themselves. */
static uint32_t plain_size (const char *p, uint32_t size) {
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    uint32_t at = 0;
    for (; size - at >= 8; at += 8) {
        uint64_t text = load_u64 (p + at);
        uint64_t quote = text ^ (ones * '"'), backslash = text ^ (ones * '\\');
        if ((((quote - ones) & ~quote) | ((backslash - ones) & ~backslash) | ((text - ones * 0x20) & ~text)) &
            highs)
            break; /* in these eight; which one is found below */
    }
    while (at < size && !ESCAPES[(unsigned char) p[at]])
        at++;
    return at;
}

static char *put_escape (char *out, unsigned char byte) {
    static const char HEX[] = "0123456789abcdef";
    *out++ = '\\';
    *out++ = ESCAPES[byte];
    if (out[-1] == 'u') {
        *out++ = '0';
        *out++ = '0';
        *out++ = HEX[byte >> 4];
        *out++ = HEX[byte & 15];
    }
    return out;
}

static bool write_text (const char *text, uint32_t size, buffer_t *out) {
    if (!buffer_put_byte (out, '"'))
        return false;
    for (;;) {
        uint32_t plain = plain_size (text, size);
        if (!buffer_room (out, (size_t) plain + ESCAPE_MAX))
            return false;
        char *p = out->data + out->size;
        if (plain)
            memcpy (p, text, plain);
        p += plain;
        if (plain == size) {
            *p++ = '"';
            out->size = (size_t) (p - out->data);
            return true;
        }
        p = put_escape (p, (unsigned char) text[plain]);
        out->size = (size_t) (p - out->data);
        text += plain + 1;
        size -= plain + 1;
    }
}

static bool write_base64 (const char *bytes, uint32_t size, buffer_t *out) {
    if (!buffer_room (out, ((size_t) size + 2) / 3 * 4 + 2))
        return false;
    char *p = out->data + out->size;
    *p++ = '"';
    for (uint32_t at = 0; at < size; at += 3) {
        uint32_t left = size - at;
        uint32_t three = (uint32_t) (unsigned char) bytes[at] << 16;
        if (left > 1)
            three |= (uint32_t) (unsigned char) bytes[at + 1] << 8;
        if (left > 2)
            three |= (unsigned char) bytes[at + 2];
        *p++ = BASE64[three >> 18];
        *p++ = BASE64[three >> 12 & 63];
        *p++ = left > 1 ? BASE64[three >> 6 & 63] : '=';
        *p++ = left > 2 ? BASE64[three & 63] : '=';
    }
    *p++ = '"';
    out->size = (size_t) (p - out->data);
    return true;
}

/* ---- numbers and times: all take room for TIME_TEXT_MAX bytes as given, and return what follows ---- */

static char *put_null (char *p) {
    memcpy (p, "null", 4);
    return p + 4;
}

static inline char *put_float (char *p, double value, uint64_t *nans) {
    uint64_t bits;
    memcpy (&bits, &value, sizeof bits);
    if (unlikely ((bits >> 52 & FLOAT_EXPONENT_ALL) == FLOAT_EXPONENT_ALL)) {
        ++*nans;
        return put_null (p);
    }
    return p + number_write_float (p, value);
}

static int64_t floor_divide (int64_t a, int64_t b) { return a / b - (a % b < 0); }

static char *put_time (char *p, int64_t us, uint8_t unit, uint64_t *nans) {
    uint32_t size;
    switch (unit) {
    case UNIT_MS: return p + number_write_int (p, floor_divide (us, 1000));
    case UNIT_S: return p + number_write_int (p, floor_divide (us, 1000000));
    case UNIT_NS: /* a thousand times as many may not fit an int64: three zeros do */
        p += number_write_int (p, us);
        if (us)
            memcpy (p, "000", 3);
        return us ? p + 3 : p;
    case UNIT_RFC3339:
        if (!time_write_rfc3339 (p + 1, us, &size)) {
            ++*nans;
            return put_null (p);
        }
        *p = p[size + 1] = '"';
        return p + size + 2;
    default: return p + number_write_int (p, us);
    }
}

/* Any value but text, bytes, lists and maps. */
static inline char *put_scalar (char *p, const value_t *value, uint8_t unit, uint64_t *nans) {
    switch (value->tag) {
    case TAG_INT: return p + number_write_int (p, value->i);
    case TAG_FLOAT: return put_float (p, value->f, nans);
    case TAG_TIME: return put_time (p, value->i, unit, nans);
    case TAG_BOOL: memcpy (p, value->i ? "true" : "false", 5); return p + (value->i ? 4 : 5);
    default: return put_null (p);
    }
}

static inline bool write_scalar (const value_t *value, uint8_t unit, buffer_t *out, uint64_t *nans) {
    if (!buffer_room (out, TIME_TEXT_MAX))
        return false;
    out->size = (size_t) (put_scalar (out->data + out->size, value, unit, nans) - out->data);
    return true;
}

/* ---- lists and maps ---- */

/* One packed value as JSON. What follows it, or NULL when there is no room or it is nested too deeply. */
static const char *write_packed (const char *p, const char *end, uint32_t depth, uint8_t unit, buffer_t *out,
                                 uint64_t *nans) {
    value_t value;
    uint32_t count = 0;
    p = pack_head (p, end, &value, &count);
    if (!p)
        return NULL;
    if (value.tag == TAG_STR)
        return write_text (value.p, value.size, out) ? p : NULL;
    if (value.tag == TAG_BYTES)
        return write_base64 (value.p, value.size, out) ? p : NULL;
    if (value.tag < TAG_LIST)
        return write_scalar (&value, unit, out, nans) ? p : NULL;
    bool is_map = value.tag == TAG_MAP;
    if (depth == PACK_DEPTH_MAX || !buffer_put_byte (out, is_map ? '{' : '['))
        return NULL;
    for (uint32_t i = 0; i < count; i++) {
        value_t name;
        if (i && !buffer_put_byte (out, ','))
            return NULL;
        if (is_map && (!(p = pack_head (p, end, &name, &count)) || name.tag != TAG_STR ||
                       !write_text (name.p, name.size, out) || !buffer_put_byte (out, ':')))
            return NULL;
        if (!(p = write_packed (p, end, depth + 1, unit, out, nans)))
            return NULL;
    }
    return buffer_put_byte (out, is_map ? '}' : ']') ? p : NULL;
}

static bool write_value (const value_t *value, uint8_t unit, buffer_t *out, uint64_t *nans) {
    switch (value->tag) {
    case TAG_STR: return write_text (value->p, value->size, out);
    case TAG_BYTES: return write_base64 (value->p, value->size, out);
    case TAG_LIST:
    case TAG_MAP: return write_packed (value->p, value->p + value->size, 0, unit, out, nans) != NULL;
    default: return write_scalar (value, unit, out, nans);
    }
}

/* ---- records ---- */

/* A key, ready as it is, with a comma before all but the first; and room for a scalar behind it. Copied in
 * chunks: there is slack behind the names of a layout. */
static inline bool write_key (const entry_t *entry, bool is_first, buffer_t *out) {
    if (unlikely (!buffer_room (out, (size_t) entry->json_key_size + 1 + KEY_CHUNK + TIME_TEXT_MAX)))
        return false;
    char *p = out->data + out->size;
    *p = ',';
    p += !is_first;
    for (uint32_t at = 0; at < entry->json_key_size; at += KEY_CHUNK)
        memcpy (p + at, entry->json_key + at, KEY_CHUNK);
    out->size = (size_t) (p - out->data) + entry->json_key_size;
    return true;
}

static bool write_closed (const layout_t *layout, const value_t *row, buffer_t *out, uint64_t *nans) {
    bool is_first = true;
    for (uint32_t i = 0; i < layout->count; i++) {
        const entry_t *entry = &layout->entries[i];
        const value_t *value = &row[entry->slot];
        if (value->tag == TAG_MISSING)
            continue;
        if (!write_key (entry, is_first, out) || !write_value (value, layout->unit, out, nans))
            return false;
        is_first = false;
    }
    return true;
}

static bool write_open (const layout_t *layout, const value_t *row, buffer_t *out, uint64_t *nans) {
    layout_cursor_t cursor = {0};
    named_value_t field;
    for (bool is_first = true; layout_next (layout, row, &cursor, &field); is_first = false) {
        bool is_written = field.entry ? write_key (field.entry, is_first, out)
                                      : (is_first || buffer_put_byte (out, ',')) &&
                                            write_text (field.name, field.name_size, out) &&
                                            buffer_put_byte (out, ':');
        if (!is_written || !write_value (&field.value, layout->unit, out, nans))
            return false;
    }
    return true;
}

bool json_write_record (const layout_t *layout, const value_t *row, buffer_t *out, uint64_t *nans) {
    size_t start = out->size;
    if (buffer_put_byte (out, '{') &&
        (layout->rest_slot == SLOT_NONE ? write_closed : write_open) (layout, row, out, nans) &&
        buffer_put_byte (out, '}'))
        return true;
    out->size = start;
    return false;
}

bool json_write_value (const value_t *value, uint8_t unit, buffer_t *out, uint64_t *nans) {
    size_t start = out->size;
    if (write_value (value, unit, out, nans))
        return true;
    out->size = start;
    return false;
}

bool json_write_text (const char *text, uint32_t size, buffer_t *out) {
    size_t start = out->size;
    if (write_text (text, size, out))
        return true;
    out->size = start;
    return false;
}
