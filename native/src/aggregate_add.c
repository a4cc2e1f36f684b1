/* aggregate_add.c: a record that was checked into accumulators: one dense switch, no calls for the common kinds. */
#include "accumulator.h"
#include "aggregate.h"
#include "machine.h"

bool accumulator_wants (const aggregate_t *item, const void *at, const value_t *value, const value_t *by,
                        int64_t time_us) {
    const kept_t *kept = at;
    const acc_timed_t *timed = at;
    value_t before;
    if (item->kind == AGG_LAG || item->kind == AGG_CHANGED || kept->tag == TAG_MISSING)
        return true;
    switch (item->kind) {
    case AGG_FIRST: return time_us < timed->time_us;
    case AGG_LAST: return time_us >= timed->time_us;
    case AGG_MIN: before = kept_value (kept); return kept_order (value, &before) < 0;
    case AGG_MAX: before = kept_value (kept); return kept_order (value, &before) > 0;
    case AGG_MIN_BY: before = kept_value (kept); return kept_order (by, &before) < 0;
    case AGG_MAX_BY: before = kept_value (kept); return kept_order (by, &before) > 0;
    default: return false;
    }
}

static inline void add_sum (acc_sum_t *sum, const value_t *value) {
    if (value->tag == TAG_FLOAT) {
        if (unlikely (sum->tag != TAG_FLOAT)) {
            int64_t before = sum->tag == TAG_INT ? sum->i : 0;
            sum->sum = 0;
            sum->lost = 0;
            add_int_exactly (&sum->sum, &sum->lost, before);
            sum->tag = TAG_FLOAT;
        }
        add_exactly (&sum->sum, &sum->lost, value->f);
    } else if (sum->tag == TAG_FLOAT) {
        add_int_exactly (&sum->sum, &sum->lost, value->i);
    } else {
        sum->i += value->i;
        sum->tag = TAG_INT;
    }
}

static inline void add_moments (acc_moments_t *moments, double x) {
    double before = x - moments->mean;
    moments->count++;
    moments->mean += before / (double) moments->count;
    moments->squares += before * (x - moments->mean);
}

static void add_kept (const aggregate_t *item, void *at, const value_t *value, const value_t *row,
                      int64_t time_us) {
    const value_t *by = item->by == SLOT_NONE ? NULL : &row[item->by];
    if ((by && value_is_null (by)) || !accumulator_wants (item, at, value, by, time_us))
        return;
    if (by) {
        kept_put (&((acc_best_t *) at)->by, by);
        kept_put (&((acc_best_t *) at)->value, value);
        return;
    }
    kept_put (at, value);
    if (item->kind == AGG_FIRST || item->kind == AGG_LAST)
        ((acc_timed_t *) at)->time_us = time_us;
}

static void add_ema (const aggregate_t *item, acc_ema_t *ema, double x) {
    ema->smooth = ema->seen ? ema->smooth + item->alpha * (x - ema->smooth) : x;
    ema->seen = true;
}

static inline void add_mean (acc_mean_t *mean, const value_t *value) {
    if (likely (value->tag == TAG_FLOAT))
        add_exactly (&mean->sum, &mean->lost, value->f);
    else
        add_int_exactly (&mean->sum, &mean->lost, value->i);
    mean->count++;
}

static void add_other_extreme (kept_t *kept, const value_t *value, bool smallest) {
    value_t before = kept_value (kept);
    int order = kept->tag == TAG_MISSING ? 0 : kept_order (value, &before);
    if (kept->tag == TAG_MISSING || (smallest ? order < 0 : order > 0))
        kept_put (kept, value);
}

static inline void add_float_extreme (kept_t *kept, const value_t *value, bool smallest) {
    if (unlikely (kept->tag != TAG_FLOAT))
        add_other_extreme (kept, value, smallest);
    else if (smallest ? value->f < kept->f : value->f > kept->f)
        kept->f = value->f;
}

static inline void add_extreme (kept_t *kept, const value_t *value, bool smallest) {
    if (likely (value->tag == TAG_FLOAT))
        add_float_extreme (kept, value, smallest);
    else
        add_other_extreme (kept, value, smallest);
}

