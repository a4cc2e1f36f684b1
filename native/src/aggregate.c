/* aggregate.c: from the program's list to accumulators side by side in a row's payload, grouped by argument. */
#include "aggregate.h"

#include <stdlib.h>

#include "accumulator.h"
#include "pack.h"

#define TAKES(tag) ((uint32_t) 1 << (tag))

enum {
    TAKES_NUMBERS = TAKES (TAG_INT) | TAKES (TAG_FLOAT),
    TAKES_ORDERED = TAKES_NUMBERS | TAKES (TAG_STR) | TAKES (TAG_TIME),
    TAKES_ANY = TAKES_ORDERED | TAKES (TAG_BOOL) | TAKES (TAG_BYTES) | TAKES (TAG_LIST) | TAKES (TAG_MAP)
};

typedef struct trait {
    const char *name;
    uint32_t size;    /* of the accumulator */
    uint32_t accepts; /* tags of the argument */
    uint32_t kept;    /* kept values it starts with */
} trait_t;

static const trait_t traits[AGG_KINDS] = {
    [AGG_COUNT] = {"count", sizeof (uint64_t), TAKES_ANY, 0},
    [AGG_SUM] = {"sum", sizeof (acc_sum_t), TAKES_NUMBERS, 0},
    [AGG_MEAN] = {"mean", sizeof (acc_mean_t), TAKES_NUMBERS, 0},
    [AGG_MIN] = {"min", sizeof (kept_t), TAKES_ORDERED, 1},
    [AGG_MAX] = {"max", sizeof (kept_t), TAKES_ORDERED, 1},
    [AGG_FIRST] = {"first", sizeof (acc_timed_t), TAKES_ANY, 1},
    [AGG_LAST] = {"last", sizeof (acc_timed_t), TAKES_ANY, 1},
    [AGG_VARIANCE] = {"variance", sizeof (acc_moments_t), TAKES_NUMBERS, 0},
    [AGG_VARIANCE_POP] = {"variance_pop", sizeof (acc_moments_t), TAKES_NUMBERS, 0},
    [AGG_STDDEV] = {"stddev", sizeof (acc_moments_t), TAKES_NUMBERS, 0},
    [AGG_STDDEV_POP] = {"stddev_pop", sizeof (acc_moments_t), TAKES_NUMBERS, 0},
    [AGG_ANY] = {"any", sizeof (acc_truth_t), TAKES (TAG_BOOL), 0},
    [AGG_ALL] = {"all", sizeof (acc_truth_t), TAKES (TAG_BOOL), 0},
    [AGG_MIN_BY] = {"min_by", sizeof (acc_best_t), TAKES_ANY, 2},
    [AGG_MAX_BY] = {"max_by", sizeof (acc_best_t), TAKES_ANY, 2},
    [AGG_EMA] = {"ema", sizeof (acc_ema_t), TAKES_NUMBERS, 0},
    [AGG_DELTA] = {"delta", sizeof (acc_delta_t), TAKES_NUMBERS, 0},
    [AGG_RATE] = {"rate", sizeof (acc_rate_t), TAKES_NUMBERS, 0},
    [AGG_LAG] = {"lag", sizeof (acc_lag_t), TAKES_ANY, 0}, /* and its ring */
    [AGG_CHANGED] = {"changed", sizeof (acc_changed_t), TAKES_ANY, 1},
};

const char *accumulator_name (uint8_t kind) { return traits[kind].name; }
uint32_t accumulator_accepts (uint8_t kind) { return traits[kind].accepts; }

uint32_t accumulator_size (const aggregate_t *item) {
    return item->kind == AGG_LAG ? lag_size (item->n) : traits[item->kind].size;
}

uint32_t accumulator_kept (const aggregate_t *item, void *at, kept_t **first) {
    if (item->kind == AGG_LAG) {
        *first = ((acc_lag_t *) at)->ring;
        return item->n + 1;
    }
    *first = at; /* kept values stand first in their accumulators */
    return traits[item->kind].kept;
}

