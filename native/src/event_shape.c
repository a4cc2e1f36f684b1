/* event_shape.c: the fields of a step's live event; see event.h. */
#include "event_shape.h"

#include <stdlib.h>

/* A name in user code is nearly always the same string object at the same place: `known` maps the object's address
 * to where its field is, and holds on to the object, so that the address cannot become another name. */
enum { KNOWN_SIZE = 64, REST_INDEX_MAX = 256 };

typedef struct known_name {
    PyObject *name; /* owned */
    const char *text;
    uint32_t size;
    uint32_t hint; /* for names of the rest: where it was last */
    int32_t entry; /* the layout's entry, or -1: look in the rest */
    bool own;      /* as an attribute it is the class's own */
} known_name_t;

typedef struct rest_field {
    const char *name;
    uint32_t name_size;
    value_t value;
    PyObject *object; /* once asked for */
} rest_field_t;

struct event_shape {
    const layout_t *layout;
    PyObject **names; /* interned, one an entry */
    PyObject **cells; /* converted values of the live event */
    uint16_t *touched;
    uint32_t touched_count;
    int64_t unit_ns;
    const value_t *row;
    event_t *live;
    rest_field_t *rest; /* the fields of the rest that are no entries and not hidden */
    uint32_t rest_count;
    uint32_t rest_capacity;
    bool rest_read;
    PyObject *wide; /* a rest of more than REST_INDEX_MAX fields: all fields as a dict */
    known_name_t known[KNOWN_SIZE];
};

static bool intern_names (event_shape_t *self) {
    for (uint32_t i = 0; i < self->layout->count; i++) {
        const entry_t *entry = &self->layout->entries[i];
        self->names[i] = PyUnicode_DecodeUTF8 (entry->name, entry->name_size, "replace");
        if (self->names[i] == NULL)
            return false;
        PyUnicode_InternInPlace (&self->names[i]);
    }
    return true;
}

event_shape_t *event_shape_new (const layout_t *layout) {
    event_shape_t *self = calloc (1, sizeof *self);
    if (self == NULL)
        return NULL;
    self->layout = layout;
    uint32_t count = layout->count ? layout->count : 1;
    self->names = calloc (count, sizeof *self->names);
    self->cells = calloc (count, sizeof *self->cells);
    self->touched = calloc (count, sizeof *self->touched);
    if (!self->names || !self->cells || !self->touched || !intern_names (self))
        event_shape_destroy (&self);
    return self;
}

/* Forget what the last row's fields were converted to. */
static inline void forget (event_shape_t *self) {
    for (uint32_t i = 0; i < self->touched_count; i++)
        Py_CLEAR (self->cells[self->touched[i]]);
    self->touched_count = 0;
    if (self->rest_read) {
        for (uint32_t i = 0; i < self->rest_count; i++)
            Py_CLEAR (self->rest[i].object);
        Py_CLEAR (self->wide);
        self->rest_count = 0;
        self->rest_read = false;
    }
}

void event_shape_destroy (event_shape_t **self_p) {
    event_shape_t *self = *self_p;
    if (self == NULL)
        return;
    forget (self);
    if (self->live != NULL)
        self->live->shape = NULL;
    Py_XDECREF (self->live);
    for (uint32_t i = 0; i < KNOWN_SIZE; i++)
        Py_XDECREF (self->known[i].name);
    for (uint32_t i = 0; self->names != NULL && i < self->layout->count; i++)
        Py_XDECREF (self->names[i]);
    free (self->names);
    free (self->cells);
    free (self->touched);
    free (self->rest);
    free (self);
    *self_p = NULL;
}

PyObject *event_shape_begin (event_shape_t *self, const value_t *row, int64_t unit_ns) {
    if (unlikely (self->live == NULL)) {
        PyTypeObject *type = event_type();
        self->live = type != NULL ? PyObject_GC_New (event_t, type) : NULL;
        if (self->live == NULL)
            return NULL;
        self->live->fields = NULL;
        self->live->shape = self;
    }
    self->row = row;
    self->live->row = row;
    self->unit_ns = unit_ns;
    return (PyObject *) self->live;
}

