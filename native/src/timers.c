/* timers.c: see timers.h. `where[row]` is the heap position of the row's timer plus one, 0 for none. */
#include "timers.h"

#include <assert.h>
#include <stdlib.h>

struct timers {
    pending_timer_t *heap;
    uint32_t count;
    uint32_t capacity;
    uint32_t *where;
    uint32_t where_size;
    uint64_t order;
};

timers_t *timers_new (void) { return calloc (1, sizeof (timers_t)); }

void timers_destroy (timers_t **self_p) {
    timers_t *self = *self_p;
    if (self == NULL)
        return;
    free (self->heap);
    free (self->where);
    free (self);
    *self_p = NULL;
}

static bool earlier (const pending_timer_t *a, const pending_timer_t *b) {
    return a->due_us != b->due_us ? a->due_us < b->due_us : a->order < b->order;
}

static void place (timers_t *self, uint32_t at, pending_timer_t timer) {
    self->heap[at] = timer;
    self->where[timer.row] = at + 1;
}

static void sift_up (timers_t *self, uint32_t at, pending_timer_t timer) {
    while (at > 0) {
        uint32_t parent = (at - 1) / 2;
        if (!earlier (&timer, &self->heap[parent]))
            break;
        place (self, at, self->heap[parent]);
        at = parent;
    }
    place (self, at, timer);
}

static void sift_down (timers_t *self, uint32_t at, pending_timer_t timer) {
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= self->count)
            break;
        if (child + 1 < self->count && earlier (&self->heap[child + 1], &self->heap[child]))
            child++;
        if (!earlier (&self->heap[child], &timer))
            break;
        place (self, at, self->heap[child]);
        at = child;
    }
    place (self, at, timer);
}

/* Into the hole at `at`, whichever way it has to move. */
static void sift (timers_t *self, uint32_t at, pending_timer_t timer) {
    if (at > 0 && earlier (&timer, &self->heap[(at - 1) / 2]))
        sift_up (self, at, timer);
    else
        sift_down (self, at, timer);
}

static bool room (timers_t *self, uint32_t row) {
    if (row >= self->where_size) {
        uint32_t size = self->where_size ? self->where_size : 64;
        while (size <= row) {
            if (size > UINT32_MAX / 2)
                return false;
            size *= 2;
        }
        uint32_t *where = realloc (self->where, size * sizeof *where);
        if (where == NULL)
            return false;
        for (uint32_t i = self->where_size; i < size; i++)
            where[i] = 0;
        self->where = where;
        self->where_size = size;
    }
    if (self->count == self->capacity) {
        uint32_t capacity = self->capacity ? 2 * self->capacity : 64;
        pending_timer_t *heap = realloc (self->heap, capacity * sizeof *heap);
        if (heap == NULL)
            return false;
        self->heap = heap;
        self->capacity = capacity;
    }
    return true;
}

bool timers_set (timers_t *self, uint32_t row, int64_t due_us) {
    if (!room (self, row))
        return false;
    pending_timer_t timer = {.due_us = due_us, .order = ++self->order, .row = row};
    if (self->where[row] != 0)
        sift (self, self->where[row] - 1, timer);
    else
        sift_up (self, self->count++, timer);
    return true;
}

bool timers_restore (timers_t *self, pending_timer_t timer) {
    if (!room (self, timer.row) || self->where[timer.row] != 0)
        return false;
    if (timer.order > self->order)
        self->order = timer.order;
    sift_up (self, self->count++, timer);
    return true;
}

void timers_shift (timers_t *self, int64_t by_us) {
    for (uint32_t i = 0; i < self->count; i++)
        if (__builtin_add_overflow (self->heap[i].due_us, by_us, &self->heap[i].due_us))
            self->heap[i].due_us = by_us > 0 ? INT64_MAX - 1 : INT64_MIN;
    /* Times that ran into the bound are equal now: their order decides anew. */
    for (uint32_t i = self->count / 2; i-- > 0;)
        sift_down (self, i, self->heap[i]);
}

bool timers_cancel (timers_t *self, uint32_t row) {
    if (row >= self->where_size || self->where[row] == 0)
        return false;
    uint32_t at = self->where[row] - 1;
    assert (at < self->count && self->heap[at].row == row);
    self->where[row] = 0;
    self->count--;
    if (at != self->count)
        sift (self, at, self->heap[self->count]);
    return true;
}

bool timers_get (const timers_t *self, uint32_t row, pending_timer_t *out) {
    if (row >= self->where_size || self->where[row] == 0)
        return false;
    *out = self->heap[self->where[row] - 1];
    return true;
}

const pending_timer_t *timers_first (const timers_t *self) { return self->count ? &self->heap[0] : NULL; }

uint32_t timers_count (const timers_t *self) { return self->count; }

uint64_t timers_bytes (const timers_t *self) {
    return (uint64_t) self->capacity * sizeof *self->heap + (uint64_t) self->where_size * sizeof *self->where;
}
