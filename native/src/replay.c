/* replay.c: a lane that does again what a capture says was done: the same turns of the same code, in the hands of
 * whoever reads the capture. Sources are fed, sinks only collect, the clock is given. */
#include <stdio.h>

#include "capture.h"
#include "lane.h"

/* What is read comes from a file: a cursor that never goes past the end. */
typedef struct cursor {
    const char *p, *end;
    bool good;
} cursor_t;

static uint64_t take (cursor_t *self, uint32_t bytes) {
    uint64_t value = 0;
    if (self->end - self->p < (ptrdiff_t) bytes) {
        self->good = false;
        return 0;
    }
    for (uint32_t i = 0; i < bytes; i++)
        value |= (uint64_t) (uint8_t) self->p[i] << (8 * i);
    self->p += bytes;
    return value;
}

static uint8_t take_u8 (cursor_t *self) { return (uint8_t) take (self, 1); }
static uint32_t take_u32 (cursor_t *self) { return (uint32_t) take (self, 4); }
static int64_t take_i64 (cursor_t *self) { return (int64_t) take (self, 8); }
static size_t rest (const cursor_t *self) { return (size_t) (self->end - self->p); }

static source_t *take_source (cursor_t *self, flow_t *flow) {
    uint32_t index = take_u32 (self);
    self->good = self->good && index < flow->source_count;
    return self->good ? &flow->sources[index] : NULL;
}

static partition_t *find (partition_t *first, uint32_t id) {
    while (first && first->captured != id)
        first = first->next;
    return first;
}

static void take_clock (cursor_t *self, lane_t *lane) {
    lane->now_ns = take_i64 (self);
    lane->now_us = take_i64 (self);
    lane->wall_us = take_i64 (self);
    lane->clock_known = take_u8 (self) != 0;
}

/* ---- the beginning ---- */

/* The lists as they were: the cut names those that were read first, then those that were only known. */
static void link_partitions (cursor_t *self, source_t *source, uint32_t count) {
    partition_t *next = source->known, **read = &source->partitions, **known = &source->known;
    for (uint32_t i = 0; i < count && next; i++) {
        partition_t *partition = next;
        next = partition->next;
        partition->next = NULL;
        partition->captured = take_u32 (self);
        bool is_read = take_u8 (self) != 0;
        partition->heard_ns = take_i64 (self);
        partition_t ***last = is_read ? &read : &known;
        **last = partition;
        *last = &partition->next;
        source->partition_count += is_read;
        source->known_count -= is_read;
        if (source->peers)
            snprintf (partition->peer, sizeof partition->peer, "%s", partition->name);
        self->good = self->good && (i + 1 < count) == (next != NULL);
    }
    *known = NULL;
}

static void begin_source (cursor_t *self, source_t *source) {
    uint8_t flags = take_u8 (self);
    replayed_t *was = &source->replayed;
    was->flags = flags;
    was->watermark_us = take_i64 (self);
    was->left_time_us = take_i64 (self);
    was->look_ns = take_i64 (self);
    was->idle_from_ns = take_i64 (self);
    was->idle_watermark_us = take_i64 (self);
    uint32_t count = take_u32 (self);
    source->forgets = flags & CAPTURED_FORGETS;
    source->is_files = flags & CAPTURED_FILES;
    source->peers = flags & CAPTURED_PEERS;
    source->resumed = false;
    self->good = self->good && count == source->known_count;
    if (self->good)
        link_partitions (self, source, count);
}

static void settle_source (source_t *self) {
    const replayed_t *was = &self->replayed;
    self->ended = was->flags & CAPTURED_ENDED;
    source_refresh (self);
    self->counts = was->flags & CAPTURED_COUNTS;
    self->paused = was->flags & CAPTURED_PAUSED;
    self->watermark_us = was->watermark_us;
    self->left_time_us = was->left_time_us;
    self->look_ns = was->look_ns;
    self->idle_from_ns = was->idle_from_ns;
    self->idle_watermark_us = was->idle_watermark_us;
}

static void begin_sink (cursor_t *self, sink_t *sink) {
    uint8_t flags = take_u8 (self);
    sink->framed = flags & CAPTURED_FRAMED;
    sink->drop_newest = flags & CAPTURED_DROPS;
    sink->spool_full = flags & CAPTURED_SPOOL_FULL;
}

bool lane_replay_begin (lane_t *self, const char *members, size_t size) {
    cursor_t cursor = {members, members + size, true};
    flow_t *flow = self->flow_count ? self->flows[0] : NULL;
    if (!flow || self->started || !flow->restored || !capture_results (self))
        return false;
    self->replaying = self->clock_given = true;
    take_i64 (&cursor); /* the cut's number */
    take_clock (&cursor, self);
    int64_t due = take_i64 (&cursor);
    for (uint32_t i = 0; i < flow->source_count; i++)
        begin_source (&cursor, &flow->sources[i]);
    if (!cursor.good || !lane_start (self))
        return false;
    for (uint32_t i = 0; i < flow->source_count; i++)
        settle_source (&flow->sources[i]);
    for (uint32_t i = 0; i < flow->timed_count; i++)
        flow->ops[flow->timed[i]].watermark = take_i64 (&cursor);
    for (uint32_t i = 0; i < flow->sink_count; i++)
        begin_sink (&cursor, &flow->sinks[i]);
    flow->due = due;
    return cursor.good && !rest (&cursor);
}

/* ---- one entry after the other ---- */

static void begin_partition (cursor_t *self, flow_t *flow) {
    source_t *source = take_source (self, flow);
    uint32_t id = take_u32 (self);
    partition_t *partition = self->good ? partition_new (source, self->p, (uint32_t) rest (self), -1) : NULL;
    self->good = partition != NULL;
    if (!partition)
        return;
    partition->captured = id;
    if (source->peers)
        snprintf (partition->peer, sizeof partition->peer, "%s", partition->name);
}

