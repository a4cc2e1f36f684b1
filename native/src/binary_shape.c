/* binary_shape.c: the fields of binary messages as the flow file names them: `u8` … `u64`, `i8` … `i64`,
 * `f32`, `f64` and `sN`, N bytes of text. */
#include <stdlib.h>

#include "codecs.h"
#include "pack.h"

static bool take_text_size (binary_item_t *item, const value_t *word) {
    uint32_t size = 0;
    if (word->size < 2 || word->p[1] == '0')
        return false;
    for (uint32_t i = 1; i < word->size; i++) {
        if (word->p[i] < '0' || word->p[i] > '9' || size > BINARY_BYTES_MAX)
            return false;
        size = 10 * size + (uint32_t) (word->p[i] - '0');
    }
    item->type = BINARY_TEXT;
    item->size = size;
    return size <= BINARY_BYTES_MAX;
}

static bool take_type (binary_item_t *item, const value_t *word) {
    static const struct {
        const char *name;
        uint8_t type;
        uint8_t size;
    } types[] = {{"u8", BINARY_UNSIGNED, 1},  {"u16", BINARY_UNSIGNED, 2}, {"u32", BINARY_UNSIGNED, 4},
                 {"u64", BINARY_UNSIGNED, 8}, {"i8", BINARY_SIGNED, 1},    {"i16", BINARY_SIGNED, 2},
                 {"i32", BINARY_SIGNED, 4},   {"i64", BINARY_SIGNED, 8},   {"f32", BINARY_FLOAT, 4},
                 {"f64", BINARY_FLOAT, 8}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (value_is_word (word, types[i].name)) {
            item->type = types[i].type;
            item->size = types[i].size;
            return true;
        }
    return word->tag == TAG_STR && word->size > 0 && *word->p == 's' && take_text_size (item, word);
}

/* A name, copied to `to`, and its type. */
static bool take_item (binary_shape_t *self, const value_t *name, const value_t *type, char *to,
                       fault_t *fault) {
    binary_item_t *item = &self->items[self->count];
    if (name->tag != TAG_STR || !take_type (item, type))
        return fault_set (fault, REASON_DECODE,
                          "a binary field is a name and one of u8 to u64, i8 to i64, f32, f64, sN");
    memcpy (to, name->p, name->size);
    item->name = to;
    item->name_size = name->size;
    item->offset = self->size;
    self->size += item->size;
    self->count++;
    if (self->size > BINARY_BYTES_MAX)
        return fault_set (fault, REASON_LIMIT, "a binary message has at most %d bytes",
                          (int) BINARY_BYTES_MAX);
    for (binary_item_t *other = self->items; other < item; other++)
        if (text_equals (other->name, other->name_size, item->name, item->name_size))
            return fault_set (fault, REASON_DECODE, "the binary field %.*s is there twice",
                              (int) item->name_size, to);
    return true;
}

/* The next name and type: a pair of the map, or a list of two in the list. */
static const char *next_pair (const value_t *fields, const char *p, value_t *name, value_t *type) {
    const char *end = fields->p + fields->size;
    value_t pair;
    uint32_t count = 0;
    if (fields->tag == TAG_MAP) {
        p = pack_read (p, end, name);
        return p != NULL ? pack_read (p, end, type) : NULL;
    }
    p = pack_read (p, end, &pair);
    if (p == NULL || pair.tag != TAG_LIST)
        return NULL;
    const char *inner = pack_open (&pair, &count);
    if (count != 2)
        return NULL;
    inner = pack_read (inner, end, name);
    return inner != NULL && pack_read (inner, end, type) != NULL ? p : NULL;
}

static bool take_order (binary_shape_t *self, const value_t *map, fault_t *fault) {
    value_t order;
    bool given = pack_get (map, "order", 5, &order) && order.tag != TAG_NULL;
    bool big = !given || value_is_word (&order, "big");
    if (!big && !value_is_word (&order, "little"))
        return fault_set (fault, REASON_DECODE, "the byte order is big or little");
    self->swap = big != order_is_big();
    return true;
}

bool binary_shape_init (binary_shape_t *self, const value_t *map, fault_t *fault) {
    value_t list;
    uint32_t count = 0;
    *self = (binary_shape_t){.count = 0};
    if (!take_order (self, map, fault))
        return false;
    if (!pack_get (map, "fields", 6, &list) || list.tag < TAG_LIST)
        return fault_set (fault, REASON_DECODE, "a binary format needs a list of fields");
    const char *p = pack_open (&list, &count);
    /* The names are part of the list's bytes: its size is room enough for their copies. */
    self->items = calloc (count + 1, sizeof *self->items);
    self->names = calloc (1, list.size);
    bool ok = count > 0 || fault_set (fault, REASON_DECODE, "a binary format needs a list of fields");
    if (self->items == NULL || self->names == NULL)
        ok = fault_set (fault, REASON_LIMIT, "no memory for a format");
    char *name = self->names;
    for (uint32_t i = 0; ok && i < count; i++) {
        value_t field, type;
        p = next_pair (&list, p, &field, &type);
        ok = p != NULL ? take_item (self, &field, &type, name, fault)
                       : fault_set (fault, REASON_DECODE, "a binary field is a name and a type");
        if (ok)
            name += self->items[i].name_size;
    }
    if (!ok)
        binary_shape_free (self);
    return ok;
}

void binary_shape_free (binary_shape_t *self) {
    free (self->items);
    free (self->names);
    *self = (binary_shape_t){.count = 0};
}