static bool get_int (const value_t *map, const char *name, int64_t absent, int64_t *out) {
    value_t value;
    *out = absent;
    if (!pack_get (map, name, (uint32_t) strlen (name), &value) || value_is_null (&value))
        return true;
    *out = value.i;
    return value.tag == TAG_INT;
}

static bool get_slot (const value_t *map, const char *name, uint16_t *out) {
    int64_t slot;
    if (!get_int (map, name, -1, &slot) || slot < -1 || slot > SLOT_NONE)
        return false;
    *out = slot < 0 ? SLOT_NONE : (uint16_t) slot;
    return true;
}

/* What each kind needs is there, and nothing out of bounds. */
static bool is_complete (const aggregate_t *item) {
    bool has_by = item->kind == AGG_MIN_BY || item->kind == AGG_MAX_BY;
    if (item->to == SLOT_NONE || (item->argument == SLOT_NONE && item->kind != AGG_COUNT))
        return false;
    if (has_by != (item->by != SLOT_NONE))
        return false;
    if (item->kind == AGG_EMA && !(item->alpha > 0 && item->alpha <= 1))
        return false;
    return item->kind != AGG_LAG || (item->n >= 1 && item->n <= AGGREGATE_LAG_MAX);
}

static bool read_item (const value_t *map, aggregate_t *item, fault_t *fault) {
    int64_t kind, n;
    value_t alpha = value_null();
    bool good = map->tag == TAG_MAP && get_int (map, "kind", -1, &kind) && get_int (map, "n", 0, &n) &&
                get_slot (map, "argument", &item->argument) && get_slot (map, "by", &item->by) &&
                get_slot (map, "where", &item->where) && get_slot (map, "to", &item->to);
    if (good && pack_get (map, "alpha", 5, &alpha) && value_is_number (&alpha))
        item->alpha = value_as_float (&alpha);
    if (good && kind >= 0 && kind < AGG_KINDS && n >= 0 && n <= UINT32_MAX) {
        item->kind = (uint8_t) kind;
        item->n = (uint32_t) n;
        if (is_complete (item))
            return true;
    }
    return fault_set (fault, REASON_AGGREGATE, "the program's aggregate is malformed");
}

/* delta, rate, lag and changed hear of every record; the others only of those with a value. */
static bool hears_all (uint8_t kind) {
    return kind == AGG_DELTA || kind == AGG_RATE || kind == AGG_LAG || kind == AGG_CHANGED;
}

static bool belongs (const aggregate_group_t *group, const aggregate_t *item) {
    return group->argument == item->argument && group->by == item->by && group->where == item->where &&
           group->every == hears_all (item->kind);
}

/* The group's offset for the first of a common kind; NULL for the others. */
static uint32_t *quick_of (aggregate_group_t *group, uint8_t kind) {
    switch (kind) {
    case AGG_COUNT: return &group->count_at;
    case AGG_SUM: return &group->sum_at;
    case AGG_MEAN: return &group->mean_at;
    case AGG_MIN: return &group->min_at;
    case AGG_MAX: return &group->max_at;
    default: return NULL;
    }
}

static void join (aggregate_group_t *group, const aggregate_t *item) {
    uint8_t kind = item->kind;
    uint32_t *quick = quick_of (group, kind);
    group->accepts &= (uint16_t) traits[kind].accepts;
    group->careful |= kind == AGG_MIN_BY || kind == AGG_MAX_BY || kind == AGG_DELTA;
    group->keeps |= traits[kind].kept > 0 || kind == AGG_LAG;
    if ((kind == AGG_MIN || kind == AGG_MAX) && group->ordered == NO_OFFSET)
        group->ordered = item->offset;
    if (quick && *quick == NO_OFFSET) {
        *quick = item->offset;
        group->quick++;
    }
    group->count++;
}

static const aggregate_group_t empty_group = {.accepts = TAKES_ANY,
                                              .ordered = NO_OFFSET,
                                              .count_at = NO_OFFSET,
                                              .sum_at = NO_OFFSET,
                                              .mean_at = NO_OFFSET,
                                              .min_at = NO_OFFSET,
                                              .max_at = NO_OFFSET};

