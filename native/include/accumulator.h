/* accumulator.h: what the aggregates keep, byte by byte; shared by the files of aggregate.h only. A payload starts
 * as zeros: that is every accumulator's empty state. All sizes are multiples of 8. */
#ifndef BETTONG_ACCUMULATOR_H
#define BETTONG_ACCUMULATOR_H

#include "aggregate.h"
#include "kept.h"

/* The sum of ints stays an int; the first float makes it a compensated float sum. */
typedef struct acc_sum {
    union {
        int64_t i;
        double sum;
    };
    double lost;  /* what rounding took from `sum` so far */
    uint64_t tag; /* TAG_MISSING: nothing yet; TAG_INT or TAG_FLOAT */
} acc_sum_t;

typedef struct acc_mean {
    double sum, lost;
    uint64_t count;
} acc_mean_t;

/* Welford: the mean and the sum of squared distances from it. */
typedef struct acc_moments {
    uint64_t count;
    double mean, squares;
} acc_moments_t;

typedef struct acc_truth {
    uint32_t seen, truth;
} acc_truth_t;

typedef struct acc_timed {
    kept_t kept;
    int64_t time_us;
} acc_timed_t;

typedef struct acc_best {
    kept_t by, value;
} acc_best_t;

typedef struct acc_ema {
    double smooth;
    uint64_t seen;
} acc_ema_t;

/* A number as it came: payload and tag apart, so that two of them fit three words. */
typedef union number {
    int64_t i;
    double f;
} number_t;

typedef struct acc_delta {
    number_t before, delta;
    uint32_t before_tag, delta_tag; /* delta_tag TAG_MISSING: null */
} acc_delta_t;

typedef struct acc_rate {
    number_t before;
    int64_t time_us;
    double rate;
    uint32_t before_tag, has_rate;
} acc_rate_t;

/* A ring of n + 1 values, the newest at next - 1. */
typedef struct acc_lag {
    uint32_t next, filled;
    kept_t ring[];
} acc_lag_t;

typedef struct acc_changed {
    kept_t before;
    uint32_t seen, changed;
} acc_changed_t;

/* s + x, and what the addition lost: exact whatever the sizes (Knuth's two-sum), so that the sum of both is
 * Neumaier's. Needs IEEE doubles without contraction, which -std=c11 gives. */
static inline void add_exactly (double *sum, double *lost, double x) {
    double total = *sum + x;
    double part = total - *sum;
    *lost += (*sum - (total - part)) + (x - part);
    *sum = total;
}

/* Beyond 2^53 an int is no double: add its halves. */
static inline void add_int_exactly (double *sum, double *lost, int64_t x) {
    if (likely (x >= -((int64_t) 1 << 53) && x <= (int64_t) 1 << 53)) {
        add_exactly (sum, lost, (double) x);
        return;
    }
    add_exactly (sum, lost, (double) (x >> 32) * 4294967296.0);
    add_exactly (sum, lost, (double) (x & 0xffffffff));
}

/* An infinite or undefined sum has lost nothing that could still matter. */
static inline double sum_total (double sum, double lost) { return sum - sum == 0 ? sum + lost : sum; }

static inline uint32_t lag_size (uint32_t n) {
    return (uint32_t) (sizeof (acc_lag_t) + (n + 1) * sizeof (kept_t));
}

/* The shortest way to a yes, for a number without a condition; false means: look closer. */
static inline bool accumulator_quick_check (const aggregate_group_t *group, const void *payload,
                                            const value_t *row) {
    if (group->where != SLOT_NONE || group->careful || group->argument == SLOT_NONE)
        return false;
    const value_t *value = &row[group->argument];
    bool is_float = value->tag == TAG_FLOAT;
    if (!(group->accepts >> value->tag & 1) ||
        !(is_float || (value->tag == TAG_INT && group->sum_at == NO_OFFSET)))
        return false;
    if (group->ordered == NO_OFFSET)
        return true;
    uint8_t kept = ((const kept_t *) (const void *) ((const char *) payload + group->ordered))->tag;
    return (kept == TAG_FLOAT || kept == TAG_INT || kept == TAG_MISSING) &&
           (!is_float || value->f == value->f);
}

/* The closer look: whether a record can go into the accumulators of a group. */
bool accumulator_check (const aggregates_t *self, const aggregate_group_t *group, void *payload,
                        const value_t *row, int64_t time_us, fault_t *fault);

/* Bytes of an accumulator, and the tags its argument may have (a bit a tag), by kind. */
uint32_t accumulator_size (const aggregate_t *item);
uint32_t accumulator_accepts (uint8_t kind);
/* The name as users write it: "mean". */
const char *accumulator_name (uint8_t kind);
/* Whether one that keeps values will keep this one (`by`: of min_by, max_by). The first of equals stays, but for
 * `last`. */
bool accumulator_wants (const aggregate_t *item, const void *at, const value_t *value, const value_t *by,
                        int64_t time_us);
static inline void *accumulator_at (void *payload, uint32_t offset) { return (char *) payload + offset; }
/* Its kept values: how many (0: it owns no memory), and the first of them, which the others follow. */
uint32_t accumulator_kept (const aggregate_t *item, void *at, kept_t **first);

#endif
