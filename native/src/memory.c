/* memory.c: what a flow holds, and what happens when that is as much as it may: its sources are not read until it has
 * fallen, for nothing else lets it grow. What threads in Python hold (mail, spools) has bounds of its own, and so have
 * messages that have not come whole (unfinished.c). */
#include "lane.h"

static uint64_t of_op (const op_t *op) {
    if (op->window)
        return window_bytes (op->window);
    if (op->running)
        return running_bytes (op->running);
    if (op->seen)
        return seen_bytes (op->seen);
    return op->python ? pystep_bytes (op->python) : 0;
}

static uint64_t of_states (flow_t *self) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < self->op_count; i++) {
        uint64_t found = of_op (&self->ops[i]);
        /* For the metrics: no other thread may walk what the lane changes. */
        __atomic_store_n (&self->ops[i].bytes, found, __ATOMIC_RELAXED);
        bytes += found;
    }
    return bytes;
}

static uint64_t of_buffers (const flow_t *self) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < self->source_count; i++)
        for (const partition_t *part = self->sources[i].partitions; part; part = part->next)
            bytes += part->capacity - partition_unfinished (part);
    for (uint32_t i = 0; i < self->sink_count; i++) {
        const sink_t *sink = &self->sinks[i];
        bytes += sink->out.size - sink->sent + sink->sizes.size + sink->shards.size + sink->posted;
    }
    return bytes;
}

/* What is only kept for later goes first. */
static void spare (flow_t *self) {
    for (uint32_t i = 0; i < self->op_count; i++)
        if (self->ops[i].window)
            window_spare (self->ops[i].window);
    for (uint32_t i = 0; i < self->source_count; i++)
        for (partition_t *part = self->sources[i].partitions; part; part = part->next)
            partition_spare (part);
}

static uint64_t total (flow_t *self) { return of_states (self) + of_buffers (self) + self->frozen_bytes; }

/* Once when it begins and once when it ends; not again for a while when it comes and goes. */
static void say (flow_t *self, bool full) {
    lane_t *lane = self->lane;
    if (full && lane->now_ns < self->memory_say_ns)
        return;
    if (full)
        lane_log (
            lane, 30,
            "flow %.*s: memory_full: %llu of %llu bytes are in use; its sources wait until there is room "
            "(settings.memory)",
            (int) self->name_size, self->name, (unsigned long long) self->memory_bytes,
            (unsigned long long) self->memory_limit);
    else if (self->memory_said)
        lane_log (lane, 20, "flow %.*s: there is room in its memory again", (int) self->name_size,
                  self->name);
    self->memory_said = full;
    self->memory_say_ns = lane->now_ns + MEMORY_SAY_EVERY_NS;
}

void flow_measure (flow_t *self) {
    flow_bound_unfinished (self);
    uint64_t limit = self->memory_limit, bytes = total (self);
    if (limit && bytes > limit - limit / MEMORY_LOW_SHARE) {
        if (self->memory_waits || bytes > limit) {
            spare (self);
            bytes = total (self);
        }
        bool full = bytes > (self->memory_waits ? limit - limit / MEMORY_LOW_SHARE : limit);
        self->memory_full += full && !self->memory_waits;
        __atomic_store_n (&self->memory_bytes, bytes, __ATOMIC_RELAXED);
        if (full != self->memory_waits)
            say (self, full);
        self->memory_waits = full;
    } else {
        __atomic_store_n (&self->memory_bytes, bytes, __ATOMIC_RELAXED);
        if (self->memory_waits)
            say (self, false);
        self->memory_waits = false;
    }
    self->unmeasured = 0;
}
