/* pystep_result.c: what a user's function returned becomes rows (S11): None nothing, a list or an iterator each
 * item, anything else one; a dict, event, dataclass, Struct or namedtuple is a record, other values become the
 * field "value". */
#include "py_record.h"
#include "pystep_parts.h"

/* Where the results of one call go. */
typedef struct filling {
    pystep_t *step;
    pystep_call_t *call;
    conversion_t to;
    int hint; /* fields mostly come in the order of `out` */
} filling_t;

static inline const fields_t *fields_of (const filling_t *filling) { return filling->step->out; }

/* The index of a name among the fields that are wanted, or -1. */
static int find (filling_t *filling, PyObject *name) {
    PyObject **names = filling->step->out_names;
    int count = (int) fields_of (filling)->count;
    if (likely (filling->hint < count && names[filling->hint] == name))
        return filling->hint++;
    for (int i = 0; i < count; i++) {
        if (names[i] == name) {
            filling->hint = i + 1;
            return i;
        }
    }
    /* Ours are interned: an interned name that is none of them is no equal of any. */
    if (!PyUnicode_Check (name) || PyUnicode_CHECK_INTERNED (name))
        return -1;
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize (name, &size);
    if (text == NULL || (uint64_t) size > UINT32_MAX)
        return -1;
    int found =
        fields_find (fields_of (filling), text, (uint32_t) size, filling->hint < count ? filling->hint : 0);
    if (found >= 0)
        filling->hint = found + 1;
    return found;
}

static bool bad_name (const filling_t *filling, PyObject *name) {
    return fault_set (filling->to.fault, REASON_PYTHON,
                      "a field's name must be a str, not a %.60s: use str(…)", Py_TYPE (name)->tp_name);
}

/* One field of a record. Fields that nobody wants are checked all the same: whether a record is good must not
 * depend on what reads it. */
static bool put (filling_t *filling, PyObject *name, PyObject *value) {
    const fields_t *out = fields_of (filling);
    int index = find (filling, name);
    if (unlikely (index < 0 && !PyUnicode_Check (name)))
        return bad_name (filling, name);
    if (unlikely (index < 0 && PyErr_Occurred()))
        return false;
    if (index >= 0 &&
        unlikely (!py_to_value (value, &filling->call->row[out->items[index].slot], &filling->to, name)))
        return false;
    if (out->rest_slot != SLOT_NONE)
        return py_pack_name (name, &filling->to) && py_pack (value, &filling->to, name, 1);
    return index >= 0 || py_check_value (value, &filling->to, name);
}

/* The row is filled: hold it against declared types and let it go on. */
static bool finish (filling_t *filling) {
    const fields_t *out = fields_of (filling);
    if (out->declared && !fields_check (out, filling->call->row, filling->to.fault))
        return false;
    filling->call->emit (filling->call->context);
    return true;
}

/* The same once the packed map has been closed. */
static bool send (filling_t *filling) {
    uint16_t slot = fields_of (filling)->rest_slot;
    if (slot != SLOT_NONE && !py_take_pack (&filling->to, 0, TAG_MAP, &filling->call->row[slot]))
        return false;
    return finish (filling);
}

static bool start (filling_t *filling, Py_ssize_t count) {
    fields_clear (fields_of (filling), filling->call->row);
    filling->hint = 0;
    filling->to.pack->size = 0;
    if (fields_of (filling)->rest_slot == SLOT_NONE)
        return true;
    return ((uint64_t) count <= UINT32_MAX && pack_write_map (filling->to.pack, (uint32_t) count)) ||
           fault_set (filling->to.fault, REASON_LIMIT, "a result does not fit the memory of one event");
}

static bool changed (const filling_t *filling) {
    return fault_set (filling->to.fault, REASON_PYTHON, "the returned record changed while it was read");
}

static bool send_dict (filling_t *filling, PyObject *dict) {
    Py_ssize_t count = PyDict_GET_SIZE (dict), at = 0, put_count = 0;
    PyObject *name, *value;
    if (!start (filling, count))
        return false;
    while (PyDict_Next (dict, &at, &name, &value)) {
        Py_INCREF (name); /* a conversion may run user code that changes the dict */
        Py_INCREF (value);
        bool good = ++put_count <= count && put (filling, name, value);
        Py_DECREF (name);
        Py_DECREF (value);
        if (unlikely (!good))
            return put_count > count ? changed (filling) : false;
    }
    return put_count == count ? send (filling) : changed (filling);
}

static bool send_record (filling_t *filling, PyObject *record, const record_type_t *type) {
    record_cursor_t cursor;
    bool good = record_open (&cursor, record, type) && start (filling, cursor.count);
    int more = good ? 1 : -1;
    while (good && more > 0) {
        PyObject *name, *value;
        if ((more = record_next (&cursor, &name, &value)) > 0) {
            good = put (filling, name, value);
            Py_DECREF (name);
            Py_DECREF (value);
        }
    }
    record_close (&cursor);
    return good && more == 0 && send (filling);
}

