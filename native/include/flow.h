/* flow.h: one loaded program: its row, operators, sources and sinks. Owned by its lane, touched by its thread only. */
#ifndef BETTONG_FLOW_H
#define BETTONG_FLOW_H

#include <pthread.h>

#include "condition.h"
#include "decode.h"
#include "encode.h"
#include "frame.h"
#include "key.h"
#include "layout.h"
#include "machine.h"
#include "pystep.h"
#include "running.h"
#include "seen.h"
#include "sink.h"
#include "source.h"
#include "window.h"

enum op_kind {
    OP_KIND_WHERE,
    OP_KIND_COMPUTE,
    OP_KIND_KEY,
    OP_KIND_WINDOW,
    OP_KIND_RUNNING,
    OP_KIND_PYTHON,
    OP_KIND_MOVE,
    OP_KIND_PACK,
    OP_KIND_EACH,
    OP_KIND_EMIT,
    OP_KIND_SEEN
};

typedef struct step {
    const char *name;
    uint32_t name_size;
    uint64_t in, out, late, errors;
} step_t;

struct flow;

typedef struct op {
    /* Read for every row: one cache line. */
    void (*run) (struct flow *flow, struct op *op); /* what stands behind included */
    struct op *then;                                /* what stands behind, when that is one */
    uint64_t *entered;                              /* the step's counters, or the flow's `ignored` */
    uint64_t *left;
    uint8_t kind; /* enum op_kind */
    bool null_key;
    uint16_t step;
    uint16_t result; /* where: the condition; pack: the slot of the map; each: the list */
    uint16_t key;    /* the key register read, or made by a key operator */
    uint32_t code_count;
    uint32_t slot_count;
    uint16_t *slots;     /* key: its values; move: pairs from, to */
    comparison_t *tests; /* where: its condition, when that is nothing but comparisons */

    instruction_t *code; /* run before the operator's own act; may be none */
    uint32_t test_count;
    branches_t next;

    window_t *window;
    int64_t watermark; /* as far as it has been advanced */
    int64_t due;
    sink_t *sink;
    running_t *running;
    seen_t *seen;
    pystep_t *python;
    const layout_t *layout; /* of the record as it enters the step; of the sink's record for an emit */
    branches_t late;
    fields_t *fields;   /* a Python step's results */
    uint64_t sources;   /* a set: which sources reach a step that watches event time */
    uint16_t to;        /* each: the element */
    uint16_t key_out;   /* the key register of a window's results */
    bool timed;         /* watches event time: a window, or a Python step with timers */
    bool arrival;       /* its timers follow the tick's clock */
    bool instant;       /* a window that answers every record, at that record's time; else S29 */
    uint64_t bytes;     /* of its state, as last measured: no other thread may walk what the lane changes */
    section_t *section; /* a Python step's with state: its rows in the cut under way */
} op_t;

enum {
    FLOW_SOURCES_MAX = 62,
    FLOW_OPS_MAX = 4096,
    FLOW_SLOTS_MAX = 4096,
    FLOW_KEYS_MAX = 256,
    FLOW_SINKS_MAX = 64,
    ERROR_RAW_MAX = 4096,
    ERRORS_KEPT_MAX = 100,
    ERROR_KEPT_BYTES_MAX = 8192
};

/* The slots of an error record, in the order of S3. */
enum error_slot {
    ERROR_TIME,
    ERROR_FLOW,
    ERROR_STEP,
    ERROR_SOURCE,
    ERROR_PARTITION,
    ERROR_POSITION,
    ERROR_REASON,
    ERROR_MESSAGE,
    ERROR_EVENT,
    ERROR_RAW,
    ERROR_RAW_TRUNCATED,
    ERROR_TRACEBACK,
    ERROR_SLOTS
};

