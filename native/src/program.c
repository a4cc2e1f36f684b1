/* program.c: from the program document to a flow's structures. The document comes from our own compiler, yet every
 * index in it is checked here, so that a mistake there is a message and not a wild pointer. */
#include <stdlib.h>

#include "lane.h"

typedef struct loader {
    flow_t *flow;
    fault_t *fault;
    bool good;
    void *functions;
} loader_t;

static void complain (loader_t *self, const char *what) {
    if (self->good)
        fault_set (self->fault, REASON_LIMIT, "program: %s", what);
    self->good = false;
}

static value_t get (loader_t *self, const value_t *map, const char *name) {
    value_t value = value_missing();
    if (map->tag != TAG_MAP)
        complain (self, name);
    else if (!pack_get (map, name, (uint32_t) strlen (name), &value))
        value = value_missing();
    return value;
}

static int64_t get_int (loader_t *self, const value_t *map, const char *name, int64_t otherwise) {
    value_t value = get (self, map, name);
    return value.tag == TAG_INT || value.tag == TAG_BOOL ? value.i : otherwise;
}

static bool get_bool (loader_t *self, const value_t *map, const char *name) {
    return get_int (self, map, name, 0) != 0;
}

static const char *get_text (loader_t *self, const value_t *map, const char *name, uint32_t *size) {
    value_t value = get (self, map, name);
    if (value.tag != TAG_STR && value.tag != TAG_BYTES) {
        *size = 0;
        return "";
    }
    *size = value.size;
    return value.p;
}

static bool is_text (loader_t *self, const value_t *map, const char *name, const char *text) {
    uint32_t size;
    const char *p = get_text (self, map, name, &size);
    return size == strlen (text) && !memcmp (p, text, size);
}

/* One of `names`, or -1. */
static int get_choice (loader_t *self, const value_t *map, const char *name, const char *const *names) {
    for (int i = 0; names[i]; i++)
        if (is_text (self, map, name, names[i]))
            return i;
    complain (self, name);
    return 0;
}

static uint16_t get_index (loader_t *self, const value_t *map, const char *name, uint32_t limit) {
    int64_t index = get_int (self, map, name, -1);
    if (index < 0)
        return SLOT_NONE;
    if (index >= limit) {
        complain (self, name);
        return 0;
    }
    return (uint16_t) index;
}

static uint16_t get_slot (loader_t *self, const value_t *map, const char *name) {
    return get_index (self, map, name, self->flow->slot_count);
}

static void *get_memory (loader_t *self, size_t count, size_t size) {
    void *memory = calloc (count ? count : 1, size);
    if (!memory)
        complain (self, "no memory");
    return memory;
}

/* A list: its count (0 when absent) and a walk over its items. */
typedef struct items {
    const char *next, *end;
    uint32_t count;
} items_t;

static items_t get_list (loader_t *self, const value_t *map, const char *name) {
    value_t list = get (self, map, name);
    items_t items = {0};
    if (list.tag == TAG_LIST) {
        items.next = pack_open (&list, &items.count);
        items.end = list.p + list.size;
    }
    return items;
}

static value_t next_item (loader_t *self, items_t *items) {
    value_t value = value_missing();
    items->next = items->next ? pack_read (items->next, items->end, &value) : NULL;
    if (!items->next)
        complain (self, "a list is cut short");
    return value;
}

/* Indices below `limit`, in an array of their own. */
static uint16_t *get_indices (loader_t *self, const value_t *map, const char *name, uint32_t limit,
                              uint32_t *count) {
    items_t items = get_list (self, map, name);
    uint16_t *indices = get_memory (self, items.count, sizeof *indices);
    *count = 0;
    for (uint32_t i = 0; i < items.count && self->good; i++) {
        value_t item = next_item (self, &items);
        if (item.tag != TAG_INT || item.i < 0 || item.i >= limit)
            complain (self, name);
        else
            indices[(*count)++] = (uint16_t) item.i;
    }
    return indices;
}

