/* keyed.c: a window, a running step or bare accumulators, driven from outside a lane. */
#include "keyed.h"

#include <stdlib.h>

#include "pack.h"

struct keyed {
    window_t *window;
    running_t *running;
    aggregates_t *aggregates;
    void *payload; /* of `aggregates` */
    value_t *row;
    uint32_t slot_count;
    uint16_t *key_slots, *result_slots;
    uint32_t key_count, result_count;
    bool null_key;
    bool taken; /* `out` was given away: the next call starts it afresh */
    buffer_t key_bytes, out;
    arena_t scratch;
};

static bool get (const value_t *map, const char *name, uint8_t tag, value_t *value) {
    return pack_get (map, name, (uint32_t) strlen (name), value) && value->tag == tag;
}

static uint16_t *get_slots (const value_t *map, const char *name, uint32_t limit, uint32_t *count) {
    value_t list, slot;
    if (!get (map, name, TAG_LIST, &list))
        return NULL;
    const char *p = pack_open (&list, count);
    uint16_t *slots = calloc ((size_t) *count + 1, sizeof *slots);
    for (uint32_t i = 0; slots && i < *count; i++) {
        p = pack_read (p, list.p + list.size, &slot);
        if (p == NULL || slot.tag != TAG_INT || slot.i < 0 || slot.i >= limit) {
            free (slots);
            return NULL;
        }
        slots[i] = (uint16_t) slot.i;
    }
    return slots;
}

static bool load_step (keyed_t *self, const value_t *map, fault_t *fault) {
    value_t step;
    if (get (map, "window", TAG_MAP, &step))
        return (self->window = window_new (&step, fault)) != NULL;
    if (get (map, "running", TAG_MAP, &step))
        return (self->running = running_new (&step, fault)) != NULL;
    if (!get (map, "aggregates", TAG_LIST, &step))
        return fault_set (fault, REASON_AGGREGATE, "the program has no keyed step");
    if ((self->aggregates = aggregates_new (&step, fault)) == NULL)
        return false;
    self->payload = calloc (1, self->aggregates->payload_size + 8);
    return self->payload || fault_set (fault, REASON_LIMIT, "no memory for a keyed step");
}

static bool load (keyed_t *self, const value_t *map, fault_t *fault) {
    value_t slots, null_key;
    if (map->tag != TAG_MAP || !get (map, "slots", TAG_INT, &slots) || slots.i < 1 ||
        slots.i > KEYED_SLOTS_MAX)
        return fault_set (fault, REASON_AGGREGATE, "the keyed step's program is malformed");
    self->slot_count = (uint32_t) slots.i;
    self->null_key = get (map, "null_key", TAG_BOOL, &null_key) && null_key.i;
    self->key_slots = get_slots (map, "key", self->slot_count, &self->key_count);
    self->result_slots = get_slots (map, "results", self->slot_count, &self->result_count);
    self->row = calloc (self->slot_count, sizeof *self->row);
    self->scratch = (arena_t){.base = malloc (KEYED_SCRATCH_BYTES), .size = KEYED_SCRATCH_BYTES};
    if (!self->key_slots || !self->result_slots || !self->row || !self->scratch.base)
        return fault_set (fault, REASON_AGGREGATE, "the keyed step's program is malformed");
    return load_step (self, map, fault);
}

keyed_t *keyed_new (const char *program, size_t size, fault_t *fault) {
    value_t map;
    keyed_t *self = calloc (1, sizeof *self);
    if (self == NULL || pack_read (program, program + size, &map) == NULL) {
        fault_set (fault, REASON_DECODE, "the keyed step's program cannot be read");
        free (self);
        return NULL;
    }
    if (!load (self, &map, fault))
        keyed_destroy (&self);
    return self;
}

void keyed_destroy (keyed_t **self_p) {
    keyed_t *self = *self_p;
    if (self == NULL)
        return;
    if (self->payload)
        aggregates_free (self->aggregates, self->payload);
    window_destroy (&self->window);
    running_destroy (&self->running);
    aggregates_destroy (&self->aggregates);
    buffer_free (&self->key_bytes);
    buffer_free (&self->out);
    free (self->scratch.base);
    free (self->key_slots);
    free (self->result_slots);
    free (self->payload);
    free (self->row);
    free (self);
    *self_p = NULL;
}

static buffer_t *open_out (keyed_t *self) {
    if (self->taken)
        self->out.size = 0;
    self->taken = false;
    return &self->out;
}

/* The result slots, and for a window's result when it speaks. */
static void write_result (keyed_t *self, const int64_t *end_us) {
    pack_write_list (&self->out, self->result_count + (end_us ? 1 : 0));
    for (uint32_t i = 0; i < self->result_count; i++)
        pack_write (&self->out, &self->row[self->result_slots[i]]);
    if (end_us)
        pack_write_int (&self->out, *end_us);
}

static void on_result (void *context, const bkey_t *key, int64_t start_us, int64_t end_us) {
    (void) key;
    (void) start_us;
    write_result (context, &end_us);
}

