/* partition.c: an ordered part of a source: its receive buffer, and the way of one record from bytes to the row. */
#include <stdlib.h>
#include <unistd.h>

#include "forks.h"
#include "lane.h"
#include "number.h"

partition_t *partition_make (source_t *source, const char *name, uint32_t name_size) {
    partition_t *self = calloc (1, sizeof *self);
    if (!self || !(self->name = calloc (1, (size_t) name_size + 1))) { /* a name may hold a NUL */
        free (self);
        return NULL;
    }
    if (name_size)
        memcpy (self->name, name, name_size);
    self->source = source;
    self->name_size = name_size;
    self->name_is_text = utf8_valid (self->name, name_size);
    self->shard = key_shard (hash_bytes (self->name, name_size));
    self->fd = -1;
    self->read_size = READ_MIN;
    self->max_time_us = self->watermark_us = INT64_MIN;
    self->heard_ns = self->waiting_ns = source->flow->lane->now_ns;
    self->waiting_at = UINT64_MAX;
    self->format = format_open (source->format);
    return self;
}

partition_t *partition_new (source_t *source, const char *name, uint32_t name_size, int fd) {
    bool room = source->partition_count + source->known_count < PARTITIONS_MAX;
    partition_t *self = room ? partition_make (source, name, name_size) : NULL;
    source->refused += !room;
    if (!self)
        return NULL;
    self->fd = fd;
    forks_own (fd);
    self->next = source->partitions;
    source->partitions = self;
    source->partition_count++;
    capture_t *capture = capture_of (source->flow);
    if (unlikely (capture))
        capture_begin (capture, self);
    return self;
}

partition_t *partition_find (source_t *source, const char *name, uint32_t name_size) {
    partition_t *self = source->partitions;
    while (self && (self->name_size != name_size || memcmp (self->name, name, name_size)))
        self = self->next;
    return self;
}

bool partition_rename (partition_t *self, const char *name) {
    return partition_name (self, name, (uint32_t) strlen (name));
}

bool partition_name (partition_t *self, const char *name, uint32_t name_size) {
    char *copy = calloc (1, (size_t) name_size + 1);
    if (!copy)
        return false;
    if (name_size)
        memcpy (copy, name, name_size);
    free (self->name);
    self->name = copy;
    self->name_size = name_size;
    self->name_is_text = utf8_valid (self->name, name_size);
    self->shard = key_shard (hash_bytes (self->name, self->name_size));
    capture_t *capture = capture_of (self->source->flow);
    if (unlikely (capture))
        capture_rename (capture, self);
    return true;
}

void partition_anew (partition_t *self) {
    self->start = self->end = self->base = 0;
    self->waiting_at = UINT64_MAX;
    self->frame = (frame_state_t){0};
    format_close (self->source->format, &self->format);
    self->format = format_open (self->source->format);
}

void partition_free (partition_t *self) {
    format_close (self->source->format, &self->format);
    free (self->data);
    free (self->name);
    free (self->position);
    free (self);
}

void partition_leave (partition_t *self) {
    source_t *source = self->source;
    for (partition_t **link = &source->partitions; *link; link = &(*link)->next)
        if (*link == self) {
            *link = self->next;
            source->partition_count--;
            break;
        }
    if (source->lowest == self)
        source->lowest = NULL;
    if (source->kind == SOURCE_FILES)
        source_file_left (self);
    if (self->fd >= 0) {
        lane_unwatch (source->flow->lane, self->fd);
        forks_close (self->fd);
        self->fd = -1;
    }
}

void partition_drop (partition_t *self) {
    partition_leave (self);
    partition_free (self);
}