/* A number into the first accumulator of each common kind. */
static inline void apply_quick (const aggregate_group_t *group, void *payload, const value_t *value) {
    if (group->count_at != NO_OFFSET)
        ++*(uint64_t *) accumulator_at (payload, group->count_at);
    if (group->sum_at != NO_OFFSET)
        add_sum (accumulator_at (payload, group->sum_at), value);
    if (group->mean_at != NO_OFFSET)
        add_mean (accumulator_at (payload, group->mean_at), value);
    if (group->min_at != NO_OFFSET)
        add_extreme (accumulator_at (payload, group->min_at), value, true);
    if (group->max_at != NO_OFFSET)
        add_extreme (accumulator_at (payload, group->max_at), value, false);
}

static void apply_items (const aggregate_t *item, const aggregate_t *end, void *payload, const value_t *value,
                         const value_t *row, int64_t time_us) {
    for (; item < end; item++) {
        void *at = accumulator_at (payload, item->offset);
        acc_truth_t *truth = at;
        switch (item->kind) {
        case AGG_COUNT: ++*(uint64_t *) at; break;
        case AGG_SUM: add_sum (at, value); break;
        case AGG_MEAN: add_mean (at, value); break;
        case AGG_MIN: add_extreme (at, value, true); break;
        case AGG_MAX: add_extreme (at, value, false); break;
        case AGG_VARIANCE:
        case AGG_VARIANCE_POP:
        case AGG_STDDEV:
        case AGG_STDDEV_POP: add_moments (at, value_as_float (value)); break;
        case AGG_ANY:
            truth->truth = (truth->seen && truth->truth) || value->i;
            truth->seen = true;
            break;
        case AGG_ALL:
            truth->truth = (!truth->seen || truth->truth) && value->i;
            truth->seen = true;
            break;
        case AGG_EMA: add_ema (item, at, value_as_float (value)); break;
        default: add_kept (item, at, value, row, time_us); break;
        }
    }
}

static void add_delta (acc_delta_t *delta, const value_t *value) {
    delta->delta_tag = TAG_MISSING;
    if (value == NULL)
        return;
    value_t before = {.i = delta->before.i, .tag = (uint8_t) delta->before_tag};
    if (before.tag == TAG_INT && value->tag == TAG_INT) {
        delta->delta.i = value->i - before.i;
        delta->delta_tag = TAG_INT;
    } else if (before.tag != TAG_MISSING) {
        delta->delta.f = value_as_float (value) - value_as_float (&before);
        delta->delta_tag = TAG_FLOAT;
    }
    delta->before.i = value->i;
    delta->before_tag = value->tag;
}

static void add_rate (acc_rate_t *rate, const value_t *value, int64_t time_us) {
    rate->has_rate = false;
    if (value == NULL)
        return;
    value_t before = {.i = rate->before.i, .tag = (uint8_t) rate->before_tag};
    if (before.tag != TAG_MISSING && time_us > rate->time_us) {
        int64_t whole;
        bool exact = before.tag == TAG_INT && value->tag == TAG_INT &&
                     !__builtin_sub_overflow (value->i, before.i, &whole);
        double change = exact ? (double) whole : value_as_float (value) - value_as_float (&before);
        rate->rate = change / (((double) time_us - (double) rate->time_us) / 1e6);
        rate->has_rate = true;
    }
    rate->before.i = value->i;
    rate->before_tag = value->tag;
    rate->time_us = time_us;
}

static void add_lag (const aggregate_t *item, acc_lag_t *lag, const value_t *value) {
    kept_put (&lag->ring[lag->next], value);
    lag->next = lag->next == item->n ? 0 : lag->next + 1;
    if (lag->filled <= item->n)
        lag->filled++;
}

static void add_changed (acc_changed_t *changed, const value_t *value) {
    value_t before = kept_value (&changed->before);
    changed->changed = !changed->seen || !kept_same (&before, value);
    changed->seen = true;
    kept_put (&changed->before, value);
}

/* `counted` is false where the aggregates' own condition leaves the record out: nothing has changed by it then. */
static void apply_every (const aggregates_t *self, const aggregate_group_t *group, void *payload,
                         const value_t *value, bool counted, int64_t time_us) {
    const value_t *number = counted && !value_is_null (value) ? value : NULL;
    for (uint32_t i = group->first; i < group->first + group->count; i++) {
        const aggregate_t *item = &self->members[i];
        void *at = accumulator_at (payload, item->offset);
        switch (item->kind) {
        case AGG_DELTA: add_delta (at, number); break;
        case AGG_RATE: add_rate (at, number, time_us); break;
        case AGG_LAG:
            if (counted)
                add_lag (item, at, value);
            break;
        default:
            if (counted)
                add_changed (at, value);
            else
                ((acc_changed_t *) at)->changed = false;
            break;
        }
    }
}

