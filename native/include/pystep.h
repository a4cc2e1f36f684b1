/* pystep.h: Python functions as steps. The caller holds the GIL for pystep_new, pystep_destroy, pystep_run,
 * pystep_advance and pystep_encode; the others touch no Python object. */
#ifndef BETTONG_PYSTEP_H
#define BETTONG_PYSTEP_H

#include "arena.h"
#include "fault.h"
#include "fields.h"
#include "key.h"
#include "layout.h"
#include "section.h"

typedef struct pystep pystep_t;

/* What the lane gives a call, and where results go. */
typedef struct pystep_call {
    value_t *row; /* the event comes from `in` slots, results go to the `out` slots */
    arena_t *scratch;
    int64_t time_us; /* the event's time; a timer's own while it fires */
    int64_t
        unit_ns; /* nanoseconds in the source's time unit, in which times cross to Python; 0: as `in` says */
    const bkey_t *key;         /* NULL for a step without keyed state; a timer's own while it fires */
    const uint16_t *key_slots; /* slots with the key's values, for context.key; filled while a timer fires */
    uint32_t key_count;
    void (*emit) (void *context); /* after the out slots of one result are filled: run the steps behind */
    void (*refuse) (
        void *context); /* a timer failed: `fault` says why, and is empty again afterwards. NULL: the
                                     * first failure of an advance stays in `fault` */
    void *context;
    fault_t *fault;
} pystep_call_t;

/* From the program: {"mode": "map" | "flat_map" | "filter" | "stateful" | "class", "function": n, "arrival": bool,
 * …}; `functions` is a Python list the worker registered (lane_functions): entry n is a dict with "call" and
 * "arity" (arguments it takes), for stateful steps "state" (factory), "encode" (state → bytes), "decode" (bytes →
 * state) and "state_bytes" (about what one takes), for classes with timers "on_timer" and "on_timer_arity".
 * `in` describes the record the function sees; `out` which fields of a result go to which slots. Both are borrowed
 * and must outlive the step. */
pystep_t *pystep_new (const value_t *map, const layout_t *in, const fields_t *out, void *functions,
                      fault_t *fault);
void pystep_destroy (pystep_t **self_p);

/* One event. False with a fault (REASON_PYTHON, message and traceback) when the function raised; what it had
 * emitted stays emitted. `*interrupted` is set for KeyboardInterrupt and MemoryError: the worker then drains. */
bool pystep_run (pystep_t *self, pystep_call_t *call, bool *interrupted);

/* Timers: the earliest one's time, INT64_MAX for none; and fire those due, by (time, order of setting). A step has
 * event-time or arrival-time timers; asked for the other kind it has none. Arrival-time timers are fired by the
 * tick's clock, which for such a step is the clock of `time_us` too. At INT64_MAX, the end of the input, timers
 * set while firing are kept for the next run. */
int64_t pystep_due (const pystep_t *self, bool arrival);
void pystep_advance (pystep_t *self, int64_t now_us, bool arrival, pystep_call_t *call, bool *interrupted);

uint64_t pystep_keys (const pystep_t *self);
uint64_t pystep_bytes (const pystep_t *self); /* keys and timers; states by estimate */
/* How often a state could not be encoded since the start, and what was said last. Such a key keeps its last
 * committed state and is tried again at the next cut. */
uint64_t pystep_unsaved (const pystep_t *self, const char **message);

/* Freeze: dirty keys are listed (cheap); their states are encoded in slices: pystep_encode does up to `count` and
 * returns false while some are left, or while there is no memory for the next; a state that is about to change is
 * encoded first by pystep_run itself.
 * Rows are [shard, key bytes, state bytes | nil, timer: [time, order] | nil]: docs/formats/python-state.md.
 * `*rows` is raised by the number of keys listed. pystep_freeze is false when the last list is not done yet or
 * there is no memory: nothing is listed then. A freeze is followed by pystep_settle, the keys are no longer dirty, or
 * by pystep_unfreeze, as if it had not been. */
bool pystep_freeze (pystep_t *self, uint64_t *rows);
void pystep_settle (pystep_t *self);
void pystep_unfreeze (pystep_t *self);
bool pystep_encode (pystep_t *self, uint32_t count, section_t *out);
/* Nothing of the last freeze is left to encode. */
bool pystep_is_encoded (const pystep_t *self);
bool pystep_is_keyed (const pystep_t *self);

/* Rows of cuts, in any order, before the first event; the caller holds the GIL. They count as stored. False with a
 * fault: they are not this step's, or its `decode` raised. */
bool pystep_restore (pystep_t *self, const char *rows, size_t size, fault_t *fault);
/* Timers that follow the lane's clock are due so much later: it stood still meanwhile (S6). */
void pystep_shift (pystep_t *self, int64_t by_us);

/* Tracebacks are given again, once each: a capture begins, and its replay has seen none. */
void pystep_see_anew (pystep_t *self);

#endif
