/* json_scan.c: the less common parts of JSON text: escapes, white space, words, and what to say when it is
 * none. */
#include "json_plain.h"
#include "json_scan.h"

/* ---- faults ---- */

const char *scan_refuse_what (const scanner_t *self, const char *p, const char *what) {
    fault_set (self->fault, REASON_DECODE, "not JSON at byte %zu: %s", (size_t) (p - self->text), what);
    return NULL;
}

const char *scan_refuse (const scanner_t *self, const char *p, const char *wanted) {
    unsigned char found = (unsigned char) *p;
    size_t at = (size_t) (p - self->text);
    if (p >= self->end)
        fault_set (self->fault, REASON_DECODE, "not JSON at byte %zu: expected %s, found the end", at,
                   wanted);
    else if (found > ' ' && found < 0x7f)
        fault_set (self->fault, REASON_DECODE, "not JSON at byte %zu: expected %s, found '%c'", at, wanted,
                   found);
    else
        fault_set (self->fault, REASON_DECODE, "not JSON at byte %zu: expected %s, found byte 0x%02x", at,
                   wanted, found);
    return NULL;
}

const char *scan_full (const scanner_t *self) {
    fault_set (self->fault, REASON_LIMIT, "the record needs more than the %zu bytes of scratch memory",
               self->scratch->size);
    return NULL;
}

/* ---- space and words ---- */

const char *scan_space_slow (const scanner_t *self, const char *p) {
    while (p < self->end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'))
        p++;
    return p;
}

const char *plain_word (const char *p, value_t *value) {
    if (memcmp (p, "true", 4) == 0) {
        *value = value_bool (true);
        return p + 4;
    }
    if (memcmp (p, "null", 4) == 0) {
        *value = value_null();
        return p + 4;
    }
    if (memcmp (p, "false", 5) == 0) {
        *value = value_bool (false);
        return p + 5;
    }
    return NULL;
}

const char *scan_word (const scanner_t *self, const char *p, value_t *value) {
    const char *next = plain_word (p, value);
    return next ? next : scan_refuse (self, p, "a value");
}

/* ---- strings ---- */

/* Four hexadecimal digits at `p`, or -1. The end of the message is none. */
static int32_t read_hex (const char *p) {
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        unsigned digit = (unsigned) (unsigned char) p[i] - '0';
        unsigned letter = ((unsigned) (unsigned char) p[i] | 0x20) - 'a';
        if (digit > 9 && letter > 5)
            return -1;
        value = value << 4 | (int32_t) (digit <= 9 ? digit : letter + 10);
    }
    return value;
}

static char *put_character (char *out, uint32_t code) {
    if (code < 0x80) {
        *out++ = (char) code;
        return out;
    }
    int shift = code < 0x800 ? 6 : code < 0x10000 ? 12 : 18;
    static const unsigned char FIRSTS[] = {0xc0, 0xe0, 0xf0};
    *out++ = (char) (FIRSTS[shift / 6 - 1] | code >> shift);
    while (shift) {
        shift -= 6;
        *out++ = (char) (0x80 | ((code >> shift) & 0x3f));
    }
    return out;
}

/* "\u00e9" or a pair "\ud83d\ude00", `p` at the backslash. Half a pair is no character. */
static const char *unescape_unicode (scanner_t *self, const char *p) {
    int32_t code = read_hex (p + 2);
    if (code < 0)
        return scan_refuse_what (self, p, "\\u needs four hexadecimal digits");
    const char *next = p + 6;
    if (code >= 0xd800 && code <= 0xdfff) {
        int32_t low = code < 0xdc00 && next[0] == '\\' && next[1] == 'u' ? read_hex (next + 2) : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return scan_refuse_what (self, p, "half of a surrogate pair");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        next += 6;
    }
    self->out = put_character (self->out, (uint32_t) code);
    return next;
}

/* One escape, `p` at its backslash. */
static const char *unescape (scanner_t *self, const char *p) {
    static const char PLAIN[] = "\"\\/bfnrt", MEANT[] = "\"\\/\b\f\n\r\t";
    if (p[1] == 'u')
        return unescape_unicode (self, p);
    const char *found = p[1] ? strchr (PLAIN, p[1]) : NULL;
    if (!found)
        return scan_refuse_what (self, p, "an escape that JSON does not have");
    *self->out++ = MEANT[found - PLAIN];
    return p + 2;
}

static const char *check_text (const scanner_t *self, const char *p, const char *text, uint32_t size) {
    return utf8_valid (text, size) ? p : scan_refuse_what (self, p, "a string that is not UTF-8");
}

const char *plain_stop_beyond (const char *p) {
    uint64_t high;
    const char *stop = scan_stop (p, &high);
    return *stop == '"' && utf8_valid (p, (uint32_t) (stop - p)) ? stop : NULL;
}

/* Escapes come whole: neither do they complete a character that began in the text, nor does the text one
 * of theirs. So it is enough to look at the result as a whole. */
const char *scan_string_slow (scanner_t *self, const char *p, const char *stop, value_t *value) {
    const char *first = p;
    if (*stop == '"') {
        *value = value_text (p, (uint32_t) (stop - p));
        return check_text (self, p, p, value->size) ? stop + 1 : NULL;
    }
    char *text = self->out;
    uint64_t high, seen = 0;
    for (;;) {
        stop = scan_stop (p, &high);
        seen |= high;
        size_t size = (size_t) (stop - p);
        if (size + 4 > (size_t) (self->out_end - self->out)) /* 4: the longest character of an escape */
            return scan_full (self);
        memcpy (self->out, p, size);
        self->out += size;
        if (*stop == '"')
            break;
        if (*stop != '\\')
            return scan_refuse (self, stop, "the rest of a string");
        if (!(p = unescape (self, stop)))
            return NULL;
    }
    *value = value_text (text, (uint32_t) (self->out - text));
    return seen && !check_text (self, first, text, value->size) ? NULL : stop + 1;
}
