/* py_record.c: see py_record.h. */
#include "py_record.h"

/* Classes are few and live long: a direct-mapped table that holds on to them. */
enum { CACHE_SIZE = 64 };
static record_type_t cache[CACHE_SIZE];

/* The names of a dataclass's fields (no class variables), by the library's own function. */
static PyObject *dataclass_names (PyTypeObject *type) {
    PyObject *module = PyImport_ImportModule ("dataclasses");
    PyObject *fields = module ? PyObject_CallMethod (module, "fields", "O", type) : NULL;
    Py_XDECREF (module);
    if (fields == NULL)
        return NULL;
    Py_ssize_t count = PyTuple_Size (fields);
    PyObject *names = count < 0 ? NULL : PyTuple_New (count);
    for (Py_ssize_t i = 0; names != NULL && i < count; i++) {
        PyObject *name = PyObject_GetAttrString (PyTuple_GET_ITEM (fields, i), "name");
        if (name == NULL)
            Py_CLEAR (names);
        else
            PyTuple_SET_ITEM (names, i, name);
    }
    Py_DECREF (fields);
    return names;
}

/* An attribute of the class that is a tuple of str, or NULL (no error). */
static PyObject *names_attribute (PyTypeObject *type, const char *attribute) {
    PyObject *names = PyObject_GetAttrString ((PyObject *) type, attribute);
    if (names == NULL) {
        PyErr_Clear();
        return NULL;
    }
    bool good = PyTuple_Check (names);
    for (Py_ssize_t i = 0; good && i < PyTuple_GET_SIZE (names); i++)
        good = PyUnicode_Check (PyTuple_GET_ITEM (names, i));
    if (!good)
        Py_CLEAR (names);
    return names;
}

static bool has_attribute (PyTypeObject *type, const char *attribute) {
    PyObject *found = PyObject_GetAttrString ((PyObject *) type, attribute);
    if (found == NULL)
        PyErr_Clear();
    Py_XDECREF (found);
    return found != NULL;
}

static bool look_at (PyTypeObject *type, record_type_t *out) {
    *out = (record_type_t){.type = type, .kind = RECORD_NOT};
    if (PyType_IsSubtype (type, &PyDict_Type)) {
        out->kind = RECORD_DICT;
    } else if (PyType_IsSubtype (type, &PyTuple_Type)) {
        out->names = names_attribute (type, "_fields");
        out->kind = out->names != NULL ? RECORD_TUPLE : RECORD_NOT;
    } else if ((out->names = names_attribute (type, "__struct_encode_fields__")) != NULL) {
        out->attributes = names_attribute (type, "__struct_fields__");
        out->kind = RECORD_ATTRIBUTES;
        if (out->attributes == NULL || PyTuple_GET_SIZE (out->attributes) != PyTuple_GET_SIZE (out->names)) {
            PyErr_Format (PyExc_TypeError, "the fields of %s cannot be read", type->tp_name);
            return false;
        }
    } else if (has_attribute (type, "__dataclass_fields__")) {
        out->names = dataclass_names (type);
        if (out->names == NULL)
            return false;
        out->attributes = Py_NewRef (out->names);
        out->kind = RECORD_ATTRIBUTES;
    } else if (type->tp_as_mapping != NULL && type->tp_as_mapping->mp_subscript != NULL &&
               has_attribute (type, "keys")) {
        out->kind = RECORD_MAPPING;
    }
    return true;
}

const record_type_t *record_type_of (PyTypeObject *type) {
    record_type_t *slot = &cache[((uintptr_t) type >> 6) % CACHE_SIZE];
    if (slot->type == type)
        return slot;
    record_type_t found;
    bool good = look_at (type, &found);
    if (!good) {
        Py_XDECREF (found.names);
        Py_XDECREF (found.attributes);
        return NULL;
    }
    record_type_t old = *slot;
    *slot = found;
    Py_INCREF (type);
    Py_XDECREF (old.type);
    Py_XDECREF (old.names);
    Py_XDECREF (old.attributes);
    return slot;
}

bool record_open (record_cursor_t *cursor, PyObject *record, const record_type_t *type) {
    *cursor = (record_cursor_t){.record = Py_NewRef (record), .kind = type->kind};
    if (type->kind == RECORD_DICT) {
        cursor->dict = Py_NewRef (record);
    } else if (type->kind == RECORD_MAPPING) {
        cursor->dict = PyDict_New();
        if (cursor->dict == NULL || PyDict_Update (cursor->dict, record) < 0)
            return false;
    } else {
        cursor->names = Py_NewRef (type->names);
        cursor->attributes = Py_XNewRef (type->attributes);
    }
    cursor->count = cursor->dict != NULL ? PyDict_GET_SIZE (cursor->dict) : PyTuple_GET_SIZE (cursor->names);
    if (type->kind == RECORD_TUPLE && PyTuple_GET_SIZE (record) != cursor->count) {
        PyErr_Format (PyExc_TypeError, "%s has %zd names and %zd values", Py_TYPE (record)->tp_name,
                      cursor->count, PyTuple_GET_SIZE (record));
        return false;
    }
    return true;
}

int record_next (record_cursor_t *cursor, PyObject **name, PyObject **value) {
    if (cursor->dict != NULL) {
        if (!PyDict_Next (cursor->dict, &cursor->at, name, value))
            return 0;
        Py_INCREF (*name);
        Py_INCREF (*value);
        return 1;
    }
    if (cursor->at >= cursor->count)
        return 0;
    Py_ssize_t at = cursor->at++;
    *value = cursor->kind == RECORD_TUPLE
                 ? Py_NewRef (PyTuple_GET_ITEM (cursor->record, at))
                 : PyObject_GetAttr (cursor->record, PyTuple_GET_ITEM (cursor->attributes, at));
    if (*value == NULL)
        return -1;
    *name = Py_NewRef (PyTuple_GET_ITEM (cursor->names, at));
    return 1;
}

void record_close (record_cursor_t *cursor) {
    Py_CLEAR (cursor->record);
    Py_CLEAR (cursor->names);
    Py_CLEAR (cursor->attributes);
    Py_CLEAR (cursor->dict);
}
