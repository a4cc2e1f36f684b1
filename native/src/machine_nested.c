/* machine_nested.c: lists and maps, and what texts and bytes share with them: length, index, slice; check sums. */
#include <math.h>

#include "key.h"
#include "machine_call.h"

/* Reading what the machine was given fails only where a literal of the flow nests too deeply. */
static bool too_deep (machine_t *self, const instruction_t *i) {
    return fault_set (self->fault, REASON_LIMIT, "%s: lists and maps are nested too deeply",
                      machine_name (i));
}

static bool length (const value_t *value, uint32_t *count) {
    switch (value->tag) {
    case TAG_STR: *count = text_count (value); return true;
    case TAG_BYTES: *count = value->size; return true;
    case TAG_LIST:
    case TAG_MAP: pack_open (value, count); return true;
    default: return false;
    }
}

bool call_len (machine_t *self, const instruction_t *i, value_t *out) {
    uint32_t count;
    if (!length (machine_argument (self, i, 0), &count))
        return machine_refuse (self, i, "a text, bytes, a list or a map");
    *out = value_int (count);
    return true;
}

/* Where item `index` of a list begins; `index` is at most the count. NULL when it cannot be read. */
static const char *list_offset (const value_t *list, uint32_t index) {
    uint32_t count;
    const char *end = list->p + list->size, *p = pack_open (list, &count);
    value_t item;
    while (p && index--)
        p = pack_read (p, end, &item);
    return p;
}

/* The item at an index that is inside. */
static bool get_at (machine_t *self, const instruction_t *i, const value_t *value, uint32_t index,
                    value_t *out) {
    if (value->tag == TAG_BYTES) {
        *out = value_int ((unsigned char) value->p[index]);
        return true;
    }
    if (value->tag == TAG_STR) {
        const char *p = value->p + text_offset (value, index);
        *out = value_text (p, character_size (p, value->p + value->size));
        return true;
    }
    const char *p = list_offset (value, index);
    return (p && pack_read (p, value->p + value->size, out)) || too_deep (self, i);
}

bool call_get (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *value = machine_argument (self, i, 0), *key = machine_argument (self, i, 1);
    if (value->tag == TAG_MAP) {
        if (key->tag != TAG_STR)
            return fault_set (self->fault, REASON_EXPRESSION, "the key of a map is str, got %s",
                              tag_name (key->tag));
        pack_get (value, key->p, key->size, out);
        return true;
    }
    uint32_t count;
    if (!length (value, &count))
        return fault_set (self->fault, REASON_EXPRESSION, "%s has no fields and no items",
                          tag_name (value->tag));
    if (key->tag != TAG_INT)
        return fault_set (self->fault, REASON_EXPRESSION, "the index of %s is int, got %s",
                          tag_name (value->tag), tag_name (key->tag));
    int64_t index = key->i < 0 ? key->i + count : key->i;
    if (index < 0 || index >= count)
        return true;
    return get_at (self, i, value, (uint32_t) index, out);
}

/* ---- slices ---- */

static uint32_t bound (int64_t index, uint32_t count) {
    if (index < 0)
        index += count;
    return index < 0 ? 0 : index > count ? count : (uint32_t) index;
}

static bool slice_list (machine_t *self, const instruction_t *i, const value_t *list, uint32_t start,
                        uint32_t stop, value_t *out) {
    const char *first = list_offset (list, start), *last = list_offset (list, stop);
    if (!first || !last)
        return too_deep (self, i);
    buffer_t items;
    if (!machine_write_begin (self, i, &items))
        return false;
    if (!pack_write_list (&items, stop - start) || !buffer_put (&items, first, (size_t) (last - first)))
        return machine_full (self, i);
    return machine_write_value (self, &items, TAG_LIST, out);
}

