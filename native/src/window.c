/* window.c: records into panes, and results out of them. */
#include "window.h"

#include <stdlib.h>

#include "pack.h"
#include "table_row.h"
#include "window_state.h"

enum { LATEST_PANES = 4 };

static bool get_int (const value_t *map, const char *name, int64_t *out) {
    value_t value;
    *out = 0;
    if (!pack_get (map, name, (uint32_t) strlen (name), &value) || value_is_null (&value))
        return true;
    *out = value.i;
    return value.tag == TAG_INT;
}

static bool get_slot (const value_t *map, const char *name, uint16_t *out) {
    int64_t slot;
    *out = SLOT_NONE;
    if (!get_int (map, name, &slot) || slot < -1 || slot > SLOT_NONE)
        return false;
    value_t value;
    if (slot >= 0 && pack_get (map, name, (uint32_t) strlen (name), &value) && !value_is_null (&value))
        *out = (uint16_t) slot;
    return true;
}

static bool get_kind (const value_t *map, enum window_kind *kind) {
    static const char *const names[] = {"tumbling", "hopping", "global"};
    value_t value;
    if (!pack_get (map, "kind", 4, &value) || value.tag != TAG_STR)
        return false;
    for (uint32_t k = 0; k < 3; k++) {
        if (value.size == strlen (names[k]) && memcmp (value.p, names[k], value.size) == 0) {
            *kind = (enum window_kind) k;
            return true;
        }
    }
    return false;
}

static bool get_keys (window_t *self, const value_t *map) {
    value_t list, slot;
    if (!pack_get (map, "keys", 4, &list))
        return true;
    if (list.tag != TAG_LIST)
        return false;
    const char *p = pack_open (&list, &self->key_count);
    self->keys = calloc ((size_t) self->key_count + 1, sizeof *self->keys);
    if (self->keys == NULL)
        return false;
    for (uint32_t i = 0; i < self->key_count; i++) {
        p = pack_read (p, list.p + list.size, &slot);
        if (p == NULL || slot.tag != TAG_INT || slot.i < 0 || slot.i >= SLOT_NONE)
            return false;
        self->keys[i] = (uint16_t) slot.i;
    }
    return true;
}

/* A tumbling window hops by its size. No size or step beyond the bounds, no more panes a record than allowed. */
static bool get_measures (window_t *self, const value_t *map) {
    if (!get_kind (map, &self->kind) || !get_int (map, "size", &self->size) ||
        !get_int (map, "every", &self->every) || !get_int (map, "offset", &self->offset))
        return false;
    if (self->kind == WINDOW_TUMBLING)
        self->every = self->size;
    if (self->every > WINDOW_SIZE_MAX || self->offset > WINDOW_SIZE_MAX || self->offset < -WINDOW_SIZE_MAX)
        return false;
    if (self->kind == WINDOW_GLOBAL)
        return self->every >= 0;
    return self->every > 0 && self->size > 0 && self->size <= WINDOW_SIZE_MAX &&
           self->size / self->every < WINDOW_PANES_MAX;
}

static bool load (window_t *self, const value_t *map, fault_t *fault) {
    value_t list;
    if (map->tag != TAG_MAP || !get_measures (self, map) || !get_slot (map, "start", &self->start_slot) ||
        !get_slot (map, "end", &self->end_slot) || !get_keys (self, map) ||
        !pack_get (map, "aggregates", 10, &list))
        return fault_set (fault, REASON_AGGREGATE, "the program's window is malformed");
    self->aggregates = aggregates_new (&list, fault);
    if (self->aggregates == NULL)
        return false;
    if (self->kind != WINDOW_GLOBAL)
        return true;
    self->table = table_new ((uint32_t) sizeof (global_row_t) + self->aggregates->payload_size);
    return self->table || fault_set (fault, REASON_LIMIT, "no memory for a window");
}

window_t *window_new (const value_t *map, fault_t *fault) {
    window_t *self = calloc (1, sizeof *self);
    if (self == NULL) {
        fault_set (fault, REASON_LIMIT, "no memory for a window");
        return NULL;
    }
    self->advanced = INT64_MIN;
    self->due = DUE_UNKNOWN;
    if (!load (self, map, fault))
        window_destroy (&self);
    return self;
}

