/* event.c: the class `Event`: attribute and item access, and what else a mapping has; see event.h. */
#include "event_shape.h"

static PyTypeObject *the_class;

const value_t *event_row (PyObject *event, const layout_t **layout) {
    event_t *self = (event_t *) event;
    if (self->row != NULL)
        *layout = event_shape_layout (self->shape);
    return self->row;
}

PyObject *event_dict (PyObject *event) {
    event_t *self = (event_t *) event;
    if (self->row != NULL)
        return event_shape_dict (self->shape);
    return self->fields != NULL ? PyDict_Copy (self->fields) : PyDict_New();
}

/* A new reference, or NULL without an error when there is no such field. */
static PyObject *find (event_t *self, PyObject *name, bool attribute) {
    if (likely (self->row != NULL))
        return event_shape_get (self->shape, name, attribute);
    if (self->fields == NULL || (attribute && event_own_name (name)))
        return NULL;
    return Py_XNewRef (PyDict_GetItemWithError (self->fields, name));
}

/* One of PyDict_Keys, PyDict_Values, PyDict_Items over all fields. */
static PyObject *list_of (PyObject *event, PyObject *(*part) (PyObject *) ) {
    PyObject *dict = event_dict (event);
    PyObject *list = dict != NULL ? part (dict) : NULL;
    Py_XDECREF (dict);
    return list;
}

static PyObject *event_keys (PyObject *object, PyObject *ignored) {
    (void) ignored;
    event_t *self = (event_t *) object;
    return self->row != NULL ? event_shape_names (self->shape) : list_of (object, PyDict_Keys);
}
/* Raise `error`, saying which fields there are. */
static PyObject *no_field (event_t *self, PyObject *error, PyObject *name) {
    enum { SHOWN_MAX = 20 };
    PyObject *names = event_keys ((PyObject *) self, NULL);
    Py_ssize_t count = names != NULL ? PyList_GET_SIZE (names) : 0;
    PyObject *shown = names != NULL ? PyList_GetSlice (names, 0, SHOWN_MAX) : NULL;
    PyObject *comma = shown != NULL ? PyUnicode_FromString (", ") : NULL;
    PyObject *text = comma != NULL ? PyUnicode_Join (comma, shown) : NULL;
    if (text != NULL)
        PyErr_Format (error, "the event has no field %R (it has: %U%s)", name, text,
                      count > SHOWN_MAX ? ", …" : "");
    Py_XDECREF (text);
    Py_XDECREF (comma);
    Py_XDECREF (shown);
    Py_XDECREF (names);
    return NULL;
}

static PyObject *event_getattro (PyObject *object, PyObject *name) {
    event_t *self = (event_t *) object;
    PyObject *found = find (self, name, true);
    if (likely (found != NULL))
        return found;
    if (PyErr_Occurred())
        return NULL;
    found = PyObject_GenericGetAttr (object, name);
    if (found != NULL || !PyErr_ExceptionMatches (PyExc_AttributeError))
        return found;
    PyErr_Clear();
    found = find (self, name, false);
    return found != NULL || PyErr_Occurred() ? found : no_field (self, PyExc_AttributeError, name);
}

/* By item, any str will do; NULL without an error when there is no such field. */
static PyObject *find_item (event_t *self, PyObject *name) {
    if (likely (PyUnicode_CheckExact (name)))
        return find (self, name, false);
    if (!PyUnicode_Check (name))
        return NULL;
    PyObject *exact = PyUnicode_FromObject (name);
    PyObject *found = exact != NULL ? find (self, exact, false) : NULL;
    Py_XDECREF (exact);
    return found;
}

static PyObject *event_subscript (PyObject *object, PyObject *name) {
    PyObject *found = find_item ((event_t *) object, name);
    if (likely (found != NULL) || PyErr_Occurred())
        return found;
    return no_field ((event_t *) object, PyExc_KeyError, name);
}

static int event_contains (PyObject *object, PyObject *name) {
    PyObject *found = find_item ((event_t *) object, name);
    Py_XDECREF (found);
    return found != NULL ? 1 : PyErr_Occurred() ? -1 : 0;
}

static Py_ssize_t event_length (PyObject *object) {
    event_t *self = (event_t *) object;
    if (self->row != NULL)
        return event_shape_count (self->shape);
    return self->fields != NULL ? PyDict_GET_SIZE (self->fields) : 0;
}

static int event_setattro (PyObject *object, PyObject *name, PyObject *value) {
    (void) object, (void) value;
    PyErr_Format (PyExc_AttributeError, "an event cannot be changed: return {**event, %R: ...} instead",
                  name);
    return -1;
}

static int event_ass_subscript (PyObject *object, PyObject *name, PyObject *value) {
    (void) object, (void) value;
    PyErr_Format (PyExc_TypeError, "an event cannot be changed: return {**event, %R: ...} instead", name);
    return -1;
}

static PyObject *event_get (PyObject *object, PyObject *const *arguments, Py_ssize_t count) {
    if (count < 1 || count > 2)
        return PyErr_Format (PyExc_TypeError, "get takes a name and a default, not %zd arguments", count);
    PyObject *found = find_item ((event_t *) object, arguments[0]);
    if (found != NULL || PyErr_Occurred())
        return found;
    return Py_NewRef (count == 2 ? arguments[1] : Py_None);
}

