/* restore.c: a flow that goes on from a cut. What is read here has been on a disk: everything is checked, and a
 * document that does not fit the flow is refused with a message. */
#include <stdio.h>
#include <stdlib.h>

#include "gil.h"
#include "lane.h"
#include "pack.h"
#include "row_read.h"

enum { SOURCE_ITEMS = 5, PARTITION_ITEMS = 10, FRAME_ITEMS = 4, STEP_ITEMS = 2, SINK_ITEMS = 4 };
enum {
    IN_SOURCE,
    IN_NAME,
    IN_POSITION,
    IN_UNFINISHED,
    IN_MAX,
    IN_WATERMARK,
    IN_FLAGS,
    IN_FRAME,
    IN_FORMAT,
    IN_IDENTITY
};
#define READ_BYTES_MAX ((int64_t) 1 << 62)

typedef bool restore_fn (flow_t *self, const value_t *items, fault_t *fault);

static bool malformed (fault_t *fault, const char *what) {
    return fault_set (fault, REASON_DECODE, "it cannot be restored: %s", what);
}

static bool is_index (const value_t *value, uint32_t limit) {
    return value->tag == TAG_INT && value->i >= 0 && value->i < limit;
}

/* The items of a list, each a list of `count` values. */
static bool each (flow_t *self, const value_t *map, const char *name, uint32_t count, restore_fn *restore,
                  fault_t *fault) {
    value_t list, item, values[PARTITION_ITEMS];
    uint32_t items;
    if (!pack_get (map, name, (uint32_t) strlen (name), &list) || list.tag != TAG_LIST)
        return malformed (fault, name);
    const char *p = pack_open (&list, &items), *end = list.p + list.size;
    for (uint32_t i = 0; i < items; i++) {
        p = pack_read (p, end, &item);
        if (p == NULL || !list_read (&item, values, count))
            return malformed (fault, name);
        if (!restore (self, values, fault))
            return false;
    }
    return true;
}

static bool restore_source (flow_t *self, const value_t *items, fault_t *fault) {
    if (!is_index (&items[0], self->source_count) || items[1].tag != TAG_INT || items[2].tag != TAG_INT ||
        items[3].tag != TAG_BOOL || items[4].tag != TAG_BOOL)
        return malformed (fault, "a source");
    source_t *source = &self->sources[items[0].i];
    source->watermark_us = items[1].i;
    source->left_time_us = items[2].i;
    source->ended = items[3].i != 0;
    source->resumed_idle = items[4].i != 0;
    source->resumed = true;
    return true;
}

/* ---- partitions ---- */

static bool copy_bytes (const value_t *from, char **to, uint32_t *size) {
    if (from->size == 0)
        return true;
    if (!(*to = malloc (from->size)))
        return false;
    memcpy (*to, from->p, from->size);
    *size = from->size;
    return true;
}

static bool is_partition (const flow_t *self, const value_t *items) {
    static const uint8_t TAGS[PARTITION_ITEMS] = {[IN_SOURCE] = TAG_INT,   [IN_NAME] = TAG_STR,
                                                  [IN_POSITION] = TAG_INT, [IN_UNFINISHED] = TAG_BYTES,
                                                  [IN_MAX] = TAG_INT,      [IN_WATERMARK] = TAG_INT,
                                                  [IN_FLAGS] = TAG_INT,    [IN_FRAME] = TAG_LIST,
                                                  [IN_FORMAT] = TAG_BYTES, [IN_IDENTITY] = TAG_BYTES};
    for (uint32_t i = 0; i < PARTITION_ITEMS; i++)
        if (items[i].tag != TAGS[i] && !((i == IN_NAME || i == IN_POSITION) && items[i].tag == TAG_BYTES))
            return false;
    return is_index (&items[IN_SOURCE], self->source_count);
}

/* Bytes of a message that was given up may still be to come. */
static uint32_t scanned_max (const partition_t *self, const value_t *unfinished, bool skipping) {
    const framer_t *framer = &self->source->framer;
    return skipping && framer->kind == FRAME_U32 ? framer->max_bytes + 4 : unfinished->size + 1;
}

/* How far it was read, and what of that is not a whole message yet. */
static bool restore_reading (partition_t *self, const value_t *items) {
    value_t frame[FRAME_ITEMS];
    const value_t *unfinished = &items[IN_UNFINISHED];
    if (!list_read (&items[IN_FRAME], frame, FRAME_ITEMS) || frame[0].tag != TAG_INT ||
        frame[0].i < unfinished->size || frame[0].i > READ_BYTES_MAX || frame[2].tag != TAG_BOOL ||
        !is_index (&frame[1], scanned_max (self, unfinished, frame[2].i)) || frame[3].tag != TAG_INT ||
        frame[3].i < 0)
        return false;
    if (self->source->kind == SOURCE_FILES &&
        (items[IN_POSITION].tag != TAG_INT || items[IN_POSITION].i != frame[0].i))
        return false;
    if (unfinished->size) {
        if (!partition_room (self, unfinished->size))
            return false;
        memcpy (self->data, unfinished->p, unfinished->size);
        self->end = unfinished->size;
    }
    self->base = (uint64_t) frame[0].i - unfinished->size;
    self->frame = (frame_state_t){
        .scanned = (size_t) frame[1].i, .skipping = frame[2].i != 0, .skipped = (uint64_t) frame[3].i};
    return true;
}