bool event_shape_end (event_shape_t *self) {
    event_t *event = self->live;
    bool good = true;
    if (unlikely (event != NULL && Py_REFCNT (event) > 1)) {
        self->live = NULL;
        event->fields = event_shape_dict (self);
        if ((good = event->fields != NULL) && PyObject_GC_IsTracked (event->fields))
            PyObject_GC_Track (event);
        event->shape = NULL;
        event->row = NULL;
        Py_DECREF (event);
    } else if (event != NULL) {
        event->row = NULL;
    }
    forget (self);
    self->row = NULL;
    return good;
}

static bool is_name (const char *a, uint32_t a_size, const char *b, uint32_t b_size) {
    return a_size == b_size && memcmp (a, b, a_size) == 0;
}

/* Entries and hidden names stand before what the rest has under the same name. */
static bool is_shadowed (const layout_t *layout, const char *name, uint32_t size) {
    for (uint32_t i = 0; i < layout->count; i++)
        if (is_name (layout->entries[i].name, layout->entries[i].name_size, name, size))
            return true;
    for (uint32_t i = 0; i < layout->hidden_count; i++)
        if (is_name (layout->hidden[i].name, layout->hidden[i].name_size, name, size))
            return true;
    return false;
}

/* Put a field of the rest into the index; a name met before gets the new value. `seen` has a bit for each name's
 * cheap hash, so that only a set bit costs a search. */
static void put_rest (event_shape_t *self, const value_t *name, const value_t *value, uint64_t *seen) {
    uint32_t size = name->size;
    uint32_t hash = size ? size * 31 + (uint8_t) name->p[0] + 7u * (uint8_t) name->p[size - 1] : 0;
    uint64_t bit = (uint64_t) 1 << (hash & 63);
    if (*seen & bit) {
        for (uint32_t i = 0; i < self->rest_count; i++) {
            if (is_name (self->rest[i].name, self->rest[i].name_size, name->p, size)) {
                self->rest[i].value = *value;
                return;
            }
        }
    }
    *seen |= bit;
    self->rest[self->rest_count++] =
        (rest_field_t){.name = name->p, .name_size = size, .value = *value, .object = NULL};
}

/* Index the rest on the first question about it. False with a Python error. */
static bool read_rest (event_shape_t *self) {
    const value_t *map = &self->row[self->layout->rest_slot];
    self->rest_read = true;
    if (map->tag != TAG_MAP)
        return true;
    uint32_t count;
    const char *p = pack_open (map, &count);
    if (unlikely (count > REST_INDEX_MAX))
        return (self->wide = event_shape_dict (self)) != NULL;
    if (unlikely (count > self->rest_capacity)) {
        rest_field_t *rest = realloc (self->rest, count * sizeof *rest);
        if (rest == NULL)
            return PyErr_NoMemory() != NULL;
        self->rest = rest;
        self->rest_capacity = count;
    }
    uint64_t seen = 0;
    for (uint32_t i = 0; i < count && p != NULL; i++) {
        value_t name, value;
        if ((p = pack_read (p, map->p + map->size, &name)) == NULL ||
            (p = pack_read (p, map->p + map->size, &value)) == NULL)
            break;
        if (name.tag == TAG_STR && !is_shadowed (self->layout, name.p, name.size))
            put_rest (self, &name, &value, &seen);
    }
    return true;
}

static PyObject *entry_object (event_shape_t *self, uint32_t index) {
    if (self->cells[index] != NULL)
        return Py_NewRef (self->cells[index]);
    const value_t *value = &self->row[self->layout->entries[index].slot];
    if (unlikely (value->tag == TAG_MISSING))
        return NULL;
    PyObject *object = py_from_value (value, self->unit_ns);
    if (unlikely (object == NULL))
        return NULL;
    self->cells[index] = object;
    self->touched[self->touched_count++] = (uint16_t) index;
    return Py_NewRef (object);
}

static PyObject *rest_object (event_shape_t *self, rest_field_t *field) {
    if (field->object == NULL && (field->object = py_from_value (&field->value, self->unit_ns)) == NULL)
        return NULL;
    return Py_NewRef (field->object);
}

static PyObject *get_rest (event_shape_t *self, known_name_t *known) {
    if (!self->rest_read && !read_rest (self))
        return NULL;
    if (unlikely (self->wide != NULL))
        return Py_XNewRef (PyDict_GetItemWithError (self->wide, known->name));
    uint32_t hint = known->hint;
    if (hint < self->rest_count &&
        is_name (self->rest[hint].name, self->rest[hint].name_size, known->text, known->size))
        return rest_object (self, &self->rest[hint]);
    for (uint32_t i = 0; i < self->rest_count; i++) {
        if (is_name (self->rest[i].name, self->rest[i].name_size, known->text, known->size)) {
            known->hint = i;
            return rest_object (self, &self->rest[i]);
        }
    }
    return NULL;
}

