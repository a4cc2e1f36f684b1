/* py_value.h: values to Python objects and back. The GIL is held for everything here.
 *
 * A failing conversion from Python either fills `fault` (a type that cannot be a field) or leaves a Python error
 * set (user code raised: a property, a tzinfo): the caller asks PyErr_Occurred. */
#ifndef BETTONG_PY_VALUE_H
#define BETTONG_PY_VALUE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "arena.h"
#include "fault.h"
#include "pack.h"

/* How times cross: nanoseconds in one unit, or RFC 3339 text. */
enum { TIME_AS_TEXT = 0 };

/* Once, before anything else of the Python side. False with a Python error. */
bool py_value_ready (void);

/* A new object, NULL with a Python error; MISSING gives None. Nested lists and maps come as lists and dicts. */
PyObject *py_from_value (const value_t *value, int64_t unit_ns);
/* A time in the source's unit as an int (rounded down). */
PyObject *py_from_time (int64_t us, int64_t unit_ns);
/* A number of units as microseconds, saturating. False with a Python error when it is not an int or a float. */
bool py_to_us (PyObject *number, int64_t unit_ns, int64_t *us);

/* Where a conversion puts what it makes, and what it says when it cannot. */
typedef struct conversion {
    arena_t *scratch;
    buffer_t *pack; /* work space */
    fault_t *fault;
} conversion_t;

/* An object as a value; its text, bytes and nested data are copied to `scratch`. `field` (a str) is named in faults. */
bool py_to_value (PyObject *object, value_t *out, const conversion_t *to, PyObject *field);
/* Append the object's msgpack to `to->pack`. `depth` is how many lists and maps are around it (1 for a field: the
 * record), PACK_DEPTH_MAX at most. */
bool py_pack (PyObject *object, const conversion_t *to, PyObject *field, int depth);
/* Append a field's name. False with a fault when it is not a str. */
bool py_pack_name (PyObject *name, const conversion_t *to);
/* Move what `pack` holds from `start` on to scratch. */
bool py_take_pack (const conversion_t *to, size_t start, uint8_t tag, value_t *out);

/* Nothing but the check: what py_to_value would refuse, without making anything of plain scalars. */
bool py_check_value (PyObject *object, const conversion_t *to, PyObject *field);

#endif
