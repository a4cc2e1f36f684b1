/* record_field.c: what the encoders share: a field by its name, a time in its unit, a value as plain text. */
#include "codecs.h"
#include "pack.h"

bool fault_full (const buffer_t *out, fault_t *fault) {
    return fault_set (fault, REASON_LIMIT,
                      "no room for the record in the sink's buffer, which holds %zu bytes", out->size);
}

static bool entry_is (const entry_t *entry, const char *name, uint32_t name_size) {
    return text_equals (entry->name, entry->name_size, name, name_size);
}

static value_t field_of_rest (const layout_t *layout, const value_t *row, const char *name,
                              uint32_t name_size) {
    value_t value;
    for (uint32_t i = 0; i < layout->hidden_count; i++)
        if (entry_is (&layout->hidden[i], name, name_size))
            return value_missing();
    const value_t *rest = &row[layout->rest_slot];
    return rest->tag == TAG_MAP && pack_get (rest, name, name_size, &value) ? value : value_missing();
}

value_t record_field (const layout_t *layout, const value_t *row, const char *name, uint32_t name_size,
                      uint32_t *hint) {
    if (likely (*hint < layout->count) && likely (entry_is (&layout->entries[*hint], name, name_size)))
        return row[layout->entries[*hint].slot];
    for (uint32_t i = 0; i < layout->count; i++)
        if (entry_is (&layout->entries[i], name, name_size)) {
            *hint = i;
            return row[layout->entries[i].slot];
        }
    if (layout->rest_slot == SLOT_NONE)
        return value_missing();
    return field_of_rest (layout, row, name, name_size);
}

static int64_t divide_down (int64_t us, int64_t by) { return us / by - (us % by < 0); }

bool time_in_unit (int64_t us, uint8_t unit, char text[TIME_TEXT_MAX], value_t *out) {
    int64_t ns;
    uint32_t size;
    switch (unit) {
    case UNIT_US: *out = value_int (us); return true;
    case UNIT_MS: *out = value_int (divide_down (us, 1000)); return true;
    case UNIT_S: *out = value_int (divide_down (us, 1000000)); return true;
    case UNIT_NS:
        if (__builtin_mul_overflow (us, 1000, &ns))
            return false;
        *out = value_int (ns);
        return true;
    default:
        if (!time_write_rfc3339 (text, us, &size))
            return false;
        *out = value_text (text, size);
        return true;
    }
}

bool value_write_plain (const value_t *value, uint8_t unit, buffer_t *out, uint64_t *nans) {
    if (value->tag == TAG_STR)
        return buffer_put (out, value->p, value->size);
    size_t start = out->size;
    value_t shown = value->tag == TAG_MISSING ? value_null() : *value;
    if (!json_write_value (&shown, unit, out, nans))
        return false;
    /* Bytes and times are text in JSON, of characters that are never escaped: only the quotes have to go. */
    if (out->size - start >= 2 && out->data[start] == '"') {
        memmove (out->data + start, out->data + start + 1, out->size - start - 2);
        out->size -= 2;
    }
    return true;
}
