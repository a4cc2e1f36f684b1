/* kept.c: values that outlive their record. */
#include "kept.h"

#include <math.h>
#include <stdlib.h>

#include "machine.h"

enum { CAPACITY_MIN = 32 };

bool kept_reserve (kept_t *self, const value_t *value, uint64_t *owned) {
    if (!kept_has_bytes (value) || value->size <= (self->is_outside ? self->outside.capacity : KEPT_INSIDE))
        return true;
    /* Doubling: a text that grows from record to record is copied seldom. */
    uint64_t capacity = CAPACITY_MIN;
    while (capacity < value->size)
        capacity *= 2;
    if (capacity > UINT32_MAX)
        return false;
    char *bytes = malloc (capacity);
    if (bytes == NULL)
        return false;
    if (self->is_outside) {
        memcpy (bytes, self->outside.bytes, self->outside.capacity);
        *owned -= self->outside.capacity;
        free (self->outside.bytes);
    } else {
        memcpy (bytes, self->inside, KEPT_INSIDE);
    }
    self->outside.bytes = bytes;
    self->outside.capacity = (uint32_t) capacity;
    self->is_outside = true;
    *owned += capacity;
    return true;
}

/* Once there is memory outside, scalars lie in it too: its address must not be overwritten. */
void kept_put (kept_t *self, const value_t *value) {
    char *bytes = self->is_outside ? self->outside.bytes : self->inside;
    self->tag = value->tag;
    if (kept_has_bytes (value)) {
        self->size = value->size;
        if (value->size)
            memcpy (bytes, value->p, value->size);
    } else {
        self->size = 0;
        memcpy (bytes, &value->i, sizeof value->i);
    }
}

void kept_free (kept_t *self, uint64_t *owned) {
    if (self->is_outside) {
        *owned -= self->outside.capacity;
        free (self->outside.bytes);
    }
    *self = (kept_t){.tag = TAG_MISSING};
}

/* 2^63: the first float above all ints. */
#define INT64_EDGE 9223372036854775808.0

/* Exactly: an int need not be a double. `f` is not NaN. */
static int compare_int_float (int64_t i, double f) {
    if (f >= INT64_EDGE)
        return -1;
    if (f < -INT64_EDGE)
        return 1;
    int64_t whole = (int64_t) f;
    if (i != whole)
        return i < whole ? -1 : 1;
    double rest = f - (double) whole;
    return rest > 0 ? -1 : rest < 0;
}

static int compare_bytes (const value_t *a, const value_t *b) {
    uint32_t common = a->size < b->size ? a->size : b->size;
    int order = common ? memcmp (a->p, b->p, common) : 0;
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

bool kept_comparable (const value_t *a, const value_t *b) {
    return a->tag == b->tag || (value_is_number (a) && value_is_number (b));
}

int kept_order (const value_t *a, const value_t *b) {
    if (a->tag == TAG_FLOAT)
        return b->tag == TAG_FLOAT ? (a->f > b->f) - (a->f < b->f) : -compare_int_float (b->i, a->f);
    if (b->tag == TAG_FLOAT)
        return compare_int_float (a->i, b->f);
    return kept_has_bytes (a) ? compare_bytes (a, b) : (a->i > b->i) - (a->i < b->i);
}

bool kept_same (const value_t *a, const value_t *b) {
    if (value_is_null (a) || value_is_null (b))
        return value_is_null (a) && value_is_null (b);
    if (!kept_comparable (a, b))
        return false;
    bool is_equal;
    if (a->tag >= TAG_LIST && value_equal (a, b, &is_equal))
        return is_equal;
    if ((a->tag == TAG_FLOAT && isnan (a->f)) || (b->tag == TAG_FLOAT && isnan (b->f)))
        return false;
    return kept_order (a, b) == 0;
}
