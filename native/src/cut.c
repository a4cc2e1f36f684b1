/* cut.c: a consistent point of the worker. All stop at the end of the buffer at hand; positions, unfinished frames,
 * dirty rows and the marks of the sinks are frozen in one go; Python states are encoded in slices after it; then the
 * blocks go to the committer. One cut is in flight at a time. Its form is described in docs/formats/cut.md. */
#include <stdlib.h>

#include "lane.h"
#include "pack.h"

static bool put_text (buffer_t *out, const char *text) {
    return pack_write_text (out, text, (uint32_t) strlen (text));
}

static bool put_bytes (buffer_t *out, const char *bytes, size_t size) {
    value_t value = {.p = bytes, .size = (uint32_t) size, .tag = TAG_BYTES};
    return pack_write (out, &value);
}

/* [source, partition, position, unfinished bytes, largest event time]: after the restart the source goes on exactly
 * behind `position`, and the framer is given the unfinished bytes first. */
static bool pack_partition (const partition_t *self, buffer_t *out) {
    bool good = pack_write_list (out, 5) && pack_write_int (out, self->source->index) &&
                pack_write_text (out, self->name, self->name_size);
    if (self->position)
        good = good && put_bytes (out, self->position, self->position_size);
    else
        good = good && pack_write_int (out, (int64_t) (self->base + self->end));
    return good && put_bytes (out, self->data + self->start, self->end - self->start) &&
           pack_write_int (out, self->max_time_us);
}

static bool pack_positions (const flow_t *self, buffer_t *out) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < self->source_count; i++)
        count += self->sources[i].partition_count;
    bool good = put_text (out, "positions") && pack_write_list (out, count);
    for (uint32_t i = 0; i < self->source_count; i++)
        for (const partition_t *p = self->sources[i].partitions; p && good; p = p->next)
            good = pack_partition (p, out);
    return good;
}

/* Rows are packed into a block of their own, whose count stands before it. */
static bool pack_rows (const op_t *op, uint32_t index, const buffer_t *rows, uint64_t count, buffer_t *out) {
    (void) op;
    return pack_write_list (out, 3) && pack_write_int (out, index) && pack_write_int (out, (int64_t) count) &&
           put_bytes (out, rows->data, rows->size);
}

static bool freeze_op (op_t *op, uint32_t index, buffer_t *rows, buffer_t *out) {
    uint64_t count = 0;
    rows->size = 0;
    bool good =
        op->window ? window_freeze (op->window, rows, &count) : running_freeze (op->running, rows, &count);
    return good && pack_rows (op, index, rows, count, out);
}

static bool freeze_states (flow_t *self, buffer_t *out) {
    uint32_t count = 0;
    buffer_t rows = {0};
    for (uint32_t i = 0; i < self->op_count; i++)
        count += self->ops[i].window || self->ops[i].running;
    bool good = put_text (out, "states") && pack_write_list (out, count);
    for (uint32_t i = 0; i < self->op_count && good; i++)
        if (self->ops[i].window || self->ops[i].running)
            good = freeze_op (&self->ops[i], i, &rows, out);
    buffer_free (&rows);
    return good;
}

/* What each sink has that no cut has committed yet. */
static bool freeze_sinks (flow_t *self, buffer_t *out) {
    bool good = put_text (out, "results") && pack_write_list (out, self->sink_count);
    for (uint32_t i = 0; i < self->sink_count && good; i++) {
        sink_t *sink = &self->sinks[i];
        size_t from = sink->immediate ? sink->sent : sink->frozen > sink->sent ? sink->frozen : sink->sent;
        good = pack_write_list (out, 3) && pack_write_int (out, (int64_t) sink->records) &&
               pack_write_int (out, (int64_t) sink->offset) &&
               put_bytes (out, sink->out.data + from, sink->out.size - from);
        sink_freeze (sink);
    }
    return good;
}

static bool freeze_flow (flow_t *self, buffer_t *out) {
    self->dirty = false;
    return pack_write_map (out, 4) && put_text (out, "flow") &&
           pack_write_text (out, self->name, self->name_size) && pack_positions (self, out) &&
           freeze_states (self, out) && freeze_sinks (self, out);
}

static bool freeze_python (lane_t *self) {
    bool any = false;
    for (uint32_t f = 0; f < self->flow_count; f++)
        for (uint32_t i = 0; i < self->flows[f]->op_count; i++)
            if (self->flows[f]->ops[i].python) {
                uint64_t rows = 0;
                any = pystep_freeze (self->flows[f]->ops[i].python, &rows) && rows ? true : any;
            }
    return any;
}

bool lane_cut_freeze (lane_t *self) {
    uint64_t start = clock_ticks();
    self->blocks.size = 0;
    self->cut++;
    bool good = pack_write_list (&self->blocks, self->flow_count);
    for (uint32_t i = 0; i < self->flow_count; i++)
        good = good && freeze_flow (self->flows[i], &self->blocks);
    if (!good) {
        lane_log (self, 40, "a cut does not fit into memory (%zu bytes); trying again later",
                  self->blocks.size);
        return false;
    }
    self->cut_in_flight = true;
    self->cut_wanted = false;
    self->python_blocks.size = 0;
    self->cut_encoding = freeze_python (self);
    histogram_record (self->pause, clock_ns (clock_ticks() - start));
    if (!self->cut_encoding)
        lane_cut_encode (self);
    return true;
}

/* One slice of Python states; when all are encoded the blocks go to the committer. */
void lane_cut_encode (lane_t *self) {
    bool done = true;
    if (self->cut_encoding) {
        bool held = self->gil_held;
        if (!held)
            lane_gil_take (self);
        for (uint32_t f = 0; f < self->flow_count && done; f++)
            for (uint32_t i = 0; i < self->flows[f]->op_count && done; i++)
                if (self->flows[f]->ops[i].python)
                    done = pystep_encode (self->flows[f]->ops[i].python, PYTHON_ENCODE_SLICE,
                                          &self->python_blocks);
        if (!held)
            lane_gil_drop (self);
    }
    if (!done)
        return;
    self->cut_encoding = false;
    if (!put_bytes (&self->blocks, self->python_blocks.data, self->python_blocks.size))
        lane_log (self, 40, "the Python states of a cut do not fit into memory");
    char *data = malloc (self->blocks.size ? self->blocks.size : 1);
    if (data)
        memcpy (data, self->blocks.data, self->blocks.size);
    posts_send (&self->posts, POST_CUT, 0, 0, self->cut, data, data ? self->blocks.size : 0);
}

void lane_cut_committed (lane_t *self, uint64_t cut) {
    if (!self->cut_in_flight || cut != self->cut)
        return;
    self->cut_in_flight = false;
    for (uint32_t f = 0; f < self->flow_count; f++)
        for (uint32_t i = 0; i < self->flows[f]->sink_count; i++)
            sink_release (&self->flows[f]->sinks[i]);
}
