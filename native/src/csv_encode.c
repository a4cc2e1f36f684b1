/* csv_encode.c: records as CSV cells, quoted where RFC 4180 asks for it: the `columns` that are named, or
 * the fields of the layout in its order (the planner sees to it that it is closed).
 *
 * Null and missing are empty cells, booleans `true` and `false`, lists and maps their JSON, bytes base64. A
 * record of one empty cell is written as `""`: an empty line would be no record. */
#include <stdlib.h>

#include "codecs.h"
#include "pack.h"

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

/* ---- records ---- */

/* A column, of those named or of the layout. */
typedef struct column {
    const char *name;
    uint32_t name_size;
} column_t;

struct csv_encoder {
    char delimiter;
    bool header;
    column_t *columns; /* from `columns`; none: the layout's */
    uint32_t *hints;   /* their places in the layout */
    uint32_t count;
    char *names;
};

static uint32_t column_count (const csv_encoder_t *self, const layout_t *layout) {
    return self->count > 0 ? self->count : layout->count;
}

static column_t column_at (const csv_encoder_t *self, const layout_t *layout, uint32_t i) {
    const entry_t *entry = &layout->entries[i];
    return self->count > 0 ? self->columns[i] : (column_t){entry->name, entry->name_size};
}

bool csv_wants_header (const csv_encoder_t *self) { return self->header; }

bool csv_write_header (const csv_encoder_t *self, const layout_t *layout, buffer_t *out, fault_t *fault) {
    for (uint32_t i = 0; i < column_count (self, layout); i++) {
        column_t column = column_at (self, layout, i);
        if (i > 0 && !buffer_put_byte (out, self->delimiter))
            return fault_full (out, fault);
        size_t start = out->size;
        if (!buffer_put (out, column.name, column.name_size) || !finish_cell (out, start, self->delimiter))
            return fault_full (out, fault);
    }
    return true;
}

bool csv_write_record (const csv_encoder_t *self, const layout_t *layout, const value_t *row, buffer_t *out,
                       uint64_t *nans, fault_t *fault) {
    size_t start = out->size;
    uint32_t count = column_count (self, layout);
    for (uint32_t i = 0; i < count; i++) {
        column_t column = column_at (self, layout, i);
        value_t value = self->count > 0
                            ? record_field (layout, row, column.name, column.name_size, &self->hints[i])
                            : row[layout->entries[i].slot];
        if (i > 0 && !buffer_put_byte (out, self->delimiter))
            return fault_full (out, fault);
        if (!write_cell (&value, self->delimiter, layout->unit, out, nans))
            return fault_set (fault, REASON_ENCODE, "field %.*s cannot be written as a cell",
                              (int) column.name_size, column.name);
    }
    if (out->size == start && count == 1 && !buffer_put (out, "\"\"", 2))
        return fault_full (out, fault);
    return true;
}

/* ---- its life ---- */

static bool take_columns (csv_encoder_t *self, const value_t *list, fault_t *fault) {
    uint32_t count = 0;
    const char *p = list->tag == TAG_LIST ? pack_open (list, &count) : NULL;
    if (p == NULL)
        return fault_set (fault, REASON_ENCODE, "the columns of CSV are a list of names");
    self->columns = calloc ((size_t) count + 1, sizeof *self->columns);
    self->hints = calloc ((size_t) count + 1, sizeof *self->hints);
    self->names = malloc ((size_t) list->size + 1); /* the names are part of the list's bytes */
    if (self->columns == NULL || self->hints == NULL || self->names == NULL)
        return fault_set (fault, REASON_LIMIT, "no memory for the columns");
    char *to = self->names;
    for (; self->count < count; self->count++) {
        value_t name;
        p = pack_read (p, list->p + list->size, &name);
        if (p == NULL || name.tag != TAG_STR)
            return fault_set (fault, REASON_ENCODE, "the columns of CSV are a list of names");
        memcpy (to, name.p, name.size);
        self->columns[self->count] = (column_t){to, name.size};
        to += name.size;
    }
    return true;
}

csv_encoder_t *csv_encoder_new (const value_t *map, fault_t *fault) {
    csv_encoder_t *self = calloc (1, sizeof *self);
    value_t header, columns;
    if (self == NULL) {
        fault_set (fault, REASON_LIMIT, "no memory for a format");
        return NULL;
    }
    self->header = pack_get (map, "header", 6, &header) && header.tag == TAG_BOOL && header.i;
    bool ok = csv_delimiter (map, &self->delimiter, fault);
    if (ok && pack_get (map, "columns", 7, &columns) && columns.tag != TAG_NULL)
        ok = take_columns (self, &columns, fault);
    if (!ok)
        csv_encoder_destroy (&self);
    return self;
}

void csv_encoder_destroy (csv_encoder_t **self_p) {
    csv_encoder_t *self = *self_p;
    if (self == NULL)
        return;
    free (self->columns);
    free (self->hints);
    free (self->names);
    free (self);
    *self_p = NULL;
}
