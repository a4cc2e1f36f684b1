/* reading.h: one line of the sensors job, hard-coded: what a C programmer would write for this one record.
 *
 *     {"device":"d0042","ts":1700000000123,"temp":21.37,"hum":40.1,"status":"ok"}
 *
 * The fields are expected in this order and without spaces; any other line goes through `reading_parse_any`, which
 * takes every order, spaces, unknown fields and nested values, but no escapes in texts that it keeps. */
#ifndef BENCHMARKS_READING_H
#define BENCHMARKS_READING_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define READING_SLACK 64 /* readable bytes behind a buffer of lines */
#define likely(x) __builtin_expect (!!(x), 1)
#define unlikely(x) __builtin_expect (!!(x), 0)

typedef struct text {
    const char *p;
    uint32_t size;
} text_t;

typedef struct reading {
    text_t device;
    int64_t ts;
    double temp;
    text_t status;
} reading_t;

static inline uint64_t load8 (const char *p) {
    uint64_t v;
    memcpy (&v, p, 8);
    return v;
}

#define STARTS(p, literal) (memcmp (p, literal, sizeof literal - 1) == 0)
#define IS_DIGIT(c) ((unsigned) (c) - '0' < 10)

static const double POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* The first byte that ends plain text: a quote, a backslash or a control character. */
static inline const char *text_end (const char *p) {
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    for (;; p += 8) {
        uint64_t x = load8 (p), quote = x ^ (ones * '"'), slash = x ^ (ones * '\\');
        uint64_t hit =
            (((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((x - ones * 0x20) & ~x)) & highs;
        if (likely (hit)) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
            return p + (__builtin_ctzll (hit) >> 3);
#else
            while (*p != '"' && *p != '\\' && (unsigned char) *p >= 0x20)
                p++;
            return p;
#endif
        }
    }
}

static inline const char *parse_text (text_t *to, const char *p) {
    const char *end = text_end (p);
    if (unlikely (*end != '"'))
        return NULL;
    to->p = p;
    to->size = (uint32_t) (end - p);
    return end + 1;
}

static inline const char *parse_int (int64_t *to, const char *p) {
    const char *start = p;
    uint64_t value = 0;
    while (IS_DIGIT (*p))
        value = value * 10 + (uint64_t) (*p++ - '0');
    if (unlikely (p == start || p - start > 18))
        return NULL;
    *to = (int64_t) value;
    return p;
}

/* Exact in one division when the digits fit 2^53; anything else is strtod's. */
static inline const char *parse_float (double *to, const char *p) {
    const char *start = p;
    bool minus = *p == '-';
    p += minus;
    const char *digits = p;
    uint64_t mantissa = 0;
    while (IS_DIGIT (*p))
        mantissa = mantissa * 10 + (uint64_t) (*p++ - '0');
    unsigned decimals = 0;
    if (likely (*p == '.')) {
        const char *point = p++;
        while (IS_DIGIT (*p))
            mantissa = mantissa * 10 + (uint64_t) (*p++ - '0');
        decimals = (unsigned) (p - point - 1);
    }
    if (unlikely (p == digits))
        return NULL;
    if (unlikely ((*p | 32) == 'e' || p - digits > 16 || mantissa > (1ull << 53))) {
        char *end;
        *to = strtod (start, &end);
        return end;
    }
    double value = (double) mantissa / POWERS[decimals];
    *to = minus ? -value : value;
    return p;
}

static inline const char *skip_number (const char *p) {
    while (IS_DIGIT (*p) || *p == '.' || *p == '-')
        p++;
    return p;
}

const char *reading_parse_any (reading_t *to, const char *p);

/* Parse the line at `p`, which a newline ends; the newline, or NULL when the line is not such a record. */
static inline const char *reading_parse (reading_t *to, const char *line) {
    const char *p = line;
    if (unlikely (!STARTS (p, "{\"device\":\"")))
        return reading_parse_any (to, line);
    p = parse_text (&to->device, p + 11);
    if (unlikely (!p || !STARTS (p, ",\"ts\":")))
        return reading_parse_any (to, line);
    p = parse_int (&to->ts, p + 6);
    if (unlikely (!p || !STARTS (p, ",\"temp\":")))
        return reading_parse_any (to, line);
    p = parse_float (&to->temp, p + 8);
    if (unlikely (!p || !STARTS (p, ",\"hum\":")))
        return reading_parse_any (to, line);
    p = skip_number (p + 7);
    if (unlikely (!STARTS (p, ",\"status\":\"")))
        return reading_parse_any (to, line);
    p = parse_text (&to->status, p + 11);
    if (unlikely (!p || p[0] != '}' || p[1] != '\n'))
        return reading_parse_any (to, line);
    return p + 1;
}

#endif
