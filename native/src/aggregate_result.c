/* aggregate_result.c: what the accumulators have come to (S17, S23). */
#include <math.h>

#include "accumulator.h"
#include "aggregate.h"

static value_t result_sum (const acc_sum_t *sum) {
    if (sum->tag == TAG_INT)
        return value_int (sum->i);
    return sum->tag == TAG_FLOAT ? value_float (sum_total (sum->sum, sum->lost)) : value_null();
}

static value_t result_mean (const acc_mean_t *mean) {
    if (mean->count == 0)
        return value_null();
    return value_float (sum_total (mean->sum, mean->lost) / (double) mean->count);
}

static value_t result_moments (const aggregate_t *item, const acc_moments_t *moments) {
    bool sample = item->kind == AGG_VARIANCE || item->kind == AGG_STDDEV;
    bool root = item->kind == AGG_STDDEV || item->kind == AGG_STDDEV_POP;
    uint64_t least = sample ? 2 : 1;
    if (moments->count < least)
        return value_null();
    double variance = moments->squares / (double) (moments->count - (sample ? 1 : 0));
    return value_float (root ? sqrt (variance) : variance);
}

static value_t result_kept (const kept_t *kept) {
    return kept->tag <= TAG_NULL ? value_null() : kept_value (kept);
}

static value_t result_delta (const acc_delta_t *delta) {
    if (delta->delta_tag == TAG_MISSING)
        return value_null();
    return delta->delta_tag == TAG_INT ? value_int (delta->delta.i) : value_float (delta->delta.f);
}

/* With n + 1 values in the ring the next one to be overwritten is the one n records before the newest. */
static value_t result_lag (const aggregate_t *item, const acc_lag_t *lag) {
    return lag->filled > item->n ? result_kept (&lag->ring[lag->next]) : value_null();
}

static value_t result_of (const aggregate_t *item, const void *at) {
    const acc_truth_t *truth = at;
    const acc_ema_t *ema = at;
    const acc_rate_t *rate = at;
    switch (item->kind) {
    case AGG_COUNT: return value_int ((int64_t) *(const uint64_t *) at);
    case AGG_SUM: return result_sum (at);
    case AGG_MEAN: return result_mean (at);
    case AGG_ANY: return value_bool (truth->seen && truth->truth);
    case AGG_ALL: return value_bool (!truth->seen || truth->truth);
    case AGG_MIN_BY:
    case AGG_MAX_BY: return result_kept (&((const acc_best_t *) at)->value);
    case AGG_EMA: return ema->seen ? value_float (ema->smooth) : value_null();
    case AGG_DELTA: return result_delta (at);
    case AGG_RATE: return rate->has_rate ? value_float (rate->rate) : value_null();
    case AGG_LAG: return result_lag (item, at);
    case AGG_CHANGED: return value_bool (((const acc_changed_t *) at)->changed);
    case AGG_MIN:
    case AGG_MAX:
    case AGG_FIRST:
    case AGG_LAST: return result_kept (at); /* kept values stand first in their accumulators */
    default: return result_moments (item, at);
    }
}

bool aggregates_result (const aggregates_t *self, const void *payload, value_t *row, arena_t *scratch,
                        fault_t *fault) {
    (void) scratch;
    (void) fault;
    for (uint32_t i = 0; i < self->count; i++) {
        const aggregate_t *item = &self->items[i];
        row[item->to] = result_of (item, (const char *) payload + item->offset);
    }
    return true;
}
