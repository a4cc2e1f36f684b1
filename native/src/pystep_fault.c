/* pystep_fault.c: what a user's function raised, as the record's fault (S3). */
#include "pystep_parts.h"

#include <stdlib.h>

/* "TypeError: …" in one line. The exception's own text may raise: then its type must do. */
static void set_message (PyObject *exception, fault_t *fault) {
    PyObject *object = PyObject_Str (exception);
    Py_ssize_t size = 0;
    const char *text = object != NULL ? PyUnicode_AsUTF8AndSize (object, &size) : NULL;
    if (text == NULL)
        PyErr_Clear();
    const char *name = PyExceptionClass_Name ((PyObject *) Py_TYPE (exception));
    fault_set (fault, REASON_PYTHON, "%s%s%s", name, size > 0 ? ": " : "", size > 0 ? text : "");
    for (char *p = fault->message; *p; p++)
        if ((unsigned char) *p < ' ')
            *p = ' ';
    Py_XDECREF (object);
}

/* Where it was raised: (type, file, line). */
static PyObject *fingerprint (PyObject *type, PyObject *traceback) {
    PyTracebackObject *last = (PyTracebackObject *) traceback;
    if (last == NULL)
        return Py_BuildValue ("(Osi)", type, "", 0);
    while (last->tb_next != NULL)
        last = last->tb_next;
    PyCodeObject *code = PyFrame_GetCode (last->tb_frame);
    PyObject *line = PyObject_GetAttrString ((PyObject *) last, "tb_lineno");
    PyObject *made = line != NULL ? Py_BuildValue ("(OOO)", type, code->co_filename, line) : NULL;
    Py_XDECREF (line);
    Py_DECREF (code);
    return made;
}

/* True the first time a fingerprint is met. */
static bool is_news (pystep_t *self, PyObject *type, PyObject *traceback) {
    if (self->sees_anew)
        PySet_Clear (self->seen);
    self->sees_anew = false;
    PyObject *mark = fingerprint (type, traceback);
    bool news = mark != NULL && PySet_GET_SIZE (self->seen) < FAULT_KINDS_MAX &&
                PySet_Contains (self->seen, mark) == 0 && PySet_Add (self->seen, mark) == 0;
    Py_XDECREF (mark);
    PyErr_Clear();
    return news;
}

/* malloc'ed text, cut at TRACEBACK_BYTES_MAX; NULL when it cannot be made. */
static char *format (pystep_t *self, PyObject *type, PyObject *value, PyObject *traceback) {
    PyObject *lines =
        PyObject_CallFunctionObjArgs (self->format, type, value, traceback ? traceback : Py_None, NULL);
    PyObject *empty = lines != NULL ? PyUnicode_FromString ("") : NULL;
    PyObject *joined = empty != NULL ? PyUnicode_Join (empty, lines) : NULL;
    PyObject *bytes = joined != NULL ? PyUnicode_AsEncodedString (joined, "utf-8", "backslashreplace") : NULL;
    char *text = NULL;
    if (bytes != NULL) {
        size_t size = (size_t) PyBytes_GET_SIZE (bytes);
        if (size > TRACEBACK_BYTES_MAX) {
            size = TRACEBACK_BYTES_MAX;
            while (((unsigned char) PyBytes_AS_STRING (bytes)[size] & 0xc0) == 0x80)
                size--;
        }
        text = strndup (PyBytes_AS_STRING (bytes), size);
    }
    Py_XDECREF (bytes);
    Py_XDECREF (joined);
    Py_XDECREF (empty);
    Py_XDECREF (lines);
    PyErr_Clear();
    return text;
}

void pystep_see_anew (pystep_t *self) { self->sees_anew = true; }

void pystep_catch (pystep_t *self, fault_t *fault, bool *interrupted) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch (&type, &value, &traceback);
    PyErr_NormalizeException (&type, &value, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback (value, traceback);
    if (PyErr_GivenExceptionMatches (type, PyExc_MemoryError) ||
        PyErr_GivenExceptionMatches (type, PyExc_KeyboardInterrupt))
        *interrupted = true;
    set_message (value, fault);
    free (fault->traceback);
    fault->traceback = is_news (self, type, traceback) ? format (self, type, value, traceback) : NULL;
    Py_XDECREF (type);
    Py_XDECREF (value);
    Py_XDECREF (traceback);
}

void pystep_error_text (fault_t *fault) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch (&type, &value, &traceback);
    PyErr_NormalizeException (&type, &value, &traceback);
    set_message (value, fault);
    Py_XDECREF (type);
    Py_XDECREF (value);
    Py_XDECREF (traceback);
}
