/* aggregate_pack.c: accumulators as msgpack, the form that state rows have (docs/formats/state-rows.md). */
#include "accumulator.h"
#include "aggregate.h"
#include "pack.h"

static bool write_float (buffer_t *out, double x) {
    value_t value = value_float (x);
    return pack_write (out, &value);
}

static bool write_bool (buffer_t *out, bool b) {
    value_t value = value_bool (b);
    return pack_write (out, &value);
}

static bool write_nil (buffer_t *out) {
    value_t value = value_null();
    return pack_write (out, &value);
}

static bool write_kept (buffer_t *out, const kept_t *kept) {
    value_t value = kept_value (kept);
    return pack_write (out, &value);
}

static bool write_number (buffer_t *out, number_t number, uint32_t tag) {
    value_t value = {.i = number.i, .tag = (uint8_t) tag};
    return pack_write (out, &value);
}

static bool write_sum (buffer_t *out, const acc_sum_t *sum) {
    if (sum->tag == TAG_INT)
        return pack_write_int (out, sum->i);
    if (sum->tag != TAG_FLOAT)
        return write_nil (out);
    return pack_write_list (out, 2) && write_float (out, sum->sum) && write_float (out, sum->lost);
}

static bool write_counted (buffer_t *out, uint64_t count, double first, double second) {
    return pack_write_list (out, 3) && pack_write_int (out, (int64_t) count) && write_float (out, first) &&
           write_float (out, second);
}

static bool write_timed (buffer_t *out, const acc_timed_t *timed) {
    if (timed->kept.tag == TAG_MISSING)
        return write_nil (out);
    return pack_write_list (out, 2) && pack_write_int (out, timed->time_us) && write_kept (out, &timed->kept);
}

static bool write_best (buffer_t *out, const acc_best_t *best) {
    if (best->by.tag == TAG_MISSING)
        return write_nil (out);
    return pack_write_list (out, 2) && write_kept (out, &best->by) && write_kept (out, &best->value);
}

static bool write_delta (buffer_t *out, const acc_delta_t *delta) {
    if (delta->before_tag == TAG_MISSING)
        return write_nil (out);
    return pack_write_list (out, 2) && write_number (out, delta->before, delta->before_tag) &&
           write_number (out, delta->delta, delta->delta_tag);
}

static bool write_rate (buffer_t *out, const acc_rate_t *rate) {
    if (rate->before_tag == TAG_MISSING)
        return write_nil (out);
    return pack_write_list (out, 3) && write_number (out, rate->before, rate->before_tag) &&
           pack_write_int (out, rate->time_us) &&
           (rate->has_rate ? write_float (out, rate->rate) : write_nil (out));
}

/* Oldest first. */
static bool write_lag (buffer_t *out, const aggregate_t *item, const acc_lag_t *lag) {
    if (!pack_write_list (out, lag->filled))
        return false;
    uint32_t slots = item->n + 1, at = (lag->next + slots - lag->filled) % slots;
    for (uint32_t i = 0; i < lag->filled; i++, at = at + 1 == slots ? 0 : at + 1)
        if (!write_kept (out, &lag->ring[at]))
            return false;
    return true;
}

static bool write_changed (buffer_t *out, const acc_changed_t *changed) {
    if (!changed->seen)
        return write_nil (out);
    return pack_write_list (out, 2) && write_kept (out, &changed->before) &&
           write_bool (out, changed->changed);
}

static bool write_item (buffer_t *out, const aggregate_t *item, const void *at) {
    const acc_mean_t *mean = at;
    const acc_moments_t *moments = at;
    const acc_truth_t *truth = at;
    const acc_ema_t *ema = at;
    switch (item->kind) {
    case AGG_COUNT: return pack_write_int (out, (int64_t) *(const uint64_t *) at);
    case AGG_SUM: return write_sum (out, at);
    case AGG_MEAN: return write_counted (out, mean->count, mean->sum, mean->lost);
    case AGG_MIN:
    case AGG_MAX: return write_kept (out, at);
    case AGG_FIRST:
    case AGG_LAST: return write_timed (out, at);
    case AGG_ANY:
    case AGG_ALL: return truth->seen ? write_bool (out, truth->truth) : write_nil (out);
    case AGG_MIN_BY:
    case AGG_MAX_BY: return write_best (out, at);
    case AGG_EMA: return ema->seen ? write_float (out, ema->smooth) : write_nil (out);
    case AGG_DELTA: return write_delta (out, at);
    case AGG_RATE: return write_rate (out, at);
    case AGG_LAG: return write_lag (out, item, at);
    case AGG_CHANGED: return write_changed (out, at);
    default: return write_counted (out, moments->count, moments->mean, moments->squares);
    }
}

bool aggregates_pack (const aggregates_t *self, const void *payload, buffer_t *out) {
    size_t before = out->size;
    bool written = pack_write_list (out, self->count);
    for (uint32_t i = 0; written && i < self->count; i++)
        written = write_item (out, &self->items[i], (const char *) payload + self->items[i].offset);
    if (!written)
        out->size = before;
    return written;
}
