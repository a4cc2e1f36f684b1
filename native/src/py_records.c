/* py_records.c: what a link sends, gathered from a Python list. */
#include <Python.h>

#include "records.h"

static char *put_length (char *out, size_t length) {
    for (int i = 0; i < 4; i++)
        *out++ = (char) (length >> 8 * i);
    return out;
}

static int64_t take (PyObject *list, uint32_t at, size_t room, char *lengths, char *body, size_t *size) {
    if (!PyList_Check (list))
        return -1;
    int64_t taken = 0;
    *size = 0;
    for (Py_ssize_t i = at; i < PyList_GET_SIZE (list); i++, taken++) {
        PyObject *record = PyList_GET_ITEM (list, i);
        if (!PyBytes_Check (record))
            return -1;
        size_t length = (size_t) PyBytes_GET_SIZE (record),
               used = *size + RECORD_EXTRA_BYTES * (size_t) taken;
        bool fits = length + RECORD_EXTRA_BYTES <= room - used;
        if (!fits && taken)
            break;
        lengths = put_length (lengths, length);
        if (fits)
            memcpy (body + *size, PyBytes_AS_STRING (record), length);
        *size += length;
        if (!fits)
            return 1;
    }
    return taken;
}

int64_t records_take (uintptr_t list, uint32_t at, size_t room, char *lengths, char *body, size_t *size) {
    PyGILState_STATE gil = PyGILState_Ensure();
    int64_t taken = take ((PyObject *) list, at, room, lengths, body, size);
    PyGILState_Release (gil);
    return taken;
}