void window_destroy (window_t **self_p) {
    window_t *self = *self_p;
    if (self == NULL)
        return;
    window_free_panes (self);
    table_row_t row;
    for (uint32_t i = 0; self->table && i < table_end (self->table); i++)
        if (table_at (self->table, i, &row))
            aggregates_free (self->aggregates, (global_row_t *) row.payload + 1);
    table_destroy (&self->table);
    aggregates_destroy (&self->aggregates);
    free (self->keys);
    free (self->touched);
    free (self->changed);
    free (self->frozen);
    free (self->sorted);
    free (self);
    *self_p = NULL;
}

/* Undo what table_put did for a record that was then refused. */
static void take_back (window_t *self, const touched_t *touched) {
    if (!touched->is_new)
        return;
    aggregates_free (self->aggregates, touched->payload);
    table_undo (touched->pane->table, touched->index);
    self->rows--;
}

/* The key's row in a pane. */
static inline bool touch (window_t *self, pane_t *pane, const bkey_t *key, touched_t *touched,
                          fault_t *fault) {
    table_row_t found;
    if (unlikely (!table_put (pane->table, key, &found, &touched->is_new)))
        return fault_set (fault, REASON_LIMIT, "no memory for a window's key");
    touched->pane = pane;
    touched->payload = found.payload;
    touched->index = found.index;
    self->rows += touched->is_new;
    return true;
}

static bool touched_room (window_t *self, uint32_t count) {
    if (count <= self->touched_capacity)
        return true;
    touched_t *touched = realloc (self->touched, count * sizeof *touched);
    if (touched == NULL)
        return false;
    self->touched = touched;
    self->touched_capacity = count;
    return true;
}

/* How many windows that start at or before `last` still reach beyond `limit`. */
static inline int64_t count_beyond (const window_t *self, int64_t last, int64_t limit) {
    int64_t reach = last + self->size - limit;
    return reach > 0 ? (reach - 1) / self->every + 1 : 0;
}

/* Into every window around the record's time that is still open: into all of them, or none. */
static enum window_added add_hopping (window_t *self, const bkey_t *key, const value_t *row, int64_t time_us,
                                      int64_t bound, fault_t *fault) {
    int64_t last = window_floor (self, time_us);
    int64_t around = count_beyond (self, last, time_us);
    if (around == 0)
        return WINDOW_ADDED; /* in a gap (S25) */
    int64_t open = bound > time_us ? count_beyond (self, last, bound) : around;
    if (open == 0)
        return WINDOW_LATE;
    if (!touched_room (self, (uint32_t) open)) {
        fault_set (fault, REASON_LIMIT, "no memory for windows");
        return WINDOW_FAULT;
    }
    int64_t start = last - (open - 1) * self->every;
    uint32_t place = window_find (self, start);
    for (uint32_t i = 0; i < open; i++, start += self->every) {
        pane_t *pane = window_open (self, place + i, start, fault);
        touched_t *touched = &self->touched[i];
        if (pane && touch (self, pane, key, touched, fault)) {
            if (likely (aggregates_check (self->aggregates, touched->payload, row, time_us, fault)))
                continue;
            take_back (self, touched);
        }
        while (i-- > 0)
            take_back (self, &self->touched[i]);
        return WINDOW_FAULT;
    }
    for (uint32_t i = 0; i < open; i++) {
        aggregates_apply (self->aggregates, self->touched[i].payload, row, time_us);
        table_mark (self->touched[i].pane->table, self->touched[i].index);
    }
    return WINDOW_ADDED;
}

static inline bool is_in (const pane_t *pane, int64_t time_us) {
    return time_us >= pane->start && time_us < pane->end;
}

static enum window_added add_tumbling (window_t *self, const bkey_t *key, const value_t *row, int64_t time_us,
                                       int64_t bound, fault_t *fault) {
    pane_t *pane = self->last;
    touched_t touched;
    if (unlikely (pane == NULL || !is_in (pane, time_us))) {
        int64_t start = window_floor (self, time_us);
        if (start + self->size <= bound)
            return WINDOW_LATE;
        pane = window_open (self, window_find (self, start), start, fault);
        if (pane == NULL)
            return WINDOW_FAULT;
        self->last = pane;
    }
    if (unlikely (pane->end <= bound))
        return WINDOW_LATE;
    if (unlikely (!touch (self, pane, key, &touched, fault)))
        return WINDOW_FAULT;
    if (unlikely (!aggregates_add (self->aggregates, touched.payload, row, time_us, fault))) {
        take_back (self, &touched);
        return WINDOW_FAULT;
    }
    table_mark (pane->table, touched.index);
    return WINDOW_ADDED;
}

/* An open pane of a tumbling window for a time, if it is one of the latest: about the end of a window, records go into
 * two of them by turns. */
