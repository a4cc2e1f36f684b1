/* fields.c: which fields of a record are wanted, and where they go. */
#include "fields.h"

#include <stdlib.h>

#include "pack.h"

enum { NAME_SLACK = 64 };

/* A name that JSON writes with escapes, or may write so, is never met as it is; the decoder then compares what it has
 * unescaped. */
static void set_spelling (field_t *field) {
    field->head = 1;
    field->mask = 0;
    if (field->name_size > FIELD_SPELLED_MAX - 3)
        return;
    for (uint32_t i = 0; i < field->name_size; i++) {
        unsigned char byte = (unsigned char) field->name[i];
        if (byte < 0x20 || byte == '"' || byte == '\\')
            return;
    }
    const char *spelling = field->name - 1;
    uint32_t size = field->name_size + 3;
    field->spelled = (uint16_t) size;
    field->mask = size >= 8 ? UINT64_MAX : ((uint64_t) 1 << (8 * size)) - 1;
    field->head = load_u64 (spelling) & field->mask;
    field->tail = size > 8 ? load_u64 (spelling + size - 8) : 0;
}

/* A name with its quotes and colon; what is behind it. */
static char *spell (field_t *field, char *to, const char *name, uint32_t size) {
    *to++ = '"';
    memcpy (to, name, size);
    field->name = to;
    field->name_size = size;
    to += size;
    *to++ = '"';
    *to++ = ':';
    return to;
}

/* [name, slot, type, required] */
static bool read_field (const value_t *list, field_t *field, char **names) {
    uint32_t count = 0;
    value_t parts[4];
    const char *end = list->p + list->size, *p = list->tag == TAG_LIST ? pack_open (list, &count) : NULL;
    for (uint32_t i = 0; p && count == 4 && i < 4; i++)
        p = pack_read (p, end, &parts[i]);
    if (!p || count != 4 || parts[0].tag != TAG_STR || parts[1].tag != TAG_INT || parts[2].tag != TAG_INT ||
        parts[3].tag != TAG_BOOL || parts[1].i < 0 || parts[1].i >= SLOT_NONE || parts[2].i < 0 ||
        parts[2].i > TAG_MAP)
        return false;
    *names = spell (field, *names, parts[0].p, parts[0].size);
    field->slot = (uint16_t) parts[1].i;
    field->type = (uint8_t) parts[2].i;
    field->required = parts[3].i != 0;
    return true;
}

/* All items, and the one behind the last. False when one is malformed or repeats a name. */
static bool read_fields (fields_t *self, const value_t *list, const char *p) {
    const char *end = list->p + list->size;
    char *names = self->names;
    for (uint32_t i = 0; i < self->count; i++) {
        value_t item;
        field_t *field = &self->items[i];
        p = pack_read (p, end, &item);
        if (!p || !read_field (&item, field, &names))
            return false;
        for (uint32_t j = 0; j < i; j++)
            if (self->items[j].name_size == field->name_size &&
                memcmp (self->items[j].name, field->name, field->name_size) == 0)
                return false;
        self->declared |= field->type != TAG_MISSING || field->required;
        field->then = field + 1;
        self->slots[i] = field->slot;
    }
    for (uint32_t i = 0; i < self->count; i++)
        set_spelling (
            &self->items[i]); /* now that all the names are there, eight bytes can be read at each */
    self->items[self->count] = (field_t){.name = names, .slot = SLOT_NONE, .head = 1, .then = self->items};
    return true;
}

fields_t *fields_new (const value_t *list, uint16_t rest_slot, fault_t *fault) {
    uint32_t count = 0;
    const char *p = list->tag == TAG_LIST ? pack_open (list, &count) : NULL;
    if (!p || count > FIELDS_MAX) {
        fault_set (fault, REASON_DECODE, "the program's fields are not a list of at most %d", FIELDS_MAX);
        return NULL;
    }
    fields_t *self = calloc (1, sizeof *self);
    if (self) {
        self->count = count;
        self->rest_slot = rest_slot;
        self->items = calloc ((size_t) count + 1 + FIELDS_PASSED_MAX, sizeof *self->items);
        self->slots = calloc ((size_t) count + 1, sizeof *self->slots);
        self->passed = calloc (1, sizeof *self->passed);
        self->names = calloc (1, (size_t) list->size +
                                     NAME_SLACK); /* every name is in the list, with four bytes more */
    }
    if (!self || !self->items || !self->names || !self->slots || !self->passed) {
        fault_set (fault, REASON_LIMIT, "no memory for %u fields", count);
        fields_destroy (&self);
        return NULL;
    }
    if (!read_fields (self, list, p)) {
        fault_set (fault, REASON_DECODE,
                   "the program's fields must be [name, slot, type, required], names unique");
        fields_destroy (&self);
    }
    return self;
}

void fields_destroy (fields_t **self_p) {
    fields_t *self = *self_p;
    if (!self)
        return;
    free (self->items);
    free (self->names);
    free (self->passed);
    free (self->slots);
    free (self);
    *self_p = NULL;
}

static inline bool is_named (const field_t *field, const char *name, uint32_t size) {
    return field->name_size == size && memcmp (field->name, name, size) == 0;
}

/* Remember a name that nobody wants; NULL when there is no room for it, or JSON would have to escape it. */
static field_t *fields_pass (const fields_t *self, const char *name, uint32_t size) {
    passed_t *passed = self->passed;
    if (passed->count == FIELDS_PASSED_MAX || size > FIELD_PASSED_BYTES)
        return NULL;
    field_t *field = &self->items[self->count + 1 + passed->count];
    char *copy = passed->names[passed->count];
    *field = (field_t){.slot = SLOT_NONE, .then = &self->items[self->count]};
    spell (field, copy, name, size);
    set_spelling (field);
    if (!field->mask)
        return NULL;
    passed->count++;
    return field;
}

field_t *fields_meet (const fields_t *self, const value_t *name, field_t *last) {
    const field_t *before_first = &self->items[self->count];
    uint32_t end = self->count + 1 + self->passed->count;
    if (last->then != before_first && is_named (last->then, name->p, name->size))
        return last->then;
    for (field_t *field = self->items; field < self->items + end; field++)
        if (field != before_first && is_named (field, name->p, name->size))
            return last->then = field;
    field_t *field = fields_pass (self, name->p, name->size);
    if (field)
        last->then = field;
    return field;
}

int fields_find (const fields_t *self, const char *name, uint32_t size, int hint) {
    if (hint >= 0 && (uint32_t) hint < self->count && is_named (&self->items[hint], name, size))
        return hint;
    for (uint32_t i = 0; i < self->count; i++)
        if (is_named (&self->items[i], name, size))
            return (int) i;
    return -1;
}

static bool field_check (const field_t *field, value_t *value, fault_t *fault) {
    if (value_is_null (value)) {
        if (!field->required)
            return true;
        return fault_set (fault, REASON_SCHEMA, "field \"%.*s\" is %s", (int) field->name_size, field->name,
                          tag_name (value->tag));
    }
    if (field->type == value->tag || field->type == TAG_MISSING)
        return true;
    if (field->type == TAG_FLOAT && value->tag == TAG_INT) {
        *value = value_float ((double) value->i);
        return true;
    }
    return fault_set (fault, REASON_SCHEMA, "field \"%.*s\" is %s, not %s", (int) field->name_size,
                      field->name, tag_name (value->tag), tag_name (field->type));
}

bool fields_check (const fields_t *self, value_t *row, fault_t *fault) {
    for (uint32_t i = 0; i < self->count; i++)
        if (!field_check (&self->items[i], &row[self->items[i].slot], fault))
            return false;
    return true;
}