static branches_t get_branches (loader_t *self, const value_t *map, const char *name) {
    branches_t branches;
    branches.ops = get_indices (self, map, name, self->flow->op_count, &branches.count);
    return branches;
}

static const layout_t *get_layout (loader_t *self, const value_t *map, const char *name) {
    uint16_t index = get_index (self, map, name, self->flow->layout_count);
    return index == SLOT_NONE ? NULL : self->flow->layouts[index];
}

static void load_row (loader_t *self, const value_t *document) {
    flow_t *flow = self->flow;
    int64_t slots = get_int (self, document, "slots", 0), keys = get_int (self, document, "keys", 0);
    if (slots < 0 || slots > FLOW_SLOTS_MAX || keys < 0 || keys > FLOW_KEYS_MAX) {
        complain (self, "too many slots or keys");
        return;
    }
    flow->slot_count = (uint32_t) slots;
    flow->key_count = (uint32_t) keys;
    flow->row = get_memory (self, (size_t) slots, sizeof *flow->row);
    flow->keys = get_memory (self, (size_t) keys, sizeof *flow->keys);
    flow->key_bytes = get_memory (self, (size_t) keys, sizeof *flow->key_bytes);
    items_t constants = get_list (self, document, "constants");
    for (uint32_t i = 0; i < constants.count && self->good; i++) {
        value_t pair = next_item (self, &constants), slot = value_missing(), value = value_missing();
        uint32_t count = 0;
        const char *p = pair.tag == TAG_LIST ? pack_open (&pair, &count) : NULL;
        p = p && count == 2 ? pack_read (p, pair.p + pair.size, &slot) : NULL;
        p = p ? pack_read (p, pair.p + pair.size, &value) : NULL;
        if (!p || slot.tag != TAG_INT || slot.i < 0 || slot.i >= slots)
            complain (self, "constants");
        else
            flow->row[slot.i] = value;
    }
}

static void load_layouts (loader_t *self, const value_t *document) {
    items_t items = get_list (self, document, "layouts");
    self->flow->layouts = get_memory (self, items.count, sizeof *self->flow->layouts);
    for (uint32_t i = 0; i < items.count && self->good; i++) {
        value_t map = next_item (self, &items);
        self->flow->layouts[i] = layout_new (&map, self->fault);
        self->good = self->good && self->flow->layouts[i];
        self->flow->layout_count = i + 1;
    }
}

static void load_steps (loader_t *self, const value_t *document) {
    items_t items = get_list (self, document, "steps");
    self->flow->steps = get_memory (self, items.count, sizeof *self->flow->steps);
    for (uint32_t i = 0; i < items.count && self->good; i++) {
        value_t name = next_item (self, &items);
        if (name.tag != TAG_STR) {
            complain (self, "steps");
            return;
        }
        self->flow->steps[i].name = name.p;
        self->flow->steps[i].name_size = name.size;
        self->flow->step_count = i + 1;
    }
}

static void load_fields (loader_t *self, const value_t *map, const char *name, uint16_t rest,
                         fields_t **fields) {
    value_t list = get (self, map, name);
    if (self->good && !(*fields = fields_new (&list, rest, self->fault)))
        self->good = false;
}

static const char *const SOURCE_KINDS[] = {"listen", "connect", "datagram", "files",
                                           "stream", "chunks",  NULL};
static const char *const UNITS[] = {"us", "ms", "s", "ns", "rfc3339", NULL};

static void load_time (loader_t *self, source_t *source, const value_t *map) {
    value_t time = get (self, map, "time");
    source->arrival = time.tag != TAG_MAP;
    source->ahead_us = -1;
    source->idle_us = -1;
    if (source->arrival)
        return;
    source->time_slot = get_slot (self, &time, "slot");
    if (source->time_slot == SLOT_NONE)
        complain (self, "time");
    source->time_unit = (uint8_t) get_choice (self, &time, "unit", UNITS);
    source->late_us = get_int (self, &time, "late", 0);
    source->idle_us = get_int (self, &time, "idle", -1);
    source->ahead_us = get_int (self, &time, "ahead", -1);
    source->hold = get_bool (self, &time, "hold");
}