bool call_slice (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *value = machine_argument (self, i, 0);
    uint32_t count, bounds[2];
    bool is_null = value_is_null (value);
    for (unsigned n = 0; n < 2; n++)
        is_null |= (i->b >> n & 1) && value_is_null (machine_argument (self, i, n + 1));
    if (is_null)
        return true;
    if (!length (value, &count) || value->tag == TAG_MAP)
        return fault_set (self->fault, REASON_EXPRESSION, "%s has no slices", tag_name (value->tag));
    for (unsigned n = 0; n < 2; n++) {
        const value_t *index = machine_argument (self, i, n + 1);
        if (!(i->b >> n & 1)) {
            bounds[n] = n ? count : 0;
            continue;
        }
        if (index->tag != TAG_INT)
            return fault_set (self->fault, REASON_EXPRESSION, "the bounds of a slice are int, got %s",
                              tag_name (index->tag));
        bounds[n] = bound (index->i, count);
    }
    if (bounds[1] < bounds[0])
        bounds[1] = bounds[0];
    if (value->tag == TAG_LIST)
        return slice_list (self, i, value, bounds[0], bounds[1], out);
    bool is_text = value->tag == TAG_STR;
    uint32_t first = is_text ? text_offset (value, bounds[0]) : bounds[0];
    uint32_t last = is_text ? text_offset (value, bounds[1]) : bounds[1];
    *out = (value_t){.p = value->p + first, .size = last - first, .tag = value->tag};
    return true;
}

/* ---- literals ---- */

/* Items one after the other behind a head; read back once, because an item may itself be deeply nested. */
static bool literal (machine_t *self, const instruction_t *i, bool is_map, value_t *out) {
    buffer_t items;
    value_t read;
    if (!machine_write_begin (self, i, &items))
        return false;
    bool is_room = is_map ? pack_write_map (&items, i->count / 2) : pack_write_list (&items, i->count);
    for (unsigned n = 0; n < i->count && is_room; n++)
        is_room = pack_write (&items, machine_argument (self, i, n));
    if (!is_room)
        return machine_full (self, i);
    if (!pack_read (items.data, items.data + items.size, &read))
        return too_deep (self, i);
    return machine_write_value (self, &items, is_map ? TAG_MAP : TAG_LIST, out);
}

bool call_list (machine_t *self, const instruction_t *i, value_t *out) {
    return literal (self, i, false, out);
}

bool call_map (machine_t *self, const instruction_t *i, value_t *out) { return literal (self, i, true, out); }

/* ---- maps ---- */

bool call_has (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *map = machine_argument (self, i, 0), *key = machine_argument (self, i, 1);
    value_t found;
    if (map->tag != TAG_MAP || key->tag != TAG_STR)
        return machine_refuse (self, i, "a map and a key");
    *out = value_bool (pack_get (map, key->p, key->size, &found));
    return true;
}

bool call_keys (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *map = machine_argument (self, i, 0);
    if (map->tag != TAG_MAP)
        return machine_refuse (self, i, "a map");
    uint32_t count;
    const char *end = map->p + map->size, *p = pack_open (map, &count);
    buffer_t list;
    if (!machine_write_begin (self, i, &list))
        return false;
    bool is_room = pack_write_list (&list, count);
    while (is_room && count--) {
        value_t key, value;
        if (!(p = pack_read (p, end, &key)) || !(p = pack_read (p, end, &value)))
            return too_deep (self, i);
        is_room = pack_write_text (&list, key.p, key.size);
    }
    return is_room ? machine_write_value (self, &list, TAG_LIST, out) : machine_full (self, i);
}

/* ---- check sums ---- */

/* The hash of a value's packed form. An integral float is its int, as in keys (S10), and every NaN is the same. */
bool call_hash (machine_t *self, const instruction_t *i, value_t *out) {
    value_t value = *machine_argument (self, i, 0);
    if (value.tag == TAG_FLOAT && value.f >= -0x1p63 && value.f < 0x1p63 && value.f == floor (value.f))
        value = value_int ((int64_t) value.f);
    else if (value.tag == TAG_FLOAT && isnan (value.f))
        value.f = (double) NAN;
    buffer_t packed;
    if (!machine_write_begin (self, i, &packed))
        return false;
    if (!pack_write (&packed, &value))
        return machine_full (self, i);
    *out = value_int ((int64_t) hash_bytes (packed.data, packed.size));
    return true;
}

bool call_crc32 (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *value = machine_argument (self, i, 0);
    if (value->tag != TAG_STR && value->tag != TAG_BYTES)
        return machine_refuse (self, i, "a text or bytes");
    *out = value_int (crc32_bytes (value->p, value->size));
    return true;
}
