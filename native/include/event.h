/* event.h: the object a user's function sees as its event.
 *
 * There is one live event a step. It stands on the row itself and makes a Python object of a field when the field
 * is first asked for. When the call is over and somebody still holds the event (a list, a closure, another
 * thread), it is given a dict of all its fields and a new one takes its place: nobody ever sees a later row through
 * an earlier event. The GIL is held for everything here. */
#ifndef BETTONG_EVENT_H
#define BETTONG_EVENT_H

#include "layout.h"
#include "py_value.h"

/* The class, made on first use; borrowed. NULL with a Python error. In Python it is appliance's `Event`, which can
 * be built from a mapping and keyword arguments, for tests of user functions. */
PyTypeObject *event_type (void);
static inline bool event_is (PyObject *object, PyTypeObject *type) { return Py_TYPE (object) == type; }

/* What events of one step have in common: the layout, its names as Python strings, the converted fields. */
typedef struct event_shape event_shape_t;
event_shape_t *event_shape_new (const layout_t *layout);
void event_shape_destroy (event_shape_t **self_p);

/* The live event over `row`, which must stay as it is until event_shape_end. Borrowed; NULL with a Python error. */
PyObject *event_shape_begin (event_shape_t *self, const value_t *row, int64_t unit_ns);
/* After the call and its results. False with a Python error when there is no memory to keep a held event. */
bool event_shape_end (event_shape_t *self);

/* The row and layout of a live event; NULL for one that has been kept. */
const value_t *event_row (PyObject *event, const layout_t **layout);
/* All fields as a new dict. */
PyObject *event_dict (PyObject *event);

#endif
