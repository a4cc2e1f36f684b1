/* window_restore.c: rows back from a cut. They come sorted by shard, one shard after the other, while a pane's table
 * stands in the order of first appearance (S16): rows are put as they come, each with its order noted, and the tables
 * are made anew once all are there. An order need not be the row's index then; where a lost shard has left gaps, the
 * rows close up and are dirty, so that the next cut stores where they stand now. */
#include <stdlib.h>

#include "pack.h"
#include "row_read.h"
#include "window_state.h"

enum { ITEM_START, ITEM_END, ITEM_ORDER, ITEM_ACCUMULATORS, ITEMS };

bool window_is_global (const window_t *self) { return self->kind == WINDOW_GLOBAL; }

static bool malformed (fault_t *fault, const char *what) {
    return fault_set (fault, REASON_DECODE, "a row of a window cannot be restored: %s", what);
}

static bool note_order (pane_t *pane, uint32_t index, uint32_t order) {
    if (index >= pane->orders_capacity) {
        uint32_t capacity = pane->orders_capacity ? pane->orders_capacity * 2 : 64;
        uint32_t *orders = realloc (pane->orders, capacity * sizeof *orders);
        if (orders == NULL)
            return false;
        pane->orders = orders;
        pane->orders_capacity = capacity;
    }
    pane->orders[index] = order;
    return true;
}

static bool restore_pane_row (window_t *self, const bkey_t *key, const value_t *items, fault_t *fault) {
    int64_t start = items[ITEM_START].i;
    table_row_t found;
    bool is_new;
    if (start > 2 * WINDOW_TIME_MAX - 1 || start < -2 * WINDOW_TIME_MAX ||
        window_floor (self, start) != start || items[ITEM_END].i != start + self->size)
        return malformed (fault, "it is no window of this step");
    if (items[ITEM_ORDER].i < 0)
        return malformed (fault, "its order is negative");
    pane_t *pane = window_open (self, window_find (self, start), start, fault);
    if (pane == NULL)
        return false;
    if (!table_put (pane->table, key, &found, &is_new))
        return fault_set (fault, REASON_LIMIT, "no memory for a window's key");
    if (!is_new)
        return malformed (fault, "its key comes twice");
    self->rows++;
    if (!note_order (pane, found.index, (uint32_t) items[ITEM_ORDER].i)) {
        fault_set (fault, REASON_LIMIT, "no memory for a window's key");
    } else if (aggregates_unpack (self->aggregates, found.payload, &items[ITEM_ACCUMULATORS], fault)) {
        table_set_stored (pane->table, found.index);
        return pane->stored = true;
    }
    table_undo (pane->table, found.index);
    self->rows--;
    return false;
}

static bool restore_global_row (window_t *self, const bkey_t *key, const value_t *items, fault_t *fault) {
    table_row_t found;
    bool is_new;
    if (!table_put (self->table, key, &found, &is_new))
        return fault_set (fault, REASON_LIMIT, "no memory for a window's key");
    if (!is_new)
        return malformed (fault, "its key comes twice");
    global_row_t *global = found.payload;
    if (!aggregates_unpack (self->aggregates, global + 1, &items[ITEM_ACCUMULATORS], fault)) {
        table_undo (self->table, found.index);
        return false;
    }
    global->start = items[ITEM_START].i;
    global->end = items[ITEM_END].i;
    global->waiting = self->every ? (uint64_t) (items[ITEM_ORDER].i + 1) : 0;
    table_set_stored (self->table, found.index);
    return true;
}

static bool restore_row (window_t *self, const bkey_t *key, const value_t *items, fault_t *fault) {
    for (int i = ITEM_START; i <= ITEM_ORDER; i++)
        if (items[i].tag != TAG_INT)
            return malformed (fault, "its times and its order are ints");
    if (items[ITEM_ORDER].i < -1 || items[ITEM_ORDER].i >= TABLE_ROWS_MAX)
        return malformed (fault, "its order is out of range");
    if (value_is_null (&items[ITEM_ACCUMULATORS]))
        return malformed (fault, "it is a tombstone");
    return self->kind == WINDOW_GLOBAL ? restore_global_row (self, key, items, fault)
                                       : restore_pane_row (self, key, items, fault);
}

