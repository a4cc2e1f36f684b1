/* aggregate_merge.c: two accumulators into one, as if the records of `other` had come after our own. */
#include "accumulator.h"
#include "aggregate.h"

static bool check_kept (const aggregates_t *self, kept_t *kept, const kept_t *other, fault_t *fault) {
    value_t value = kept_value (other);
    return kept_reserve (kept, &value, self->owned) ||
           fault_set (fault, REASON_LIMIT, "no memory for a kept value");
}

/* Values that order others must be comparable with each other. */
static bool check_ordered (const aggregate_t *item, const kept_t *kept, const kept_t *other, fault_t *fault) {
    value_t a = {.tag = kept->tag}, b = {.tag = other->tag};
    return kept->tag == TAG_MISSING || other->tag == TAG_MISSING || kept_comparable (&a, &b) ||
           fault_set (fault, REASON_AGGREGATE, "%s: two types that cannot be compared",
                      accumulator_name (item->kind));
}

static bool check_sum (const acc_sum_t *sum, const acc_sum_t *other, fault_t *fault) {
    int64_t total;
    return sum->tag != TAG_INT || other->tag != TAG_INT ||
           !__builtin_add_overflow (sum->i, other->i, &total) ||
           fault_set (fault, REASON_AGGREGATE, "the sum is beyond 64 bits");
}

static bool check_item (const aggregates_t *self, const aggregate_t *item, void *at, void *other,
                        fault_t *fault) {
    kept_t *ours, *theirs;
    switch (item->kind) {
    case AGG_SUM: return check_sum (at, other, fault);
    case AGG_EMA:
    case AGG_DELTA:
    case AGG_RATE:
    case AGG_LAG:
    case AGG_CHANGED:
        return fault_set (fault, REASON_AGGREGATE, "%s cannot be merged", accumulator_name (item->kind));
    case AGG_MIN:
    case AGG_MAX:
    case AGG_MIN_BY:
    case AGG_MAX_BY:
        if (!check_ordered (item, at, other, fault))
            return false;
        break;
    default: break;
    }
    uint32_t count = accumulator_kept (item, at, &ours);
    accumulator_kept (item, other, &theirs);
    for (uint32_t k = 0; k < count; k++)
        if (!check_kept (self, &ours[k], &theirs[k], fault))
            return false;
    return true;
}

static void merge_sum (acc_sum_t *sum, const acc_sum_t *other) {
    if (other->tag == TAG_MISSING)
        return;
    if (sum->tag == TAG_MISSING) {
        *sum = *other;
    } else if (sum->tag == TAG_INT && other->tag == TAG_INT) {
        sum->i += other->i;
    } else {
        acc_sum_t total = {.sum = 0, .tag = TAG_FLOAT};
        const acc_sum_t *parts[2] = {sum, other};
        for (int p = 0; p < 2; p++) {
            if (parts[p]->tag == TAG_INT) {
                add_int_exactly (&total.sum, &total.lost, parts[p]->i);
            } else {
                add_exactly (&total.sum, &total.lost, parts[p]->sum);
                total.lost += parts[p]->lost;
            }
        }
        *sum = total;
    }
}

static void merge_mean (acc_mean_t *mean, const acc_mean_t *other) {
    add_exactly (&mean->sum, &mean->lost, other->sum);
    mean->lost += other->lost;
    mean->count += other->count;
}

/* Chan, Golub and LeVeque: two sets of moments. */
static void merge_moments (acc_moments_t *moments, const acc_moments_t *other) {
    if (other->count == 0)
        return;
    uint64_t count = moments->count + other->count;
    double apart = other->mean - moments->mean, share = (double) other->count / (double) count;
    moments->squares += other->squares + apart * apart * (double) moments->count * share;
    moments->mean += apart * share;
    moments->count = count;
}

static void merge_truth (const aggregate_t *item, acc_truth_t *truth, const acc_truth_t *other) {
    if (!other->seen)
        return;
    if (!truth->seen)
        *truth = *other;
    else
        truth->truth = item->kind == AGG_ANY ? truth->truth || other->truth : truth->truth && other->truth;
}

static void merge_kept (const aggregate_t *item, void *at, const void *other) {
    const kept_t *theirs = other;
    if (theirs->tag == TAG_MISSING)
        return;
    bool timed = item->kind == AGG_FIRST || item->kind == AGG_LAST;
    bool best = item->kind == AGG_MIN_BY || item->kind == AGG_MAX_BY;
    int64_t time_us = timed ? ((const acc_timed_t *) other)->time_us : 0;
    value_t value = kept_value (theirs);
    if (!accumulator_wants (item, at, &value, &value, time_us))
        return;
    kept_put (at, &value);
    if (timed)
        ((acc_timed_t *) at)->time_us = time_us;
    if (best) {
        value = kept_value (&((const acc_best_t *) other)->value);
        kept_put (&((acc_best_t *) at)->value, &value);
    }
}

static void merge_item (const aggregate_t *item, void *at, const void *other) {
    switch (item->kind) {
    case AGG_COUNT: *(uint64_t *) at += *(const uint64_t *) other; break;
    case AGG_SUM: merge_sum (at, other); break;
    case AGG_MEAN: merge_mean (at, other); break;
    case AGG_VARIANCE:
    case AGG_VARIANCE_POP:
    case AGG_STDDEV:
    case AGG_STDDEV_POP: merge_moments (at, other); break;
    case AGG_ANY:
    case AGG_ALL: merge_truth (item, at, other); break;
    default: merge_kept (item, at, other); break;
    }
}

bool aggregates_merge (const aggregates_t *self, void *payload, const void *other, fault_t *fault) {
    for (uint32_t i = 0; i < self->count; i++) {
        const aggregate_t *item = &self->items[i];
        void *theirs = (char *) other + item->offset; /* only read */
        if (!check_item (self, item, accumulator_at (payload, item->offset), theirs, fault))
            return false;
    }
    for (uint32_t i = 0; i < self->count; i++)
        merge_item (&self->items[i], accumulator_at (payload, self->items[i].offset),
                    (const char *) other + self->items[i].offset);
    return true;
}
