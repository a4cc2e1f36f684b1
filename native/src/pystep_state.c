/* pystep_state.c: functions with state: one Python object a key, and its timer; see pystep.h. */
#include <assert.h>
#include <stdlib.h>

#include "pystep_parts.h"

/* What pystep_bytes counts for a key beside its table row and its object. */
enum { LISTED_BYTES = sizeof (listed_row_t) };

static PyObject *registered (PyObject *entry, const char *name) {
    PyObject *object = PyDict_GetItemString (entry, name);
    return object != NULL && PyCallable_Check (object) ? Py_NewRef (object) : NULL;
}

static uint64_t registered_number (PyObject *entry, const char *name) {
    PyObject *object = PyDict_GetItemString (entry, name);
    unsigned long long number =
        object != NULL && PyLong_Check (object) ? PyLong_AsUnsignedLongLong (object) : 0;
    if (PyErr_Occurred()) {
        PyErr_Clear();
        number = 0;
    }
    return number;
}

pystate_t *pystate_new (pystep_t *step, const value_t *map, PyObject *entry, fault_t *fault) {
    (void) step;
    pystate_t *self = calloc (1, sizeof *self);
    value_t arrival;
    if (self != NULL) {
        self->rows = table_new (sizeof (pystate_row_t));
        self->timers = timers_new();
        self->factory = registered (entry, "state");
        self->encode = registered (entry, "encode");
        self->decode = registered (entry, "decode");
        self->on_timer = registered (entry, "on_timer");
        self->on_timer_arity = (uint32_t) registered_number (entry, "on_timer_arity");
        self->state_bytes = registered_number (entry, "state_bytes");
        self->arrival = pack_get (map, "arrival", 7, &arrival) && arrival.tag == TAG_BOOL && arrival.i;
    }
    if (self == NULL || self->rows == NULL || self->timers == NULL) {
        fault_set (fault, REASON_LIMIT, "there is no memory for a Python step");
    } else if (self->factory == NULL || self->encode == NULL) {
        fault_set (fault, REASON_PYTHON, "a registered stateful function needs \"state\" and \"encode\"");
    } else if (self->on_timer != NULL && self->on_timer_arity != 1 && self->on_timer_arity != 2) {
        fault_set (fault, REASON_PYTHON, "a registered on_timer takes 1 or 2 arguments");
    } else {
        return self;
    }
    pystate_destroy (&self);
    return NULL;
}

static void drop_list (pystate_t *self) {
    for (uint32_t i = self->list_next; i < self->list_count; i++)
        Py_XDECREF (self->list[i].encoded);
    free (self->list);
}

void pystate_destroy (pystate_t **self_p) {
    pystate_t *self = *self_p;
    if (self == NULL)
        return;
    drop_list (self);
    table_row_t row;
    for (uint32_t i = 0; self->rows != NULL && i < table_end (self->rows); i++)
        if (table_at (self->rows, i, &row))
            Py_XDECREF (((pystate_row_t *) row.payload)->state);
    table_destroy (&self->rows);
    timers_destroy (&self->timers);
    Py_XDECREF (self->factory);
    Py_XDECREF (self->encode);
    Py_XDECREF (self->decode);
    Py_XDECREF (self->on_timer);
    Py_XDECREF ((PyObject *) self->context);
    free (self);
    *self_p = NULL;
}

/* Emit what was returned and clean up after the call, in the order that lets go of what the user did not keep. */
static bool finish (pystep_t *self, pystep_call_t *call, PyObject *result, bool *interrupted) {
    bool good = result != NULL && (result == Py_None || pystep_results (self, call, result));
    if (unlikely (!good && PyErr_Occurred()))
        pystep_catch (self, call->fault, interrupted);
    Py_XDECREF (result);
    context_end (self->keyed);
    return good;
}

/* The row of the call's key, with a state. False with a fault or a Python error. */
static bool find_row (pystate_t *self, const pystep_call_t *call, table_row_t *row) {
    bool is_new;
    if (unlikely (!table_put (self->rows, call->key, row, &is_new)))
        return fault_set (call->fault, REASON_LIMIT, "there is no memory for another key");
    pystate_row_t *keyed = row->payload;
    if (unlikely (keyed->state == NULL)) {
        PyObject *state = PyObject_CallNoArgs (self->factory);
        if (state == NULL) {
            table_undo (self->rows, row->index);
            return false;
        }
        keyed->state = state;
    }
    return true;
}

