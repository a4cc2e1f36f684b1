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
        if (!table_take_dirty (collection.pane->table, collect, &collection))
            return false;
    }
    collection.pane = NULL;
    return self->table == NULL || table_take_dirty (self->table, collect, &collection);
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

static bool write_row (const window_t *self, const frozen_t *frozen, buffer_t *out) {
    const global_row_t *global = frozen->pane ? NULL : frozen->payload;
    value_t key = {.p = frozen->key.bytes, .size = frozen->key.size, .tag = TAG_BYTES}, nil = value_null();
    int64_t start = global ? global->start : frozen->pane->start;
    int64_t end = global ? global->end : frozen->pane->end;
    int64_t order = global ? (int64_t) global->waiting - 1 : (int64_t) frozen->index;
    if (!pack_write_list (out, 6) || !pack_write_int (out, key_shard (frozen->key.hash)) ||
        !pack_write (out, &key) || !pack_write_int (out, start) || !pack_write_int (out, end) ||
        !pack_write_int (out, order))
        return false;
    if (frozen->payload == NULL)
        return pack_write (out, &nil);
    return aggregates_pack (self->aggregates, global ? (const void *) (global + 1) : frozen->payload, out);
}

static void mark_again (window_t *self) {
    for (uint32_t i = 0; i < self->frozen_count; i++) {
        const frozen_t *frozen = &self->frozen[i];
        if (frozen->payload)
            table_mark (frozen->pane ? frozen->pane->table : self->table, frozen->index);
    }
}

/* All is written: closed panes need no longer be remembered, open ones are now known to a cut. */
static void settle (window_t *self) {
    for (uint32_t i = 0; i < self->frozen_count; i++)
        if (self->frozen[i].payload && self->frozen[i].pane)
            self->frozen[i].pane->stored = true;
    while (self->closed_panes) {
        pane_t *pane = self->closed_panes;
        self->closed_panes = pane->next;
        window_recycle (self, pane);
    }
}

bool window_freeze (window_t *self, buffer_t *out, uint64_t *rows) {
    size_t before = out->size;
    self->frozen_count = 0;
    bool written = collect_all (self);
    if (written)
        sort_by_shard (self);
    for (uint32_t i = 0; written && i < self->frozen_count; i++)
        written = write_row (self, &self->frozen[self->sorted[i]], out);
    if (!written) {
        out->size = before;
        mark_again (self);
        return false;
    }
    settle (self);
    *rows += self->frozen_count;
    return true;
}
