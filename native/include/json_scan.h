/* json_scan.h: the parts of JSON text that the decoder's fast path and its nested values share.
 *
 * The message ends at `end`, where a byte below 0x20 stands (the decoder's sentinel, if need be): it stops
 * strings, numbers and words by itself, so that only white space has to ask where the end is. Eight bytes
 * are read at a time; those behind the end are the slack that decode.h promises. A function returns what
 * follows, or NULL with a fault. */
#ifndef BETTONG_JSON_SCAN_H
#define BETTONG_JSON_SCAN_H

#include "arena.h"
#include "number_read.h"
#include "fault.h"
#include "number.h"
#include "pack.h"

typedef struct scanner {
    const char *text;
    const char *end;
    char *out; /* free scratch; texts without escapes and packed values are put here */
    char *out_end;
    arena_t *scratch;
    fault_t *fault;
    bool packs; /* nested values are packed into scratch, not only checked */
} scanner_t;

/* Faults; all return NULL. `wanted` is "a name", "',' or '}'", … */
const char *scan_refuse (const scanner_t *self, const char *p, const char *wanted) __attribute__ ((cold));
const char *scan_refuse_what (const scanner_t *self, const char *p, const char *what) __attribute__ ((cold));
const char *scan_full (const scanner_t *self) __attribute__ ((cold));

const char *scan_space_slow (const scanner_t *self, const char *p);
/* A string that ended at `stop` in something else than a plain quote, or has bytes beyond ASCII. */
const char *scan_string_slow (scanner_t *self, const char *p, const char *stop, value_t *value);
/* true, false, null. */
const char *scan_word (const scanner_t *self, const char *p, value_t *value);

/* json_nested.c: any value; `depth` counts the lists and maps around it. */
const char *nested_read (scanner_t *self, const char *p, uint32_t depth, value_t *value);

static inline const char *scan_space (const scanner_t *self, const char *p) {
    return likely ((unsigned char) *p > ' ') ? p : scan_space_slow (self, p);
}

/* To the next byte that is no space; `wanted` is what mostly stands at `p` already. */
static inline const char *scan_to (const scanner_t *self, const char *p, char wanted) {
    return likely (*p == wanted) ? p : scan_space (self, p);
}

/* The first quote, backslash or control byte from `p` on. *high gets a bit for every byte beyond ASCII
 * before it.
 *
 * A subtraction that borrows marks a byte too many only above one that is marked rightly: the lowest mark
 * is true. */
static inline const char *scan_stop (const char *p, uint64_t *high) {
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    uint64_t seen = 0;
    for (;; p += 8) {
        uint64_t text = load_u64 (p);
        uint64_t quote = text ^ (ones * '"'), backslash = text ^ (ones * '\\');
        uint64_t marks =
            ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash) | ((text - ones * 0x20) & ~text);
        marks &= highs;
        if (marks) {
            *high = seen | (text & ((marks & -marks) - 1) & highs);
            return p + (__builtin_ctzll (marks) >> 3);
        }
        seen |= text & highs;
    }
}

/* The string whose opening quote stands before `p`: in place where it has no escapes, else in scratch. */
static inline const char *scan_string (scanner_t *self, const char *p, value_t *value) {
    uint64_t high;
    const char *stop = scan_stop (p, &high);
    if (unlikely (*stop != '"' || high))
        return scan_string_slow (self, p, stop, value);
    *value = value_text (p, (uint32_t) (stop - p));
    return stop + 1;
}

static inline bool scan_is_number (const char *p) {
    return (unsigned) (unsigned char) *p - '0' <= 9 || *p == '-';
}

static inline const char *scan_number (const scanner_t *self, const char *p, value_t *value) {
    const char *next = number_read_here (p, value);
    return likely (next) ? next : scan_refuse_what (self, p, "a number that JSON does not allow");
}

#endif