static pane_t *latest_pane (window_t *self, int64_t time_us) {
    uint32_t count = self->count < LATEST_PANES ? self->count : LATEST_PANES;
    pane_t **panes = self->panes + self->first + self->count - count;
    for (uint32_t i = 0; self->kind == WINDOW_TUMBLING && i < count; i++)
        if (is_in (panes[i], time_us))
            return self->last = panes[i];
    return NULL;
}

void window_prepare (const window_t *self) {
    fetch (self->aggregates, sizeof *self->aggregates);
    fetch (self->aggregates->groups, self->aggregates->group_count * sizeof *self->aggregates->groups);
    if (self->last != NULL)
        table_prepare (self->last->table);
}

void window_expect (const window_t *self, const bkey_t *key) {
    if (self->last != NULL)
        table_expect (self->last->table, key);
}

bool window_add_again (window_t *self, const bkey_t *key, const value_t *row, int64_t time_us,
                       int64_t partition_watermark_us) {
    pane_t *pane = self->last; /* only tumbling windows have one */
    if (unlikely (pane == NULL || !is_in (pane, time_us)) && !(pane = latest_pane (self, time_us)))
        return false;
    if (unlikely (pane->end <= partition_watermark_us || pane->end <= self->advanced))
        return false;
    uint32_t index;
    row_t *found = table_hit (pane->table, key, &index);
    if (unlikely (!found || !aggregates_add_again (self->aggregates, found->payload, row)))
        return false;
    table_mark_row (pane->table, index);
    return true;
}

enum window_added window_add (window_t *self, const bkey_t *key, value_t *row, int64_t time_us,
                              int64_t partition_watermark_us, arena_t *scratch, window_emit_fn *emit,
                              void *context, fault_t *fault) {
    if (unlikely (time_us > WINDOW_TIME_MAX || time_us < -WINDOW_TIME_MAX)) {
        fault_set (fault, REASON_TIME, "the time is too far from 1970 for a window");
        return WINDOW_FAULT;
    }
    int64_t bound = partition_watermark_us > self->advanced ? partition_watermark_us : self->advanced;
    /* Beyond every end all is late; the sums stay within 64 bits. */
    if (unlikely (bound > 2 * WINDOW_TIME_MAX - 1))
        bound = 2 * WINDOW_TIME_MAX - 1;
    switch (self->kind) {
    case WINDOW_TUMBLING: return add_tumbling (self, key, row, time_us, bound, fault);
    case WINDOW_HOPPING: return add_hopping (self, key, row, time_us, bound, fault);
    default: return window_global_add (self, key, row, time_us, scratch, emit, context, fault);
    }
}

int64_t window_due (const window_t *self) {
    if (self->kind == WINDOW_GLOBAL)
        return self->every ? self->due : INT64_MAX;
    return self->count ? self->panes[self->first]->end : INT64_MAX;
}

void window_give (window_t *self, const bkey_t *key, const void *payload, int64_t start_us, int64_t end_us,
                  int64_t speaks_us, value_t *row, arena_t *scratch, window_emit_fn *emit, void *context) {
    fault_t fault = {0};
    size_t mark = arena_mark (scratch);
    key_read (key, row, self->keys, self->key_count);
    if (self->start_slot != SLOT_NONE)
        row[self->start_slot] = value_time (start_us);
    if (self->end_slot != SLOT_NONE)
        row[self->end_slot] = value_time (end_us);
    aggregates_result (self->aggregates, payload, row, scratch, &fault);
    emit (context, key, start_us, speaks_us);
    arena_release (scratch, mark);
}

static void close_pane (window_t *self, pane_t *pane, value_t *row, arena_t *scratch, window_emit_fn *emit,
                        void *context) {
    table_row_t found;
    for (uint32_t i = 0; i < table_end (pane->table); i++)
        if (table_at (pane->table, i, &found))
            window_give (self, &found.key, found.payload, pane->start, pane->end, pane->end, row, scratch,
                         emit, context);
}

void window_advance (window_t *self, int64_t watermark_us, value_t *row, arena_t *scratch,
                     window_emit_fn *emit, void *context) {
    if (watermark_us > self->advanced)
        self->advanced = watermark_us;
    if (self->kind == WINDOW_GLOBAL) {
        window_global_advance (self, watermark_us, row, scratch, emit, context);
        return;
    }
    while (self->count && self->panes[self->first]->end <= watermark_us) {
        pane_t *pane = window_shift (self);
        close_pane (self, pane, row, scratch, emit, context);
        window_retire (self, pane);
    }
}