static void load_paths (loader_t *self, source_t *source, const value_t *map) {
    items_t items = get_list (self, map, "paths");
    source->paths = get_memory (self, items.count, sizeof *source->paths);
    for (uint32_t i = 0; i < items.count && self->good; i++) {
        value_t path = next_item (self, &items);
        source->paths[i] = path.tag == TAG_STR ? strndup (path.p, path.size) : NULL;
        if (!source->paths[i])
            complain (self, "paths");
        source->path_count = i + 1;
    }
    value_t pattern = get (self, map, "pattern");
    if (pattern.tag == TAG_STR && pattern.size && !(source->pattern = strndup (pattern.p, pattern.size)))
        complain (self, "pattern");
}

static void load_meta (loader_t *self, source_t *source, const value_t *map) {
    value_t meta = get (self, map, "meta");
    value_t empty = {.p = "\x80", .size = 1, .tag = TAG_MAP};
    const value_t *from = meta.tag == TAG_MAP ? &meta : &empty;
    source->meta_source = get_slot (self, from, "_source");
    source->meta_partition = get_slot (self, from, "_partition");
    source->meta_position = get_slot (self, from, "_position");
    source->meta_arrival = get_slot (self, from, "_arrival");
    source->meta_peer = get_slot (self, from, "_peer");
    source->meta_path = get_slot (self, from, "_path");
    uint32_t count = 0;
    source->has_meta = pack_open (from, &count) && count;
}

static void load_formats (loader_t *self, source_t *source, const value_t *map) {
    value_t format = get (self, map, "format"), frame = get (self, map, "frame");
    value_t none = {.p = "\x90", .size = 1, .tag = TAG_LIST};
    load_fields (self, map, "fields", get_slot (self, map, "rest"), &source->fields);
    if (self->good && !(source->format = format_new (&format, source->fields, self->fault)))
        self->good = false;
    if (self->good && !framer_init (&source->framer, &frame, self->fault))
        self->good = false;
    source->whole_slot = get_slot (self, map, "whole");
    if (self->good && source->whole_slot != SLOT_NONE) {
        source->whole_fields = fields_new (&none, source->whole_slot, self->fault);
        source->whole = source->whole_fields ? format_new (&format, source->whole_fields, self->fault) : NULL;
        self->good = source->whole != NULL;
    }
    source->lined = self->good && source->framer.kind == FRAME_LINES &&
                    is_text (self, &format, "kind", "json") && source->fields->rest_slot == SLOT_NONE;
    source->skip_empty = is_text (self, &format, "kind", "json") || is_text (self, &format, "kind", "csv");
}

static void load_source (loader_t *self, source_t *source, const value_t *map) {
    flow_t *flow = self->flow;
    source->flow = flow;
    source->fd = (int) get_int (self, map, "fd", -1);
    source->name = get_text (self, map, "name", &source->name_size);
    source->kind = (uint8_t) get_choice (self, map, "kind", SOURCE_KINDS);
    source->bounded = get_bool (self, map, "bounded");
    source->replayable = get_bool (self, map, "replayable");
    source->follow = get_bool (self, map, "follow");
    source->live = !source->bounded;
    source->watermark_us = source->left_time_us = INT64_MIN;
    load_time (self, source, map);
    load_paths (self, source, map);
    load_meta (self, source, map);
    load_formats (self, source, map);
    source->layout = get_layout (self, map, "layout");
    source->next = get_branches (self, map, "next");
    source->late = get_branches (self, map, "late");
}