static bool fill_partition (partition_t *self, const value_t *items, fault_t *fault) {
    int64_t flags = items[IN_FLAGS].i;
    self->max_time_us = items[IN_MAX].i;
    self->watermark_us = items[IN_WATERMARK].i;
    self->counted = flags & PARTITION_COUNTED;
    self->idle = flags & PARTITION_IDLE;
    self->ended = flags & PARTITION_ENDED;
    if (!restore_reading (self, items))
        return malformed (fault, "how far a partition was read");
    uint32_t size = 0;
    bool kept = true;
    if (self->source->kind == SOURCE_FILES &&
        !file_identity_unpack (&self->file.identity, items[IN_IDENTITY].p, items[IN_IDENTITY].size))
        return malformed (fault, "which file a partition is");
    if (items[IN_POSITION].tag == TAG_BYTES)
        kept = copy_bytes (&items[IN_POSITION], &self->position, &size);
    self->position_size = self->position_capacity = size;
    if (!kept)
        return fault_set (fault, REASON_LIMIT, "no memory for a partition");
    return format_thaw (self->source->format, self->format, items[IN_FORMAT].p, items[IN_FORMAT].size, fault);
}

static bool restore_partition (flow_t *self, const value_t *items, fault_t *fault) {
    if (!is_partition (self, items))
        return malformed (fault, "a partition");
    source_t *source = &self->sources[items[IN_SOURCE].i];
    if (source->known_count >= PARTITIONS_MAX)
        return malformed (fault, "too many partitions");
    partition_t *partition = partition_make (source, items[IN_NAME].p, items[IN_NAME].size);
    if (!partition)
        return fault_set (fault, REASON_LIMIT, "no memory for a partition");
    if (!fill_partition (partition, items, fault)) {
        partition_free (partition);
        return false;
    }
    if (partition->max_time_us > source->left_time_us)
        source->left_time_us = partition->max_time_us;
    *source->known_last = partition; /* in their order */
    source->known_last = &partition->next;
    source->known_count++;
    return true;
}

/* ---- steps and sinks ---- */

static bool restore_step (flow_t *self, const value_t *items, fault_t *fault) {
    if (!is_index (&items[0], self->op_count) || !self->ops[items[0].i].timed || items[1].tag != TAG_INT)
        return malformed (fault, "a step that watches time");
    self->ops[items[0].i].watermark = items[1].i;
    return true;
}

static bool restore_sink (flow_t *self, const value_t *items, fault_t *fault) {
    if (!is_index (&items[0], self->sink_count) || items[1].tag != TAG_BYTES || items[2].tag != TAG_BOOL ||
        !(value_is_null (&items[3]) || (items[3].tag == TAG_INT && items[3].i >= 0)))
        return malformed (fault, "a sink");
    sink_t *sink = &self->sinks[items[0].i];
    sink->started = items[2].i != 0;
    if (!value_is_null (&items[3]))
        sink->offset = (uint64_t) items[3].i;
    return sink_restore (sink, &items[1]) || malformed (fault, "what a sink had not sent yet");
}

bool flow_restore (flow_t *self, const char *document, size_t size, fault_t *fault) {
    value_t map, now;
    if (self->restored || self->lane->started)
        return malformed (fault, "the flow has begun already");
    if (pack_read (document, document + size, &map) != document + size || map.tag != TAG_MAP ||
        !pack_get (&map, "now", 3, &now) || now.tag != TAG_INT)
        return malformed (fault, "its positions are no map");
    self->restored = true;
    self->restored_us = now.i;
    for (uint32_t i = 0; i < self->source_count; i++)
        self->sources[i].known_last = &self->sources[i].known;
    return each (self, &map, "sources", SOURCE_ITEMS, restore_source, fault) &&
           each (self, &map, "partitions", PARTITION_ITEMS, restore_partition, fault) &&
           each (self, &map, "steps", STEP_ITEMS, restore_step, fault) &&
           each (self, &map, "sinks", SINK_ITEMS, restore_sink, fault);
}

bool flow_restore_rows (flow_t *self, uint32_t index, const char *rows, size_t size, fault_t *fault) {
    if (!self->restored || self->lane->started)
        return malformed (fault, "rows come between a flow's positions and its start");
    op_t *op = index < self->op_count ? &self->ops[index] : NULL;
    if (op && op->window)
        return window_restore (op->window, rows, size, fault);
    if (op && op->running)
        return running_restore (op->running, rows, size, fault);
    if (op && op->seen)
        return seen_restore (op->seen, rows, size, fault);
    if (op && op->python)
        return pystep_restore (op->python, rows, size, fault);
    return malformed (fault, "an operator without state");
}

