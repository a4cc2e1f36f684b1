/* rows.c: the last row of each key; see rows.h. One pass finds the rows and who is the last of its key, a second
 * copies those. A row is known by its bytes up to the last item of its identity. */
#include "rows.h"

#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "key.h"
#include "pack.h"

typedef struct {
    uint64_t start, size;    /* of the row; a size of 0: it is not alive */
    uint64_t identity, hash; /* bytes of its identity */
} span_t;

typedef struct {
    const char *data;
    span_t *spans;
    uint32_t *slots; /* index of a span, from 1; 0 is empty */
    uint64_t count, capacity, slot_count;
} merge_t;

/* What follows `count` values; NULL when they are not there. */
static const char *skip (const char *p, const char *end, uint32_t count) {
    value_t value;
    for (; p != NULL && count > 0; count--)
        p = pack_read (p, end, &value);
    return p;
}

/* The slot of a span with these bytes, or the empty one where it belongs. */
static uint32_t *find_slot (merge_t *self, const span_t *span) {
    uint64_t mask = self->slot_count - 1;
    for (uint64_t at = span->hash & mask;; at = (at + 1) & mask) {
        if (self->slots[at] == 0)
            return &self->slots[at];
        const span_t *other = &self->spans[self->slots[at] - 1];
        if (other->hash == span->hash && other->identity == span->identity &&
            memcmp (self->data + other->start, self->data + span->start, span->identity) == 0)
            return &self->slots[at];
    }
}

/* Room for another span, with slots for at most half of them taken. */
static bool grow (merge_t *self) {
    uint64_t capacity = self->capacity ? self->capacity * 2 : 1024;
    if (capacity > UINT32_MAX / 2)
        return false;
    span_t *spans = realloc (self->spans, capacity * sizeof *spans);
    if (spans == NULL)
        return false;
    self->spans = spans;
    uint32_t *slots = calloc (capacity * 2, sizeof *slots);
    if (slots == NULL)
        return false;
    free (self->slots);
    self->slots = slots;
    self->capacity = capacity;
    self->slot_count = capacity * 2;
    for (uint64_t i = 0; i < self->count; i++)
        *find_slot (self, &spans[i]) = (uint32_t) i + 1;
    return true;
}

/* The row takes the place of the one before it; after a tombstone it is a new one, behind the others. */
static bool take (merge_t *self, const span_t *span, bool is_tombstone) {
    if (self->count == self->capacity && !grow (self))
        return false;
    uint32_t *slot = find_slot (self, span);
    span_t *before = *slot != 0 ? &self->spans[*slot - 1] : NULL;
    if (is_tombstone) {
        if (before != NULL)
            before->size = 0;
    } else if (before != NULL && before->size != 0) {
        *before = *span;
    } else {
        self->spans[self->count++] = *span;
        *slot = (uint32_t) self->count;
    }
    return true;
}

static int64_t merge (merge_t *self, uint64_t size, uint32_t items, uint32_t identity, uint32_t mortal) {
    const char *p = self->data, *end = self->data + size;
    while (p < end) {
        value_t row;
        uint32_t count = 0;
        const char *start = p, *first = pack_head (p, end, &row, &count);
        if (first == NULL || row.tag != TAG_LIST || count != items)
            return ROWS_MALFORMED;
        const char *known = skip (first, end, identity), *fate = skip (known, end, mortal - identity);
        p = skip (fate, end, items - mortal);
        if (p == NULL)
            return ROWS_MALFORMED;
        span_t span = {(uint64_t) (start - self->data), (uint64_t) (p - start), (uint64_t) (known - start),
                       0};
        span.hash = hash_bytes (start, span.identity);
        if (!take (self, &span, (uint8_t) *fate == 0xc0))
            return ROWS_NO_MEMORY;
    }
    return 0;
}

int64_t rows_merge (const char *data, uint64_t size, uint32_t items, uint32_t identity, uint32_t mortal,
                    char *out) {
    merge_t self = {.data = data};
    int64_t result = merge (&self, size, items, identity, mortal);
    if (result == 0) {
        for (uint64_t i = 0; i < self.count; i++) {
            memcpy (out + result, data + self.spans[i].start, self.spans[i].size);
            result += (int64_t) self.spans[i].size;
        }
    }
    free (self.spans);
    free (self.slots);
    return result;
}