static aggregate_group_t *group_of (aggregates_t *self, const aggregate_t *item) {
    for (uint32_t g = 0; g < self->group_count; g++)
        if (belongs (&self->groups[g], item))
            return &self->groups[g];
    aggregate_group_t *group = &self->groups[self->group_count++];
    *group = empty_group;
    group->argument = item->argument;
    group->by = item->by;
    group->where = item->where;
    group->every = hears_all (item->kind);
    return group;
}

/* The members of a group, the quick ones first. */
static void list_members (aggregates_t *self, aggregate_group_t *group, uint32_t first) {
    uint32_t quick = first, other = first + group->quick;
    group->first = first;
    for (uint32_t i = 0; i < self->count; i++) {
        const aggregate_t *item = &self->items[i];
        if (!belongs (group, item))
            continue;
        const uint32_t *at = quick_of (group, item->kind);
        self->members[at && *at == item->offset ? quick++ : other++] = *item;
    }
}

/* Groups in the order of their first item. */
static void make_groups (aggregates_t *self) {
    for (uint32_t i = 0; i < self->count; i++) {
        const aggregate_t *item = &self->items[i];
        if (item->argument == SLOT_NONE && item->where == SLOT_NONE)
            self->plain[self->plain_count++] = item->offset;
        else
            join (group_of (self, item), item);
    }
    uint32_t members = 0;
    for (uint32_t g = 0; g < self->group_count; g++) {
        list_members (self, &self->groups[g], members);
        members += self->groups[g].count;
    }
    const aggregate_group_t *group = &self->groups[0];
    if (self->group_count == 1 && group->where == SLOT_NONE && group->count == group->quick &&
        (group->accepts & TAKES (TAG_FLOAT)) && group->argument != SLOT_NONE)
        self->lone = group;
}

static aggregates_t *allocate (uint32_t count) {
    aggregates_t *self = calloc (1, sizeof *self);
    if (self == NULL)
        return NULL;
    self->items = calloc (count + 1, sizeof *self->items);
    self->members = calloc (count + 1, sizeof *self->members);
    self->groups = calloc (count + 1, sizeof *self->groups);
    self->plain = calloc (count + 1, sizeof *self->plain);
    self->owned = calloc (1, sizeof *self->owned);
    if (!self->items || !self->members || !self->groups || !self->plain || !self->owned)
        aggregates_destroy (&self);
    return self;
}

aggregates_t *aggregates_new (const value_t *list, fault_t *fault) {
    uint32_t count = 0;
    const char *p = list->tag == TAG_LIST ? pack_open (list, &count) : NULL;
    if (p == NULL || count > AGGREGATES_MAX) {
        fault_set (fault, REASON_AGGREGATE, "the program's aggregates are malformed");
        return NULL;
    }
    aggregates_t *self = allocate (count);
    if (self == NULL) {
        fault_set (fault, REASON_LIMIT, "no memory for aggregates");
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++) {
        value_t map = value_null();
        aggregate_t *item = &self->items[i];
        p = p ? pack_read (p, list->p + list->size, &map) : NULL;
        if (!read_item (&map, item, fault)) {
            aggregates_destroy (&self);
            return NULL;
        }
        item->offset = self->payload_size;
        self->payload_size += accumulator_size (item);
        self->count++;
    }
    make_groups (self);
    return self;
}

void aggregates_destroy (aggregates_t **self_p) {
    aggregates_t *self = *self_p;
    if (self == NULL)
        return;
    free (self->items);
    free (self->members);
    free (self->groups);
    free (self->plain);
    free (self->owned);
    free (self);
    *self_p = NULL;
}

void aggregates_free (const aggregates_t *self, void *payload) {
    if (*self->owned == 0)
        return; /* nothing that any of them keeps lies outside its payload */
    for (uint32_t i = 0; i < self->count; i++) {
        kept_t *kept;
        uint32_t count = accumulator_kept (&self->items[i], (char *) payload + self->items[i].offset, &kept);
        for (uint32_t k = 0; k < count; k++)
            kept_free (&kept[k], self->owned);
    }
}