bool window_restore (window_t *self, const char *rows, size_t size, fault_t *fault) {
    const char *end = rows + size;
    row_head_t head;
    value_t items[ITEMS];
    while (rows < end)
        if (!(rows = row_read (rows, end, &head, items, ITEMS, fault)) ||
            !restore_row (self, &head.key, items, fault))
            return false;
    return true;
}

/* ---- once all are there ---- */

/* A row and the number it is sorted by. */
typedef struct ranked {
    uint64_t order;
    uint32_t index;
} ranked_t;

static int compare (const void *a, const void *b) {
    const ranked_t *left = a, *right = b;
    if (left->order != right->order)
        return left->order < right->order ? -1 : 1;
    return left->index < right->index ? -1 : left->index > right->index;
}

/* The payloads move with what they own. */
static bool fill (const window_t *self, const pane_t *pane, const ranked_t *ranked, table_t *table) {
    table_row_t from, to;
    bool is_new;
    for (uint32_t i = 0; i < table_end (pane->table); i++) {
        if (!table_at (pane->table, ranked[i].index, &from) || !table_put (table, &from.key, &to, &is_new))
            return false;
        memcpy (to.payload, from.payload, self->aggregates->payload_size);
        table_set_stored (table, to.index);
        if (ranked[i].order != i)
            table_mark (table, to.index);
    }
    return true;
}

static bool sort_pane (const window_t *self, pane_t *pane) {
    uint32_t count = table_end (pane->table);
    ranked_t *ranked = malloc (((size_t) count + 1) * sizeof *ranked);
    table_t *table = table_new (self->aggregates->payload_size);
    bool good = ranked != NULL && table != NULL;
    for (uint32_t i = 0; good && i < count; i++)
        ranked[i] = (ranked_t){pane->orders[i], i};
    if (good) {
        qsort (ranked, count, sizeof *ranked, compare);
        good = fill (self, pane, ranked, table);
    }
    free (ranked);
    if (!good) {
        table_destroy (&table);
        return false;
    }
    table_destroy (&pane->table);
    pane->table = table;
    free (pane->orders);
    pane->orders = NULL;
    pane->orders_capacity = 0;
    return true;
}

static uint32_t collect_waiting (const window_t *self, ranked_t *ranked) {
    table_row_t row;
    uint32_t count = 0;
    for (uint32_t i = 0; i < table_end (self->table); i++)
        if (table_at (self->table, i, &row) && ((const global_row_t *) row.payload)->waiting)
            ranked[count++] = (ranked_t){((const global_row_t *) row.payload)->waiting, i};
    return count;
}

/* The keys that wait for the next results of a global window, in their order. */
static bool sort_waiting (window_t *self) {
    size_t room = (size_t) table_count (self->table) + 1;
    ranked_t *ranked = malloc (room * sizeof *ranked);
    uint32_t *changed = malloc (room * sizeof *changed);
    if (ranked == NULL || changed == NULL) {
        free (ranked);
        free (changed);
        return false;
    }
    free (self->changed);
    self->changed = changed;
    self->changed_capacity = (uint32_t) room;
    self->changed_count = collect_waiting (self, ranked);
    qsort (ranked, self->changed_count, sizeof *ranked, compare);
    for (uint32_t i = 0; i < self->changed_count; i++) {
        table_row_t row;
        changed[i] = ranked[i].index;
        if (ranked[i].order == i + 1 || !table_at (self->table, ranked[i].index, &row))
            continue;
        ((global_row_t *) row.payload)->waiting = i + 1;
        table_mark (self->table, ranked[i].index);
    }
    free (ranked);
    return true;
}

bool window_resume (window_t *self, int64_t watermark_us) {
    self->advanced = watermark_us;
    for (uint32_t i = 0; i < self->count; i++)
        if (self->panes[self->first + i]->orders && !sort_pane (self, self->panes[self->first + i]))
            return false;
    if (self->kind != WINDOW_GLOBAL || !self->every)
        return true;
    if (!sort_waiting (self))
        return false;
    self->due = window_next_due (self, watermark_us);
    return true;
}