static void load_sources (loader_t *self, const value_t *document) {
    items_t items = get_list (self, document, "sources");
    if (items.count > FLOW_SOURCES_MAX) {
        complain (self, "more than 62 sources in one flow");
        return;
    }
    self->flow->sources = get_memory (self, items.count, sizeof *self->flow->sources);
    for (uint32_t i = 0; i < items.count && self->good; i++) {
        value_t map = next_item (self, &items);
        self->flow->source_count = i + 1;
        self->flow->sources[i].index = i;
        load_source (self, &self->flow->sources[i], &map);
    }
}

static const char *const SINK_KINDS[] = {"file",    "stream", "connect", "datagram", "blackhole",
                                         "records", "memory", "spool",   NULL};

static void load_sink (loader_t *self, sink_t *sink, const value_t *map) {
    value_t format = get (self, map, "format");
    sink->flow = self->flow;
    sink->fd = (int) get_int (self, map, "fd", -1);
    sink->name = get_text (self, map, "name", &sink->name_size);
    sink->kind = (uint8_t) get_choice (self, map, "kind", SINK_KINDS);
    sink->offset = (uint64_t) get_int (self, map, "offset", 0);
    sink->immediate = get_bool (self, map, "immediate");
    sink->framed = sink->kind == SINK_DATAGRAM || sink->kind == SINK_RECORDS ||
                   (sink->kind == SINK_SPOOL && get_bool (self, map, "framed"));
    sink->numbered = sink->kind == SINK_SPOOL && get_bool (self, map, "numbered");
    sink->drop_newest = sink->kind == SINK_SPOOL && get_bool (self, map, "drop_newest");
    if (sink->kind == SINK_SPOOL)
        sink->immediate = false;
    sink->sources = (uint64_t) get_int (self, map, "sources", 0);
    if (self->good && !(sink->encoder = encoder_new (&format, self->fault)))
        self->good = false;
}

static void load_sinks (loader_t *self, const value_t *document) {
    items_t items = get_list (self, document, "sinks");
    if (items.count > FLOW_SINKS_MAX) {
        complain (self, "more than 64 sinks in one flow");
        return;
    }
    self->flow->sinks = get_memory (self, items.count, sizeof *self->flow->sinks);
    for (uint32_t i = 0; i < items.count && self->good; i++) {
        value_t map = next_item (self, &items);
        self->flow->sink_count = i + 1;
        self->flow->sinks[i].index = i;
        load_sink (self, &self->flow->sinks[i], &map);
    }
}

static void load_code (loader_t *self, op_t *op, const value_t *map) {
    uint32_t size;
    const char *code = get_text (self, map, "code", &size);
    if (!size)
        return;
    op->code = get_memory (self, size, 1);
    op->code_count = size / sizeof *op->code;
    if (self->good)
        memcpy (op->code, code, op->code_count * sizeof *op->code);
    if (self->good && !machine_check (op->code, op->code_count, self->flow->slot_count, self->fault))
        self->good = false;
}

static void load_key (loader_t *self, op_t *op, const value_t *map) {
    op->key = get_index (self, map, "key", self->flow->key_count);
    op->key_out = get_index (self, map, "key_out", self->flow->key_count);
    op->null_key = get_bool (self, map, "null_key");
}

static void load_state (loader_t *self, op_t *op, const value_t *map) {
    if (op->kind == OP_KIND_WINDOW && !(op->window = window_new (map, self->fault)))
        self->good = false;
    if (op->window && (op->due = window_due (op->window)) < self->flow->due)
        self->flow->due = op->due;
    if (op->kind == OP_KIND_RUNNING && !(op->running = running_new (map, self->fault)))
        self->good = false;
    if (op->kind == OP_KIND_SEEN && !(op->seen = seen_new (map, self->fault)))
        self->good = false;
    self->flow->remembers |= op->seen != NULL;
    if (op->kind != OP_KIND_PYTHON)
        return;
    load_fields (self, map, "fields", get_slot (self, map, "rest"), &op->fields);
    const layout_t *event = get_layout (self, map, "event");
    if (!event)
        complain (self, "event");
    if (self->good && !(op->python = pystep_new (map, event, op->fields, self->functions, self->fault)))
        self->good = false;
    if (self->good && pystep_is_keyed (op->python))
        op->section = get_memory (self, 1, sizeof *op->section);
}

