/* csv_encode.c: records as CSV cells in the layout's order, quoted where RFC 4180 asks for it.
 *
 * Null and missing are empty cells, booleans `true` and `false`, lists and maps their JSON, bytes base64. A record
 * of one empty cell is written as `""`: an empty line would be no record. */
#include "codecs.h"

static bool needs_quotes (const char *p, size_t size, char delimiter) {
    for (size_t i = 0; i < size; i++)
        if (p[i] == delimiter || p[i] == '"' || p[i] == '\n' || p[i] == '\r')
            return true;
    return false;
}

/* Put quotes around the cell that begins at `start` and doubles those inside, from its end backwards. */
static bool quote_cell (buffer_t *out, size_t start) {
    size_t size = out->size - start, quotes = 0;
    for (size_t i = 0; i < size; i++)
        quotes += out->data[start + i] == '"';
    if (!buffer_room (out, quotes + 2))
        return false;
    char *from = out->data + out->size;
    char *to = from + quotes + 2;
    out->size += quotes + 2;
    *--to = '"';
    while (from > out->data + start) {
        *--to = *--from;
        if (*from == '"')
            *--to = '"';
    }
    *--to = '"';
    return true;
}

static bool finish_cell (buffer_t *out, size_t start, char delimiter) {
    return !needs_quotes (out->data + start, out->size - start, delimiter) || quote_cell (out, start);
}

static bool write_cell (const value_t *value, char delimiter, uint8_t unit, buffer_t *out, uint64_t *nans) {
    size_t start = out->size;
    uint64_t nans_before = *nans;
    if (value_is_null (value))
        return true;
    if (!value_write_plain (value, unit, out, nans))
        return false;
    if (value->tag < TAG_STR && *nans != nans_before) {
        out->size = start; /* a NaN: its `null` is an empty cell here */
        return true;
    }
    return finish_cell (out, start, delimiter);
}

bool csv_write_header (char delimiter, const layout_t *layout, buffer_t *out, fault_t *fault) {
    for (uint32_t i = 0; i < layout->count; i++) {
        const entry_t *entry = &layout->entries[i];
        if (i > 0 && !buffer_put_byte (out, delimiter))
            return fault_full (out, fault);
        size_t start = out->size;
        if (!buffer_put (out, entry->name, entry->name_size) || !finish_cell (out, start, delimiter))
            return fault_full (out, fault);
    }
    return true;
}

bool csv_write_record (char delimiter, const layout_t *layout, const value_t *row, buffer_t *out,
                       uint64_t *nans, fault_t *fault) {
    size_t start = out->size;
    for (uint32_t i = 0; i < layout->count; i++) {
        const entry_t *entry = &layout->entries[i];
        if (i > 0 && !buffer_put_byte (out, delimiter))
            return fault_full (out, fault);
        if (!write_cell (&row[entry->slot], delimiter, layout->unit, out, nans))
            return fault_set (fault, REASON_ENCODE, "field %.*s cannot be written as a cell",
                              (int) entry->name_size, entry->name);
    }
    if (out->size == start && layout->count == 1 && !buffer_put (out, "\"\"", 2))
        return fault_full (out, fault);
    return true;
}
