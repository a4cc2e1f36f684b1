/* running.c: one row of accumulators a key, kept for as long as the flow has the step. */
#include "running.h"

#include <stdlib.h>

#include "pack.h"
#include "row_read.h"
#include "table.h"

struct running {
    aggregates_t *aggregates;
    table_t *table;
};

running_t *running_new (const value_t *map, fault_t *fault) {
    value_t list;
    if (map->tag != TAG_MAP || !pack_get (map, "aggregates", 10, &list)) {
        fault_set (fault, REASON_AGGREGATE, "the program's running step is malformed");
        return NULL;
    }
    running_t *self = calloc (1, sizeof *self);
    if (self == NULL) {
        fault_set (fault, REASON_LIMIT, "no memory for a running step");
        return NULL;
    }
    self->aggregates = aggregates_new (&list, fault);
    if (self->aggregates == NULL) {
        running_destroy (&self);
        return NULL;
    }
    self->table = table_new (self->aggregates->payload_size);
    if (self->table == NULL) {
        fault_set (fault, REASON_LIMIT, "no memory for a running step");
        running_destroy (&self);
    }
    return self;
}

void running_destroy (running_t **self_p) {
    running_t *self = *self_p;
    if (self == NULL)
        return;
    table_row_t row;
    for (uint32_t i = 0; self->table && i < table_end (self->table); i++)
        if (table_at (self->table, i, &row))
            aggregates_free (self->aggregates, row.payload);
    table_destroy (&self->table);
    aggregates_destroy (&self->aggregates);
    free (self);
    *self_p = NULL;
}

bool running_add (running_t *self, const bkey_t *key, value_t *row, int64_t time_us, arena_t *scratch,
                  fault_t *fault) {
    table_row_t found;
    bool is_new;
    if (unlikely (!table_put (self->table, key, &found, &is_new)))
        return fault_set (fault, REASON_LIMIT, "no memory for a key");
    if (unlikely (!aggregates_add (self->aggregates, found.payload, row, time_us, fault))) {
        if (is_new) {
            aggregates_free (self->aggregates, found.payload);
            table_undo (self->table, found.index);
        }
        return false;
    }
    table_mark (self->table, found.index);
    return aggregates_result (self->aggregates, found.payload, row, scratch, fault);
}

uint64_t running_bytes (const running_t *self) {
    return sizeof *self + *self->aggregates->owned + table_bytes (self->table);
}

uint64_t running_keys (const running_t *self) { return table_count (self->table); }

typedef struct writing {
    const running_t *running;
    section_t *out;
} writing_t;

static bool write_row (void *context, const table_row_t *row, bool removed) {
    writing_t *writing = context;
    buffer_t *out = &writing->out->rows;
    size_t before = out->size;
    uint32_t shard = key_shard (row->key.hash);
    value_t key = {.p = row->key.bytes, .size = row->key.size, .tag = TAG_BYTES}, nil = value_null();
    if (!pack_write_list (out, 3) || !pack_write_int (out, shard) || !pack_write (out, &key) ||
        !(removed ? pack_write (out, &nil)
                  : aggregates_pack (writing->running->aggregates, row->payload, out)))
        return false;
    section_note (writing->out, shard, before);
    return true;
}

bool running_freeze (running_t *self, section_t *out) {
    writing_t writing = {self, out};
    return table_visit_dirty (self->table, write_row, &writing);
}

void running_settle (running_t *self) { table_forget_dirty (self->table); }

static bool restore_row (running_t *self, const row_head_t *head, const value_t *rest, fault_t *fault) {
    table_row_t found;
    bool is_new;
    if (!table_put (self->table, &head->key, &found, &is_new))
        return fault_set (fault, REASON_LIMIT, "no memory for a key");
    if (!is_new)
        return fault_set (fault, REASON_DECODE, "a key comes twice");
    if (!aggregates_unpack (self->aggregates, found.payload, &rest[0], fault)) {
        table_undo (self->table, found.index);
        return false;
    }
    table_set_stored (self->table, found.index);
    return true;
}

bool running_restore (running_t *self, const char *rows, size_t size, fault_t *fault) {
    const char *end = rows + size;
    row_head_t head;
    value_t rest[1];
    while (rows < end)
        if (!(rows = row_read (rows, end, &head, rest, 1, fault)) || !restore_row (self, &head, rest, fault))
            return false;
    return true;
}
