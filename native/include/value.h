/* value.h: one field of one row. A slot is 8 bytes of payload beside its tag and size (see docs/decisions).
 *
 * A value never owns what it points at: text lives in the receive buffer, in the scratch arena of the event,
 * in the program's constants or in a table, and is valid until the event has run to completion. */
#ifndef BETTONG_VALUE_H
#define BETTONG_VALUE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "cdefs.h"

#define SLOT_NONE UINT16_MAX
#define likely(x) __builtin_expect (!!(x), 1)
#define unlikely(x) __builtin_expect (!!(x), 0)

static inline value_t value_null (void) { return (value_t) {.i = 0, .size = 0, .tag = TAG_NULL}; }
static inline value_t value_missing (void) { return (value_t) {.i = 0, .size = 0, .tag = TAG_MISSING}; }
static inline value_t value_bool (bool b) { return (value_t) {.i = b, .size = 0, .tag = TAG_BOOL}; }
static inline value_t value_int (int64_t i) { return (value_t) {.i = i, .size = 0, .tag = TAG_INT}; }
static inline value_t value_float (double f) { return (value_t) {.f = f, .size = 0, .tag = TAG_FLOAT}; }
static inline value_t value_time (int64_t us) { return (value_t) {.i = us, .size = 0, .tag = TAG_TIME}; }
static inline value_t value_text (const char *p, uint32_t size) {
    return (value_t) {.p = p, .size = size, .tag = TAG_STR};
}
static inline bool value_is_null (const value_t *v) { return v->tag <= TAG_NULL; }
static inline bool value_is_number (const value_t *v) { return v->tag == TAG_INT || v->tag == TAG_FLOAT; }
static inline double value_as_float (const value_t *v) { return v->tag == TAG_INT ? (double) v->i : v->f; }

/* Unaligned loads, in the machine's own order. */
static inline uint64_t load_u64 (const void *p) {
    uint64_t v;
    memcpy (&v, p, 8);
    return v;
}
static inline uint32_t load_u32 (const void *p) {
    uint32_t v;
    memcpy (&v, p, 4);
    return v;
}
static inline uint16_t load_u16 (const void *p) {
    uint16_t v;
    memcpy (&v, p, 2);
    return v;
}

#endif