static bool send_scalar (filling_t *filling, PyObject *value) {
    return start (filling, 1) && put (filling, filling->step->value_name, value) && send (filling);
}

/* The event itself, as it is: values go from slot to slot without becoming objects. */
static bool send_live_event (filling_t *filling, const layout_t *layout, const value_t *from) {
    const fields_t *out = fields_of (filling);
    value_t *row = filling->call->row;
    layout_cursor_t cursor = {0};
    named_value_t field;
    fields_clear (out, row);
    while (out->count > 0 && layout_next (layout, from, &cursor, &field)) {
        int index = field.entry != NULL ? filling->step->entry_out[field.entry - layout->entries]
                                        : fields_find (out, field.name, field.name_size, 0);
        if (index >= 0)
            row[out->items[index].slot] = field.value;
    }
    filling->to.pack->size = 0;
    if (out->rest_slot == SLOT_NONE)
        return send (filling);
    if (layout->rest_slot != SLOT_NONE && layout->count == 0 && layout->hidden_count == 0 &&
        from[layout->rest_slot].tag == TAG_MAP) {
        row[out->rest_slot] = from[layout->rest_slot]; /* the record as it came */
        return finish (filling);
    }
    if (!layout_pack (layout, from, filling->to.pack))
        return fault_set (filling->to.fault, REASON_LIMIT, "a result does not fit the memory of one event");
    return send (filling);
}

static bool send_event (filling_t *filling, PyObject *event) {
    const layout_t *layout = NULL;
    const value_t *from = event_row (event, &layout);
    /* An event of another step may still be live: only this step's own stands on this step's layout. */
    if (from != NULL && layout == filling->step->in)
        return send_live_event (filling, layout, from);
    PyObject *dict = event_dict (event);
    bool good = dict != NULL && send_dict (filling, dict);
    Py_XDECREF (dict);
    return good;
}

static bool send_one (filling_t *filling, PyObject *item) {
    PyTypeObject *type = Py_TYPE (item);
    if (type == &PyDict_Type)
        return send_dict (filling, item);
    if (event_is (item, filling->step->event_class))
        return send_event (filling, item);
    if (type == &PyFloat_Type || type == &PyUnicode_Type || type == &PyLong_Type)
        return send_scalar (filling, item);
    const record_type_t *record = record_type_of (type);
    if (unlikely (record == NULL))
        return false;
    return record->kind != RECORD_NOT ? send_record (filling, item, record) : send_scalar (filling, item);
}

/* One item, and the scratch memory back that it took. */
static bool emit_item (filling_t *filling, PyObject *item) {
    if (item == Py_None)
        return true;
    size_t mark = arena_mark (filling->to.scratch);
    bool good = send_one (filling, item);
    arena_release (filling->to.scratch, mark);
    return good;
}

static bool emit_list (filling_t *filling, PyObject *list) {
    bool good = true;
    for (Py_ssize_t i = 0; good && i < PyList_GET_SIZE (list); i++) {
        PyObject *item = Py_NewRef (PyList_GET_ITEM (list, i)); /* steps behind may change the list */
        good = emit_item (filling, item);
        Py_DECREF (item);
    }
    return good;
}

static bool emit_iterator (filling_t *filling, PyObject *iterator) {
    PyObject *item;
    while ((item = PyIter_Next (iterator)) != NULL) {
        bool good = emit_item (filling, item);
        Py_DECREF (item);
        if (!good)
            return false;
    }
    return !PyErr_Occurred();
}

/* flat_map takes any iterable that is no value by itself. */
static bool emit_many (filling_t *filling, PyObject *result) {
    const record_type_t *record = record_type_of (Py_TYPE (result));
    if (record == NULL)
        return false;
    if (record->kind != RECORD_NOT || PyUnicode_Check (result) || PyBytes_Check (result) ||
        Py_TYPE (result)->tp_iter == NULL)
        return fault_set (
            filling->to.fault, REASON_PYTHON,
            "a flat_map function must return a list or an iterator, not a %.60s: return [result]",
            Py_TYPE (result)->tp_name);
    PyObject *iterator = PyObject_GetIter (result);
    bool good = iterator != NULL && emit_iterator (filling, iterator);
    Py_XDECREF (iterator);
    return good;
}

bool pystep_results (pystep_t *self, pystep_call_t *call, PyObject *result) {
    if (result == Py_None)
        return true;
    if (self->mode == MODE_FILTER) {
        int truth = PyObject_IsTrue (result);
        if (truth > 0)
            call->emit (call->context);
        return truth >= 0;
    }
    filling_t filling = {.step = self,
                         .call = call,
                         .to = {.scratch = call->scratch, .pack = &self->pack, .fault = call->fault}};
    if (PyList_Check (result))
        return emit_list (&filling, result);
    if (PyIter_Check (result))
        return emit_iterator (&filling, result);
    return self->mode == MODE_FLAT_MAP ? emit_many (&filling, result) : emit_item (&filling, result);
}
