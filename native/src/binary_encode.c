/* binary_encode.c: records as messages of fixed size. Every field must fit its type exactly: nothing is cut
 * short, wrapped or rounded but the digits of f32. */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "codecs.h"

struct binary_encoder {
    binary_shape_t shape;
    uint32_t *hints; /* the fields' places in the layout */
};

static const double TWO_63 = 9223372036854775808.0, TWO_64 = 18446744073709551616.0;

static void put_word (char *to, uint64_t word, uint32_t size, bool swap) {
    if (swap)
        word = __builtin_bswap64 (word) >> (64 - 8 * size);
    else if (order_is_big())
        word <<= 64 - 8 * size;
    memcpy (to, &word, size);
}

/* An integer of `size` bytes from an int or an integral float. Integers beyond int64 are floats inside. */
static bool whole_word (const binary_item_t *item, const value_t *value, uint64_t *word) {
    uint32_t bits = 8 * item->size;
    bool is_unsigned = item->type == BINARY_UNSIGNED;
    if (value->tag == TAG_FLOAT) {
        double f = value->f;
        if (f != floor (f) || f < (is_unsigned ? 0 : -TWO_63) || f >= (is_unsigned ? TWO_64 : TWO_63))
            return false;
        *word = f < 0 ? (uint64_t) (int64_t) f : (uint64_t) f;
    } else if (value->tag == TAG_INT && (!is_unsigned || value->i >= 0)) {
        *word = (uint64_t) value->i;
    } else {
        return false;
    }
    if (bits == 64)
        return true;
    if (is_unsigned)
        return *word >> bits == 0;
    int64_t edge = (int64_t) 1 << (bits - 1), number = (int64_t) *word;
    return number >= -edge && number < edge;
}

static bool float_word (const binary_item_t *item, const value_t *value, uint64_t *word) {
    if (!value_is_number (value))
        return false;
    double wide = value_as_float (value);
    if (item->size == 8) {
        memcpy (word, &wide, 8);
        return true;
    }
    if (isfinite (wide) && fabs (wide) > FLT_MAX)
        return false;
    float narrow = (float) wide;
    uint32_t bits;
    memcpy (&bits, &narrow, 4);
    *word = bits;
    return true;
}

static bool put_item (const binary_item_t *item, const value_t *value, char *message, bool swap) {
    char *to = message + item->offset;
    if (item->type == BINARY_TEXT) {
        if (value->tag != TAG_STR || value->size > item->size)
            return false;
        memcpy (to, value->p, value->size);
        memset (to + value->size, 0, item->size - value->size);
        return true;
    }
    uint64_t word;
    if (!(item->type == BINARY_FLOAT ? float_word (item, value, &word) : whole_word (item, value, &word)))
        return false;
    put_word (to, word, item->size, swap);
    return true;
}

bool binary_write_record (const binary_encoder_t *self, const layout_t *layout, const value_t *row,
                          buffer_t *out, fault_t *fault) {
    const binary_shape_t *shape = &self->shape;
    char text[TIME_TEXT_MAX];
    if (!buffer_room (out, shape->size))
        return fault_full (out, fault);
    for (uint32_t i = 0; i < shape->count; i++) {
        const binary_item_t *item = &shape->items[i];
        value_t value = record_field (layout, row, item->name, item->name_size, &self->hints[i]);
        if (value.tag == TAG_TIME && !time_in_unit (value.i, layout->unit, text, &value))
            return fault_set (fault, REASON_ENCODE, "field %.*s: the time does not fit its unit",
                              (int) item->name_size, item->name);
        if (!put_item (item, &value, out->data + out->size, shape->swap))
            return fault_set (fault, REASON_ENCODE, "field %.*s does not fit its %u bytes",
                              (int) item->name_size, item->name, item->size);
    }
    out->size += shape->size;
    return true;
}

binary_encoder_t *binary_encoder_new (const value_t *map, fault_t *fault) {
    binary_encoder_t *self = calloc (1, sizeof *self);
    if (self == NULL) {
        fault_set (fault, REASON_LIMIT, "no memory for a format");
        return NULL;
    }
    if (binary_shape_init (&self->shape, map, fault)) {
        self->hints = calloc (self->shape.count, sizeof *self->hints);
        if (self->hints != NULL)
            return self;
        fault_set (fault, REASON_LIMIT, "no memory for a format");
    }
    binary_encoder_destroy (&self);
    return NULL;
}

void binary_encoder_destroy (binary_encoder_t **self_p) {
    binary_encoder_t *self = *self_p;
    if (self == NULL)
        return;
    binary_shape_free (&self->shape);
    free (self->hints);
    free (self);
    *self_p = NULL;
}
