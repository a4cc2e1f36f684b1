/* py_record.h: which Python objects are records, and walking their fields. The GIL is held for everything here.
 *
 * Records are dicts, events, dataclasses, msgspec.Structs, namedtuples and other mappings. What a class is gets
 * looked at once and is remembered. */
#ifndef BETTONG_PY_RECORD_H
#define BETTONG_PY_RECORD_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>

enum record_kind { RECORD_NOT, RECORD_DICT, RECORD_MAPPING, RECORD_ATTRIBUTES, RECORD_TUPLE };

typedef struct record_type {
    PyTypeObject *type;
    PyObject *names;      /* tuple of field names; ATTRIBUTES and TUPLE */
    PyObject *attributes; /* tuple of attribute names; ATTRIBUTES */
    enum record_kind kind;
} record_type_t;

/* NULL with a Python error. The answer holds until the next call. */
const record_type_t *record_type_of (PyTypeObject *type);

typedef struct record_cursor {
    PyObject *record; /* owned */
    PyObject *names;  /* owned; with `attributes` */
    PyObject *attributes;
    PyObject *dict; /* the record itself, or a mapping's fields; owned */
    Py_ssize_t at;
    Py_ssize_t count; /* fields there are */
    enum record_kind kind;
} record_cursor_t;

/* False with a Python error. `type` must say that it is a record. record_close in every case. */
bool record_open (record_cursor_t *cursor, PyObject *record, const record_type_t *type);
/* The next field: new references. 1; 0 at the end; -1 with a Python error. */
int record_next (record_cursor_t *cursor, PyObject **name, PyObject **value);
void record_close (record_cursor_t *cursor);

#endif
