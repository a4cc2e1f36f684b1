/* capture.c: see capture.h. Entries collect in a buffer and are posted when it is large or a moment old. */
#include "capture.h"

#include <stdlib.h>

#include "lane.h"

/* ---- one entry: its size in 32 bits, its kind, its members, all little-endian, then the bytes it brings ---- */

typedef struct captured_entry {
    char members[64];
    uint32_t size;
} captured_t;

static void put_u8 (captured_t *self, uint8_t value) { self->members[self->size++] = (char) value; }

static void put_le (captured_t *self, uint64_t value, uint32_t bytes) {
    for (uint32_t i = 0; i < bytes; i++)
        self->members[self->size++] = (char) (value >> (8 * i));
}

static void put_u32 (captured_t *self, uint32_t value) { put_le (self, value, 4); }
static void put_i64 (captured_t *self, int64_t value) { put_le (self, (uint64_t) value, 8); }

static bool add (capture_t *self, const captured_t *entry) {
    return buffer_put (&self->out, entry->members, entry->size);
}

static void post (capture_t *self, uint32_t mark, uint64_t cut) {
    lane_t *lane = self->flow->lane;
    uint64_t waiting = __atomic_load_n (&lane->capture_waiting, __ATOMIC_RELAXED);
    if (waiting + self->out.size > CAPTURE_WAITING_MAX) {
        self->broken = CAPTURE_SLOW;
        self->out.size = 0;
    } else if (self->out.size) {
        size_t size = self->out.size;
        if (posts_try (&lane->posts, POST_CAPTURE, self->flow->index, mark, cut, self->out.data, size)) {
            __atomic_add_fetch (&lane->capture_waiting, size, __ATOMIC_RELAXED);
            self->written += size;
            self->out = (buffer_t){0};
        } else {
            self->broken = CAPTURE_MEMORY;
        }
    }
    self->posted_ns = lane->now_ns;
    if (self->written > self->limit && !self->ends) {
        self->ends = CAPTURE_FULL;
        lane->cut_wanted = true;
    }
}

static void put_entry (capture_t *self, enum captured kind, const captured_t *entry, const char *bytes,
                       size_t size) {
    if (self->broken || (self->flow->lane->replaying && kind != CAPTURED_RESULTS))
        return;
    captured_t head = {.size = 0};
    put_u32 (&head, (uint32_t) (1 + entry->size + size));
    put_u8 (&head, (uint8_t) kind);
    if (!buffer_room (&self->out, head.size + entry->size + size)) {
        self->broken = CAPTURE_MEMORY;
        return;
    }
    add (self, &head);
    add (self, entry);
    buffer_put (&self->out, bytes, size);
    if (self->out.size >= CAPTURE_POST_BYTES && !self->flow->lane->replaying)
        post (self, CAPTURE_GOES_ON, 0);
}

static captured_t of_partition (const partition_t *partition) {
    captured_t entry = {.size = 0};
    put_u32 (&entry, partition->source->index);
    put_u32 (&entry, partition->captured);
    return entry;
}

/* ---- what happens to the lane ---- */

static void put_clock (captured_t *self, const lane_t *lane) {
    put_i64 (self, lane->now_ns);
    put_i64 (self, lane->now_us);
    put_i64 (self, lane->wall_us);
    put_u8 (self, lane->clock_known);
}

void capture_tick (lane_t *lane) {
    captured_t entry = {.size = 0};
    put_clock (&entry, lane);
    put_entry (lane->capture, CAPTURED_TICK, &entry, NULL, 0);
}

void capture_timers (lane_t *lane) {
    captured_t entry = {.size = 0};
    put_entry (lane->capture, CAPTURED_TIMERS, &entry, NULL, 0);
}

/* What sinks have got since the last time stands at the ends of their buffers. */
void capture_sinks (lane_t *lane) {
    capture_t *self = lane->capture;
    for (uint32_t i = 0; i < self->flow->sink_count; i++) {
        const sink_t *sink = &self->flow->sinks[i];
        size_t fresh = (size_t) (sink->bytes - self->seen[i]);
        if (!fresh)
            continue;
        captured_t entry = {.size = 0};
        put_u32 (&entry, i);
        put_entry (self, CAPTURED_RESULTS, &entry, sink->out.data + sink->out.size - fresh, fresh);
        self->seen[i] = sink->bytes;
    }
}

/* ---- what happens to a source ---- */

void capture_begin (capture_t *self, partition_t *partition) {
    partition->captured = self->next_id++;
    captured_t entry = of_partition (partition);
    put_entry (self, CAPTURED_BEGIN, &entry, partition->name, partition->name_size);
}

