/* py_value.c: values to Python objects. The way back is in py_pack.c. */
#include "py_value.h"

#include <math.h>

#include "number.h"

static PyObject *from_list (const value_t *value, int64_t unit_ns) {
    uint32_t count;
    const char *p = pack_open (value, &count);
    const char *end = value->p + value->size;
    PyObject *list = PyList_New (0);
    for (uint32_t i = 0; list != NULL && i < count; i++) {
        value_t item;
        p = pack_read (p, end, &item);
        PyObject *object = p != NULL ? py_from_value (&item, unit_ns) : NULL;
        if (object == NULL || PyList_Append (list, object) < 0)
            Py_CLEAR (list);
        Py_XDECREF (object);
    }
    return list;
}

static PyObject *from_map (const value_t *value, int64_t unit_ns) {
    uint32_t count;
    const char *p = pack_open (value, &count);
    const char *end = value->p + value->size;
    PyObject *dict = PyDict_New();
    for (uint32_t i = 0; dict != NULL && i < count; i++) {
        value_t name, item;
        PyObject *key = NULL, *object = NULL;
        if ((p = pack_read (p, end, &name)) != NULL && (p = pack_read (p, end, &item)) != NULL) {
            key = py_from_value (&name, unit_ns);
            object = key != NULL ? py_from_value (&item, unit_ns) : NULL;
        }
        if (object == NULL || PyDict_SetItem (dict, key, object) < 0)
            Py_CLEAR (dict);
        Py_XDECREF (key);
        Py_XDECREF (object);
    }
    return dict;
}

/* Spans were checked when they were read, so a cut one is our mistake; user code gets an error, not a crash. */
static PyObject *nested (const value_t *value, int64_t unit_ns) {
    PyObject *object = value->tag == TAG_LIST ? from_list (value, unit_ns) : from_map (value, unit_ns);
    if (object == NULL && !PyErr_Occurred())
        PyErr_SetString (PyExc_SystemError, "a nested value is cut short");
    return object;
}

PyObject *py_from_time (int64_t us, int64_t unit_ns) {
    if (unit_ns >= 1000) {
        int64_t unit_us = unit_ns / 1000;
        int64_t units = us / unit_us - (us % unit_us < 0);
        return PyLong_FromLongLong (units);
    }
    if (unit_ns == TIME_AS_TEXT) {
        char text[TIME_TEXT_MAX];
        uint32_t size;
        if (time_write_rfc3339 (text, us, &size))
            return PyUnicode_FromStringAndSize (text, size);
        return PyLong_FromLongLong (us);
    }
    int64_t units;
    if (likely (!__builtin_mul_overflow (us, 1000 / unit_ns, &units)))
        return PyLong_FromLongLong (units);
    return PyErr_Format (PyExc_OverflowError, "the time %lld us is beyond 64 bits in this source's unit",
                         (long long) us);
}

PyObject *py_from_value (const value_t *value, int64_t unit_ns) {
    switch (value->tag) {
    case TAG_BOOL: return Py_NewRef (value->i ? Py_True : Py_False);
    case TAG_INT: return PyLong_FromLongLong (value->i);
    case TAG_FLOAT: return PyFloat_FromDouble (value->f);
    case TAG_TIME: return py_from_time (value->i, unit_ns);
    case TAG_STR: return PyUnicode_DecodeUTF8 (value->p, value->size, "replace");
    case TAG_BYTES: return PyBytes_FromStringAndSize (value->p, value->size);
    case TAG_LIST:
    case TAG_MAP: return nested (value, unit_ns);
    default: return Py_NewRef (Py_None);
    }
}

bool py_to_us (PyObject *number, int64_t unit_ns, int64_t *us) {
    double nanoseconds = (double) (unit_ns == TIME_AS_TEXT ? 1000 : unit_ns);
    int overflow = 0;
    if (PyLong_Check (number) && !PyBool_Check (number)) {
        int64_t units = PyLong_AsLongLongAndOverflow (number, &overflow);
        int64_t factor = unit_ns / 1000;
        if (overflow == 0 && unit_ns > 0 && unit_ns < 1000)
            *us = units / (1000 / unit_ns);
        else if (overflow != 0 || __builtin_mul_overflow (units, factor > 0 ? factor : 1, us))
            *us = overflow > 0 || (overflow == 0 && units > 0) ? INT64_MAX - 1 : INT64_MIN;
        return true;
    }
    if (!PyFloat_Check (number)) {
        PyErr_Format (PyExc_TypeError, "a time is an int or a float in the source's unit, not a %s",
                      Py_TYPE (number)->tp_name);
        return false;
    }
    double exact = PyFloat_AS_DOUBLE (number) * (nanoseconds / 1000.0);
    if (isnan (exact)) {
        PyErr_SetString (PyExc_ValueError, "a time cannot be NaN");
        return false;
    }
    *us = exact >= 9.2e18 ? INT64_MAX - 1 : exact <= -9.2e18 ? INT64_MIN : (int64_t) llrint (exact);
    return true;
}
