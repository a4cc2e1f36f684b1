/* event_shape.h: how an event finds its fields: see event.h. Private to event.c and event_shape.c. */
#ifndef BETTONG_EVENT_SHAPE_H
#define BETTONG_EVENT_SHAPE_H

#include "event.h"

typedef struct event {
    PyObject_HEAD event_shape_t *shape; /* NULL once it is kept (or built by hand) */
    const value_t *row;
    PyObject *fields; /* a dict, once it is kept */
} event_t;

/* The value of a field as a new reference; NULL without an error when the record has none of that name (an exact
 * str). `attribute`: names that must stay the class's own (`__class__`, and `keys`, which dict () needs) are not
 * looked for. */
PyObject *event_shape_get (event_shape_t *self, PyObject *name, bool attribute);
/* The names of the fields as a new list, no value converted. */
PyObject *event_shape_names (event_shape_t *self);
/* How many fields there are. */
Py_ssize_t event_shape_count (event_shape_t *self);
const layout_t *event_shape_layout (const event_shape_t *self);
/* True for the names that `attribute` leaves alone. */
bool event_own_name (PyObject *name);
/* All fields as a new dict. */
PyObject *event_shape_dict (event_shape_t *self);

#endif
