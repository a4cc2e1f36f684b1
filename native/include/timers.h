/* timers.h: one timer a row of a table, fired by (time, order of setting): an indexed binary heap, so that setting
 * a row's timer again moves it instead of leaving a stale entry behind. */
#ifndef BETTONG_TIMERS_H
#define BETTONG_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct timers timers_t;

typedef struct pending_timer {
    int64_t due_us;
    uint64_t order; /* 1, 2, 3 … in the order of setting */
    uint32_t row;   /* the table row's index */
} pending_timer_t;

timers_t *timers_new (void);
void timers_destroy (timers_t **self_p);

/* Set the row's timer; one that was set before is replaced. False when there is no memory: nothing changed. */
bool timers_set (timers_t *self, uint32_t row, int64_t due_us);
/* The timer of a row that has none, as a cut had it: what is set from now on comes after it. */
bool timers_restore (timers_t *self, pending_timer_t timer);
/* All of them later by so many microseconds. */
void timers_shift (timers_t *self, int64_t by_us);
/* Remove the row's timer; false when it has none. */
bool timers_cancel (timers_t *self, uint32_t row);
bool timers_get (const timers_t *self, uint32_t row, pending_timer_t *out);

/* The earliest, or NULL. */
const pending_timer_t *timers_first (const timers_t *self);
uint32_t timers_count (const timers_t *self);
uint64_t timers_bytes (const timers_t *self);

#endif