static const char *const OP_KINDS[] = {"where", "compute", "key",  "window", "running", "python",
                                       "move",  "pack",    "each", "emit",   "seen",    NULL};

/* Whether all is there without which an operator of this kind would reach for what is not. */
static bool is_whole (const op_t *op) {
    switch (op->kind) {
    case OP_KIND_WHERE: return op->result != SLOT_NONE;
    case OP_KIND_KEY:
    case OP_KIND_RUNNING: return op->key != SLOT_NONE;
    case OP_KIND_SEEN: return op->key != SLOT_NONE && op->slot_count == 1;
    case OP_KIND_WINDOW: return op->key != SLOT_NONE && op->key_out != SLOT_NONE && op->step != SLOT_NONE;
    case OP_KIND_PYTHON: return op->step != SLOT_NONE;
    case OP_KIND_MOVE: return op->slot_count % 2 == 0;
    case OP_KIND_PACK: return op->result != SLOT_NONE && op->layout;
    case OP_KIND_EACH: return op->result != SLOT_NONE && op->to != SLOT_NONE;
    case OP_KIND_EMIT: return op->sink && op->layout;
    default: return true;
    }
}

static void load_op (loader_t *self, op_t *op, const value_t *map) {
    flow_t *flow = self->flow;
    op->kind = (uint8_t) get_choice (self, map, "op", OP_KINDS);
    op->step = get_index (self, map, "step", flow->step_count);
    op->entered =
        get_bool (self, map, "enters") && op->step != SLOT_NONE ? &flow->steps[op->step].in : &flow->ignored;
    op->left =
        get_bool (self, map, "leaves") && op->step != SLOT_NONE ? &flow->steps[op->step].out : &flow->ignored;
    op->layout = get_layout (self, map, "layout");
    op->result = get_slot (self, map, "result");
    op->to = get_slot (self, map, "to");
    op->slots = get_indices (self, map, "slots", flow->slot_count, &op->slot_count);
    op->next = get_branches (self, map, "next");
    op->late = get_branches (self, map, "late");
    op->sources = (uint64_t) get_int (self, map, "sources", 0);
    op->timed = get_bool (self, map, "timed");
    op->arrival = get_bool (self, map, "arrival");
    op->instant = get_bool (self, map, "instant");
    op->watermark = INT64_MIN;
    op->due = INT64_MAX;
    uint16_t sink = get_index (self, map, "sink", flow->sink_count);
    op->sink = sink == SLOT_NONE ? NULL : &flow->sinks[sink];
    load_code (self, op, map);
    load_key (self, op, map);
    if (self->good && !is_whole (op))
        complain (self, OP_KINDS[op->kind]);
    if (self->good)
        load_state (self, op, map);
}

static void load_ops (loader_t *self, const value_t *document) {
    flow_t *flow = self->flow;
    items_t items = get_list (self, document, "ops");
    if (items.count > FLOW_OPS_MAX) {
        complain (self, "too many operators");
        return;
    }
    flow->op_count = items.count;
    flow->ops = get_memory (self, items.count, sizeof *flow->ops);
    for (uint32_t i = 0; i < items.count && self->good; i++) {
        value_t map = next_item (self, &items);
        load_op (self, &flow->ops[i], &map);
    }
    flow->timed = get_indices (self, document, "timed", flow->op_count, &flow->timed_count);
    for (uint32_t i = 0; i < flow->timed_count && self->good; i++) {
        const op_t *op = &flow->ops[flow->timed[i]];
        if (!op->window && !op->python)
            complain (self, "timed");
    }
    if (self->good && !flow_link (flow))
        complain (self, "no memory");
}

