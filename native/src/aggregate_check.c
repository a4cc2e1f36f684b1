/* aggregate_check.c: whether a record can go into accumulators, before any of them changes. Aggregates over one
 * argument share the checks: whether it is there, its type, whether it can be compared and added. Memory for values
 * that will be kept is taken here, so that nothing can fail later. */
#include "accumulator.h"
#include "aggregate.h"
#include "machine.h"

static const char *const tag_names[] = {"missing", "null", "bool",  "int",  "float",
                                        "time",    "str",  "bytes", "list", "map"};

static bool refuse_type (const aggregate_t *members, uint32_t count, const value_t *value, fault_t *fault) {
    for (uint32_t i = 0; i < count; i++) {
        uint32_t accepts = accumulator_accepts (members[i].kind);
        if (accepts >> value->tag & 1)
            continue;
        const char *wanted = accepts >> TAG_STR & 1   ? "numbers, text or times"
                             : accepts >> TAG_INT & 1 ? "numbers"
                                                      : "true and false";
        return fault_set (fault, REASON_AGGREGATE, "%s takes %s, not %s", accumulator_name (members[i].kind),
                          wanted, tag_names[value->tag]);
    }
    return fault_set (fault, REASON_AGGREGATE, "%s is of the wrong type", tag_names[value->tag]);
}

static bool check_order (const kept_t *kept, const value_t *value, fault_t *fault) {
    value_t before = {.tag = kept->tag};
    if (value->tag == TAG_FLOAT && unlikely (value->f != value->f))
        return fault_set (fault, REASON_AGGREGATE, "NaN is neither more nor less than anything");
    if (kept->tag != TAG_MISSING && unlikely (!kept_comparable (&before, value)))
        return fault_set (fault, REASON_AGGREGATE, "%s and %s cannot be compared", tag_names[kept->tag],
                          tag_names[value->tag]);
    return true;
}

static bool check_best (const aggregates_t *self, const aggregate_t *item, acc_best_t *best,
                        const value_t *value, const value_t *by, fault_t *fault) {
    if (value_is_null (by))
        return true;
    if (!(accumulator_accepts (AGG_MIN) >> by->tag & 1))
        return fault_set (fault, REASON_AGGREGATE, "%s orders by numbers, text or times, not %s",
                          accumulator_name (item->kind), tag_names[by->tag]);
    if (!check_order (&best->by, by, fault))
        return false;
    if (!accumulator_wants (item, best, value, by, 0))
        return true;
    return (kept_reserve (&best->by, by, self->owned) && kept_reserve (&best->value, value, self->owned)) ||
           fault_set (fault, REASON_LIMIT, "no memory for a kept value");
}

static bool check_delta (const acc_delta_t *delta, const value_t *value, fault_t *fault) {
    int64_t difference;
    if (value->tag == TAG_INT && delta->before_tag == TAG_INT &&
        __builtin_sub_overflow (value->i, delta->before.i, &difference))
        return fault_set (fault, REASON_AGGREGATE, "delta is beyond 64 bits");
    return true;
}

/* The kept value that a record's value would go into. */
static kept_t *keeper (const aggregate_t *item, void *at) {
    acc_lag_t *lag = at;
    return item->kind == AGG_LAG ? &lag->ring[lag->next] : at;
}

static bool check_each (const aggregates_t *self, const aggregate_group_t *group, void *payload,
                        const value_t *value, const value_t *row, int64_t time_us, fault_t *fault) {
    for (uint32_t i = group->first; i < group->first + group->count; i++) {
        const aggregate_t *item = &self->members[i];
        void *at = accumulator_at (payload, item->offset);
        kept_t *kept;
        if (item->kind == AGG_MIN_BY || item->kind == AGG_MAX_BY) {
            if (!check_best (self, item, at, value, &row[item->by], fault))
                return false;
        } else if (item->kind == AGG_DELTA) {
            if (!check_delta (at, value, fault))
                return false;
        } else if (accumulator_kept (item, at, &kept) && accumulator_wants (item, at, value, NULL, time_us) &&
                   !kept_reserve (keeper (item, at), value, self->owned)) {
            return fault_set (fault, REASON_LIMIT, "no memory for a kept value");
        }
    }
    return true;
}

static bool refuse_condition (const value_t *value, fault_t *fault) {
    return fault_set (fault, REASON_AGGREGATE, "the condition of an aggregate is true, false or null, not %s",
                      tag_names[value->tag]);
}

bool accumulator_check (const aggregates_t *self, const aggregate_group_t *group, void *payload,
                        const value_t *row, int64_t time_us, fault_t *fault) {
    if (group->where != SLOT_NONE) {
        int truth = value_truth (&row[group->where]);
        if (truth != 1)
            return truth != -2 || refuse_condition (&row[group->where], fault);
    }
    if (group->argument == SLOT_NONE)
        return true;
    const value_t *value = &row[group->argument];
    if (value_is_null (value))
        return true;
    if (unlikely (!(group->accepts >> value->tag & 1)))
        return refuse_type (self->members + group->first, group->count, value, fault);
    if (group->ordered != NO_OFFSET && !check_order (accumulator_at (payload, group->ordered), value, fault))
        return false;
    if (group->sum_at != NO_OFFSET && value->tag == TAG_INT) {
        const acc_sum_t *sum = accumulator_at (payload, group->sum_at);
        int64_t total;
        if (sum->tag == TAG_INT && __builtin_add_overflow (sum->i, value->i, &total))
            return fault_set (fault, REASON_AGGREGATE, "the sum is beyond 64 bits");
    }
    if (unlikely (group->careful) || (group->keeps && value->tag >= TAG_STR))
        return check_each (self, group, payload, value, row, time_us, fault);
    return true;
}
