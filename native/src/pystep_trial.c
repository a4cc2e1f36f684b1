/* pystep_trial.c: one Python step by itself: packed records in, packed results out, without a lane. Tests and
 * benchmarks drive it; every function that needs the GIL takes it, because cffi has given it back.
 *
 * {"slots": n, "step": the step's map, "fields": [[name, slot, type, required] …], "rest": slot | -1, "in": layout,
 * "out": [fields], "out_rest": slot | -1, "results": layout, "key": [slots]} */
#include <stdlib.h>

#include "event.h"
#include "pystep.h"

enum { STEP_TRIAL_SLOTS_MAX = 4096, STEP_TRIAL_SCRATCH_BYTES = 1 << 20, STEP_TRIAL_KEY_SLOTS_MAX = 16 };

struct step_trial {
    char *program;
    value_t *row;
    uint32_t slots;
    fields_t *fields;
    fields_t *out;
    layout_t *in;
    layout_t *results;
    pystep_t *step;
    uint16_t key_slots[STEP_TRIAL_KEY_SLOTS_MAX];
    uint32_t key_count;
    buffer_t key_bytes;
    arena_t scratch;
    buffer_t emitted; /* packed [time, record], one after the other */
    section_t rows;   /* what a cut encoded */
    buffer_t faults;  /* packed [reason, message, traceback | nil], one after the other */
    pystep_call_t call;
    fault_t fault;
    bool is_interrupted;
};

static uint32_t number (const value_t *map, const char *name, uint32_t otherwise) {
    value_t value;
    bool found =
        pack_get (map, name, (uint32_t) strlen (name), &value) && value.tag == TAG_INT && value.i >= 0;
    return found && value.i < STEP_TRIAL_SLOTS_MAX ? (uint32_t) value.i : otherwise;
}

static const value_t *part (const value_t *map, const char *name, value_t *out) {
    *out = value_missing();
    pack_get (map, name, (uint32_t) strlen (name), out);
    return out;
}

static bool read_key (step_trial_t *self, const value_t *map) {
    value_t list, slot;
    if (part (map, "key", &list)->tag != TAG_LIST)
        return true;
    const char *p = pack_open (&list, &self->key_count);
    if (self->key_count > STEP_TRIAL_KEY_SLOTS_MAX)
        return false;
    for (uint32_t i = 0; i < self->key_count; i++) {
        p = pack_read (p, list.p + list.size, &slot);
        self->key_slots[i] = (uint16_t) slot.i;
    }
    return true;
}

static bool load (step_trial_t *self, const value_t *map, void *functions) {
    value_t value;
    fault_t *fault = &self->fault;
    self->slots = number (map, "slots", 64);
    self->row = calloc (self->slots, sizeof *self->row);
    self->scratch = (arena_t){.base = malloc (STEP_TRIAL_SCRATCH_BYTES), .size = STEP_TRIAL_SCRATCH_BYTES};
    uint16_t rest = (uint16_t) number (map, "rest", SLOT_NONE),
             out_rest = (uint16_t) number (map, "out_rest", SLOT_NONE);
    return self->row != NULL && self->scratch.base != NULL && read_key (self, map) &&
           (self->fields = fields_new (part (map, "fields", &value), rest, fault)) != NULL &&
           (self->out = fields_new (part (map, "out", &value), out_rest, fault)) != NULL &&
           (self->in = layout_new (part (map, "in", &value), fault)) != NULL &&
           (self->results = layout_new (part (map, "results", &value), fault)) != NULL &&
           (self->step = pystep_new (part (map, "step", &value), self->in, self->out, functions, fault)) !=
               NULL;
}

/* What the lane's steps behind would get. */
static void emit (void *context) {
    step_trial_t *self = context;
    pack_write_list (&self->emitted, 2);
    pack_write_int (&self->emitted, self->call.time_us);
    layout_pack (self->results, self->call.row, &self->emitted);
}

static void ignore (void *context) { (void) context; }

static void refuse (void *context) {
    step_trial_t *self = context;
    value_t none = value_null();
    pack_write_list (&self->faults, 3);
    pack_write_int (&self->faults, self->fault.reason);
    pack_write_text (&self->faults, self->fault.message, (uint32_t) strlen (self->fault.message));
    if (self->fault.traceback != NULL)
        pack_write_text (&self->faults, self->fault.traceback, (uint32_t) strlen (self->fault.traceback));
    else
        pack_write (&self->faults, &none);
    free (self->fault.traceback);
    self->fault = (fault_t){0};
}

step_trial_t *step_trial_new (const char *program, size_t size, uintptr_t functions, char *message,
                              size_t message_size) {
    PyGILState_STATE gil = PyGILState_Ensure();
    step_trial_t *self = calloc (1, sizeof *self);
    value_t map;
    bool good = self != NULL && (self->program = malloc (size + ARENA_SLACK)) != NULL;
    if (good) {
        memcpy (self->program, program, size);
        good = pack_read (self->program, self->program + size, &map) != NULL && map.tag == TAG_MAP &&
               load (self, &map, (void *) functions);
    }
    if (self != NULL)
        snprintf (message, message_size, "%s", self->fault.message);
    if (good)
        self->call = (pystep_call_t){.row = self->row,
                                     .scratch = &self->scratch,
                                     .key_slots = self->key_slots,
                                     .key_count = self->key_count,
                                     .emit = emit,
                                     .refuse = refuse,
                                     .context = self,
                                     .fault = &self->fault};
    else
        step_trial_destroy (&self);
    PyGILState_Release (gil);
    return self;
}

