/* pystep_restore.c: keys, states and timers back from a cut. */
#include "pack.h"
#include "pystep_parts.h"
#include "row_read.h"

enum { ITEM_STATE, ITEM_TIMER, ITEMS };

static bool malformed (fault_t *fault, const char *what) {
    return fault_set (fault, REASON_DECODE, "a row of a Python step cannot be restored: %s", what);
}

static PyObject *decode (const pystate_t *self, const value_t *bytes, fault_t *fault) {
    fault_t said = {0};
    PyObject *packed = PyBytes_FromStringAndSize (bytes->p, (Py_ssize_t) bytes->size);
    PyObject *state = packed != NULL ? PyObject_CallOneArg (self->decode, packed) : NULL;
    Py_XDECREF (packed);
    if (state == NULL) {
        pystep_error_text (&said);
        fault_set (fault, REASON_PYTHON, "the state of a key cannot be decoded: %s", said.message);
    }
    return state;
}

static bool read_timer (const pystate_t *self, const value_t *item, pending_timer_t *timer, bool *is_timed,
                        fault_t *fault) {
    value_t parts[2];
    *is_timed = !value_is_null (item);
    if (!*is_timed)
        return true;
    if (self->on_timer == NULL)
        return malformed (fault, "it has a timer, and the step has no on_timer");
    if (!list_read (item, parts, 2) || parts[0].tag != TAG_INT || parts[1].tag != TAG_INT ||
        parts[0].i == INT64_MAX || parts[1].i < 1)
        return malformed (fault, "its timer is malformed");
    timer->due_us = parts[0].i;
    timer->order = (uint64_t) parts[1].i;
    return true;
}

static bool restore_row (pystate_t *self, const bkey_t *key, const value_t *items, fault_t *fault) {
    table_row_t row;
    bool is_new, is_timed;
    pending_timer_t timer = {0};
    if (items[ITEM_STATE].tag != TAG_BYTES)
        return malformed (fault, "it has no state");
    if (!read_timer (self, &items[ITEM_TIMER], &timer, &is_timed, fault))
        return false;
    PyObject *state = decode (self, &items[ITEM_STATE], fault);
    if (state == NULL)
        return false;
    if (!table_put (self->rows, key, &row, &is_new) || !is_new) {
        Py_DECREF (state);
        return malformed (fault, is_new ? "there is no memory for it" : "its key comes twice");
    }
    ((pystate_row_t *) row.payload)->state = state;
    table_set_stored (self->rows, row.index);
    timer.row = row.index;
    return !is_timed || timers_restore (self->timers, timer) ||
           malformed (fault, "there is no memory for its timer");
}

bool pystep_restore (pystep_t *step, const char *rows, size_t size, fault_t *fault) {
    pystate_t *self = step->keyed;
    const char *end = rows + size;
    row_head_t head;
    value_t items[ITEMS];
    if (self == NULL || self->decode == NULL)
        return malformed (fault, "the step keeps no state");
    while (rows < end)
        if (!(rows = row_read (rows, end, &head, items, ITEMS, fault)) ||
            !restore_row (self, &head.key, items, fault))
            return false;
    return true;
}

void pystep_shift (pystep_t *step, int64_t by_us) {
    pystate_t *self = step->keyed;
    if (self == NULL || !self->arrival || by_us == 0)
        return;
    timers_shift (self->timers, by_us);
    /* The next cut has to hold the new times: the one after it says another `now`. */
    pending_timer_t timer;
    for (uint32_t i = 0; i < table_end (self->rows); i++)
        if (timers_get (self->timers, i, &timer))
            table_mark (self->rows, i);
}
