/* window_freeze.c: what has changed since the last cut, as rows sorted by shard. */
#include <stdlib.h>

#include "pack.h"
#include "window_state.h"

typedef struct collection {
    window_t *window;
    pane_t *pane;
} collection_t;

static bool frozen_room (window_t *self) {
    if (self->frozen_count < self->frozen_capacity)
        return true;
    uint32_t capacity = self->frozen_capacity ? self->frozen_capacity * 2 : 256;
    frozen_t *frozen = realloc (self->frozen, capacity * sizeof *frozen);
    if (frozen == NULL)
        return false;
    self->frozen = frozen;
    uint32_t *sorted = realloc (self->sorted, capacity * sizeof *sorted);
    if (sorted == NULL)
        return false;
    self->sorted = sorted;
    self->frozen_capacity = capacity;
    return true;
}

static bool collect (void *context, const table_row_t *row, bool removed) {
    collection_t *collection = context;
    window_t *self = collection->window;
    if (!frozen_room (self))
        return false;
    self->frozen[self->frozen_count++] = (frozen_t){.pane = collection->pane,
                                                    .payload = removed ? NULL : row->payload,
                                                    .key = row->key,
                                                    .index = row->index};
    return true;
}

/* Closed panes first: a tombstone precedes whatever else its shard has. */
static bool collect_all (window_t *self) {
    collection_t collection = {self, NULL};
    table_row_t row;
    for (pane_t *pane = self->closed_panes; pane; pane = pane->next) {
        collection.pane = pane;
        for (uint32_t i = 0; i < table_end (pane->table); i++)
            if (table_at (pane->table, i, &row) && table_stored (pane->table, i) &&
                !collect (&collection, &row, true))
                return false;
    }
    for (uint32_t i = 0; i < self->count; i++) {
        collection.pane = self->panes[self->first + i];
        if (!table_visit_dirty (collection.pane->table, collect, &collection))
            return false;
    }
    collection.pane = NULL;
    return self->table == NULL || table_visit_dirty (self->table, collect, &collection);
}

/* A counting sort: stable. */
static void sort_by_shard (window_t *self) {
    uint32_t starts[SHARD_COUNT + 1] = {0};
    for (uint32_t i = 0; i < self->frozen_count; i++)
        starts[key_shard (self->frozen[i].key.hash) + 1]++;
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++)
        starts[shard + 1] += starts[shard];
    for (uint32_t i = 0; i < self->frozen_count; i++)
        self->sorted[starts[key_shard (self->frozen[i].key.hash)]++] = i;
}

static bool write_row (const window_t *self, const frozen_t *frozen, section_t *section) {
    buffer_t *out = &section->rows;
    size_t before = out->size;
    uint32_t shard = key_shard (frozen->key.hash);
    const global_row_t *global = frozen->pane ? NULL : frozen->payload;
    value_t key = {.p = frozen->key.bytes, .size = frozen->key.size, .tag = TAG_BYTES}, nil = value_null();
    int64_t start = global ? global->start : frozen->pane->start;
    int64_t end = global ? global->end : frozen->pane->end;
    int64_t order = global ? (int64_t) global->waiting - 1 : (int64_t) frozen->index;
    const void *accumulators = global ? (const void *) (global + 1) : frozen->payload;
    if (!pack_write_list (out, 6) || !pack_write_int (out, shard) || !pack_write (out, &key) ||
        !pack_write_int (out, start) || !pack_write_int (out, end) || !pack_write_int (out, order) ||
        !(accumulators ? aggregates_pack (self->aggregates, accumulators, out) : pack_write (out, &nil)))
        return false;
    section_note (section, shard, before);
    return true;
}

bool window_freeze (window_t *self, section_t *out) {
    self->frozen_count = 0;
    if (!collect_all (self))
        return false;
    sort_by_shard (self);
    for (uint32_t i = 0; i < self->frozen_count; i++)
        if (!write_row (self, &self->frozen[self->sorted[i]], out))
            return false;
    return true;
}

/* Closed panes need no longer be remembered, open ones are now known to a cut. */
void window_settle (window_t *self) {
    for (uint32_t i = 0; i < self->frozen_count; i++)
        if (self->frozen[i].payload && self->frozen[i].pane)
            self->frozen[i].pane->stored = true;
    for (uint32_t i = 0; i < self->count; i++)
        table_forget_dirty (self->panes[self->first + i]->table);
    if (self->table)
        table_forget_dirty (self->table);
    while (self->closed_panes) {
        pane_t *pane = self->closed_panes;
        self->closed_panes = pane->next;
        window_recycle (self, pane);
    }
}
