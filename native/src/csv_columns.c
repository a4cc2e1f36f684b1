/* csv_columns.c: see csv_columns.h. */
#include "csv_columns.h"

#include <stdlib.h>

#include "pack.h"

enum { COLUMNS_FIRST = 16 };

csv_columns_t *csv_columns_new (const fields_t *fields, fault_t *fault) {
    csv_columns_t *self = calloc (1, sizeof *self);
    if (self == NULL) {
        fault_set (fault, REASON_LIMIT, "no memory for the columns");
        return NULL;
    }
    self->fields = fields;
    self->names.limit = CSV_NAMES_BYTES_MAX;
    return self;
}

void csv_columns_destroy (csv_columns_t **self_p) {
    csv_columns_t *self = *self_p;
    if (self == NULL)
        return;
    buffer_free (&self->names);
    free (self->absent);
    free (self->items);
    free (self);
    *self_p = NULL;
}

static bool columns_grow (csv_columns_t *self) {
    uint32_t capacity = self->capacity == 0 ? COLUMNS_FIRST : 2 * self->capacity;
    csv_column_t *items = realloc (self->items, capacity * sizeof *items);
    if (items == NULL)
        return false;
    self->items = items;
    self->capacity = capacity;
    return true;
}

bool csv_columns_add (csv_columns_t *self, const char *name, uint32_t name_size, fault_t *fault) {
    if (self->count == CSV_COLUMNS_MAX)
        return fault_set (fault, REASON_LIMIT, "there are more than %d columns", (int) CSV_COLUMNS_MAX);
    size_t before = self->names.size;
    if ((self->count == self->capacity && !columns_grow (self)) ||
        !pack_write_text (&self->names, name, name_size))
        return fault_set (fault, REASON_LIMIT, "the names of the columns take more than %d bytes",
                          (int) CSV_NAMES_BYTES_MAX);
    self->items[self->count++] =
        (csv_column_t){.packed_size = (uint32_t) (self->names.size - before), .slot = SLOT_NONE};
    return true;
}

static uint8_t kind_of (const fields_t *fields, int field) {
    uint8_t declared = field >= 0 ? fields->items[field].type : TAG_MISSING;
    if (field < 0)
        return CELL_SKIPPED;
    return declared == TAG_STR ? CELL_TEXT : declared == TAG_BOOL ? CELL_BOOL : CELL_ANY;
}

/* Where one column goes; false when a later one has its name. */
static bool bind_column (csv_columns_t *self, csv_column_t *column, int *field) {
    value_t name;
    pack_read (column->packed, column->packed + column->packed_size, &name);
    for (csv_column_t *later = column + 1; later < self->items + self->count; later++)
        if (text_equals (later->packed, later->packed_size, column->packed, column->packed_size)) {
            column->shadowed = true;
            column->kind = CELL_SKIPPED;
            *field = -1;
            return false;
        }
    *field = fields_find (self->fields, name.p, name.size, *field + 1);
    column->kind = kind_of (self->fields, *field);
    if (*field >= 0)
        column->slot = self->fields->items[*field].slot;
    return true;
}

static bool is_bound (const csv_columns_t *self, uint16_t slot) {
    for (uint32_t i = 0; i < self->count; i++)
        if (self->items[i].slot == slot)
            return true;
    return false;
}

bool csv_columns_bind (csv_columns_t *self, fault_t *fault) {
    const char *packed = self->names.data;
    int field = -1;
    for (uint32_t i = 0; i < self->count; i++) {
        self->items[i].packed = packed;
        packed += self->items[i].packed_size;
    }
    for (uint32_t i = 0; i < self->count; i++)
        self->map_count += bind_column (self, &self->items[i], &field);
    self->absent = calloc (self->fields->count + 1, sizeof *self->absent);
    if (self->absent == NULL)
        return fault_set (fault, REASON_LIMIT, "no memory for the columns");
    for (uint32_t i = 0; i < self->fields->count; i++)
        if (!is_bound (self, self->fields->items[i].slot))
            self->absent[self->absent_count++] = self->fields->items[i].slot;
    return true;
}