/* ---- the start ---- */

/* How far a step has got whose inputs had all ended and some of which begin again: it goes on from what those have
 * seen (S7). */
static int64_t watermark_again (const flow_t *self, const op_t *op) {
    int64_t lowest = INT64_MAX;
    for (uint32_t i = 0; i < self->source_count; i++) {
        const source_t *source = &self->sources[i];
        int64_t reached = source->arrival ? self->restored_us : source->watermark_us;
        if (op->sources >> i & 1 && !source->ended && reached < lowest)
            lowest = reached;
    }
    return lowest;
}

static bool resume_op (flow_t *self, op_t *op) {
    if (op->watermark == INT64_MAX)
        op->watermark = watermark_again (self, op);
    if (op->window && !window_resume (op->window, op->watermark))
        return false;
    if (op->timed)
        op->due = op->window ? window_due (op->window) : pystep_due (op->python, op->arrival);
    return true;
}

static void find_due (flow_t *self) {
    self->due = INT64_MAX;
    for (uint32_t i = 0; i < self->timed_count; i++) {
        const op_t *op = &self->ops[self->timed[i]];
        int64_t due = op->due <= op->watermark ? INT64_MIN : op->due;
        if (!op->arrival && op->watermark < INT64_MAX && due < self->due)
            self->due = due;
    }
}

static void begin_again (source_t *self) {
    self->ended = false;
    self->watermark_us = source_before_late (self, self->left_time_us);
}

/* With all its inputs at their end the run was over, and this is the next one. Else what had ended stays so, until it
 * brings something. */
static void resume_sources (flow_t *self) {
    bool over = true;
    for (uint32_t i = 0; i < self->source_count; i++)
        over = over && self->sources[i].ended;
    for (uint32_t i = 0; i < self->source_count && over; i++)
        begin_again (&self->sources[i]);
}

bool flow_resume (flow_t *self, fault_t *fault) {
    if (!self->restored)
        return true;
    resume_sources (self);
    int64_t by_us = self->lane->now_us - self->restored_us;
    for (uint32_t i = 0; i < self->op_count; i++) {
        op_t *op = &self->ops[i];
        if (op->section)
            pystep_shift (op->python, by_us);
        if ((op->seen && !seen_resume (op->seen, by_us, self->lane->now_us)) || !resume_op (self, op))
            return fault_set (fault, REASON_LIMIT, "no memory for the state of a step");
    }
    find_due (self);
    return true;
}

void source_revive (source_t *self) {
    flow_t *flow = self->flow;
    begin_again (self);
    self->counts = self->arrival;
    if (self->arrival)
        self->watermark_us = flow->lane->now_us;
    for (uint32_t i = 0; i < flow->timed_count; i++) {
        op_t *op = &flow->ops[flow->timed[i]];
        if (op->watermark == INT64_MAX && !resume_op (flow, op))
            lane_log (flow->lane, 40, "no memory for what waits in a global window");
    }
    find_due (flow);
}

/* ---- called from Python ---- */

static bool tell (const lane_t *self, uint32_t flow, const fault_t *fault, char *message, size_t size) {
    const flow_t *named = flow < self->flow_count ? self->flows[flow] : NULL;
    snprintf (message, size, "%.*s: %s", named ? (int) named->name_size : 0, named ? named->name : "",
              fault->message);
    return false;
}

bool lane_restore (lane_t *self, uint32_t flow, const char *document, size_t size, char *message,
                   size_t message_size) {
    fault_t fault = {0};
    bool good = flow < self->flow_count ? flow_restore (self->flows[flow], document, size, &fault)
                                        : malformed (&fault, "there is no such flow");
    return good || tell (self, flow, &fault, message, message_size);
}

bool lane_restore_rows (lane_t *self, uint32_t flow, uint32_t op, const char *rows, size_t size,
                        char *message, size_t message_size) {
    fault_t fault = {0};
    gil_t gil = gil_take();
    bool good = flow < self->flow_count ? flow_restore_rows (self->flows[flow], op, rows, size, &fault)
                                        : malformed (&fault, "there is no such flow");
    gil_drop (gil);
    return good || tell (self, flow, &fault, message, message_size);
}

/* Between the cut and now the lane's clock stood still: it does not go back behind the cut, whatever the wall clock
 * says (S6). */
bool lane_resume (lane_t *self) {
    fault_t fault = {0};
    for (uint32_t i = 0; i < self->flow_count; i++)
        if (self->flows[i]->restored && self->flows[i]->restored_us > self->now_us) {
            self->ahead_us += self->flows[i]->restored_us - self->now_us;
            self->now_us = self->flows[i]->restored_us;
        }
    for (uint32_t i = 0; i < self->flow_count; i++)
        if (!flow_resume (self->flows[i], &fault)) {
            lane_log (self, 40, "flow %.*s: %s", (int) self->flows[i]->name_size, self->flows[i]->name,
                      fault.message);
            return false;
        }
    return true;
}
