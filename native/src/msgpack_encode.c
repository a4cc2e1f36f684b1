/* msgpack_encode.c: records as msgpack maps. Inside, times are an extension type of our own; outside they
 * are what every sink writes: ints in the source's unit, or RFC 3339 text. */
#include "codecs.h"
#include "pack.h"

/* As in JSON, a time that its unit cannot tell is null, and counted. */
static bool write_time (int64_t us, uint8_t unit, buffer_t *out, uint64_t *nans) {
    char text[TIME_TEXT_MAX];
    value_t value = value_null();
    if (!time_in_unit (us, unit, text, &value))
        ++*nans;
    return pack_write (out, &value);
}

/* The size of one item of a span that pack_read has accepted: of a container its head, the items follow. */
static size_t item_size (const char *p) {
    static const uint8_t heads[32] = {1, 1, 1, 1, 2, 3, 5, 3,  4,  6, 5, 9, 2, 3, 5, 9,
                                      2, 3, 5, 9, 3, 4, 6, 10, 18, 2, 3, 5, 3, 5, 3, 5};
    uint8_t first = (uint8_t) *p;
    if (first < 0xa0 || first >= 0xe0)
        return 1;
    if (first < 0xc0)
        return 1 + (size_t) (first & 31);
    size_t head = heads[first - 0xc0];
    switch (first) {
    case 0xc4:
    case 0xc7:
    case 0xd9: return head + (uint8_t) p[1];
    case 0xc5:
    case 0xc8:
    case 0xda: return head + load_big_u16 (p + 1);
    case 0xc6:
    case 0xc9:
    case 0xdb: return head + load_big_u32 (p + 1);
    default: return head;
    }
}

/* A list or map is a row of items: times are replaced where they stand, everything between them is copied. */
static bool write_span (const value_t *span, uint8_t unit, buffer_t *out, uint64_t *nans) {
    const char *p = span->p, *end = p + span->size, *copied = p;
    while (p < end) {
        size_t size = item_size (p);
        value_t value;
        if (size == 10 && (uint8_t) *p == 0xd7) {
            if (pack_read (p, end, &value) == NULL || value.tag != TAG_TIME)
                return false;
            if (!buffer_put (out, copied, (size_t) (p - copied)) || !write_time (value.i, unit, out, nans))
                return false;
            copied = p + size;
        }
        p += size;
    }
    return buffer_put (out, copied, (size_t) (end - copied));
}

static bool write_value (const value_t *value, uint8_t unit, buffer_t *out, uint64_t *nans) {
    if (value->tag == TAG_TIME)
        return write_time (value->i, unit, out, nans);
    return value->tag >= TAG_LIST ? write_span (value, unit, out, nans) : pack_write (out, value);
}

static uint32_t count_fields (const layout_t *layout, const value_t *row) {
    uint32_t count = 0;
    if (layout->rest_slot == SLOT_NONE) {
        for (uint32_t i = 0; i < layout->count; i++)
            count += row[layout->entries[i].slot].tag != TAG_MISSING;
        return count;
    }
    layout_cursor_t cursor = {.started = false};
    named_value_t field;
    while (layout_next (layout, row, &cursor, &field))
        count++;
    return count;
}

bool msgpack_write_record (const layout_t *layout, const value_t *row, buffer_t *out, uint64_t *nans,
                           fault_t *fault) {
    if (!pack_write_map (out, count_fields (layout, row)))
        return fault_full (out, fault);
    layout_cursor_t cursor = {.started = false};
    named_value_t field;
    while (layout_next (layout, row, &cursor, &field))
        if (!pack_write_text (out, field.name, field.name_size) ||
            !write_value (&field.value, layout->unit, out, nans))
            return fault_set (fault, REASON_ENCODE, "field %.*s cannot be written", (int) field.name_size,
                              field.name);
    return true;
}
