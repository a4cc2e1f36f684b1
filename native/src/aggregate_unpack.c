/* aggregate_unpack.c: accumulators back from msgpack. The bytes come from a disk or from another box: everything
 * is checked, and an accumulator that does not fit its aggregate is refused. */
#include "accumulator.h"
#include "aggregate.h"
#include "pack.h"

enum { PARTS_MAX = 3 };

/* Exactly `count` items of a list. */
static bool read_parts (const value_t *list, value_t *parts, uint32_t count) {
    uint32_t found;
    if (list->tag != TAG_LIST)
        return false;
    const char *p = pack_open (list, &found);
    if (found != count)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if ((p = pack_read (p, list->p + list->size, &parts[i])) == NULL)
            return false;
    return true;
}

static bool accepts (const aggregate_t *item, const value_t *value) {
    return accumulator_accepts (item->kind) >> value->tag & 1;
}

static bool keep (const aggregates_t *self, kept_t *kept, const value_t *value) {
    if (!kept_reserve (kept, value, self->owned))
        return false;
    kept_put (kept, value);
    return true;
}

static bool is_orderable (const value_t *value) {
    return (accumulator_accepts (AGG_MIN) >> value->tag & 1) &&
           !(value->tag == TAG_FLOAT && value->f != value->f);
}

static bool read_mean (acc_mean_t *out, const value_t *value) {
    value_t parts[PARTS_MAX];
    if (!read_parts (value, parts, 3) || parts[0].tag != TAG_INT || parts[0].i < 0 ||
        parts[1].tag != TAG_FLOAT || parts[2].tag != TAG_FLOAT)
        return false;
    *out = (acc_mean_t){.sum = parts[1].f, .lost = parts[2].f, .count = (uint64_t) parts[0].i};
    return true;
}

static bool read_moments (acc_moments_t *out, const value_t *value) {
    acc_mean_t parts;
    if (!read_mean (&parts, value))
        return false;
    *out = (acc_moments_t){.count = parts.count, .mean = parts.sum, .squares = parts.lost};
    return true;
}

static bool read_sum (acc_sum_t *out, const value_t *value) {
    value_t parts[PARTS_MAX];
    if (value->tag == TAG_INT) {
        *out = (acc_sum_t){.i = value->i, .tag = TAG_INT};
        return true;
    }
    if (!read_parts (value, parts, 2) || parts[0].tag != TAG_FLOAT || parts[1].tag != TAG_FLOAT)
        return false;
    *out = (acc_sum_t){.sum = parts[0].f, .lost = parts[1].f, .tag = TAG_FLOAT};
    return true;
}

static bool read_timed (const aggregates_t *self, acc_timed_t *out, const value_t *value) {
    value_t parts[PARTS_MAX];
    if (!read_parts (value, parts, 2) || parts[0].tag != TAG_INT || value_is_null (&parts[1]))
        return false;
    out->time_us = parts[0].i;
    return keep (self, &out->kept, &parts[1]);
}

static bool read_best (const aggregates_t *self, acc_best_t *out, const value_t *value) {
    value_t parts[PARTS_MAX];
    return read_parts (value, parts, 2) && is_orderable (&parts[0]) && !value_is_null (&parts[1]) &&
           keep (self, &out->by, &parts[0]) && keep (self, &out->value, &parts[1]);
}

static bool read_delta (const aggregate_t *item, acc_delta_t *out, const value_t *value) {
    value_t parts[PARTS_MAX];
    if (!read_parts (value, parts, 2) || !accepts (item, &parts[0]) ||
        !(value_is_null (&parts[1]) || accepts (item, &parts[1])))
        return false;
    *out = (acc_delta_t){.before.i = parts[0].i, .before_tag = parts[0].tag};
    if (!value_is_null (&parts[1])) {
        out->delta.i = parts[1].i;
        out->delta_tag = parts[1].tag;
    }
    return true;
}

