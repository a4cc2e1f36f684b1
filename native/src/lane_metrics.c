/* lane_metrics.c: all counters and histograms as one packed map. Called from any thread while the lane runs: every
 * word is written by the lane alone and read whole, so a reader sees each as it was a moment ago, never torn; counts
 * of one snapshot may differ by the events of that moment. Nothing it walks is freed while the lane lives but
 * partitions, and those it does not touch. */
#include <stdlib.h>

#include "lane.h"
#include "pack.h"

static bool put_name (buffer_t *out, const char *name) {
    return pack_write_text (out, name, (uint32_t) strlen (name));
}

static bool put_count (buffer_t *out, const char *name, const uint64_t *count) {
    return put_name (out, name) && pack_write_int (out, (int64_t) __atomic_load_n (count, __ATOMIC_RELAXED));
}

static bool put_value (buffer_t *out, const char *name, uint64_t value) {
    return put_name (out, name) && pack_write_int (out, (int64_t) value);
}

static bool put_label (buffer_t *out, const char *label, const char *text, uint32_t size) {
    return put_name (out, label) && pack_write_text (out, text, size);
}

static bool put_head (buffer_t *out, uint32_t members, const flow_t *flow, const char *name, uint32_t size) {
    return pack_write_map (out, members) && put_label (out, "flow", flow->name, flow->name_size) &&
           put_label (out, "name", name, size);
}

static bool put_source (buffer_t *out, const source_t *source) {
    return put_head (out, 17, source->flow, source->name, source->name_size) &&
           put_count (out, "records", &source->records) && put_count (out, "bytes", &source->bytes) &&
           put_count (out, "errors", &source->errors) && put_count (out, "future", &source->future) &&
           put_value (out, "partitions", source->partition_count) &&
           put_count (out, "repeated", &source->repeated) && put_count (out, "refused", &source->refused) &&
           put_count (out, "lost", &source->lost) && put_count (out, "lost_files", &source->lost_files) &&
           put_count (out, "unread", &source->unread) && put_count (out, "unfinished", &source->unfinished) &&
           put_count (out, "put_back", &source->put_back) &&
           put_value (out, "paused", source->paused && !source->stopped) &&
           put_value (out, "ended", source->ended) &&
           put_value (out, "watermark_us", (uint64_t) source->watermark_us);
}

static bool put_sink (buffer_t *out, const sink_t *sink) {
    bool connected = sink->kind != SINK_CONNECT || sink->state == CONNECT_OPEN;
    /* Two words of one moment and of the next: never less than nothing. */
    size_t size = __atomic_load_n (&sink->out.size, __ATOMIC_RELAXED);
    size_t sent = __atomic_load_n (&sink->sent, __ATOMIC_RELAXED);
    return put_head (out, 9, sink->flow, sink->name, sink->name_size) &&
           put_count (out, "records", &sink->records) && put_count (out, "bytes", &sink->bytes) &&
           put_count (out, "errors", &sink->errors) && put_count (out, "nans", &sink->nans) &&
           put_count (out, "refused", &sink->refused) &&
           put_value (out, "queued", (size > sent ? size - sent : 0) + sink->posted) &&
           put_value (out, "connected", connected);
}

static bool put_step (buffer_t *out, const flow_t *flow, const step_t *step) {
    uint64_t keys = 0, bytes = 0;
    for (uint32_t i = 0; i < flow->op_count; i++) {
        const op_t *op = &flow->ops[i];
        if (op->step == SLOT_NONE || &flow->steps[op->step] != step)
            continue;
        keys += op->window    ? window_keys (op->window)
                : op->running ? running_keys (op->running)
                : op->python  ? pystep_keys (op->python)
                              : 0;
        bytes += __atomic_load_n (&op->bytes, __ATOMIC_RELAXED);
    }
    return put_head (out, 8, flow, step->name, step->name_size) && put_count (out, "in", &step->in) &&
           put_count (out, "out", &step->out) && put_count (out, "late", &step->late) &&
           put_count (out, "error", &step->errors) && put_value (out, "keys", keys) &&
           put_value (out, "state_bytes", bytes);
}