bool partition_room (partition_t *self, size_t more) {
    if (self->start == self->end) {
        self->base += self->start;
        self->start = self->end = 0;
    }
    if (self->data && self->end + more <= self->capacity)
        return true;
    if (self->start) {
        memmove (self->data, self->data + self->start, self->end - self->start);
        self->base += self->start;
        self->end -= self->start;
        self->start = 0;
    }
    if (self->data && self->end + more <= self->capacity)
        return true;
    size_t capacity = self->capacity ? self->capacity : READ_MIN;
    while (capacity < self->end + more)
        capacity *= 2;
    char *data = realloc (self->data, capacity + DECODE_SLACK);
    if (!data)
        return false;
    memset (data + capacity, 0, DECODE_SLACK);
    self->data = data;
    self->capacity = capacity;
    return true;
}

/* A quiet partition holds no more memory than it must: a thousand idle connections cost 4 KiB each. */
static void shrink (partition_t *self) {
    if (self->start == self->end && self->read_size == READ_MIN && self->capacity > READ_MIN) {
        self->base += self->start;
        free (self->data);
        self->data = NULL;
        self->capacity = self->start = self->end = 0;
    }
}

void partition_spare (partition_t *self) {
    if (!self->data)
        return;
    self->read_size = READ_MIN;
    shrink (self);
    size_t capacity = self->end - self->start;
    if (!self->data || capacity == self->capacity)
        return;
    memmove (self->data, self->data + self->start, self->end - self->start);
    self->base += self->start;
    self->end -= self->start;
    self->start = 0;
    char *data = realloc (self->data, capacity + DECODE_SLACK);
    if (!data)
        return;
    memset (data + capacity, 0, DECODE_SLACK);
    self->data = data;
    self->capacity = capacity;
}

static void refuse (partition_t *self) {
    self->source->errors++;
    flow_error (self->source->flow, NULL, NULL);
}

/* The record's own time in microseconds. */
static bool read_time (const source_t *source, const value_t *value, int64_t *us, fault_t *fault) {
    static const int64_t MULTIPLIER[] = {1, 1000, 1000000};
    static const double SCALE[] = {1, 1e3, 1e6, 1e-3};
    if (source->time_unit == UNIT_RFC3339) {
        if (value->tag == TAG_STR && time_read_rfc3339 (value->p, value->size, us))
            return true;
        return fault_set (fault, REASON_TIME, "the time field is not RFC 3339 text");
    }
    if (likely (value->tag == TAG_INT)) {
        if (source->time_unit == UNIT_NS) {
            *us = value->i / 1000 - (value->i % 1000 < 0);
            return true;
        }
        if (likely (!__builtin_mul_overflow (value->i, MULTIPLIER[source->time_unit], us)))
            return true;
    } else if (value->tag == TAG_FLOAT) {
        double scaled = value->f * SCALE[source->time_unit];
        if (scaled >= -9.2e18 && scaled <= 9.2e18) {
            *us = (int64_t) __builtin_floor (scaled);
            return true;
        }
    } else {
        return fault_set (fault, REASON_TIME,
                          value_is_null (value) ? "the time field is missing"
                                                : "the time field is not a number");
    }
    return fault_set (fault, REASON_TIME, "the time field is out of range");
}

static void fill_meta (partition_t *self) {
    source_t *source = self->source;
    value_t *row = source->flow->row;
    if (source->meta_source != SLOT_NONE)
        row[source->meta_source] = value_text (source->name, source->name_size);
    if (source->meta_partition != SLOT_NONE)
        row[source->meta_partition] = value_text (self->name, self->name_size);
    if (source->meta_path != SLOT_NONE)
        row[source->meta_path] = source->kind == SOURCE_FILES || source->is_files
                                     ? value_text (self->name, self->name_size)
                                     : value_null();
    if (source->meta_position != SLOT_NONE)
        row[source->meta_position] = value_int ((int64_t) source->flow->position);
    if (source->meta_arrival != SLOT_NONE)
        row[source->meta_arrival] = value_time (source->flow->lane->now_us);
    if (source->meta_peer != SLOT_NONE)
        row[source->meta_peer] =
            *self->peer ? value_text (self->peer, (uint32_t) strlen (self->peer)) : value_null();
}

static bool is_future (const source_t *source, int64_t time_us) {
    const lane_t *lane = source->flow->lane;
    return source->ahead_us >= 0 && time_us > lane->wall_us + source->ahead_us && lane->clock_known;
}