static bool read_rate (const aggregate_t *item, acc_rate_t *out, const value_t *value) {
    value_t parts[PARTS_MAX];
    if (!read_parts (value, parts, 3) || !accepts (item, &parts[0]) || parts[1].tag != TAG_INT ||
        !(value_is_null (&parts[2]) || parts[2].tag == TAG_FLOAT))
        return false;
    *out = (acc_rate_t){.before.i = parts[0].i, .before_tag = parts[0].tag, .time_us = parts[1].i};
    if (parts[2].tag == TAG_FLOAT) {
        out->rate = parts[2].f;
        out->has_rate = true;
    }
    return true;
}

static bool read_lag (const aggregates_t *self, const aggregate_t *item, acc_lag_t *out,
                      const value_t *value) {
    uint32_t count = 0;
    const char *p = value->tag == TAG_LIST ? pack_open (value, &count) : NULL;
    if (p == NULL || count > item->n + 1)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        value_t part;
        p = pack_read (p, value->p + value->size, &part);
        if (p == NULL || !keep (self, &out->ring[i], &part))
            return false;
    }
    out->filled = count;
    out->next = count > item->n ? 0 : count;
    return true;
}

static bool read_changed (const aggregates_t *self, acc_changed_t *out, const value_t *value) {
    value_t parts[PARTS_MAX];
    if (!read_parts (value, parts, 2) || parts[1].tag != TAG_BOOL || !keep (self, &out->before, &parts[0]))
        return false;
    out->seen = true;
    out->changed = parts[1].i != 0;
    return true;
}

static bool read_item (const aggregates_t *self, const aggregate_t *item, void *at, const value_t *value) {
    switch (item->kind) {
    case AGG_COUNT: *(uint64_t *) at = (uint64_t) value->i; return value->tag == TAG_INT && value->i >= 0;
    case AGG_MEAN: return read_mean (at, value);
    case AGG_VARIANCE:
    case AGG_VARIANCE_POP:
    case AGG_STDDEV:
    case AGG_STDDEV_POP: return read_moments (at, value);
    case AGG_LAG: return read_lag (self, item, at, value);
    default: break;
    }
    if (value_is_null (value))
        return true; /* nothing seen yet: zeros */
    switch (item->kind) {
    case AGG_SUM: return read_sum (at, value);
    case AGG_MIN:
    case AGG_MAX: return is_orderable (value) && keep (self, at, value);
    case AGG_FIRST:
    case AGG_LAST: return read_timed (self, at, value);
    case AGG_ANY:
    case AGG_ALL: *(acc_truth_t *) at = (acc_truth_t){.seen = true, .truth = value->i != 0}; break;
    case AGG_MIN_BY:
    case AGG_MAX_BY: return read_best (self, at, value);
    case AGG_EMA: *(acc_ema_t *) at = (acc_ema_t){.smooth = value->f, .seen = true}; break;
    case AGG_DELTA: return read_delta (item, at, value);
    case AGG_RATE: return read_rate (item, at, value);
    default: return read_changed (self, at, value);
    }
    return value->tag == (item->kind == AGG_EMA ? TAG_FLOAT : TAG_BOOL);
}

bool aggregates_unpack (const aggregates_t *self, void *payload, const value_t *list, fault_t *fault) {
    uint32_t count = 0;
    const char *p = list->tag == TAG_LIST ? pack_open (list, &count) : NULL;
    bool good = p != NULL && count == self->count;
    for (uint32_t i = 0; good && i < count; i++) {
        value_t value;
        p = pack_read (p, list->p + list->size, &value);
        good = p != NULL &&
               read_item (self, &self->items[i], accumulator_at (payload, self->items[i].offset), &value);
    }
    if (good)
        return true;
    aggregates_free (self, payload);
    memset (payload, 0, self->payload_size);
    return fault_set (fault, REASON_AGGREGATE, "the state does not fit the step's aggregates");
}