static bool put_flow_errors (buffer_t *out, const flow_t *flow) {
    bool good = pack_write_map (out, 9) && put_label (out, "flow", flow->name, flow->name_size) &&
                put_value (out, "memory_limit", flow->memory_limit) &&
                put_count (out, "memory_bytes", &flow->memory_bytes) &&
                put_count (out, "memory_full", &flow->memory_full) &&
                put_count (out, "unfinished_bytes", &flow->unfinished_bytes) &&
                put_value (out, "memory_waits", flow->memory_waits) &&
                put_count (out, "errors", &flow->error_count) &&
                put_count (out, "unwritten", &flow->error_failures) && put_name (out, "reasons");
    uint32_t reasons = 0;
    for (uint32_t i = 0; i < REASON_COUNT; i++)
        reasons += flow->reasons[i] != 0;
    good = good && pack_write_map (out, reasons);
    for (uint32_t i = 0; i < REASON_COUNT && good && reasons; i++)
        if (flow->reasons[i]) {
            good = put_value (out, reason_name (i), flow->reasons[i]);
            reasons--;
        }
    while (good && reasons--) /* a reason that another thread saw appear between the two walks */
        good = put_value (out, "", 0);
    return good;
}

static uint32_t total (const lane_t *self, uint32_t (*count) (const flow_t *)) {
    uint32_t sum = 0;
    for (uint32_t f = 0; f < self->flow_count; f++)
        sum += count (self->flows[f]);
    return sum;
}

static uint32_t count_sources (const flow_t *flow) { return flow->source_count; }
static uint32_t count_steps (const flow_t *flow) { return flow->step_count; }
static uint32_t count_sinks (const flow_t *flow) { return flow->sink_count; }

static bool put_parts (const lane_t *self, buffer_t *out) {
    bool good = put_name (out, "sources") && pack_write_list (out, total (self, count_sources));
    for (uint32_t f = 0; f < self->flow_count; f++)
        for (uint32_t i = 0; i < self->flows[f]->source_count && good; i++)
            good = put_source (out, &self->flows[f]->sources[i]);
    good = good && put_name (out, "steps") && pack_write_list (out, total (self, count_steps));
    for (uint32_t f = 0; f < self->flow_count; f++)
        for (uint32_t i = 0; i < self->flows[f]->step_count && good; i++)
            good = put_step (out, self->flows[f], &self->flows[f]->steps[i]);
    good = good && put_name (out, "sinks") && pack_write_list (out, total (self, count_sinks));
    for (uint32_t f = 0; f < self->flow_count; f++)
        for (uint32_t i = 0; i < self->flows[f]->sink_count && good; i++)
            good = put_sink (out, &self->flows[f]->sinks[i]);
    good = good && put_name (out, "errors") && pack_write_list (out, self->flow_count);
    for (uint32_t f = 0; f < self->flow_count && good; f++)
        good = put_flow_errors (out, self->flows[f]);
    return good;
}

static size_t hand_out (buffer_t *packed, char *out, size_t capacity) {
    size_t size = packed->size;
    if (size <= capacity)
        memcpy (out, packed->data, size);
    buffer_free (packed);
    return size;
}

size_t lane_metrics (lane_t *self, char *out, size_t capacity) {
    buffer_t packed = {0};
    bool good = pack_write_map (&packed, 11) && put_count (&packed, "ticks", &self->page->ticks) &&
                put_count (&packed, "events", &self->events) && put_count (&packed, "cuts", &self->cut) &&
                put_value (&packed, "mail_bytes", self->mail.bytes) && put_name (&packed, "latency_ns") &&
                histogram_pack (self->latency, &packed) && put_name (&packed, "closing_ns") &&
                histogram_pack (self->closing, &packed) && put_name (&packed, "pause_ns") &&
                histogram_pack (self->pause, &packed) && put_parts (self, &packed);
    if (!good)
        packed.size = 0;
    return hand_out (&packed, out, capacity);
}

size_t lane_last_errors (lane_t *self, char *out, size_t capacity) {
    buffer_t packed = {0};
    for (uint32_t f = 0; f < self->flow_count; f++)
        if (!flow_kept_errors (self->flows[f], &packed))
            packed.size = 0;
    return hand_out (&packed, out, capacity);
}

size_t lane_take_memory (lane_t *self, uint32_t flow, uint32_t sink, char *out, size_t capacity) {
    sink_t *from = &self->flows[flow]->sinks[sink];
    size_t size = from->released - from->sent;
    if (size <= capacity && size) {
        memcpy (out, from->out.data + from->sent, size);
        from->sent = from->released;
    }
    return size;
}
