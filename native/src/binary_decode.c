/* binary_decode.c: messages of a fixed size with fields at fixed places. */
#include <stdlib.h>

#include "codecs.h"

/* A wanted field: its item and the slot it goes to. */
typedef struct target {
    binary_item_t item;
    uint16_t slot;
} target_t;

struct binary_decoder {
    const fields_t *fields;
    binary_shape_t shape;
    target_t *targets;
    uint32_t target_count;
    bool complete; /* every wanted field is in the message: no slot has to be cleared */
};

static inline uint64_t read_word (const char *p, uint32_t size, bool swap) {
    switch (size) {
    case 1: return (uint8_t) *p;
    case 2: return swap ? __builtin_bswap16 (load_u16 (p)) : load_u16 (p);
    case 4: return swap ? __builtin_bswap32 (load_u32 (p)) : load_u32 (p);
    default: return swap ? __builtin_bswap64 (load_u64 (p)) : load_u64 (p);
    }
}

static inline value_t signed_value (uint64_t word, uint32_t size) {
    switch (size) {
    case 1: return value_int ((int8_t) word);
    case 2: return value_int ((int16_t) word);
    case 4: return value_int ((int32_t) word);
    default: return value_int ((int64_t) word);
    }
}

/* Text is as long as its field, without the NULs it was filled up with. */
static bool text_value (const binary_item_t *item, const char *p, value_t *value, fault_t *fault) {
    uint32_t size = item->size;
    while (size > 0 && p[size - 1] == '\0')
        size--;
    if (unlikely (!text_is_utf8 (p, size)))
        return fault_set (fault, REASON_DECODE, "the text of field %.*s is not UTF-8", (int) item->name_size,
                          item->name);
    *value = value_text (p, size);
    return true;
}

static inline bool item_value (const binary_item_t *item, const char *message, bool swap, value_t *value,
                               fault_t *fault) {
    const char *p = message + item->offset;
    if (item->type == BINARY_TEXT)
        return text_value (item, p, value, fault);
    uint64_t word = read_word (p, item->size, swap);
    if (item->type == BINARY_UNSIGNED)
        *value = value_of_u64 (word);
    else if (item->type == BINARY_SIGNED)
        *value = signed_value (word, item->size);
    else
        *value = item->size == 4 ? value_of_f32 ((uint32_t) word) : value_of_f64 (word);
    return true;
}

static bool put_rest (const binary_decoder_t *self, const char *text, value_t *row, arena_t *scratch,
                      fault_t *fault) {
    const binary_shape_t *shape = &self->shape;
    size_t room = COUNT_HEAD_MAX + (size_t) shape->size + PACK_HEAD_ROOM;
    for (uint32_t i = 0; i < shape->count; i++)
        room += TEXT_HEAD_MAX + shape->items[i].name_size + SCALAR_HEAD_MAX;
    char *map = arena_take (scratch, room);
    if (map == NULL)
        return fault_set (fault, REASON_LIMIT, "the record is too large");
    char *end = pack_put_count (map, true, shape->count);
    for (uint32_t i = 0; i < shape->count; i++) {
        value_t value = value_null();
        if (!item_value (&shape->items[i], text, shape->swap, &value, fault))
            return false;
        end = put_scalar (put_text (end, shape->items[i].name, shape->items[i].name_size), &value);
    }
    row[self->fields->rest_slot] = (value_t){.p = map, .size = (uint32_t) (end - map), .tag = TAG_MAP};
    return true;
}

bool binary_decode (const binary_decoder_t *self, const char *text, uint32_t size, value_t *row,
                    arena_t *scratch, fault_t *fault) {
    if (unlikely (size != self->shape.size))
        return fault_set (fault, REASON_DECODE, "the message has %u bytes, its fields take %u", size,
                          self->shape.size);
    if (!self->complete)
        fields_clear (self->fields, row);
    const target_t *end = self->targets + self->target_count;
    for (const target_t *target = self->targets; target < end; target++)
        if (unlikely (!item_value (&target->item, text, self->shape.swap, &row[target->slot], fault)))
            return false;
    return likely (self->fields->rest_slot == SLOT_NONE) || put_rest (self, text, row, scratch, fault);
}

static bool bind_targets (binary_decoder_t *self, fault_t *fault) {
    self->targets = calloc (self->shape.count, sizeof *self->targets);
    if (self->targets == NULL)
        return fault_set (fault, REASON_LIMIT, "no memory for a format");
    int field = -1;
    for (uint32_t i = 0; i < self->shape.count; i++) {
        const binary_item_t *item = &self->shape.items[i];
        field = fields_find (self->fields, item->name, item->name_size, field + 1);
        if (field >= 0)
            self->targets[self->target_count++] =
                (target_t){.item = *item, .slot = self->fields->items[field].slot};
    }
    self->complete = self->target_count == self->fields->count;
    return true;
}

binary_decoder_t *binary_decoder_new (const value_t *map, const fields_t *fields, fault_t *fault) {
    binary_decoder_t *self = calloc (1, sizeof *self);
    if (self == NULL) {
        fault_set (fault, REASON_LIMIT, "no memory for a format");
        return NULL;
    }
    self->fields = fields;
    if (!binary_shape_init (&self->shape, map, fault) || !bind_targets (self, fault))
        binary_decoder_destroy (&self);
    return self;
}

void binary_decoder_destroy (binary_decoder_t **self_p) {
    binary_decoder_t *self = *self_p;
    if (self == NULL)
        return;
    binary_shape_free (&self->shape);
    free (self->targets);
    free (self);
    *self_p = NULL;
}