static inline void apply_group (const aggregates_t *self, const aggregate_group_t *group, void *payload,
                                const value_t *row, int64_t time_us) {
    static const value_t one = {.i = 1, .tag = TAG_INT}; /* what count() counts */
    const value_t *value = group->argument == SLOT_NONE ? &one : &row[group->argument];
    bool counted = group->where == SLOT_NONE || value_truth (&row[group->where]) == 1;
    const aggregate_t *item = self->members + group->first;
    if (unlikely (group->every)) {
        apply_every (self, group, payload, value, counted, time_us);
        return;
    }
    if (!counted || value_is_null (value))
        return;
    bool quick = value_is_number (value);
    if (likely (quick))
        apply_quick (group, payload, value);
    if (group->count > group->quick || !quick)
        apply_items (quick ? item + group->quick : item, item + group->count, payload, value, row, time_us);
}

static inline bool check_all (const aggregates_t *self, void *payload, const value_t *row, int64_t time_us,
                              fault_t *fault) {
    for (const aggregate_group_t *group = self->groups, *end = group + self->group_count; group < end;
         group++)
        if (unlikely (!accumulator_quick_check (group, payload, row) &&
                      !accumulator_check (self, group, payload, row, time_us, fault)))
            return false;
    return true;
}

static inline void apply_all (const aggregates_t *self, void *payload, const value_t *row, int64_t time_us) {
    for (uint32_t i = 0; i < self->plain_count; i++)
        ++*(uint64_t *) accumulator_at (payload, self->plain[i]);
    for (const aggregate_group_t *group = self->groups, *end = group + self->group_count; group < end;
         group++)
        apply_group (self, group, payload, row, time_us);
}

bool aggregates_check (const aggregates_t *self, void *payload, const value_t *row, int64_t time_us,
                       fault_t *fault) {
    return check_all (self, payload, row, time_us, fault);
}

void aggregates_apply (const aggregates_t *self, void *payload, const value_t *row, int64_t time_us) {
    apply_all (self, payload, row, time_us);
}

/* The commonest of all: floats of one argument, seen before. False, and nothing changed, when it is not that. */
static inline bool add_float (const aggregate_group_t *group, char *payload, const value_t *value) {
    double x = value->f;
    if (unlikely (value->tag != TAG_FLOAT))
        return false;
    if (group->ordered != NO_OFFSET &&
        unlikely (((kept_t *) accumulator_at (payload, group->ordered))->tag != TAG_FLOAT || x != x))
        return false;
    if (group->count_at != NO_OFFSET)
        ++*(uint64_t *) accumulator_at (payload, group->count_at);
    if (group->sum_at != NO_OFFSET)
        add_sum (accumulator_at (payload, group->sum_at), value);
    if (group->mean_at != NO_OFFSET) {
        acc_mean_t *mean = accumulator_at (payload, group->mean_at);
        add_exactly (&mean->sum, &mean->lost, x);
        mean->count++;
    }
    if (group->min_at != NO_OFFSET)
        add_float_extreme (accumulator_at (payload, group->min_at), value, true);
    if (group->max_at != NO_OFFSET)
        add_float_extreme (accumulator_at (payload, group->max_at), value, false);
    return true;
}

bool aggregates_add_again (const aggregates_t *self, void *payload, const value_t *row) {
    if (!self->lone || unlikely (!add_float (self->lone, payload, &row[self->lone->argument])))
        return false;
    for (uint32_t i = 0; i < self->plain_count; i++)
        ++*(uint64_t *) accumulator_at (payload, self->plain[i]);
    return true;
}

bool aggregates_add (const aggregates_t *self, void *payload, const value_t *row, int64_t time_us,
                     fault_t *fault) {
    if (aggregates_add_again (self, payload, row))
        return true;
    if (unlikely (!check_all (self, payload, row, time_us, fault)))
        return false;
    apply_all (self, payload, row, time_us);
    return true;
}