/* A decoded row: its time, its watermark, the flow's operators, what is due. */
static inline void run_row (partition_t *self) {
    source_t *source = self->source;
    flow_t *flow = source->flow;
    flow->lateness_us = self->watermark_us;
    if (source->arrival) {
        flow->time_us = flow->lane->now_us;
        flow->lateness_us = INT64_MIN;
        flow_begin (flow, &source->next);
        return;
    }
    if (unlikely (!read_time (source, &flow->row[source->time_slot], &flow->time_us, &flow->fault))) {
        refuse (self);
        return;
    }
    if (unlikely (is_future (source, flow->time_us))) {
        source->future++;
        flow_run (flow, &source->late);
        return;
    }
    /* A partition that appears or returns may be behind the steps it reaches: their watermarks stay as they are now,
     * whatever it brings (S7). */
    if (unlikely (!self->counted || self->idle))
        flow_settle (flow);
    int64_t time_us = flow->time_us;
    flow_begin (flow, &source->next);
    if (time_us > self->max_time_us)
        source_saw (self, time_us);
    else if (unlikely (self->idle))
        source_returned (self);
    if (unlikely (source->watermark_us >= flow->due))
        flow_advance (flow);
}

static bool is_aside (const partition_t *self, uint64_t position) {
    for (uint32_t i = 0; i < self->source->aside_count; i++) {
        const aside_t *aside = &self->source->asides[i];
        if (position == aside->position && self->name_size == aside->partition_size &&
            !memcmp (self->name, aside->partition, self->name_size))
            return true;
    }
    return false;
}

static void set_aside (partition_t *self) {
    self->source->errors++;
    flow_put_aside (self->source->flow);
}

static inline void take_message (partition_t *self, char *text, uint32_t size) {
    flow_t *flow = self->source->flow;
    flow->partition = self;
    flow->shard = self->shard;
    flow->position = self->base + (uint64_t) (text - self->data);
    flow->raw = text;
    flow->raw_size = size;
    self->source->records++;
}

static inline void process_decoded (partition_t *self, enum decoded decoded) {
    source_t *source = self->source;
    flow_t *flow = source->flow;
    if (unlikely (decoded != DECODED_ROW)) {
        if (decoded == DECODED_FAULT)
            refuse (self);
        else
            source->records--;
        return;
    }
    if (source->fields->declared && unlikely (!fields_check (source->fields, flow->row, &flow->fault))) {
        refuse (self);
        return;
    }
    if (unlikely (flow->is_first)) {
        flow->is_first = false;
        if (source->expects)
            flow_expect (flow, source->expects);
    }
    if (unlikely (source->has_meta))
        fill_meta (self);
    run_row (self);
}

static __attribute__ ((noinline)) void process_message (partition_t *self, char *text, uint32_t size) {
    source_t *source = self->source;
    flow_t *flow = source->flow;
    if (size == 0 && source->skip_empty)
        return;
    take_message (self, text, size);
    if (unlikely (source->aside_count) && is_aside (self, flow->position)) {
        set_aside (self);
        return;
    }
    process_decoded (self, format_decode (source->format, self->format, text, size, flow->row,
                                          &flow->lane->scratch, &flow->fault));
}

/* A line whose end nobody has looked for yet: the decoder finds it. False, and nothing done, when that is not so, or the
 * line is none that it can take. */
static inline bool process_line (partition_t *self) {
    source_t *source = self->source;
    flow_t *flow = source->flow;
    if (self->frame.scanned || self->frame.skipping || unlikely (source->aside_count))
        return false;
    char *text = self->data + self->start;
    const char *end = self->data + self->end;
    if (unlikely (end - text > source->framer.max_bytes))
        end = text + source->framer.max_bytes + 1;
    uint32_t size;
    enum decoded decoded =
        json_decode_line (source->fields, text, end, &size, flow->row, &flow->lane->scratch, &flow->fault);
    if (unlikely (decoded == DECODED_NOTHING))
        return false;
    self->start += size + 1 + (text[size] == '\r');
    take_message (self, text, size);
    process_decoded (self, decoded);
    return true;
}

