/* window_global.c: the window without an end: one row a key, its results at every record or whenever the watermark
 * passes a multiple of `every`. */
#include <stdlib.h>

#include "window_state.h"

static bool changed_room (window_t *self) {
    if (self->changed_count < self->changed_capacity)
        return true;
    uint32_t capacity = self->changed_capacity ? self->changed_capacity * 2 : 64;
    uint32_t *changed = realloc (self->changed, capacity * sizeof *changed);
    if (changed == NULL)
        return false;
    self->changed = changed;
    self->changed_capacity = capacity;
    return true;
}

enum window_added window_global_add (window_t *self, const bkey_t *key, value_t *row, int64_t time_us,
                                     arena_t *scratch, window_emit_fn *emit, void *context, fault_t *fault) {
    table_row_t found;
    bool is_new;
    if (!changed_room (self) || !table_put (self->table, key, &found, &is_new)) {
        fault_set (fault, REASON_LIMIT, "no memory for a window's key");
        return WINDOW_FAULT;
    }
    global_row_t *global = found.payload;
    if (!aggregates_add (self->aggregates, global + 1, row, time_us, fault)) {
        if (is_new) {
            aggregates_free (self->aggregates, global + 1);
            table_undo (self->table, found.index);
        }
        return WINDOW_FAULT;
    }
    if (is_new || time_us < global->start)
        global->start = time_us;
    if (is_new || time_us > global->end)
        global->end = time_us;
    table_mark (self->table, found.index);
    if (self->every == 0) {
        window_give (self, &found.key, global + 1, global->start, global->end, global->end, row, scratch,
                     emit, context);
    } else if (global->waiting == 0) {
        self->changed[self->changed_count++] = found.index;
        global->waiting = self->changed_count;
    }
    return WINDOW_ADDED;
}

/* The keys changed since the last results, in the order of their first change. They speak at the multiple that the
 * watermark has passed: a window behind must not find them late only because a key has been silent for long (S29). */
static void give_changed (window_t *self, value_t *row, arena_t *scratch, window_emit_fn *emit,
                          void *context) {
    table_row_t found;
    for (uint32_t i = 0; i < self->changed_count; i++) {
        if (!table_at (self->table, self->changed[i], &found))
            continue;
        global_row_t *global = found.payload;
        int64_t speaks_us = self->due == DUE_UNKNOWN ? global->end : self->due;
        global->waiting = 0;
        table_mark (self->table, found.index);
        window_give (self, &found.key, global + 1, global->start, global->end, speaks_us, row, scratch, emit,
                     context);
    }
    self->changed_count = 0;
}

int64_t window_next_due (const window_t *self, int64_t watermark_us) {
    if (watermark_us == INT64_MIN)
        return DUE_UNKNOWN;
    if (watermark_us > WINDOW_TIME_MAX)
        watermark_us = WINDOW_TIME_MAX;
    if (watermark_us < -WINDOW_TIME_MAX)
        watermark_us = -WINDOW_TIME_MAX;
    return window_floor (self, watermark_us) + self->every;
}

/* Passing several multiples at once gives one result a key: nothing changed in between. The first watermark of all
 * only says which multiple comes next. */
void window_global_advance (window_t *self, int64_t watermark_us, value_t *row, arena_t *scratch,
                            window_emit_fn *emit, void *context) {
    if (self->every == 0 || watermark_us == INT64_MIN)
        return;
    bool is_last = watermark_us == INT64_MAX;
    if (is_last || (self->due != DUE_UNKNOWN && watermark_us >= self->due))
        give_changed (self, row, scratch, emit, context);
    if (!is_last && watermark_us >= self->due)
        self->due = window_next_due (self, watermark_us);
}
