/* pystep_parts.h: the inside of a Python step, shared by pystep.c (calls), pystep_result.c (what they return),
 * pystep_state.c and pystep_cut.c (keyed state), pystep_context.c and pystep_fault.c. */
#ifndef BETTONG_PYSTEP_PARTS_H
#define BETTONG_PYSTEP_PARTS_H

#include "event.h"
#include "pystep.h"
#include "table.h"
#include "timers.h"

enum pystep_mode { MODE_MAP, MODE_FLAT_MAP, MODE_FILTER, MODE_STATEFUL, MODE_CLASS, MODE_COUNT };

/* Traceback texts of one step, told apart by type, file and line; what comes after is counted only. */
enum { FAULT_KINDS_MAX = 256, TRACEBACK_BYTES_MAX = 64 << 10 };

typedef struct pystate pystate_t;

struct pystep {
    enum pystep_mode mode;
    uint32_t arity;
    PyObject *function;
    const layout_t *in;
    const fields_t *out;
    event_shape_t *shape;
    PyTypeObject *event_class;
    int64_t unit_ns;
    PyObject **out_names; /* interned, one a field of `out` */
    int32_t *entry_out;   /* for each entry of `in`: the field of `out` of the same name, or -1 */
    int32_t value_out;    /* the field "value", or -1 */
    PyObject *value_name;
    buffer_t pack;
    pystate_t *keyed; /* NULL without state */
    PyObject *format; /* traceback.format_exception */
    PyObject *seen;   /* a set of (type, file, line) */
    bool sees_anew;   /* what `seen` has is forgotten at the next fault */
};

static inline int64_t pystep_unit (const pystep_t *self, const pystep_call_t *call) {
    return call->unit_ns != 0 ? call->unit_ns : self->unit_ns;
}

/* pystep_result.c: emit all of what a call returned. False with a fault, or with a Python error still set. */
bool pystep_results (pystep_t *self, pystep_call_t *call, PyObject *result);

/* pystep_fault.c: the Python error that is set becomes the call's fault. */
void pystep_catch (pystep_t *self, fault_t *fault, bool *interrupted);
/* Only its one-line text, "TypeError: …". */
void pystep_error_text (fault_t *fault);

/* pystep_state.c */
pystate_t *pystate_new (pystep_t *step, const value_t *map, PyObject *entry, fault_t *fault);
void pystate_destroy (pystate_t **self_p);
bool pystate_run (pystep_t *self, pystep_call_t *call, bool *interrupted);

/* What a key has; `listed` is its place in the list of the cut under way plus one. */
typedef struct pystate_row {
    PyObject *state; /* NULL until the factory made one */
    uint32_t listed;
} pystate_row_t;

typedef struct listed_row {
    uint32_t row;
    bool is_timed;
    pending_timer_t timer;
    PyObject *encoded; /* bytes, when it had to be encoded before its turn; None: that failed */
} listed_row_t;

struct pystate {
    table_t *rows;
    timers_t *timers;
    PyObject *factory;
    PyObject *encode;
    PyObject *decode;   /* NULL: nothing can be restored */
    PyObject *on_timer; /* NULL: no timers */
    uint32_t on_timer_arity;
    bool arrival;
    uint64_t state_bytes;
    struct context *context; /* the live one */
    listed_row_t *list;
    uint32_t list_count;
    uint32_t list_next;
    uint32_t list_capacity;
    uint64_t unsaved;
    fault_t unsaved_fault;
};

/* pystep_cut.c: the listed state of a row is about to change: encode it now. */
void pystate_before_change (pystate_t *self, const table_row_t *row);

/* pystep_context.c: what a function is told and may ask beside the event. */
typedef struct context {
    PyObject_HEAD pystep_t *step; /* NULL: the call is over */
    const pystep_call_t *call;
    uint32_t row;
    bool is_firing;
    PyObject *key; /* once asked for */
} context_t;

/* The live context; borrowed, NULL with a Python error. */
PyObject *context_begin (pystep_t *step, const pystep_call_t *call, uint32_t row, bool is_firing);
void context_end (pystate_t *self);

#endif
