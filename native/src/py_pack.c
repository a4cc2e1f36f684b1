/* py_pack.c: Python objects to values and to msgpack; see py_value.h. */
#include "py_record.h"
#include "py_value.h"

#include <datetime.h>

#include "number.h"

bool py_value_ready (void) {
    if (PyDateTimeAPI == NULL)
        PyDateTime_IMPORT;
    return PyDateTimeAPI != NULL;
}

/* "field 'x'" for faults; a field whose name cannot be written is only "a field". */
static const char *name_text (PyObject *field) {
    const char *text = field != NULL && PyUnicode_Check (field) ? PyUnicode_AsUTF8 (field) : NULL;
    if (text == NULL)
        PyErr_Clear();
    return text != NULL ? text : "?";
}

/* Nobody will await it: without this Python warns once more. */
static const char *close_coroutine (PyObject *coroutine) {
    PyObject *closed = PyObject_CallMethod (coroutine, "close", NULL);
    if (closed == NULL)
        PyErr_Clear();
    Py_XDECREF (closed);
    return "the function is async: make it a plain function";
}

static bool refuse (PyObject *object, const conversion_t *to, PyObject *field) {
    const char *remedy = "return None, bool, int, float, str, bytes, datetime, or lists and dicts of these";
    if (PyAnySet_Check (object) || PyIter_Check (object))
        remedy = "make it a list with list(…)";
    else if (PyCoro_CheckExact (object))
        remedy = close_coroutine (object);
    else if (PyNumber_Check (object))
        remedy = "make it a float with float(…)";
    return fault_set (to->fault, REASON_PYTHON, "field '%.60s' cannot be a %.60s: %s", name_text (field),
                      Py_TYPE (object)->tp_name, remedy);
}

static bool no_room (const conversion_t *to, PyObject *field) {
    return fault_set (to->fault, REASON_LIMIT, "field '%.60s' does not fit the memory of one event",
                      name_text (field));
}

/* Microseconds of a datetime; one without a zone is UTC. False with a Python error. */
static bool datetime_to_us (PyObject *object, int64_t *us) {
    civil_t civil = {.year = PyDateTime_GET_YEAR (object),
                     .month = PyDateTime_GET_MONTH (object),
                     .day = PyDateTime_GET_DAY (object),
                     .hour = PyDateTime_DATE_GET_HOUR (object),
                     .minute = PyDateTime_DATE_GET_MINUTE (object),
                     .second = PyDateTime_DATE_GET_SECOND (object),
                     .microsecond = PyDateTime_DATE_GET_MICROSECOND (object)};
    *us = civil_to_us (&civil);
    PyObject *zone = PyDateTime_DATE_GET_TZINFO (object);
    if (zone == Py_None || zone == PyDateTime_TimeZone_UTC)
        return true;
    PyObject *offset = PyObject_CallMethod (object, "utcoffset", NULL);
    if (offset == NULL)
        return false;
    if (PyDelta_Check (offset))
        *us -=
            ((int64_t) PyDateTime_DELTA_GET_DAYS (offset) * 86400 + PyDateTime_DELTA_GET_SECONDS (offset)) *
                1000000 +
            PyDateTime_DELTA_GET_MICROSECONDS (offset);
    Py_DECREF (offset);
    return true;
}

/* 1: a scalar, its text still the object's own; 0: no scalar; -1: refused. */
static int scalar (PyObject *object, value_t *out, const conversion_t *to, PyObject *field) {
    if (PyFloat_Check (object)) {
        *out = value_float (PyFloat_AS_DOUBLE (object));
    } else if (object == Py_None) {
        *out = value_null();
    } else if (PyBool_Check (object)) {
        *out = value_bool (object == Py_True);
    } else if (PyLong_Check (object)) {
        int overflow;
        *out = value_int (PyLong_AsLongLongAndOverflow (object, &overflow));
        if (unlikely (overflow != 0)) {
            fault_set (
                to->fault, REASON_PYTHON,
                "field '%.60s' is an int beyond 64 bits: make it a float with float(…) or text with str(…)",
                name_text (field));
            return -1;
        }
    } else if (PyUnicode_Check (object)) {
        Py_ssize_t size;
        const char *text = PyUnicode_AsUTF8AndSize (object, &size);
        if (unlikely (text == NULL))
            return -1;
        if (unlikely ((uint64_t) size > UINT32_MAX)) {
            no_room (to, field);
            return -1;
        }
        *out = value_text (text, (uint32_t) size);
    } else if (PyBytes_Check (object)) {
        if (unlikely ((uint64_t) PyBytes_GET_SIZE (object) > UINT32_MAX)) {
            no_room (to, field);
            return -1;
        }
        *out = value_text (PyBytes_AS_STRING (object), (uint32_t) PyBytes_GET_SIZE (object));
        out->tag = TAG_BYTES;
    } else if (PyDateTime_Check (object)) {
        *out = value_time (0);
        if (!datetime_to_us (object, &out->i))
            return -1;
    } else {
        return 0;
    }
    return 1;
}

static bool pack_sequence (PyObject *object, const conversion_t *to, PyObject *field, int depth) {
    bool is_list = PyList_Check (object);
    Py_ssize_t count = is_list ? PyList_GET_SIZE (object) : PyTuple_GET_SIZE (object);
    if ((uint64_t) count > UINT32_MAX || !pack_write_list (to->pack, (uint32_t) count))
        return no_room (to, field);
    for (Py_ssize_t i = 0; i < count; i++) {
        /* User code may run in between (a property, a tzinfo) and shorten the list. */
        if (is_list && unlikely (PyList_GET_SIZE (object) != count))
            return fault_set (to->fault, REASON_PYTHON, "field '%.60s' changed while it was read",
                              name_text (field));
        PyObject *item = Py_NewRef (is_list ? PyList_GET_ITEM (object, i) : PyTuple_GET_ITEM (object, i));
        bool good = py_pack (item, to, field, depth);
        Py_DECREF (item);
        if (!good)
            return false;
    }
    return true;
}

