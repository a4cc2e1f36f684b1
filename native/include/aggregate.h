/* aggregate.h: the accumulators of S17 and the running ones of S12. All have a packed form; all but the running
 * ones are mergeable. */
#ifndef BETTONG_AGGREGATE_H
#define BETTONG_AGGREGATE_H

#include "arena.h"
#include "buffer.h"
#include "fault.h"

enum { AGGREGATES_MAX = 1024, AGGREGATE_LAG_MAX = 1024 };
#define NO_OFFSET UINT32_MAX

/* enum aggregate_kind is in cdefs.h: the Python side names the same kinds. */
typedef struct aggregate {
    uint8_t kind;
    uint16_t argument; /* slot, or SLOT_NONE (count()) */
    uint16_t by;       /* slot of the second argument (max_by), or SLOT_NONE */
    uint16_t where;    /* slot of its own condition, or SLOT_NONE */
    double alpha;      /* ema */
    uint32_t n;        /* lag, collect */
    uint16_t to;       /* slot of the result */
    uint32_t offset;   /* of its accumulator in the row's payload */
} aggregate_t;

/* Aggregates over the same argument under the same condition: what is checked once for all of them. */
typedef struct aggregate_group {
    uint16_t argument, by, where;
    uint16_t accepts; /* tags that all of them take, a bit a tag */
    bool every;       /* told of every record, nulls too: delta, rate, lag, changed */
    bool careful;     /* some need a look each before they take any value: min_by, max_by, delta */
    bool keeps;       /* some keep values: room is made first for those that have bytes */
    uint32_t ordered; /* offset of the first min or max, or NO_OFFSET: all of them hold the same type */
    /* Offsets of the first of each common kind, or NO_OFFSET: what a number needs no loop for. */
    uint32_t count_at, sum_at, mean_at, min_at, max_at;
    uint32_t first, count; /* of `members`, the `quick` ones above first */
    uint32_t quick;
} aggregate_group_t;

typedef struct aggregates {
    aggregate_t *items;
    uint32_t count;
    uint32_t payload_size;
    aggregate_group_t *groups;
    uint32_t group_count;
    aggregate_t *members; /* the items again, group by group, but for `plain` ones */
    uint32_t *plain;      /* offsets of count() without a condition: it counts whatever comes */
    uint32_t plain_count;
    const aggregate_group_t *lone; /* the only group, when a float needs but its quick ones; else NULL */
    uint64_t *owned;               /* bytes that accumulators hold outside their payloads */
} aggregates_t;

/* From the program: a packed list of {"kind", "argument", "by", "where", "alpha", "n", "to"}: kind as enum
 * aggregate_kind; slots as ints, -1, nil or left out for none. */
aggregates_t *aggregates_new (const value_t *list, fault_t *fault);
void aggregates_destroy (aggregates_t **self_p);

/* All or nothing: every argument is checked (types, overflow) before an accumulator changes. */
bool aggregates_add (const aggregates_t *self, void *payload, const value_t *row, int64_t time_us,
                     fault_t *fault);
/* The same for what needs no closer look: floats of one argument, seen before. False, and nothing changed, when it is
 * not that. */
bool aggregates_add_again (const aggregates_t *self, void *payload, const value_t *row);
/* Its two halves, for a record that goes into several payloads: once all are checked, apply cannot fail. */
bool aggregates_check (const aggregates_t *self, void *payload, const value_t *row, int64_t time_us,
                       fault_t *fault);
void aggregates_apply (const aggregates_t *self, void *payload, const value_t *row, int64_t time_us);
/* The results into their slots. Text points into the payload's own memory or into `scratch`. */
bool aggregates_result (const aggregates_t *self, const void *payload, value_t *row, arena_t *scratch,
                        fault_t *fault);
/* Accumulators may own memory (text kept by first, last, min, max): give it back. The payload is then to be zeroed
 * before it is used again. */
void aggregates_free (const aggregates_t *self, void *payload);
/* The documented msgpack form (docs/formats): one list with one item an aggregate; and back, into a payload of
 * zeros. False with a fault when the bytes do not fit the aggregates: the payload is then empty again. */
bool aggregates_pack (const aggregates_t *self, const void *payload, buffer_t *out);
bool aggregates_unpack (const aggregates_t *self, void *payload, const value_t *list, fault_t *fault);
/* Add what `other` has seen, as if its records had come after our own. ema, delta, rate, lag and changed cannot. */
bool aggregates_merge (const aggregates_t *self, void *payload, const void *other, fault_t *fault);

#endif
