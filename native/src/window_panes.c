/* window_panes.c: the panes of a window step, sorted by start: a moving stretch of an array, because windows open
 * at its end and close at its beginning. */
#include <stdlib.h>

#include "window_state.h"

/* What is kept for later: some panes, and none whose table one burst has made far too large. */
enum {
    FREE_PANES_MAX = 64,
    PANES_MIN = 8,
    FREE_TABLE_BYTES_MIN = 65536,
    FREE_TABLE_SHARE = 8,
    ROW_COST = 64
};

uint32_t window_find (const window_t *self, int64_t start) {
    pane_t *const *panes = self->panes + self->first;
    uint32_t low = 0, high = self->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (panes[middle]->start < start)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool panes_room (window_t *self) {
    if (self->first + self->count < self->capacity)
        return true;
    if (self->first > self->capacity / 2) {
        memmove (self->panes, self->panes + self->first, self->count * sizeof (pane_t *));
        self->first = 0;
        return true;
    }
    uint32_t capacity = self->capacity ? self->capacity * 2 : PANES_MIN;
    pane_t **panes = realloc (self->panes, capacity * sizeof *panes);
    if (panes == NULL)
        return false;
    self->panes = panes;
    self->capacity = capacity;
    return true;
}

static void destroy_pane (pane_t *pane) {
    table_destroy (&pane->table);
    free (pane->orders);
    free (pane);
}

static pane_t *take_pane (window_t *self) {
    pane_t *pane = self->free_panes;
    if (pane) {
        self->free_panes = pane->next;
        self->free_count--;
        return pane;
    }
    pane = calloc (1, sizeof *pane);
    if (pane == NULL)
        return NULL;
    pane->table = table_new (self->aggregates->payload_size);
    if (pane->table == NULL) {
        free (pane);
        return NULL;
    }
    return pane;
}

pane_t *window_open (window_t *self, uint32_t place, int64_t start, fault_t *fault) {
    if (place < self->count && self->panes[self->first + place]->start == start)
        return self->panes[self->first + place];
    if (self->count >= WINDOW_PANES_MAX) {
        fault_set (fault, REASON_LIMIT, "%d windows are open: no more are opened", WINDOW_PANES_MAX);
        return NULL;
    }
    pane_t *pane = panes_room (self) ? take_pane (self) : NULL;
    if (pane == NULL) {
        fault_set (fault, REASON_LIMIT, "no memory for a window");
        return NULL;
    }
    pane_t **panes = self->panes + self->first;
    memmove (panes + place + 1, panes + place, (self->count - place) * sizeof *panes);
    panes[place] = pane;
    self->count++;
    pane->start = start;
    pane->end = start + self->size;
    pane->next = NULL;
    pane->stored = false;
    return pane;
}

pane_t *window_shift (window_t *self) {
    pane_t *pane = self->panes[self->first++];
    self->count--;
    if (self->count == 0)
        self->first = 0;
    if (self->last == pane)
        self->last = NULL;
    self->rows -= table_count (pane->table);
    return pane;
}

static void free_rows (window_t *self, pane_t *pane) {
    table_row_t row;
    for (uint32_t i = 0; *self->aggregates->owned && i < table_end (pane->table); i++)
        if (table_at (pane->table, i, &row))
            aggregates_free (self->aggregates, row.payload);
}

void window_retire (window_t *self, pane_t *pane) {
    free_rows (self, pane);
    if (pane->stored) {
        pane->next = self->closed_panes;
        self->closed_panes = pane;
    } else {
        window_recycle (self, pane);
    }
}

void window_recycle (window_t *self, pane_t *pane) {
    uint64_t bytes = table_bytes (pane->table);
    uint64_t used = (uint64_t) table_count (pane->table) * (self->aggregates->payload_size + ROW_COST);
    if (self->free_count >= FREE_PANES_MAX ||
        (bytes > FREE_TABLE_BYTES_MIN && bytes / FREE_TABLE_SHARE > used)) {
        destroy_pane (pane);
        return;
    }
    table_clear (pane->table);
    pane->next = self->free_panes;
    self->free_panes = pane;
    self->free_count++;
}

static void destroy_list (pane_t *pane) {
    while (pane) {
        pane_t *next = pane->next;
        destroy_pane (pane);
        pane = next;
    }
}

void window_spare (window_t *self) {
    destroy_list (self->free_panes);
    self->free_panes = NULL;
    self->free_count = 0;
}

void window_free_panes (window_t *self) {
    for (uint32_t i = 0; i < self->count; i++) {
        free_rows (self, self->panes[self->first + i]);
        destroy_pane (self->panes[self->first + i]);
    }
    free (self->panes);
    destroy_list (self->free_panes);
    destroy_list (self->closed_panes);
}

static uint64_t list_bytes (const pane_t *pane) {
    uint64_t bytes = 0;
    for (; pane; pane = pane->next)
        bytes += sizeof *pane + table_bytes (pane->table);
    return bytes;
}

uint64_t window_bytes (const window_t *self) {
    uint64_t bytes = sizeof *self + *self->aggregates->owned + list_bytes (self->free_panes) +
                     list_bytes (self->closed_panes);
    for (uint32_t i = 0; i < self->count; i++)
        bytes += sizeof (pane_t) + table_bytes (self->panes[self->first + i]->table);
    bytes += self->capacity * sizeof (pane_t *) + self->touched_capacity * sizeof (touched_t);
    bytes += self->changed_capacity * sizeof (uint32_t);
    bytes += self->frozen_capacity * (sizeof (frozen_t) + sizeof (uint32_t));
    return bytes + (self->table ? table_bytes (self->table) : 0);
}

uint64_t window_keys (const window_t *self) { return self->table ? table_count (self->table) : self->rows; }
