/* table_row.h: the inside of a table, shared by table.c and table_dirty.c only. */
#ifndef BETTONG_TABLE_ROW_H
#define BETTONG_TABLE_ROW_H

#include "table.h"

/* Keys up to ROW_KEY_INSIDE bytes lie in the row: one cache line less for the commonest look-up. */
enum { ROW_KEY_INSIDE = 16, ROW_LIVE = 1, ROW_KEY_OUTSIDE = 2, ROW_STORED = 4 };
#define NO_ROW UINT32_MAX

typedef struct row {
    union {
        uint64_t hash;
        uint32_t next_free; /* of a row in the free list */
    };
    union {
        char inside[ROW_KEY_INSIDE];
        struct {
            char *bytes;
            uint32_t capacity;
        } outside;
    };
    uint32_t size;
    uint32_t flags;
    char payload[];
} row_t;

struct table {
    uint64_t *places;
    uint32_t mask;
    uint32_t count;
    char **slabs;
    uint32_t shift;  /* rows a slab, as a power of two */
    uint32_t stride; /* bytes a row */
    uint32_t end;
    uint32_t free_row; /* the first of a chain, or NO_ROW */
    uint32_t payload_size;
    uint32_t slab_count, slab_capacity;
    uint32_t dirty_count;
    uint64_t *dirty; /* a bit a row */
    size_t dirty_words;
    uint32_t *sorted; /* dirty indexes by shard while they are visited */
    uint32_t sorted_capacity;
    uint64_t bytes;
};

static inline row_t *row_at (const table_t *self, uint32_t index) {
    uint32_t within = index & ((1u << self->shift) - 1);
    return (row_t *) (void *) (self->slabs[index >> self->shift] + (size_t) within * self->stride);
}

static inline const char *row_key (const row_t *row) {
    return row->flags & ROW_KEY_OUTSIDE ? row->outside.bytes : row->inside;
}

void table_describe (row_t *row, uint32_t index, table_row_t *out);
void table_free_row (table_t *self, uint32_t index);

#endif