bool pystate_run (pystep_t *self, pystep_call_t *call, bool *interrupted) {
    assert (call->key != NULL);
    pystate_t *keyed = self->keyed;
    PyObject *arguments[4] = {NULL, NULL, NULL, NULL}, *result = NULL;
    table_row_t row;
    if (likely (find_row (keyed, call, &row))) {
        pystate_row_t *payload = row.payload;
        if (unlikely (payload->listed != 0))
            pystate_before_change (keyed, &row);
        table_mark (keyed->rows, row.index);
        arguments[1] = payload->state;
        arguments[2] = event_shape_begin (self->shape, call->row, pystep_unit (self, call));
        arguments[3] = self->arity == 3 ? context_begin (self, call, row.index, false) : Py_None;
        if (likely (arguments[2] != NULL && arguments[3] != NULL))
            result = PyObject_Vectorcall (self->function, arguments + 1,
                                          self->arity | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    bool good = finish (self, call, result, interrupted);
    if (unlikely (!event_shape_end (self->shape))) {
        pystep_catch (self, call->fault, interrupted);
        good = false;
    }
    return good;
}

/* A timer's failure: told at once when the caller listens; else the first one stays. */
static void tell (pystep_call_t *call, fault_t *kept) {
    fault_t *fault = call->fault;
    if (call->refuse != NULL) {
        call->refuse (call->context);
        *fault = (fault_t){0};
    } else if (kept->reason == REASON_NONE) {
        *kept = *fault;
        *fault = (fault_t){0};
    } else {
        free (fault->traceback);
        *fault = (fault_t){0};
    }
}

static void fire (pystep_t *self, pystep_call_t *call, pending_timer_t timer, fault_t *kept,
                  bool *interrupted) {
    pystate_t *keyed = self->keyed;
    table_row_t row;
    bool is_there = table_at (keyed->rows, timer.row, &row);
    assert (is_there && keyed->on_timer != NULL);
    (void) is_there;
    pystate_row_t *payload = row.payload;
    if (payload->listed != 0)
        pystate_before_change (keyed, &row);
    table_mark (keyed->rows, row.index);
    call->time_us = timer.due_us;
    call->key = &row.key;
    key_read (&row.key, call->row, call->key_slots, call->key_count);
    PyObject *result = NULL;
    PyObject *arguments[3] = {NULL, payload->state, context_begin (self, call, row.index, true)};
    if (arguments[2] != NULL)
        result = PyObject_Vectorcall (keyed->on_timer, arguments + 1,
                                      keyed->on_timer_arity | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    if (!finish (self, call, result, interrupted))
        tell (call, kept);
}

/* The end of the input: all timers there are, once each; what they set is for the next run. */
static void fire_all (pystep_t *self, pystep_call_t *call, fault_t *kept, bool *interrupted) {
    timers_t *timers = self->keyed->timers;
    uint32_t count = timers_count (timers);
    pending_timer_t *pending = malloc ((count ? count : 1) * sizeof *pending);
    if (pending == NULL) {
        fault_set (call->fault, REASON_LIMIT, "there is no memory to fire %u timers", count);
        tell (call, kept);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        pending[i] = *timers_first (timers);
        timers_cancel (timers, pending[i].row);
    }
    uint32_t fired = 0;
    while (fired < count && !*interrupted)
        fire (self, call, pending[fired++], kept, interrupted);
    for (; fired < count; fired++)
        timers_set (timers, pending[fired].row, pending[fired].due_us);
    free (pending);
}

void pystep_advance (pystep_t *self, int64_t now_us, bool arrival, pystep_call_t *call, bool *interrupted) {
    pystate_t *keyed = self->keyed;
    if (keyed == NULL || keyed->arrival != arrival)
        return;
    fault_t kept = {0};
    if (now_us == INT64_MAX) {
        fire_all (self, call, &kept, interrupted);
    } else {
        const pending_timer_t *first;
        while (!*interrupted && (first = timers_first (keyed->timers)) != NULL && first->due_us <= now_us) {
            pending_timer_t timer = *first;
            timers_cancel (keyed->timers, timer.row);
            fire (self, call, timer, &kept, interrupted);
        }
    }
    if (kept.reason != REASON_NONE)
        *call->fault = kept;
}

int64_t pystep_due (const pystep_t *self, bool arrival) {
    const pending_timer_t *first =
        self->keyed != NULL && self->keyed->arrival == arrival ? timers_first (self->keyed->timers) : NULL;
    return first != NULL ? first->due_us : INT64_MAX;
}

uint64_t pystep_keys (const pystep_t *self) {
    return self->keyed != NULL ? table_count (self->keyed->rows) : 0;
}

uint64_t pystep_bytes (const pystep_t *self) {
    const pystate_t *keyed = self->keyed;
    if (keyed == NULL)
        return 0;
    return table_bytes (keyed->rows) + timers_bytes (keyed->timers) +
           (uint64_t) keyed->list_capacity * LISTED_BYTES + pystep_keys (self) * keyed->state_bytes;
}

uint64_t pystep_unsaved (const pystep_t *self, const char **message) {
    *message = self->keyed != NULL ? self->keyed->unsaved_fault.message : "";
    return self->keyed != NULL ? self->keyed->unsaved : 0;
}
