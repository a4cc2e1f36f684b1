/* cut.c: a consistent point of the worker. All stop at the end of the buffer at hand; positions, unfinished frames,
 * dirty rows and results are frozen in one go, all of it or, when there is no memory, nothing; Python states are
 * encoded in slices after it; then the blocks go to the committer. One cut is in flight at a time. Its form is
 * described in docs/formats/cut.md. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "lane.h"
#include "pack.h"

static bool put_text (buffer_t *out, const char *text) {
    return pack_write_text (out, text, (uint32_t) strlen (text));
}

static bool put_bytes (buffer_t *out, const char *bytes, size_t size) {
    value_t value = {.p = bytes, .size = (uint32_t) size, .tag = TAG_BYTES};
    return pack_write (out, &value);
}

/* ---- sections ---- */

/* A number of 32 bits a shard, little-endian. */
static bool put_sizes (const section_t *self, buffer_t *out) {
    char bytes[SHARD_COUNT * 4];
    for (uint32_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char) (self->sizes[i / 4] >> (8 * (i % 4)));
    return put_bytes (out, bytes, sizeof bytes);
}

static bool put_section (const section_t *self, uint32_t op, const char *kind, buffer_t *out) {
    return pack_write_int (out, op) && put_text (out, kind) && pack_write_int (out, (int64_t) self->count) &&
           put_bytes (out, self->rows.data, self->rows.size) && put_sizes (self, out);
}

static bool freeze_op (op_t *op, uint32_t index, section_t *section, buffer_t *out) {
    section_clear (section);
    const char *kind = op->seen                        ? "seen"
                       : !op->window                   ? "running"
                       : window_is_global (op->window) ? "global"
                                                       : "window";
    bool good = op->window ? window_freeze (op->window, section)
                : op->seen ? seen_freeze (op->seen, section)
                           : running_freeze (op->running, section);
    return good && pack_write_list (out, 5) && put_section (section, index, kind, out);
}

static bool freeze_states (flow_t *self, buffer_t *out) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < self->op_count; i++)
        count += self->ops[i].window || self->ops[i].running || self->ops[i].seen;
    bool good = put_text (out, "states") && pack_write_list (out, count);
    for (uint32_t i = 0; i < self->op_count && good; i++)
        if (self->ops[i].window || self->ops[i].running || self->ops[i].seen)
            good = freeze_op (&self->ops[i], i, &self->lane->section, out);
    return good;
}

/* ---- the freeze: first all of it is written down, then it counts ---- */

/* How many bytes of results there are, little-endian, and the results of all sinks as they are: whoever reads the cut
 * need not copy them. */
static bool freeze_results (lane_t *self, buffer_t *out) {
    unsigned char size[8] = {0};
    bool good = buffer_put (out, size, sizeof size);
    for (uint32_t f = 0; f < self->flow_count; f++) {
        size_t before = out->size;
        for (uint32_t i = 0; i < self->flows[f]->sink_count && good; i++)
            good = sink_put_block (&self->flows[f]->sinks[i], out);
        self->flows[f]->frozen_bytes = out->size - before;
    }
    for (uint32_t i = 0; i < sizeof size && good; i++)
        out->data[i] = (char) ((out->size - sizeof size) >> (8 * i));
    return good;
}

static bool freeze_flow (flow_t *self, buffer_t *out) {
    bool good = pack_write_map (out, 3 + POSITIONS_MEMBERS) && put_text (out, "flow") &&
                pack_write_text (out, self->name, self->name_size) && flow_pack_positions (self, out) &&
                freeze_states (self, out) && put_text (out, "sinks") &&
                pack_write_list (out, self->sink_count);
    for (uint32_t i = 0; i < self->sink_count && good; i++)
        good = sink_pack (&self->sinks[i], out);
    return good;
}

/* Python states are only listed. */
static bool freeze_python (flow_t *self, uint64_t *rows) {
    bool good = true;
    for (uint32_t i = 0; i < self->op_count && good; i++)
        if (self->ops[i].section) {
            section_clear (self->ops[i].section);
            good = pystep_freeze (self->ops[i].python, rows);
        }
    return good;
}

static void settle_flow (flow_t *self) {
    self->dirty = false;
    for (uint32_t i = 0; i < self->op_count; i++) {
        op_t *op = &self->ops[i];
        if (op->window)
            window_settle (op->window);
        if (op->running)
            running_settle (op->running);
        if (op->seen)
            seen_settle (op->seen);
        if (op->section)
            pystep_settle (op->python);
    }
    for (uint32_t i = 0; i < self->sink_count; i++)
        sink_freeze (&self->sinks[i]);
}