static PyObject *event_values (PyObject *object, PyObject *ignored) {
    (void) ignored;
    return list_of (object, PyDict_Values);
}
static PyObject *event_items (PyObject *object, PyObject *ignored) {
    (void) ignored;
    return list_of (object, PyDict_Items);
}
static PyObject *event_as_dict (PyObject *object, PyObject *ignored) {
    (void) ignored;
    return event_dict (object);
}

/* Copies and pickles are events built from the fields. */
static PyObject *event_reduce (PyObject *object, PyObject *ignored) {
    (void) ignored;
    PyObject *dict = event_dict (object);
    return dict != NULL ? Py_BuildValue ("O(N)", Py_TYPE (object), dict) : NULL;
}

static PyObject *event_iter (PyObject *object) {
    PyObject *names = event_keys (object, NULL);
    PyObject *iterator = names != NULL ? PyObject_GetIter (names) : NULL;
    Py_XDECREF (names);
    return iterator;
}

static PyObject *event_repr (PyObject *object) {
    PyObject *dict = event_dict (object);
    PyObject *text = dict != NULL ? PyUnicode_FromFormat ("Event(%R)", dict) : NULL;
    Py_XDECREF (dict);
    return text;
}

static PyObject *event_compare (PyObject *object, PyObject *other, int operation) {
    bool both = event_is (other, the_class);
    if ((operation != Py_EQ && operation != Py_NE) || (!both && !PyDict_Check (other)))
        Py_RETURN_NOTIMPLEMENTED;
    PyObject *dict = event_dict (object);
    PyObject *against = both ? event_dict (other) : Py_NewRef (other);
    PyObject *result = dict && against ? PyObject_RichCompare (dict, against, operation) : NULL;
    Py_XDECREF (dict);
    Py_XDECREF (against);
    return result;
}

static PyObject *event_new (PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    PyObject *mapping = NULL;
    if (!PyArg_ParseTuple (arguments, "|O:Event", &mapping))
        return NULL;
    PyObject *fields = PyDict_New();
    if (fields == NULL || (mapping != NULL && PyDict_Update (fields, mapping) < 0) ||
        (keywords != NULL && PyDict_Update (fields, keywords) < 0)) {
        Py_XDECREF (fields);
        return NULL;
    }
    event_t *self = PyObject_GC_New (event_t, type);
    if (self == NULL) {
        Py_DECREF (fields);
        return NULL;
    }
    self->shape = NULL;
    self->row = NULL;
    self->fields = fields;
    if (PyObject_GC_IsTracked (fields))
        PyObject_GC_Track (self);
    return (PyObject *) self;
}

static int event_traverse (PyObject *object, visitproc visit, void *arg) {
    Py_VISIT (Py_TYPE (object));
    Py_VISIT (((event_t *) object)->fields);
    return 0;
}

static int event_clear (PyObject *object) {
    Py_CLEAR (((event_t *) object)->fields);
    return 0;
}

static void event_dealloc (PyObject *object) {
    PyTypeObject *type = Py_TYPE (object);
    PyObject_GC_UnTrack (object);
    event_clear (object);
    PyObject_GC_Del (object);
    Py_DECREF (type);
}

static PyMethodDef event_methods[] = {
    {"get", (PyCFunction) (void (*) (void)) event_get, METH_FASTCALL,
     "get(name, default=None): a field, or the default."},
    {"keys", event_keys, METH_NOARGS, "The names of the fields, in order."},
    {"values", event_values, METH_NOARGS, "The values of the fields, in order."},
    {"items", event_items, METH_NOARGS, "Pairs of name and value, in order."},
    {"as_dict", event_as_dict, METH_NOARGS, "All fields as a new dict."},
    {"__reduce__", event_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot event_slots[] = {
    {Py_tp_doc, "One record: fields by attribute or item, and what a mapping has. It cannot be changed.\n\n"
                "Event(mapping, **fields) builds one by hand, to test functions with."},
    {Py_tp_new, event_new},
    {Py_tp_dealloc, event_dealloc},
    {Py_tp_traverse, event_traverse},
    {Py_tp_clear, event_clear},
    {Py_tp_getattro, event_getattro},
    {Py_tp_setattro, event_setattro},
    {Py_mp_subscript, event_subscript},
    {Py_mp_ass_subscript, event_ass_subscript},
    {Py_mp_length, event_length},
    {Py_sq_contains, event_contains},
    {Py_tp_iter, event_iter},
    {Py_tp_repr, event_repr},
    {Py_tp_richcompare, event_compare},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_tp_methods, event_methods},
    {0, NULL},
};

static PyType_Spec event_spec = {
    .name = "appliance.Event",
    .basicsize = sizeof (event_t),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_MAPPING,
    .slots = event_slots,
};

/* isinstance (event, collections.abc.Mapping) is true. */
static bool register_mapping (PyObject *type) {
    PyObject *module = PyImport_ImportModule ("collections.abc");
    PyObject *mapping = module != NULL ? PyObject_GetAttrString (module, "Mapping") : NULL;
    PyObject *done = mapping != NULL ? PyObject_CallMethod (mapping, "register", "O", type) : NULL;
    Py_XDECREF (module);
    Py_XDECREF (mapping);
    Py_XDECREF (done);
    return done != NULL;
}

PyTypeObject *event_type (void) {
    if (the_class == NULL) {
        PyObject *type = PyType_FromSpec (&event_spec);
        if (type == NULL || !register_mapping (type)) {
            Py_XDECREF (type);
            return NULL;
        }
        the_class = (PyTypeObject *) type;
    }
    return the_class;
}