static bool read_record (keyed_t *self, const char *record, size_t size, fault_t *fault) {
    value_t list;
    uint32_t count;
    const char *end = record + size;
    if (pack_read (record, end, &list) == NULL || list.tag != TAG_LIST)
        return fault_set (fault, REASON_DECODE, "the record is no list");
    const char *p = pack_open (&list, &count);
    if (count > self->slot_count)
        return fault_set (fault, REASON_DECODE, "the record has too many values");
    for (uint32_t i = 0; i < self->slot_count; i++) {
        self->row[i] = value_missing();
        if (i < count && (p = pack_read (p, end, &self->row[i])) == NULL)
            return fault_set (fault, REASON_DECODE, "the record cannot be read");
    }
    return true;
}

int keyed_add (keyed_t *self, const char *record, size_t size, int64_t time_us, int64_t watermark_us,
               fault_t *fault) {
    bkey_t key;
    open_out (self);
    self->scratch.used = 0;
    if (!read_record (self, record, size, fault))
        return WINDOW_FAULT;
    if (self->aggregates)
        return aggregates_add (self->aggregates, self->payload, self->row, time_us, fault) ? WINDOW_ADDED
                                                                                           : WINDOW_FAULT;
    if (!key_make (self->row, self->key_slots, self->key_count, self->null_key, &self->key_bytes, &key,
                   fault))
        return WINDOW_FAULT;
    if (self->window)
        return (int) window_add (self->window, &key, self->row, time_us, watermark_us, &self->scratch,
                                 on_result, self, fault);
    if (!running_add (self->running, &key, self->row, time_us, &self->scratch, fault))
        return WINDOW_FAULT;
    write_result (self, NULL);
    return WINDOW_ADDED;
}

int64_t keyed_due (const keyed_t *self) { return self->window ? window_due (self->window) : INT64_MAX; }

void keyed_advance (keyed_t *self, int64_t watermark_us) {
    fault_t fault = {0};
    open_out (self);
    if (self->window)
        window_advance (self->window, watermark_us, self->row, &self->scratch, on_result, self);
    if (self->aggregates &&
        aggregates_result (self->aggregates, self->payload, self->row, &self->scratch, &fault))
        write_result (self, NULL);
}

/* Nothing is appended when there is no memory. */
static bool freeze_step (keyed_t *self, uint64_t *rows) {
    section_t section = {.rows = self->out};
    size_t before = self->out.size;
    bool good =
        self->window ? window_freeze (self->window, &section) : running_freeze (self->running, &section);
    self->out = section.rows;
    if (!good) {
        self->out.size = before;
        return false;
    }
    if (self->window)
        window_settle (self->window);
    else
        running_settle (self->running);
    *rows += section.count;
    return true;
}

bool keyed_freeze (keyed_t *self, uint64_t *rows) {
    buffer_t *out = open_out (self);
    if (!self->aggregates)
        return freeze_step (self, rows);
    ++*rows;
    return aggregates_pack (self->aggregates, self->payload, out);
}

/* Accumulators beside our own; NULL with a fault. */
static void *read_accumulators (keyed_t *self, const char *bytes, size_t size, fault_t *fault) {
    value_t list;
    if (self->aggregates == NULL || pack_read (bytes, bytes + size, &list) == NULL) {
        fault_set (fault, REASON_DECODE, "the accumulators cannot be read");
        return NULL;
    }
    void *other = calloc (1, self->aggregates->payload_size + 8);
    if (other == NULL) {
        fault_set (fault, REASON_LIMIT, "no memory for accumulators");
    } else if (!aggregates_unpack (self->aggregates, other, &list, fault)) {
        free (other);
        other = NULL;
    }
    return other;
}

bool keyed_restore (keyed_t *self, const char *accumulators, size_t size, fault_t *fault) {
    void *other = read_accumulators (self, accumulators, size, fault);
    if (other == NULL)
        return false;
    aggregates_free (self->aggregates, self->payload);
    free (self->payload);
    self->payload = other;
    return true;
}

bool keyed_merge (keyed_t *self, const char *accumulators, size_t size, fault_t *fault) {
    void *other = read_accumulators (self, accumulators, size, fault);
    if (other == NULL)
        return false;
    bool merged = aggregates_merge (self->aggregates, self->payload, other, fault);
    aggregates_free (self->aggregates, other);
    free (other);
    return merged;
}

uint64_t keyed_bytes (const keyed_t *self) {
    if (self->window)
        return window_bytes (self->window);
    return self->running ? running_bytes (self->running) : *self->aggregates->owned;
}

uint64_t keyed_keys (const keyed_t *self) {
    if (self->window)
        return window_keys (self->window);
    return self->running ? running_keys (self->running) : 1;
}

const char *keyed_take (keyed_t *self, size_t *size) {
    open_out (self);
    self->taken = true;
    *size = self->out.size;
    return self->out.data;
}