typedef struct flow {
    struct lane *lane;
    uint32_t index;
    const char *name;
    uint32_t name_size;
    char *program; /* the document: names, constants and templates point into it */
    value_t *row;
    uint32_t slot_count;
    bkey_t *keys;
    buffer_t *key_bytes;
    uint32_t key_count;
    layout_t **layouts;
    uint32_t layout_count;
    op_t *ops;
    uint32_t op_count;
    step_t *steps;
    uint32_t step_count;
    source_t *sources;
    uint32_t source_count;
    sink_t *sinks;
    uint32_t sink_count;
    uint16_t *timed; /* operators that watch event time, upstream first */
    uint32_t timed_count;
    int64_t due; /* the smallest of theirs */
    uint64_t ignored;
    bool stop_on_error;
    bool restored; /* goes on from a cut, which was made at `restored_us` of its lane's clock */
    int64_t restored_us;
    bool remembers; /* ids of its sources */
    bool stopped;   /* by on_error = "stop", or by MemoryError or KeyboardInterrupt in a user function */
    bool dirty;     /* something changed since the last cut */
    int64_t commit_every_us;

    /* Memory: of states, receive buffers, results that wait and the cut in flight (memory.c). */
    uint64_t memory_limit; /* 0: none */
    uint64_t memory_bytes; /* as last measured */
    uint64_t memory_full;  /* times that the limit was reached */
    bool memory_waits;     /* full now: its sources are not read */
    bool memory_said;
    uint64_t unmeasured;       /* bytes that have come in since it was measured */
    uint64_t frozen_bytes;     /* of the cut in flight */
    int64_t memory_say_ns;     /* when it is said again */
    uint64_t unfinished_bytes; /* of messages that have not come whole: beside the memory (unfinished.c) */
    int64_t unfinished_say_ns;

    fault_t
        fault; /* of the record at hand: one for all, as clearing one for each would cost more than the work */

    /* The record at hand. */
    int64_t time_us;
    partition_t *partition; /* lineage; NULL for what no single partition caused */
    uint64_t position;
    char *raw;
    uint32_t raw_size;
    bool is_first;       /* of its buffer: what it needs has long been out of the caches */
    bool raw_cut;        /* `raw` is only the head of the message */
    uint32_t shard;      /* of the key that the record was last given, at first its partition's */
    int64_t lateness_us; /* watermark of its own partition as it stood before this record (S15) */

    /* The error output. */
    uint16_t error_slots[ERROR_SLOTS];
    branches_t errors_next;
    /* Events that a user function did not come back from and that do not come again: put out at the start. */
    struct lost {
        source_t *source;
        value_t raw;
    } *lost;
    uint32_t lost_count;
    const layout_t *error_layout;
    bool in_error;
    uint64_t error_count;
    uint64_t error_failures; /* errors while writing errors: only counted (S3) */
    uint64_t reasons[REASON_COUNT];
    buffer_t error_event;
    buffer_t pack; /* a record being packed for a merge */
    /* The last ones, packed, where nothing reads `errors`; under a lock, for another thread may ask. */
    pthread_mutex_t kept_lock;
    buffer_t kept[ERRORS_KEPT_MAX];
    uint32_t kept_next;
} flow_t;

/* program.c: load a document (copied). NULL with a fault. `functions` is a Python list or NULL; takes the GIL when
 * the program has Python steps. */
flow_t *flow_new (struct lane *lane, uint32_t index, const char *document, size_t size, void *functions,
                  fault_t *fault);
void flow_destroy (flow_t **self_p);

/* run.c: choose how each operator runs, once all are loaded. False when there is no memory. */
bool flow_link (flow_t *self);
/* Run the row through operators, depth first, to completion. */
void flow_run (flow_t *self, const branches_t *next);
/* The row at hand will go into a state: that is fetched already, before the row is looked at. */
void flow_expect (flow_t *self, const op_t *key);
/* The same for a row that a source has just brought: its scratch is given back when it is done with. */
static inline void flow_begin (flow_t *self, const branches_t *next) {
    if (unlikely (next->count != 1)) {
        flow_run (self, next);
        return;
    }
    op_t *op = &self->ops[next->ops[0]];
    op->run (self, op);
}
/* Close and fire all that the sources' watermarks make due. */
void flow_advance (flow_t *self);
/* What is due has been closed: note how far the steps' watermarks have got, before an input that joins in could be
 * behind them. The row at hand stays as it is. */
void flow_settle (flow_t *self);
/* Arrival-time timers; the next one due, INT64_MAX: none. */
int64_t flow_advance_arrival (flow_t *self, int64_t now_us);

/* memory.c: what the flow holds. At its limit its sources wait until it is an eighth below it; timers, closing windows
 * and cuts go on, which lets it fall. */
enum { MEMORY_LOW_SHARE = 8, MEMORY_LOOKS = 64 };
#define MEMORY_SAY_EVERY_NS 60000000000
void flow_measure (flow_t *self);
/* unfinished.c: messages that have not come whole, within their own bound. */
void flow_bound_unfinished (flow_t *self);
/* After so many bytes have come in that it may have grown notably. */
static inline bool flow_is_unmeasured (const flow_t *self) {
    return self->unmeasured * MEMORY_LOOKS > self->memory_limit;
}

/* positions.c: how far sources and steps have got, as members of a cut's map. */
enum { POSITIONS_MEMBERS = 4 };
bool flow_pack_positions (flow_t *self, buffer_t *out);

/* restore.c: the document of such a map, before the lane starts; its state rows, by operator; and at the start, when
 * the lane's clock is known. False with a fault. */
bool flow_restore (flow_t *self, const char *document, size_t size, fault_t *fault);
bool flow_restore_rows (flow_t *self, uint32_t op, const char *rows, size_t size, fault_t *fault);
bool flow_resume (flow_t *self, fault_t *fault);

/* errors.c: set the record at hand aside. `step` names where; `layout` (the record as it entered the step) or,
 * when NULL, the raw bytes go along. `fault` says why, and is empty afterwards. */
void flow_put_aside (flow_t *self);
void flow_error (flow_t *self, const step_t *step, const layout_t *layout);
bool flow_kept_errors (flow_t *self, buffer_t *out);

#endif
