/* watermark.c: how far event time has got, per partition and per source (S7). A watermark never goes back. */
#include "lane.h"

static bool counts (const partition_t *self) { return self->counted && !self->idle && !self->ended; }

static void source_set (source_t *self, int64_t watermark_us) {
    if (watermark_us > self->watermark_us)
        self->watermark_us = watermark_us;
}

/* The minimum over the partitions that count; remembers who holds it. */
void source_refresh (source_t *self) {
    int64_t lowest = INT64_MAX;
    self->lowest = NULL;
    for (partition_t *partition = self->partitions; partition; partition = partition->next)
        if (counts (partition) && (partition->watermark_us < lowest || !self->lowest)) {
            lowest = partition->watermark_us;
            self->lowest = partition;
        }
    self->counts = self->lowest != NULL || (self->arrival && !self->ended);
    if (self->lowest) {
        self->idle_from_ns = 0;
        source_set (self, lowest);
    } else if (self->ended) {
        self->watermark_us = INT64_MAX;
    }
}

int64_t source_before_late (const source_t *self, int64_t time_us) {
    return time_us < INT64_MIN + self->late_us ? INT64_MIN : time_us - self->late_us;
}

/* A partition has seen a larger event time. Only the one that holds the minimum can move it. */
void source_saw (partition_t *self, int64_t time_us) {
    source_t *source = self->source;
    self->max_time_us = time_us;
    self->watermark_us = source_before_late (source, time_us);
    bool joined = !self->counted || self->idle;
    self->counted = true;
    self->idle = false;
    if (likely (source->lowest == self && source->partition_count == 1))
        source_set (source, self->watermark_us);
    else if (joined || source->lowest == self || !source->lowest)
        source_refresh (source);
    if (unlikely (joined))
        source->look_ns = 0;
}

/* An idle partition brings something again that is no later than what it had: it takes part again all the same. */
void source_returned (partition_t *self) {
    self->idle = false;
    self->source->look_ns = 0;
    source_refresh (self->source);
}

static int64_t earlier (int64_t a, int64_t b) { return a < b ? a : b; }

/* Partitions that were asked for `idle` and had nothing are left out of the minimum. */
static int64_t leave_out_idle (source_t *self, int64_t now_ns, bool *changed) {
    int64_t next = INT64_MAX;
    for (partition_t *partition = self->partitions; partition; partition = partition->next) {
        if (!counts (partition))
            continue;
        int64_t idle_at = partition->heard_ns + self->idle_us * 1000;
        if (idle_at <= now_ns)
            partition->idle = *changed = true;
        else
            next = earlier (next, idle_at);
    }
    return next;
}

static int64_t largest_time (const source_t *self) {
    int64_t largest = INT64_MIN;
    for (const partition_t *partition = self->partitions; partition; partition = partition->next)
        if (partition->max_time_us > largest)
            largest = partition->max_time_us;
    return largest > self->left_time_us ? largest : self->left_time_us;
}

/* All inputs are idle and one of them is live: the watermark moves on with the tick clock from the largest event
 * time − late, so that the last records get their windows. */
static void move_on (source_t *self, int64_t now_ns) {
    int64_t largest = largest_time (self), moved;
    if (!self->live || self->hold || self->ended || largest == INT64_MIN)
        return;
    if (!self->idle_from_ns) {
        self->idle_from_ns = now_ns;
        self->idle_watermark_us = source_before_late (self, largest);
    }
    if (!__builtin_add_overflow (self->idle_watermark_us, (now_ns - self->idle_from_ns) / 1000, &moved))
        source_set (self, moved);
}

int64_t source_tick (source_t *self, int64_t now_ns, int64_t now_us) {
    if (self->arrival) {
        /* Nothing that arrives from now on can be older than now. */
        if (!self->ended)
            source_set (self, now_us);
        return INT64_MAX;
    }
    if (self->idle_us < 0 || self->ended)
        return INT64_MAX;
    if (self->paused || now_ns < self->look_ns)
        return self->paused ? INT64_MAX : self->look_ns;
    bool changed = false;
    int64_t next = leave_out_idle (self, now_ns, &changed);
    if (changed)
        source_refresh (self);
    if (next == INT64_MAX) {
        move_on (self, now_ns);
        return INT64_MAX;
    }
    /* Nobody becomes idle before the earliest of today's candidates: no need to walk the partitions till then. */
    return self->look_ns = next;
}

int64_t source_due (const source_t *self, int64_t now_ns) {
    const flow_t *flow = self->flow;
    int64_t due = INT64_MAX;
    if (self->ended || (!self->arrival && (self->paused || !self->idle_from_ns)))
        return INT64_MAX;
    for (uint32_t i = 0; i < flow->timed_count; i++) {
        const op_t *op = &flow->ops[flow->timed[i]];
        if (!op->arrival && op->sources >> self->index & 1 && op->due > self->watermark_us)
            due = earlier (due, op->due);
    }
    return due == INT64_MAX ? INT64_MAX : moment_after (now_ns, self->watermark_us, due);
}

void source_unpaused (source_t *self, int64_t now_ns) {
    /* Time in which it was not read does not count towards idle. */
    for (partition_t *partition = self->partitions; partition; partition = partition->next)
        partition->heard_ns = now_ns;
    if (self->idle_from_ns) {
        self->idle_from_ns = now_ns;
        self->idle_watermark_us = self->watermark_us;
    }
}
