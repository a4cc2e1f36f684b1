/* window_state.h: the inside of a window step, shared by window*.c only.
 *
 * A pane is one window [start, end) with a table of its own, whose order of insertion is the order of first
 * appearance (S16). Panes stand sorted by start, and as all have one size, by end too. A closed pane's table is
 * emptied and used for the next one, so that a steady state allocates nothing. A closed pane of which a cut knows
 * waits for the next freeze, which writes its tombstones: closing itself needs no memory and cannot fail. */
#ifndef BETTONG_WINDOW_STATE_H
#define BETTONG_WINDOW_STATE_H

#include "table.h"
#include "window.h"

enum window_kind { WINDOW_TUMBLING, WINDOW_HOPPING, WINDOW_GLOBAL };

typedef struct pane {
    int64_t start, end;
    table_t *table;
    struct pane *next; /* in the list of free, or of closed panes */
    bool stored;       /* some row of it is in a cut */
    uint32_t *orders;  /* while rows are restored: the order of each, by index */
    uint32_t orders_capacity;
} pane_t;

/* A row that a record of a hopping window goes into. */
typedef struct touched {
    pane_t *pane;
    void *payload;
    uint32_t index;
    bool is_new;
} touched_t;

/* A row to freeze: of an open pane or, as a tombstone, of a closed one. */
typedef struct frozen {
    pane_t *pane;  /* NULL: the global window's */
    void *payload; /* NULL: a tombstone */
    bkey_t key;
    uint32_t index;
} frozen_t;

/* Before the accumulators of a global window's row. */
typedef struct global_row {
    int64_t start, end;
    uint64_t waiting; /* its place, from 1, among the keys changed since the last results; 0: not changed */
} global_row_t;

struct window {
    enum window_kind kind;
    int64_t size, every, offset;
    aggregates_t *aggregates;
    uint16_t start_slot, end_slot;
    uint16_t *keys;
    uint32_t key_count;
    int64_t advanced; /* as far as the step's watermark has closed windows */

    pane_t **panes; /* first … first + count */
    uint32_t first, count, capacity;
    pane_t *last; /* the pane that the last record went into, or NULL */
    pane_t *free_panes, *closed_panes;
    uint32_t free_count;
    uint64_t rows; /* of open panes */
    touched_t *touched;
    uint32_t touched_capacity;

    table_t *table; /* global */
    uint32_t *changed;
    uint32_t changed_count, changed_capacity;
    int64_t due; /* the next multiple of `every`, or DUE_UNKNOWN */

    frozen_t *frozen;
    uint32_t *sorted;
    uint32_t frozen_count, frozen_capacity;
};

/* window.c: the result's slots, and the steps behind. */
void window_give (window_t *self, const bkey_t *key, const void *payload, int64_t start_us, int64_t end_us,
                  int64_t speaks_us, value_t *row, arena_t *scratch, window_emit_fn *emit, void *context);

#define DUE_UNKNOWN (INT64_MIN + 1) /* no watermark has been seen: any is due */

/* The last multiple of `every`, beside the offset, at or before a time. */
static inline int64_t window_floor (const window_t *self, int64_t time_us) {
    int64_t rest = (time_us - self->offset) % self->every;
    return time_us - (rest < 0 ? rest + self->every : rest);
}

/* window_panes.c. The place of the first pane that does not start before `start`. */
uint32_t window_find (const window_t *self, int64_t start);
/* The pane that starts at `start`, opened at `place` when it is not there; NULL with a fault. */
pane_t *window_open (window_t *self, uint32_t place, int64_t start, fault_t *fault);
/* Take the first pane out; what was emitted from it is then given to window_retire. */
pane_t *window_shift (window_t *self);
void window_retire (window_t *self, pane_t *pane);
void window_recycle (window_t *self, pane_t *pane);
void window_free_panes (window_t *self);

/* window_global.c. The multiple of `every` behind a watermark: when a global window speaks next. */
int64_t window_next_due (const window_t *self, int64_t watermark_us);
enum window_added window_global_add (window_t *self, const bkey_t *key, value_t *row, int64_t time_us,
                                     arena_t *scratch, window_emit_fn *emit, void *context, fault_t *fault);
void window_global_advance (window_t *self, int64_t watermark_us, value_t *row, arena_t *scratch,
                            window_emit_fn *emit, void *context);

#endif
