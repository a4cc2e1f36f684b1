/* table_dirty.c: which rows of a table have changed since the last cut: a bit a row, so that marking costs nothing
 * and a walk over the bits gives the rows in order. */
#include <stdlib.h>

#include "table_row.h"

enum { ORDER_COUNT = 2 * SHARD_COUNT };

void table_mark (table_t *self, uint32_t index) { table_mark_row (self, index); }

bool table_stored (const table_t *self, uint32_t index) { return row_at (self, index)->flags & ROW_STORED; }
void table_set_stored (table_t *self, uint32_t index) { row_at (self, index)->flags |= ROW_STORED; }

/* Where a row stands in the visit: by shard, tombstones first. */
static inline uint32_t order_of (const row_t *row) {
    return 2 * key_shard (row->hash) + (row->flags & ROW_LIVE ? 1 : 0);
}

/* The next dirty index at or after `index`, or `end`. */
static uint32_t next_dirty (const table_t *self, uint32_t index) {
    while (index < self->end) {
        uint64_t word = self->dirty[index / 64] >> (index % 64);
        if (word) {
            index += (uint32_t) __builtin_ctzll (word);
            break;
        }
        index = (index / 64 + 1) * 64;
    }
    return index < self->end ? index : self->end;
}

/* A counting sort: stable, so that indexes stay in order within a shard. */
static bool sort_dirty (table_t *self) {
    uint32_t starts[ORDER_COUNT + 1] = {0};
    if (self->sorted_capacity < self->dirty_count) {
        uint32_t capacity = self->dirty_count + self->dirty_count / 2;
        uint32_t *sorted = realloc (self->sorted, capacity * sizeof *sorted);
        if (sorted == NULL)
            return false;
        self->bytes += (uint64_t) (capacity - self->sorted_capacity) * sizeof *sorted;
        self->sorted = sorted;
        self->sorted_capacity = capacity;
    }
    for (uint32_t i = next_dirty (self, 0); i < self->end; i = next_dirty (self, i + 1))
        starts[order_of (row_at (self, i)) + 1]++;
    for (uint32_t order = 0; order < ORDER_COUNT; order++)
        starts[order + 1] += starts[order];
    for (uint32_t i = next_dirty (self, 0); i < self->end; i = next_dirty (self, i + 1))
        self->sorted[starts[order_of (row_at (self, i))]++] = i;
    return true;
}

/* All were visited: forget them; the removed ones may be used again. */
void table_forget_dirty (table_t *self) {
    for (uint32_t k = self->dirty_count; k-- > 0;) {
        uint32_t index = self->sorted[k];
        row_t *row = row_at (self, index);
        self->dirty[index / 64] &= ~((uint64_t) 1 << (index % 64));
        if (row->flags & ROW_LIVE)
            row->flags |= ROW_STORED;
        else
            table_free_row (self, index);
    }
    self->dirty_count = 0;
}

bool table_visit_dirty (table_t *self, table_visit_fn *visit, void *context) {
    if (self->dirty_count == 0)
        return true;
    if (!sort_dirty (self))
        return false;
    for (uint32_t k = 0; k < self->dirty_count; k++) {
        table_row_t out;
        row_t *row = row_at (self, self->sorted[k]);
        table_describe (row, self->sorted[k], &out);
        if (!visit (context, &out, !(row->flags & ROW_LIVE)))
            return false;
    }
    return true;
}

bool table_take_dirty (table_t *self, table_visit_fn *visit, void *context) {
    if (!table_visit_dirty (self, visit, context))
        return false;
    table_forget_dirty (self);
    return true;
}