void capture_bytes (capture_t *self, const partition_t *partition, size_t count, bool whole) {
    captured_t entry = of_partition (partition);
    put_u8 (&entry, whole);
    put_entry (self, CAPTURED_BYTES, &entry, partition->data + partition->end - count, count);
}

void capture_partition (capture_t *self, enum captured kind, const partition_t *partition) {
    captured_t entry = of_partition (partition);
    put_entry (self, kind, &entry, NULL, 0);
}

void capture_place (capture_t *self, const partition_t *partition, bool anew) {
    captured_t entry = of_partition (partition);
    put_u8 (&entry, partition->counted);
    put_u8 (&entry, anew);
    put_i64 (&entry, partition->heard_ns);
    put_entry (self, CAPTURED_PLACE, &entry, NULL, 0);
}

void capture_unfinished (capture_t *self, const partition_t *partition, bool again) {
    captured_t entry = of_partition (partition);
    put_u8 (&entry, again);
    put_entry (self, CAPTURED_UNFINISHED, &entry, NULL, 0);
}

void capture_rename (capture_t *self, const partition_t *partition) {
    captured_t entry = of_partition (partition);
    put_entry (self, CAPTURED_RENAME, &entry, partition->name, partition->name_size);
}

void capture_switch (capture_t *self, enum captured kind, uint32_t index, bool on) {
    captured_t entry = {.size = 0};
    put_u32 (&entry, index);
    put_u8 (&entry, on);
    put_entry (self, kind, &entry, NULL, 0);
}

/* ---- the beginning: what a cut does not say, because a restart does not need it ---- */

static void put_partitions (capture_t *self, partition_t *first, bool is_read, buffer_t *out) {
    for (partition_t *partition = first; partition; partition = partition->next) {
        captured_t entry = {.size = 0};
        partition->captured = self->next_id++;
        put_u32 (&entry, partition->captured);
        put_u8 (&entry, is_read);
        put_i64 (&entry, partition->heard_ns);
        if (!buffer_put (out, entry.members, entry.size))
            self->broken = CAPTURE_MEMORY;
    }
}

static void put_source (capture_t *self, source_t *source, buffer_t *out) {
    captured_t entry = {.size = 0};
    bool forgets = source->follow || (source->kind != SOURCE_FILES && source->kind != SOURCE_CHUNKS);
    bool is_connected = source->kind == SOURCE_LISTEN || source->kind == SOURCE_CONNECT;
    put_u8 (&entry, (uint8_t) ((source->ended ? CAPTURED_ENDED : 0) | (source->counts ? CAPTURED_COUNTS : 0) |
                               (source->paused ? CAPTURED_PAUSED : 0) | (forgets ? CAPTURED_FORGETS : 0) |
                               (source->kind == SOURCE_FILES ? CAPTURED_FILES : 0) |
                               (is_connected ? CAPTURED_PEERS : 0)));
    put_i64 (&entry, source->watermark_us);
    put_i64 (&entry, source->left_time_us);
    put_i64 (&entry, source->look_ns);
    put_i64 (&entry, source->idle_from_ns);
    put_i64 (&entry, source->idle_watermark_us);
    put_u32 (&entry, source->partition_count + source->known_count);
    if (!buffer_put (out, entry.members, entry.size))
        self->broken = CAPTURE_MEMORY;
    put_partitions (self, source->partitions, true, out);
    put_partitions (self, source->known, false, out);
}

static void put_rest (capture_t *self, buffer_t *out) {
    flow_t *flow = self->flow;
    bool good = true;
    for (uint32_t i = 0; i < flow->timed_count; i++) {
        captured_t entry = {.size = 0};
        put_i64 (&entry, flow->ops[flow->timed[i]].watermark);
        good = buffer_put (out, entry.members, entry.size) && good;
    }
    for (uint32_t i = 0; i < flow->sink_count; i++) {
        const sink_t *sink = &flow->sinks[i];
        captured_t entry = {.size = 0};
        put_u8 (&entry,
                (uint8_t) ((sink->framed ? CAPTURED_FRAMED : 0) | (sink->drop_newest ? CAPTURED_DROPS : 0) |
                           (sink->spool_full ? CAPTURED_SPOOL_FULL : 0)));
        good = buffer_put (out, entry.members, entry.size) && good;
    }
    if (!good)
        self->broken = CAPTURE_MEMORY;
}

