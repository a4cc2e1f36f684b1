/* kept.h: a value that an accumulator owns: text, bytes, lists and maps up to 16 bytes lie inside, longer ones in
 * memory of their own, which is used again for the next value. */
#ifndef BETTONG_KEPT_H
#define BETTONG_KEPT_H

#include "value.h"

enum { KEPT_INSIDE = 16 };

typedef struct kept {
    union {
        int64_t i;
        double f;
        char inside[KEPT_INSIDE];
        struct {
            char *bytes;
            uint32_t capacity;
        } outside;
    };
    uint32_t size;
    uint8_t tag;        /* TAG_MISSING: nothing kept */
    uint8_t is_outside; /* `outside` is in use, for whatever the tag */
} kept_t;

/* Room for `value`, the kept value unchanged: kept_put cannot fail after it. `*owned` counts bytes of memory. */
bool kept_reserve (kept_t *self, const value_t *value, uint64_t *owned);
void kept_put (kept_t *self, const value_t *value);
void kept_free (kept_t *self, uint64_t *owned);
/* Numbers by their exact value, text by code point, times: < 0, 0, > 0. Both of one class (kept_comparable). */
int kept_order (const value_t *a, const value_t *b);
bool kept_comparable (const value_t *a, const value_t *b);
/* S2's ==: across int and float, never across other types. NaN equals nothing. */
bool kept_same (const value_t *a, const value_t *b);

static inline bool kept_has_bytes (const value_t *v) { return v->tag >= TAG_STR; }

/* A view, valid until the next change. */
static inline value_t kept_value (const kept_t *self) {
    const char *bytes = self->is_outside ? self->outside.bytes : self->inside;
    value_t value = {.size = self->size, .tag = self->tag};
    if (kept_has_bytes (&value))
        value.p = bytes;
    else
        memcpy (&value.i, bytes, sizeof value.i);
    return value;
}

#endif
