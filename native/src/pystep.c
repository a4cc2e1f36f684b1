/* pystep.c: loading a Python step, and its calls without state; see pystep.h. */
#include "pystep_parts.h"

#include <stdlib.h>

static const char *const MODES[MODE_COUNT] = {"map", "flat_map", "filter", "stateful", "class"};

static bool read_mode (pystep_t *self, const value_t *map, fault_t *fault) {
    value_t mode;
    if (pack_get (map, "mode", 4, &mode) && mode.tag == TAG_STR) {
        for (int i = 0; i < MODE_COUNT; i++) {
            if (strlen (MODES[i]) == mode.size && memcmp (MODES[i], mode.p, mode.size) == 0) {
                self->mode = (enum pystep_mode) i;
                return true;
            }
        }
    }
    return fault_set (fault, REASON_PYTHON, "a Python step has no known mode");
}

/* The registered dict of the step's function; borrowed. */
static PyObject *read_entry (const value_t *map, PyObject *functions, fault_t *fault) {
    value_t index;
    if (functions == NULL || !PyList_Check (functions) || !pack_get (map, "function", 8, &index) ||
        index.tag != TAG_INT || index.i < 0 || index.i >= PyList_GET_SIZE (functions) ||
        !PyDict_Check (PyList_GET_ITEM (functions, index.i))) {
        fault_set (fault, REASON_PYTHON, "a Python step's function is not registered");
        return NULL;
    }
    return PyList_GET_ITEM (functions, index.i);
}

static bool read_function (pystep_t *self, PyObject *entry, fault_t *fault) {
    PyObject *function = PyDict_GetItemString (entry, "call");
    PyObject *arity = PyDict_GetItemString (entry, "arity");
    if (function == NULL || !PyCallable_Check (function) || arity == NULL || !PyLong_Check (arity))
        return fault_set (fault, REASON_PYTHON, "a registered function needs \"call\" and \"arity\"");
    self->function = Py_NewRef (function);
    long count = PyLong_AsLong (arity);
    long least = self->mode >= MODE_STATEFUL ? 2 : 1, most = self->mode >= MODE_STATEFUL ? 3 : 1;
    if (count < least || count > most)
        return fault_set (fault, REASON_PYTHON, "a registered function takes %ld to %ld arguments, not %ld",
                          least, most, count);
    self->arity = (uint32_t) count;
    return true;
}

static bool no_memory (fault_t *fault) {
    PyErr_Clear();
    return fault_set (fault, REASON_LIMIT, "there is no memory for a Python step");
}

/* Names of results as interned strings, and which field of the event goes where when the event itself is returned. */
static bool prepare_names (pystep_t *self, fault_t *fault) {
    const fields_t *out = self->out;
    self->out_names = calloc (out->count + 1, sizeof *self->out_names);
    self->entry_out = calloc (self->in->count + 1, sizeof *self->entry_out);
    self->value_name = PyUnicode_InternFromString ("value");
    if (!self->out_names || !self->entry_out || !self->value_name)
        return no_memory (fault);
    for (uint32_t i = 0; i < out->count; i++) {
        PyObject *name = PyUnicode_DecodeUTF8 (out->items[i].name, out->items[i].name_size, "replace");
        if (name == NULL)
            return no_memory (fault);
        PyUnicode_InternInPlace (&name);
        self->out_names[i] = name;
    }
    for (uint32_t i = 0; i < self->in->count; i++)
        self->entry_out[i] = fields_find (out, self->in->entries[i].name, self->in->entries[i].name_size, 0);
    self->value_out = fields_find (out, "value", 5, 0);
    return true;
}

static bool prepare_python (pystep_t *self, fault_t *fault) {
    PyObject *traceback = NULL;
    if (py_value_ready() && (self->event_class = event_type()) != NULL &&
        (self->shape = event_shape_new (self->in)) != NULL && (self->seen = PySet_New (NULL)) != NULL &&
        (traceback = PyImport_ImportModule ("traceback")) != NULL)
        self->format = PyObject_GetAttrString (traceback, "format_exception");
    Py_XDECREF (traceback);
    return self->format != NULL || no_memory (fault);
}

static int64_t unit_of (const layout_t *layout) {
    static const int64_t NANOSECONDS[] = {[UNIT_US] = 1000,
                                          [UNIT_MS] = 1000000,
                                          [UNIT_S] = 1000000000,
                                          [UNIT_NS] = 1,
                                          [UNIT_RFC3339] = TIME_AS_TEXT};
    return NANOSECONDS[layout->unit];
}

pystep_t *pystep_new (const value_t *map, const layout_t *in, const fields_t *out, void *functions,
                      fault_t *fault) {
    pystep_t *self = calloc (1, sizeof *self);
    if (self == NULL) {
        no_memory (fault);
        return NULL;
    }
    self->in = in;
    self->out = out;
    self->unit_ns = unit_of (in);
    PyObject *entry = NULL;
    bool good = read_mode (self, map, fault) && (entry = read_entry (map, functions, fault)) != NULL &&
                read_function (self, entry, fault) && prepare_python (self, fault) &&
                prepare_names (self, fault);
    if (good && self->mode >= MODE_STATEFUL)
        good = (self->keyed = pystate_new (self, map, entry, fault)) != NULL;
    if (!good)
        pystep_destroy (&self);
    return self;
}

void pystep_destroy (pystep_t **self_p) {
    pystep_t *self = *self_p;
    if (self == NULL)
        return;
    pystate_destroy (&self->keyed);
    event_shape_destroy (&self->shape);
    for (uint32_t i = 0; self->out_names != NULL && i < self->out->count; i++)
        Py_XDECREF (self->out_names[i]);
    free (self->out_names);
    free (self->entry_out);
    Py_XDECREF (self->value_name);
    Py_XDECREF (self->function);
    Py_XDECREF (self->format);
    Py_XDECREF (self->seen);
    buffer_free (&self->pack);
    free (self);
    *self_p = NULL;
}

bool pystep_run (pystep_t *self, pystep_call_t *call, bool *interrupted) {
    if (self->keyed != NULL)
        return pystate_run (self, call, interrupted);
    PyObject *arguments[2] = {NULL, event_shape_begin (self->shape, call->row, pystep_unit (self, call))};
    PyObject *result =
        likely (arguments[1] != NULL)
            ? PyObject_Vectorcall (self->function, arguments + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL)
            : NULL;
    bool good = result != NULL && (result == Py_None || pystep_results (self, call, result));
    if (unlikely (!good && PyErr_Occurred()))
        pystep_catch (self, call->fault, interrupted);
    Py_XDECREF (result);
    /* Only now: results and the traceback may have been the last to hold the event. */
    if (unlikely (!event_shape_end (self->shape))) {
        pystep_catch (self, call->fault, interrupted);
        good = false;
    }
    return good;
}