static void start (capture_t *self) {
    lane_t *lane = self->flow->lane;
    buffer_t rest = {0};
    captured_t entry = {.size = 0};
    put_i64 (&entry, (int64_t) lane->cut);
    put_clock (&entry, lane);
    put_i64 (&entry, self->flow->due);
    for (uint32_t i = 0; i < self->flow->source_count; i++)
        put_source (self, &self->flow->sources[i], &rest);
    put_rest (self, &rest);
    for (uint32_t i = 0; i < self->flow->sink_count; i++)
        self->seen[i] = self->flow->sinks[i].bytes;
    for (uint32_t i = 0; i < self->flow->op_count; i++)
        if (self->flow->ops[i].python)
            pystep_see_anew (self->flow->ops[i].python);
    put_entry (self, CAPTURED_START, &entry, rest.data, rest.size);
    post (self, CAPTURE_BEGINS, lane->cut);
    buffer_free (&rest);
}

/* ---- beginning and ending ---- */

static capture_t *capture_new (flow_t *flow, uint64_t limit) {
    capture_t *self = calloc (1, sizeof *self);
    if (self)
        *self = (capture_t){.flow = flow, .limit = limit, .out = {.limit = 2 * (size_t) CAPTURE_WAITING_MAX}};
    return self;
}

void capture_free (lane_t *lane) {
    if (lane->capture)
        buffer_free (&lane->capture->out);
    free (lane->capture);
    lane->capture = NULL;
}

bool capture_results (lane_t *lane) {
    lane->capture = capture_new (lane->flows[0], UINT64_MAX);
    return lane->capture != NULL;
}

/* The last entry, whatever else there is no room for. `cut`: the one that it ends at; 0: at none. */
static void end (lane_t *lane, enum capture_end why, uint64_t cut) {
    capture_t *self = lane->capture;
    captured_t entry = {.size = 0};
    self->broken = 0;
    put_u8 (&entry, (uint8_t) why);
    put_i64 (&entry, (int64_t) cut);
    put_entry (self, CAPTURED_END, &entry, NULL, 0);
    uint64_t waiting = __atomic_exchange_n (&lane->capture_waiting, 0, __ATOMIC_RELAXED);
    post (self, CAPTURE_ENDS, cut);
    __atomic_add_fetch (&lane->capture_waiting, waiting, __ATOMIC_RELAXED);
    capture_free (lane);
}

void capture_ask (lane_t *lane, uint32_t flow, uint64_t limit) {
    if (limit && !lane->capture && flow < lane->flow_count) {
        lane->capture_flow = flow;
        lane->capture_limit = limit;
        lane->cut_wanted = true;
    } else if (!limit && lane->capture && !lane->capture->ends) {
        lane->capture->ends = CAPTURE_ASKED;
        lane->cut_wanted = true;
    } else if (!limit) {
        lane->capture_limit = 0;
    }
}

static void put_number (capture_t *self, enum captured kind, uint64_t number) {
    captured_t entry = {.size = 0};
    put_i64 (&entry, (int64_t) number);
    put_entry (self, kind, &entry, NULL, 0);
}

void capture_before_cut (lane_t *lane) {
    if (lane->capture && !lane->replaying)
        capture_sinks (lane);
}

void capture_after_cut (lane_t *lane) {
    if (lane->replaying)
        return;
    if (lane->capture)
        put_number (lane->capture, CAPTURED_CUT, lane->cut);
    if (lane->capture && lane->capture->ends)
        end (lane, lane->capture->ends, lane->cut);
    if (lane->capture_limit) {
        lane->capture = capture_new (lane->flows[lane->capture_flow], lane->capture_limit);
        lane->capture_limit = 0;
        if (lane->capture)
            start (lane->capture);
    }
}

void capture_turn (lane_t *lane) {
    capture_t *self = lane->capture;
    if (lane->replaying)
        return;
    if (!self->broken && lane->now_ns - self->posted_ns >= CAPTURE_POST_NS)
        post (self, CAPTURE_GOES_ON, 0);
    if (self->broken)
        end (lane, self->broken, 0);
}

/* The last cut holds what there is, if nothing has happened since. */
void capture_lane_ended (lane_t *lane) {
    if (lane->capture && !lane->replaying) {
        capture_sinks (lane);
        end (lane, CAPTURE_STOPPED, lane->capture->flow->dirty ? 0 : lane->cut);
    }
}

void lane_mail_capture (lane_t *self, uint32_t flow, uint64_t limit) {
    mail_send (&self->mail, LETTER_CAPTURE, flow, 0, limit, NULL, 0, NULL, 0, NULL, 0);
}

void lane_capture_written (lane_t *self, size_t size) {
    __atomic_sub_fetch (&self->capture_waiting, size, __ATOMIC_RELAXED);
}