/* It does not fit into memory: as if nobody had tried. */
static bool give_up (lane_t *self) {
    for (uint32_t f = 0; f < self->flow_count; f++)
        for (uint32_t i = 0; i < self->flows[f]->op_count; i++)
            if (self->flows[f]->ops[i].section)
                pystep_unfreeze (self->flows[f]->ops[i].python);
    if (!self->cut_failed)
        lane_log (self, 40, "a cut does not fit into memory (%zu bytes); trying again", self->blocks.size);
    self->cut_failed = true;
    self->cut_retry_ns = self->now_ns + CUT_RETRY_NS;
    buffer_free (&self->blocks);
    buffer_free (&self->section.rows);
    for (uint32_t f = 0; f < self->flow_count; f++)
        self->flows[f]->frozen_bytes = 0;
    return false;
}

void lane_end_before_cut (lane_t *self, uint64_t number) { self->end_before_cut = number; }

bool lane_cut_freeze (lane_t *self) {
    uint64_t start = clock_ticks(), rows = 0;
    if (self->now_ns < self->cut_retry_ns || self->is_short)
        return false;
    if (self->cut + 1 == self->end_before_cut) { /* as appliance/points.py does elsewhere */
        kill (getppid(), SIGKILL);
        kill (getpid(), SIGKILL);
    }
    capture_before_cut (self);
    self->blocks.limit = CUT_BYTES_MAX;
    self->blocks.size = 0;
    bool good = buffer_room (&self->blocks, self->blocks_size) && freeze_results (self, &self->blocks) &&
                pack_write_list (&self->blocks, self->flow_count);
    for (uint32_t i = 0; i < self->flow_count && good; i++) {
        size_t before = self->blocks.size;
        good = freeze_flow (self->flows[i], &self->blocks);
        self->flows[i]->frozen_bytes += self->blocks.size - before;
    }
    for (uint32_t i = 0; i < self->flow_count && good; i++)
        good = freeze_python (self->flows[i], &rows);
    if (!good)
        return give_up (self);
    for (uint32_t i = 0; i < self->flow_count; i++)
        settle_flow (self->flows[i]);
    self->cut++;
    self->cut_in_flight = true;
    self->cut_wanted = self->cut_failed = false;
    self->cut_retry_ns = 0;
    self->cut_encoding = true;
    capture_after_cut (self);
    histogram_record (self->pause, clock_ns (clock_ticks() - start));
    if (!rows)
        lane_cut_encode (self);
    return true;
}

/* ---- Python states ---- */

static bool encode_slice (lane_t *self) {
    bool done = true;
    for (uint32_t f = 0; f < self->flow_count && done; f++)
        for (uint32_t i = 0; i < self->flows[f]->op_count && done; i++) {
            op_t *op = &self->flows[f]->ops[i];
            if (op->section)
                done = pystep_encode (op->python, PYTHON_ENCODE_SLICE, op->section);
        }
    return done;
}

/* [flow, operator, …] behind the flows. */
static bool put_python (lane_t *self, buffer_t *out) {
    uint32_t count = 0;
    for (uint32_t f = 0; f < self->flow_count; f++)
        for (uint32_t i = 0; i < self->flows[f]->op_count; i++)
            count += self->flows[f]->ops[i].section != NULL;
    bool good = pack_write_list (out, count);
    for (uint32_t f = 0; f < self->flow_count; f++)
        for (uint32_t i = 0; i < self->flows[f]->op_count && good; i++)
            if (self->flows[f]->ops[i].section)
                good = pack_write_list (out, 6) && pack_write_int (out, f) &&
                       put_section (self->flows[f]->ops[i].section, i, "python", out);
    return good;
}

static bool is_listed (const lane_t *self) {
    for (uint32_t f = 0; f < self->flow_count; f++)
        for (uint32_t i = 0; i < self->flows[f]->op_count; i++)
            if (self->flows[f]->ops[i].section && !pystep_is_encoded (self->flows[f]->ops[i].python))
                return true;
    return false;
}

/* One slice; when all are encoded the blocks go to the committer. Where there is no memory for them now, there is a
 * next slice: the cut is complete or it waits. */
void lane_cut_encode (lane_t *self) {
    bool done = true;
    if (is_listed (self)) {
        bool held = self->gil_held;
        if (!held)
            lane_gil_take (self);
        done = encode_slice (self);
        if (!held)
            lane_gil_drop (self);
    }
    size_t before = self->blocks.size;
    if (!done)
        return;
    if (!put_python (self, &self->blocks) ||
        !posts_try (&self->posts, POST_CUT, 0, 0, self->cut, self->blocks.data, self->blocks.size)) {
        self->blocks.size = before;
        return;
    }
    self->cut_encoding = false;
    self->blocks_size = self->blocks.size;
    self->blocks = (buffer_t){0};
}

void lane_cut_committed (lane_t *self, uint64_t cut) {
    if (!self->cut_in_flight || cut != self->cut)
        return;
    self->cut_in_flight = false;
    for (uint32_t f = 0; f < self->flow_count; f++)
        self->flows[f]->frozen_bytes = 0;
    for (uint32_t f = 0; f < self->flow_count; f++)
        for (uint32_t i = 0; i < self->flows[f]->sink_count; i++)
            sink_release (&self->flows[f]->sinks[i]);
}