/* `cut`: the text is only the head of a message that was too long to be kept. */
static void process_fault (partition_t *self, char *text, uint32_t size, bool cut) {
    flow_t *flow = self->source->flow;
    flow->partition = self;
    flow->shard = self->shard;
    flow->position = self->base + (uint64_t) (text - self->data);
    flow->raw = text;
    flow->raw_size = size;
    flow->raw_cut = cut;
    self->source->records++;
    refuse (self);
    flow->raw_cut = false;
}

/* Events are stamped when their last result is in a sink's buffer; the time starts with the bytes in hand. Reading
 * the clock costs a tenth of a short flow, so that one stamp serves up to STAMP_EVERY events of a buffer: each is
 * counted with the latest one's latency, which is the longest. */
static void stamp (lane_t *lane, uint32_t *unstamped) {
    uint64_t ticks = clock_ticks();
    histogram_record_many (lane->latency, clock_ns (ticks - lane->received), *unstamped);
    lane->events += *unstamped;
    *unstamped = 0;
    lane_gil_rest (lane, ticks);
}

/* The next message, however it is framed. FRAMED_MORE: there is none. */
static enum framed process_framed (partition_t *self, bool last) {
    source_t *source = self->source;
    fault_t *fault = &source->flow->fault;
    char *text = NULL;
    uint32_t size = 0;
    bool whole = false;
    enum framed framed =
        framer_next (&source->framer, &self->frame, self->data, &self->start, self->end, &text, &size, fault);
    if (framed == FRAMED_MORE && last) {
        whole = true;
        framed = framer_end (&source->framer, &self->frame, self->data, &self->start, self->end, &text, &size,
                             fault);
    }
    if (likely (framed == FRAMED_MESSAGE))
        process_message (self, text, size);
    else if (framed != FRAMED_MORE)
        process_fault (self, text, size, !whole);
    return framed;
}

void partition_process (partition_t *self, bool last) {
    source_t *source = self->source;
    lane_t *lane = source->flow->lane;
    arena_t *scratch = &lane->scratch;
    uint32_t unstamped = 0;
    size_t mark = arena_mark (scratch);
    source->flow->is_first = true;
    self->data[self->end] = '\n'; /* in the slack: json_decode_line goes no further */
    /* Once a flow has stopped, what has been read and not looked at is not this run's any more. */
    while (likely (!source->flow->stopped)) {
        enum framed framed = FRAMED_MESSAGE;
        if (!source->lined || unlikely (!process_line (self)))
            framed = process_framed (self, last);
        arena_release (scratch, mark);
        if (framed == FRAMED_MORE)
            break;
        if (++unstamped == STAMP_EVERY || unlikely (lane->gil_held))
            stamp (lane, &unstamped);
        if (unlikely (framed == FRAMED_BROKEN)) {
            self->ended = true;
            self->start = self->end;
            break;
        }
        if (self->start == self->end && likely (!self->frame.skipping))
            break;
    }
    if (unstamped)
        stamp (lane, &unstamped);
    source->flow->dirty = true;
    source->flow->partition = NULL;
    source->flow->raw = NULL;
    partition_waits (self);
    shrink (self);
}

void partition_give_up (partition_t *self) {
    source_t *source = self->source;
    capture_t *capture = capture_of (source->flow);
    char *text = NULL;
    uint32_t size = 0;
    if (unlikely (capture))
        capture_unfinished (capture, self, false);
    size_t mark = arena_mark (&source->flow->lane->scratch);
    framer_give_up (&source->framer, &self->frame, self->data, &self->start, self->end, &text, &size,
                    &source->flow->fault);
    process_fault (self, text, size, true);
    arena_release (&source->flow->lane->scratch, mark);
    source->unfinished++;
    source->flow->partition = NULL;
    source->flow->raw = NULL;
}