void step_trial_destroy (step_trial_t **self_p) {
    step_trial_t *self = *self_p;
    if (self == NULL)
        return;
    PyGILState_STATE gil = PyGILState_Ensure();
    pystep_destroy (&self->step);
    fields_destroy (&self->fields);
    fields_destroy (&self->out);
    layout_destroy (&self->in);
    layout_destroy (&self->results);
    buffer_free (&self->key_bytes);
    buffer_free (&self->emitted);
    buffer_free (&self->rows.rows);
    buffer_free (&self->faults);
    free (self->scratch.base);
    free (self->row);
    free (self->program);
    free (self);
    *self_p = NULL;
    PyGILState_Release (gil);
}

/* The event's fields into their slots. Our own packed form, not the message format: times are allowed. */
static bool decode (step_trial_t *self, const char *event, size_t size) {
    const fields_t *fields = self->fields;
    value_t map;
    if (pack_read (event, event + size, &map) == NULL || map.tag != TAG_MAP)
        return fault_set (&self->fault, REASON_DECODE, "the event is not a packed map");
    fields_clear (fields, self->row);
    for (uint32_t i = 0; i < fields->count; i++)
        pack_get (&map, fields->items[i].name, fields->items[i].name_size, &self->row[fields->items[i].slot]);
    if (fields->rest_slot != SLOT_NONE)
        self->row[fields->rest_slot] = map;
    return true;
}

static bool run (step_trial_t *self, const char *event, size_t size, int64_t time_us) {
    bkey_t key;
    arena_release (&self->scratch, 0);
    bool good = decode (self, event, size) &&
                (self->key_count == 0 || key_make (self->row, self->key_slots, self->key_count, false,
                                                   &self->key_bytes, &key, &self->fault));
    self->call.time_us = time_us;
    self->call.key = self->key_count > 0 ? &key : NULL;
    good = good && pystep_run (self->step, &self->call, &self->is_interrupted);
    if (!good)
        refuse (self);
    return good;
}

bool step_trial_run (step_trial_t *self, const char *event, size_t size, int64_t time_us) {
    PyGILState_STATE gil = PyGILState_Ensure();
    char *copy =
        malloc (size + ARENA_SLACK); /* freed at once: an event that outlives it must not look back */
    bool good = copy != NULL;
    if (good) {
        memcpy (copy, event, size);
        good = run (self, copy, size, time_us);
        memset (copy, 0xee, size);
        for (uint32_t i = 0; i < self->slots; i++)
            self->row[i] = value_missing();
    }
    free (copy);
    PyGILState_Release (gil);
    return good;
}

uint64_t step_trial_repeat (step_trial_t *self, const char *event, size_t size, uint32_t count) {
    PyGILState_STATE gil = PyGILState_Ensure();
    uint64_t good = 0;
    bkey_t key;
    if (decode (self, event, size) && self->key_count > 0)
        key_make (self->row, self->key_slots, self->key_count, false, &self->key_bytes, &key, &self->fault);
    self->call.key = self->key_count > 0 ? &key : NULL;
    self->call.emit = ignore;
    for (uint32_t i = 0; i < count; i++)
        good += pystep_run (self->step, &self->call, &self->is_interrupted);
    self->call.emit = emit;
    PyGILState_Release (gil);
    return good;
}

void step_trial_advance (step_trial_t *self, int64_t now_us, bool arrival) {
    PyGILState_STATE gil = PyGILState_Ensure();
    self->call.key = NULL;
    arena_release (&self->scratch, 0);
    pystep_advance (self->step, now_us, arrival, &self->call, &self->is_interrupted);
    if (self->fault.reason != REASON_NONE)
        refuse (self);
    PyGILState_Release (gil);
}

int64_t step_trial_due (step_trial_t *self, bool arrival) { return pystep_due (self->step, arrival); }
uint64_t step_trial_keys (step_trial_t *self) { return pystep_keys (self->step); }
uint64_t step_trial_bytes (step_trial_t *self) { return pystep_bytes (self->step); }
bool step_trial_interrupted (step_trial_t *self) { return self->is_interrupted; }
uint64_t step_trial_unsaved (step_trial_t *self, const char **message) {
    return pystep_unsaved (self->step, message);
}

static size_t take (buffer_t *items, char *out, size_t capacity) {
    size_t needed = items->size;
    if (needed > 0 && needed <= capacity) {
        memcpy (out, items->data, needed);
        items->size = 0;
    }
    return needed;
}

size_t step_trial_take (step_trial_t *self, char *out, size_t capacity) {
    return take (&self->emitted, out, capacity);
}
size_t step_trial_take_rows (step_trial_t *self, char *out, size_t capacity) {
    return take (&self->rows.rows, out, capacity);
}
size_t step_trial_take_faults (step_trial_t *self, char *out, size_t capacity) {
    return take (&self->faults, out, capacity);
}

bool step_trial_freeze (step_trial_t *self, uint64_t *rows) {
    PyGILState_STATE gil = PyGILState_Ensure();
    *rows = 0;
    bool good = pystep_freeze (self->step, rows);
    if (good)
        pystep_settle (self->step);
    PyGILState_Release (gil);
    return good;
}

bool step_trial_encode (step_trial_t *self, uint32_t count) {
    PyGILState_STATE gil = PyGILState_Ensure();
    bool done = pystep_encode (self->step, count, &self->rows);
    PyGILState_Release (gil);
    return done;
}

void event_class (uintptr_t list) {
    PyGILState_STATE gil = PyGILState_Ensure();
    PyTypeObject *type = event_type();
    if (type == NULL || PyList_Append ((PyObject *) list, (PyObject *) type) < 0)
        PyErr_Clear();
    PyGILState_Release (gil);
}
