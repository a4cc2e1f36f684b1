/* csv_columns.h: the columns of CSV records: where each cell goes. Made once, from names, then only read. */
#ifndef BETTONG_CSV_COLUMNS_H
#define BETTONG_CSV_COLUMNS_H

#include "codecs.h"

/* Kept for every partition: a header of thousands of connections must not become the memory of a box. */
enum { CSV_COLUMNS_MAX = 4096, CSV_NAMES_BYTES_MAX = 65536 };

/* SKIPPED: not wanted, read for its length, or for the whole record as ANY: numbers are recognised. */
enum cell_kind { CELL_SKIPPED, CELL_ANY, CELL_TEXT, CELL_BOOL };

typedef struct csv_column {
    const char *packed; /* the name, packed */
    uint32_t packed_size;
    uint16_t slot; /* SLOT_NONE: not wanted */
    uint8_t kind;  /* enum cell_kind */
    bool shadowed; /* a later column has the same name: this one is read for its length only */
} csv_column_t;

typedef struct csv_columns {
    csv_column_t *items;
    uint32_t count, capacity;
    uint32_t map_count; /* names that count: pairs of the whole record's map */
    uint16_t *absent;   /* slots of wanted fields without a column */
    uint32_t absent_count;
    buffer_t names; /* the packed ones */
    const fields_t *fields;
} csv_columns_t;

csv_columns_t *csv_columns_new (const fields_t *fields, fault_t *fault);
void csv_columns_destroy (csv_columns_t **self_p);
bool csv_columns_add (csv_columns_t *self, const char *name, uint32_t name_size, fault_t *fault);
/* After the last one: find out where the cells go. */
bool csv_columns_bind (csv_columns_t *self, fault_t *fault);

#endif
