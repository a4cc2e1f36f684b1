/* pystep_cut.c: the states of a cut. A freeze only lists the keys that changed; encoding runs user objects through
 * msgpack, so it is done in slices between buffers, and at once for a state that is about to change. */
#include <stdlib.h>

#include "pystep_parts.h"

/* Encode one listed row's state: bytes, or None when it cannot be: then the key stays dirty and keeps what the
 * last cut had. NULL never. */
static PyObject *encode (pystate_t *self, const table_row_t *row) {
    const pystate_row_t *keyed = row->payload;
    PyObject *bytes = PyObject_CallOneArg (self->encode, keyed->state);
    if (bytes != NULL && (!PyBytes_Check (bytes) || (uint64_t) PyBytes_GET_SIZE (bytes) > UINT32_MAX)) {
        Py_CLEAR (bytes);
        PyErr_SetString (PyExc_ValueError, "a state must encode to less than 4 GiB of bytes");
    }
    if (bytes != NULL)
        return bytes;
    pystep_error_text (&self->unsaved_fault);
    self->unsaved++;
    table_mark (self->rows, row->index);
    return Py_NewRef (Py_None);
}

void pystate_before_change (pystate_t *self, const table_row_t *row) {
    pystate_row_t *keyed = row->payload;
    listed_row_t *listed = &self->list[keyed->listed - 1];
    listed->encoded = encode (self, row);
    keyed->listed = 0;
}

static bool list_row (void *context, const table_row_t *row, bool removed) {
    pystate_t *self = context;
    (void) removed; /* states are never removed */
    listed_row_t *listed = &self->list[self->list_count++];
    *listed = (listed_row_t){.row = row->index, .encoded = NULL};
    listed->is_timed = timers_get (self->timers, row->index, &listed->timer);
    ((pystate_row_t *) row->payload)->listed = self->list_count;
    return true;
}

bool pystep_freeze (pystep_t *step, uint64_t *rows) {
    pystate_t *self = step->keyed;
    if (self == NULL)
        return true;
    if (self->list_next < self->list_count)
        return false;
    uint32_t most = table_count (self->rows);
    if (most > self->list_capacity) {
        listed_row_t *list = realloc (self->list, most * sizeof *list);
        if (list == NULL)
            return false;
        self->list = list;
        self->list_capacity = most;
    }
    self->list_next = self->list_count = 0;
    if (!table_visit_dirty (self->rows, list_row, self)) {
        pystep_unfreeze (step);
        return false;
    }
    *rows += self->list_count;
    return true;
}

void pystep_settle (pystep_t *step) {
    if (step->keyed != NULL)
        table_forget_dirty (step->keyed->rows);
}

void pystep_unfreeze (pystep_t *step) {
    pystate_t *self = step->keyed;
    table_row_t row;
    for (uint32_t i = 0; self != NULL && i < self->list_count; i++)
        if (table_at (self->rows, self->list[i].row, &row))
            ((pystate_row_t *) row.payload)->listed = 0;
    if (self != NULL)
        self->list_next = self->list_count = 0;
}

/* [shard, key, state, timer]. On a full buffer nothing is left behind in it. */
static bool write_row (const listed_row_t *listed, const bkey_t *key, PyObject *state, section_t *section) {
    buffer_t *out = &section->rows;
    size_t start = out->size;
    uint32_t shard = key_shard (key->hash);
    value_t bytes = {.p = key->bytes, .size = key->size, .tag = TAG_BYTES};
    value_t packed = {
        .p = PyBytes_AS_STRING (state), .size = (uint32_t) PyBytes_GET_SIZE (state), .tag = TAG_BYTES};
    value_t none = value_null();
    bool good = pack_write_list (out, 4) && pack_write_int (out, shard) && pack_write (out, &bytes) &&
                pack_write (out, &packed);
    if (good && listed->is_timed)
        good = pack_write_list (out, 2) && pack_write_int (out, listed->timer.due_us) &&
               pack_write_int (out, (int64_t) listed->timer.order);
    else if (good)
        good = pack_write (out, &none);
    if (good)
        section_note (section, shard, start);
    else
        out->size = start;
    return good;
}

/* False when there is no room: what was encoded stays with the row until there is. */
static bool encode_listed (pystate_t *self, listed_row_t *listed, section_t *out) {
    table_row_t row;
    if (!table_at (self->rows, listed->row, &row))
        return true;
    if (listed->encoded == NULL)
        pystate_before_change (self, &row);
    if (listed->encoded != Py_None && !write_row (listed, &row.key, listed->encoded, out))
        return false;
    Py_CLEAR (listed->encoded);
    return true;
}

bool pystep_encode (pystep_t *step, uint32_t count, section_t *out) {
    pystate_t *self = step->keyed;
    if (self == NULL)
        return true;
    for (; count > 0 && self->list_next < self->list_count; count--) {
        if (!encode_listed (self, &self->list[self->list_next], out))
            return false;
        self->list_next++;
    }
    return self->list_next == self->list_count;
}

bool pystep_is_keyed (const pystep_t *self) { return self->keyed != NULL; }

bool pystep_is_encoded (const pystep_t *self) {
    return self->keyed == NULL || self->keyed->list_next == self->keyed->list_count;
}
