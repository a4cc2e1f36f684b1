/* pystep_context.c: the class `Context`: key, time, timer (), cancel (). One live object a step, good during its
 * call only: a held one says so instead of acting on another key. */
#include "pystep_parts.h"

static PyTypeObject *the_class;

/* NULL with a Python error when the call is over. */
static context_t *live (PyObject *object) {
    context_t *self = (context_t *) object;
    if (likely (self->step != NULL))
        return self;
    PyErr_SetString (PyExc_RuntimeError,
                     "a context is good during its call only: keep its key or time instead");
    return NULL;
}

/* From the key itself, not from the fields it was made of: 1.0 and 1 are the same key, and so the same object. */
static PyObject *key_of (const context_t *self) {
    const pystep_call_t *call = self->call;
    int64_t unit_ns = pystep_unit (self->step, call);
    const char *p = call->key->bytes, *end = p + call->key->size;
    PyObject *key = PyTuple_New (call->key_count), *only = NULL;
    for (uint32_t i = 0; key != NULL && i < call->key_count; i++) {
        value_t value;
        p = pack_read (p, end, &value);
        PyObject *part = py_from_value (&value, unit_ns);
        if (part == NULL)
            Py_CLEAR (key);
        else
            PyTuple_SET_ITEM (key, i, part);
    }
    if (key == NULL || call->key_count != 1)
        return key;
    only = Py_NewRef (PyTuple_GET_ITEM (key, 0));
    Py_DECREF (key);
    return only;
}

static PyObject *context_key (PyObject *object, void *ignored) {
    (void) ignored;
    context_t *self = live (object);
    if (self == NULL || (self->key == NULL && (self->key = key_of (self)) == NULL))
        return NULL;
    return Py_NewRef (self->key);
}

/* Times are numbers here, also where the source writes them as text: in microseconds then. */
static int64_t number_unit (const context_t *self) {
    int64_t unit_ns = pystep_unit (self->step, self->call);
    return unit_ns == TIME_AS_TEXT ? 1000 : unit_ns;
}

static PyObject *context_time (PyObject *object, void *ignored) {
    (void) ignored;
    context_t *self = live (object);
    return self != NULL ? py_from_time (self->call->time_us, number_unit (self)) : NULL;
}

/* A number in the source's unit, or a text like "10s". False with a Python error. */
static bool duration_of (const context_t *self, PyObject *after, int64_t *us) {
    if (PyUnicode_Check (after)) {
        Py_ssize_t size = 0;
        const char *text = PyUnicode_AsUTF8AndSize (after, &size);
        const char *wrong = text != NULL ? duration_read (text, (size_t) size, us) : NULL;
        if (wrong != NULL)
            PyErr_Format (PyExc_ValueError, "after=%R %s", after, wrong);
        return text != NULL && wrong == NULL;
    }
    if (!py_to_us (after, number_unit (self), us))
        return false;
    if (*us < 0)
        PyErr_SetString (PyExc_ValueError, "after= must not be negative");
    return *us >= 0;
}

/* When a timer is to fire. False with a Python error. */
static bool due_of (const context_t *self, PyObject *at, PyObject *after, int64_t *due_us) {
    int64_t now_us = self->call->time_us;
    if ((at == NULL || at == Py_None) == (after == NULL || after == Py_None)) {
        PyErr_SetString (
            PyExc_TypeError,
            "timer takes at= (a time) or after= (a duration), in the source's unit or as \"10s\"");
        return false;
    }
    if (at != NULL && at != Py_None) {
        if (!py_to_us (at, number_unit (self), due_us))
            return false;
    } else {
        if (!duration_of (self, after, due_us))
            return false;
        if (__builtin_add_overflow (now_us, *due_us, due_us))
            *due_us = INT64_MAX - 1;
    }
    /* Or a function could fire for ever without time moving. */
    if (self->is_firing && *due_us <= now_us) {
        PyErr_SetString (PyExc_ValueError, "a timer set by on_timer must lie after context.time");
        return false;
    }
    return true;
}

static PyObject *context_timer (PyObject *object, PyObject *arguments, PyObject *keywords) {
    static char *names[] = {"at", "after", NULL};
    PyObject *at = NULL, *after = NULL;
    int64_t due_us;
    context_t *self = live (object);
    if (self == NULL || !PyArg_ParseTupleAndKeywords (arguments, keywords, "|$OO:timer", names, &at, &after))
        return NULL;
    if (self->step->keyed->on_timer == NULL) {
        PyErr_SetString (
            PyExc_RuntimeError,
            "nothing would be called: timers need a class with on_event and on_timer as the step");
        return NULL;
    }
    if (!due_of (self, at, after, &due_us))
        return NULL;
    if (!timers_set (self->step->keyed->timers, self->row, due_us))
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *context_cancel (PyObject *object, PyObject *ignored) {
    (void) ignored;
    context_t *self = live (object);
    return self != NULL ? PyBool_FromLong (timers_cancel (self->step->keyed->timers, self->row)) : NULL;
}

static void context_dealloc (PyObject *object) {
    PyTypeObject *type = Py_TYPE (object);
    Py_XDECREF (((context_t *) object)->key);
    PyObject_Free (object);
    Py_DECREF (type);
}

static PyMethodDef context_methods[] = {
    {"timer", (PyCFunction) (void (*) (void)) context_timer, METH_VARARGS | METH_KEYWORDS,
     "timer(at=…) or timer(after=…), in the source's unit, after= also as \"10s\": call on_timer for this "
     "key "
     "then. A key has one timer: setting it again moves it."},
    {"cancel", context_cancel, METH_NOARGS, "Remove this key's timer; whether there was one."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef context_properties[] = {
    {"key", context_key, NULL, "The key: its value, or a tuple of them.", NULL},
    {"time", context_time, NULL, "The time of the event, or of the timer, in the source's unit.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot context_slots[] = {
    {Py_tp_doc, "What a stateful function is told beside the event."},
    {Py_tp_dealloc, context_dealloc},
    {Py_tp_methods, context_methods},
    {Py_tp_getset, context_properties},
    {0, NULL},
};

static PyType_Spec context_spec = {
    .name = "appliance.Context",
    .basicsize = sizeof (context_t),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = context_slots,
};

PyObject *context_begin (pystep_t *step, const pystep_call_t *call, uint32_t row, bool is_firing) {
    pystate_t *keyed = step->keyed;
    if (unlikely (the_class == NULL)) {
        the_class = (PyTypeObject *) PyType_FromSpec (&context_spec);
        if (the_class == NULL)
            return NULL;
    }
    if (unlikely (keyed->context == NULL)) {
        keyed->context = PyObject_New (context_t, the_class);
        if (keyed->context == NULL)
            return NULL;
        keyed->context->key = NULL;
    }
    context_t *self = keyed->context;
    self->step = step;
    self->call = call;
    self->row = row;
    self->is_firing = is_firing;
    return (PyObject *) self;
}

void context_end (pystate_t *keyed) {
    context_t *self = keyed->context;
    if (self == NULL)
        return;
    self->step = NULL;
    self->call = NULL;
    Py_CLEAR (self->key);
    if (unlikely (Py_REFCNT (self) > 1))
        Py_CLEAR (keyed->context);
}