bool py_pack_name (PyObject *name, const conversion_t *to) {
    if (unlikely (!PyUnicode_Check (name)))
        return fault_set (to->fault, REASON_PYTHON, "a field's name must be a str, not a %.60s: use str(…)",
                          Py_TYPE (name)->tp_name);
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize (name, &size);
    if (unlikely (text == NULL))
        return false;
    if (unlikely ((uint64_t) size > UINT32_MAX || !pack_write_text (to->pack, text, (uint32_t) size)))
        return no_room (to, name);
    return true;
}

static bool pack_fields (record_cursor_t *cursor, const conversion_t *to, PyObject *field, int depth) {
    if ((uint64_t) cursor->count > UINT32_MAX || !pack_write_map (to->pack, (uint32_t) cursor->count))
        return no_room (to, field);
    PyObject *name, *value;
    Py_ssize_t written = 0;
    int more;
    while ((more = record_next (cursor, &name, &value)) > 0) {
        bool good =
            ++written <= cursor->count && py_pack_name (name, to) && py_pack (value, to, field, depth);
        Py_DECREF (name);
        Py_DECREF (value);
        if (!good && (PyErr_Occurred() || written <= cursor->count))
            return false;
    }
    if (more < 0)
        return false;
    return written == cursor->count ||
           fault_set (to->fault, REASON_PYTHON, "field '%.60s' changed while it was read", name_text (field));
}

static bool pack_record (PyObject *object, const record_type_t *type, const conversion_t *to, PyObject *field,
                         int depth) {
    record_cursor_t cursor;
    bool good = record_open (&cursor, object, type) && pack_fields (&cursor, to, field, depth);
    record_close (&cursor);
    return good;
}

/* An int in all but name (numpy's, say) as an int; NULL without an error when it is none. */
static PyObject *as_index (PyObject *object) {
    return PyIndex_Check (object) ? PyNumber_Index (object) : NULL;
}

bool py_pack (PyObject *object, const conversion_t *to, PyObject *field, int depth) {
    value_t value;
    int found = scalar (object, &value, to, field);
    if (found != 0)
        return found > 0 && (pack_write (to->pack, &value) || no_room (to, field));
    if (unlikely (depth >= PACK_DEPTH_MAX))
        return fault_set (to->fault, REASON_PYTHON, "field '%.60s' is nested deeper than %d",
                          name_text (field), PACK_DEPTH_MAX);
    const record_type_t *type = record_type_of (Py_TYPE (object));
    if (type == NULL)
        return false;
    if (type->kind != RECORD_NOT)
        return pack_record (object, type, to, field, depth + 1);
    if (PyList_Check (object) || PyTuple_Check (object))
        return pack_sequence (object, to, field, depth + 1);
    PyObject *number = as_index (object);
    if (number == NULL)
        return PyErr_Occurred() ? false : refuse (object, to, field);
    bool good = py_pack (number, to, field, depth);
    Py_DECREF (number);
    return good;
}

bool py_take_pack (const conversion_t *to, size_t start, uint8_t tag, value_t *out) {
    size_t size = to->pack->size - start;
    char *bytes = size <= UINT32_MAX ? arena_take (to->scratch, size) : NULL;
    if (unlikely (bytes == NULL))
        return fault_set (to->fault, REASON_LIMIT,
                          "a result of %zu bytes does not fit the memory of one event", size);
    memcpy (bytes, to->pack->data + start, size);
    *out = (value_t){.p = bytes, .size = (uint32_t) size, .tag = tag};
    to->pack->size = start;
    return true;
}

/* The object keeps its text only as long as it lives, and user code downstream may end that: so it is copied. */
static bool keep_text (value_t *out, const conversion_t *to, PyObject *field) {
    char *copy = arena_take (to->scratch, out->size);
    if (unlikely (copy == NULL))
        return no_room (to, field);
    memcpy (copy, out->p, out->size);
    out->p = copy;
    return true;
}

static bool nested_value (PyObject *object, value_t *out, const conversion_t *to, PyObject *field) {
    size_t start = to->pack->size;
    if (!py_pack (object, to, field, 1)) {
        to->pack->size = start;
        return false;
    }
    value_t packed;
    const char *end = to->pack->data + to->pack->size;
    if (unlikely (pack_read (to->pack->data + start, end, &packed) != end))
        return fault_set (to->fault, REASON_PYTHON, "field '%.60s' cannot be packed", name_text (field));
    if (packed.tag == TAG_LIST || packed.tag == TAG_MAP)
        return py_take_pack (to, start, packed.tag, out);
    to->pack->size = start;
    *out = packed; /* an int in all but name */
    return true;
}

bool py_to_value (PyObject *object, value_t *out, const conversion_t *to, PyObject *field) {
    int found = scalar (object, out, to, field);
    if (likely (found > 0))
        return (out->tag != TAG_STR && out->tag != TAG_BYTES) || keep_text (out, to, field);
    return found == 0 && nested_value (object, out, to, field);
}

bool py_check_value (PyObject *object, const conversion_t *to, PyObject *field) {
    value_t ignored;
    int found = scalar (object, &ignored, to, field);
    if (found != 0)
        return found > 0;
    size_t start = to->pack->size;
    bool good = py_pack (object, to, field, 1);
    to->pack->size = start;
    return good;
}