static void resume_partition (cursor_t *self, flow_t *flow) {
    source_t *source = take_source (self, flow);
    uint32_t id = take_u32 (self);
    partition_t *partition = self->good ? find (source->known, id) : NULL;
    self->good = partition != NULL;
    if (partition)
        partition_take (partition, -1);
}

static void feed (cursor_t *self, partition_t *partition) {
    bool whole = take_u8 (self) != 0;
    size_t size = rest (self);
    self->good = self->good && partition_room (partition, size);
    if (!self->good)
        return;
    memcpy (partition->data + partition->end, self->p, size);
    if (whole)
        partition_got_whole (partition, size);
    else
        partition_got (partition, size);
    lane_flush (partition->source->flow->lane);
}

static void place (cursor_t *self, partition_t *partition) {
    partition->counted = take_u8 (self) != 0;
    if (take_u8 (self))
        partition_anew (partition);
    partition->heard_ns = take_i64 (self);
}

static void leave_unfinished (cursor_t *self, partition_t *partition) {
    bool again = take_u8 (self) != 0;
    self->good = self->good && partition->start < partition->end;
    if (self->good && again)
        partition_put_back (partition);
    else if (self->good)
        partition_give_up (partition);
}

static void of_partition (cursor_t *self, flow_t *flow, enum captured kind) {
    source_t *source = take_source (self, flow);
    uint32_t id = take_u32 (self);
    partition_t *partition = self->good ? find (source->partitions, id) : NULL;
    if (!partition && self->good && kind == CAPTURED_RENAME)
        partition = find (source->known, id);
    if (!partition)
        self->good = false;
    else if (kind == CAPTURED_BYTES)
        feed (self, partition);
    else if (kind == CAPTURED_PLACE)
        place (self, partition);
    else if (kind == CAPTURED_UNFINISHED)
        leave_unfinished (self, partition);
    else if (kind == CAPTURED_PARTITION_END)
        partition_end (partition);
    else
        self->good = partition_name (partition, self->p, (uint32_t) rest (self));
}

static void pause (cursor_t *self, flow_t *flow) {
    source_t *source = take_source (self, flow);
    bool on = take_u8 (self) != 0;
    if (self->good)
        source_pause (source, on);
}

static void spool (cursor_t *self, flow_t *flow) {
    uint32_t index = take_u32 (self);
    bool full = take_u8 (self) != 0;
    self->good = self->good && index < flow->sink_count;
    if (self->good)
        sink_spool (&flow->sinks[index], full);
}

static void replay_entry (lane_t *self, enum captured kind, cursor_t *cursor) {
    flow_t *flow = self->flows[0];
    source_t *source;
    switch (kind) {
    case CAPTURED_TICK:
        take_clock (cursor, self);
        lane_arrive (self);
        break;
    case CAPTURED_BEGIN: begin_partition (cursor, flow); break;
    case CAPTURED_RESUME: resume_partition (cursor, flow); break;
    case CAPTURED_BYTES:
    case CAPTURED_PLACE:
    case CAPTURED_RENAME:
    case CAPTURED_UNFINISHED:
    case CAPTURED_PARTITION_END: of_partition (cursor, flow, kind); break;
    case CAPTURED_SOURCE_END:
        if ((source = take_source (cursor, flow)))
            source_end (source);
        break;
    case CAPTURED_PAUSE: pause (cursor, flow); break;
    case CAPTURED_SPOOL: spool (cursor, flow); break;
    case CAPTURED_TIMERS: lane_timers (self); break;
    case CAPTURED_CUT: break;
    default: cursor->good = false;
    }
}

/* A spooled sink that drops keeps what it has until the cut that took it: how much there is decides. */
static void empty_sinks (flow_t *flow, bool all) {
    for (uint32_t i = 0; i < flow->sink_count; i++)
        if (all || !flow->sinks[i].drop_newest)
            flow->sinks[i].out.size = flow->sinks[i].held = 0;
}

bool lane_replay (lane_t *self, uint32_t kind, const char *members, size_t size) {
    cursor_t cursor = {members, members + size, true};
    if (!self->replaying)
        return false;
    replay_entry (self, (enum captured) kind, &cursor);
    capture_sinks (self);
    empty_sinks (self->flows[0], kind == CAPTURED_CUT);
    if (self->gil_held)
        lane_gil_drop (self);
    return cursor.good && !self->capture->broken;
}

static bool is_called (const partition_t *self, const char *name, size_t size) {
    if (size > self->name_size)
        return false;
    const char *end = self->name + (self->name_size - size);
    return !size || (!memcmp (end, name, size) && (end == self->name || end[-1] == '/'));
}

int64_t lane_replay_position (lane_t *self, uint32_t source, uint32_t number, const char *name, size_t size) {
    flow_t *flow = self->flows[0];
    partition_t *partition =
        source < flow->source_count ? find (flow->sources[source].partitions, number) : NULL;
    return partition && is_called (partition, name, size) ? (int64_t) (partition->base + partition->end) : -1;
}

size_t lane_replay_results (lane_t *self, char *out, size_t capacity) {
    buffer_t *results = &self->capture->out;
    size_t size = results->size;
    if (size <= capacity && size) {
        memcpy (out, results->data, size);
        results->size = 0;
    }
    return size;
}

bool lane_replay_end (lane_t *self) {
    bool frozen = self->replaying && lane_cut_freeze (self);
    while (frozen && self->cut_encoding)
        lane_cut_encode (self);
    if (self->gil_held)
        lane_gil_drop (self);
    return frozen;
}

uint64_t lane_events (const lane_t *self) { return self->events; }