static void load_errors (loader_t *self, const value_t *document) {
    flow_t *flow = self->flow;
    value_t errors = get (self, document, "errors");
    uint32_t count;
    uint16_t *slots = get_indices (self, &errors, "slots", flow->slot_count, &count);
    if (self->good && count != ERROR_SLOTS)
        complain (self, "errors");
    if (self->good)
        memcpy (flow->error_slots, slots, sizeof flow->error_slots);
    free (slots);
    flow->error_layout = get_layout (self, &errors, "layout");
    flow->errors_next = get_branches (self, &errors, "next");
    if (self->good && !flow->error_layout)
        complain (self, "errors");
}

static void load_aside (loader_t *self, const value_t *map) {
    flow_t *flow = self->flow;
    uint16_t index = get_index (self, map, "source", flow->source_count);
    if (index == SLOT_NONE)
        return;
    source_t *source = &flow->sources[index];
    value_t raw = get (self, map, "raw");
    if (raw.tag == TAG_BYTES) {
        flow->lost[flow->lost_count++] = (struct lost){source, raw};
        return;
    }
    aside_t *aside = &source->asides[source->aside_count++];
    aside->partition = get_text (self, map, "partition", &aside->partition_size);
    aside->position = (uint64_t) get_int (self, map, "position", 0);
}

static void load_asides (loader_t *self, const value_t *document) {
    items_t items = get_list (self, document, "set_aside");
    self->flow->lost = get_memory (self, items.count, sizeof *self->flow->lost);
    for (uint32_t i = 0; i < self->flow->source_count && items.count; i++)
        self->flow->sources[i].asides = get_memory (self, items.count, sizeof (aside_t));
    for (uint32_t i = 0; i < items.count && self->good; i++) {
        value_t map = next_item (self, &items);
        load_aside (self, &map);
    }
}

static bool load (loader_t *self, const value_t *document) {
    flow_t *flow = self->flow;
    flow->name = get_text (self, document, "flow", &flow->name_size);
    flow->stop_on_error = get_bool (self, document, "stop_on_error");
    flow->commit_every_us = get_int (self, document, "commit_every", 1000000);
    int64_t memory = get_int (self, document, "memory", 0);
    flow->memory_limit = memory > 0 ? (uint64_t) memory : 0;
    load_row (self, document);
    if (self->good)
        load_layouts (self, document);
    if (self->good)
        load_steps (self, document);
    flow->op_count = get_list (self, document, "ops").count;
    if (self->good)
        load_sources (self, document);
    if (self->good)
        load_sinks (self, document);
    if (self->good)
        load_ops (self, document);
    if (self->good)
        load_errors (self, document);
    if (self->good)
        load_asides (self, document);
    return self->good;
}

flow_t *flow_new (struct lane *lane, uint32_t index, const char *document, size_t size, void *functions,
                  fault_t *fault) {
    flow_t *self = calloc (1, sizeof *self);
    /* Names and constants point into the copy; the slack lets text be read in whole words. */
    char *copy = self ? calloc (1, size + DECODE_SLACK) : NULL;
    if (!copy) {
        free (self);
        fault_set (fault, REASON_LIMIT, "no memory for the program");
        return NULL;
    }
    memcpy (copy, document, size);
    self->lane = lane;
    self->index = index;
    self->program = copy;
    self->due = INT64_MAX;
    pthread_mutex_init (&self->kept_lock, NULL);
    value_t map = value_missing();
    loader_t loader = {.flow = self, .fault = fault, .good = true, .functions = functions};
    if (!pack_read (copy, copy + size, &map) || map.tag != TAG_MAP)
        complain (&loader, "not a map");
    if (!loader.good || !load (&loader, &map)) {
        flow_destroy (&self);
        return NULL;
    }
    return self;
}