bool event_own_name (PyObject *name) {
    Py_ssize_t size = PyUnicode_GET_LENGTH (name);
    return (size >= 2 && PyUnicode_READ_CHAR (name, 0) == '_' && PyUnicode_READ_CHAR (name, 1) == '_') ||
           PyUnicode_CompareWithASCIIString (name, "keys") == 0;
}

const layout_t *event_shape_layout (const event_shape_t *self) { return self->layout; }

/* Get to know a name: NULL with a Python error when it has no UTF-8 form (a lone surrogate). */
static known_name_t *learn (event_shape_t *self, PyObject *name, known_name_t *slot) {
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize (name, &size);
    if (text == NULL || (uint64_t) size > UINT32_MAX)
        return NULL;
    PyObject *old = slot->name;
    *slot = (known_name_t){.name = Py_NewRef (name), .text = text, .size = (uint32_t) size, .entry = -1};
    slot->own = event_own_name (name);
    for (uint32_t i = 0; i < self->layout->count; i++) {
        const entry_t *entry = &self->layout->entries[i];
        if (is_name (entry->name, entry->name_size, text, slot->size)) {
            slot->entry = (int32_t) i;
            break;
        }
    }
    Py_XDECREF (old);
    return slot;
}

PyObject *event_shape_get (event_shape_t *self, PyObject *name, bool attribute) {
    known_name_t *known = &self->known[((uintptr_t) name >> 4) % KNOWN_SIZE];
    if (unlikely (known->name != name) && (known = learn (self, name, known)) == NULL) {
        PyErr_Clear(); /* no field can have such a name */
        return NULL;
    }
    if (unlikely (attribute && known->own))
        return NULL;
    if (likely (known->entry >= 0))
        return entry_object (self, (uint32_t) known->entry);
    return self->layout->rest_slot != SLOT_NONE ? get_rest (self, known) : NULL;
}

Py_ssize_t event_shape_count (event_shape_t *self) {
    layout_cursor_t cursor = {0};
    named_value_t field;
    Py_ssize_t count = 0;
    while (layout_next (self->layout, self->row, &cursor, &field))
        count++;
    return count;
}

static PyObject *name_object (const event_shape_t *self, const named_value_t *field) {
    return field->entry != NULL ? Py_NewRef (self->names[field->entry - self->layout->entries])
                                : PyUnicode_DecodeUTF8 (field->name, field->name_size, "replace");
}

PyObject *event_shape_names (event_shape_t *self) {
    PyObject *names = PyList_New (0);
    layout_cursor_t cursor = {0};
    named_value_t field;
    while (names != NULL && layout_next (self->layout, self->row, &cursor, &field)) {
        PyObject *name = name_object (self, &field);
        if (name == NULL || PyList_Append (names, name) < 0)
            Py_CLEAR (names);
        Py_XDECREF (name);
    }
    return names;
}

/* An entry's object, shared with what was already given out. */
static PyObject *next_object (event_shape_t *self, const named_value_t *field) {
    if (field->entry != NULL)
        return entry_object (self, (uint32_t) (field->entry - self->layout->entries));
    for (uint32_t i = 0; self->wide == NULL && i < self->rest_count; i++)
        if (self->rest[i].object != NULL &&
            is_name (self->rest[i].name, self->rest[i].name_size, field->name, field->name_size))
            return Py_NewRef (self->rest[i].object);
    return py_from_value (&field->value, self->unit_ns);
}

PyObject *event_shape_dict (event_shape_t *self) {
    PyObject *dict = PyDict_New();
    layout_cursor_t cursor = {0};
    named_value_t field;
    while (dict != NULL && layout_next (self->layout, self->row, &cursor, &field)) {
        PyObject *name = name_object (self, &field);
        PyObject *object = name != NULL ? next_object (self, &field) : NULL;
        if (object == NULL || PyDict_SetItem (dict, name, object) < 0)
            Py_CLEAR (dict);
        Py_XDECREF (name);
        Py_XDECREF (object);
    }
    return dict;
}
