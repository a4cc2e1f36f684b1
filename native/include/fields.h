/* fields.h: which fields of a record a decoder (or a Python step's result) puts into which slots. */
#ifndef BETTONG_FIELDS_H
#define BETTONG_FIELDS_H

#include "arena.h"
#include "fault.h"

/* How a name is written in JSON, with its quotes and the colon: "name":, for a few compares of eight bytes. */
enum { FIELD_SPELLED_MAX = 64 };

typedef struct field {
    const char *name;   /* `name_size` bytes, 64 readable ones behind them; as JSON writes it: name - 1 … */
    uint64_t head;      /* its first bytes so spelled, up to eight of them … */
    uint64_t mask;      /* … and their mask: never equal where JSON must escape the name, or it is too long */
    uint64_t tail;      /* its last eight, when there are more */
    struct field *then; /* the field that followed it last time: what the JSON decoder expects next */
    uint32_t name_size;
    uint16_t spelled; /* bytes of it so spelled */
    uint16_t slot;
    uint8_t type;  /* a declared tag, or TAG_MISSING: anything */
    bool required; /* declared without `?` */
} field_t;

/* Names that nobody wants are learnt too, up to so many and so long, so that they are passed over without a scan. */
enum { FIELDS_MAX = 4096, FIELDS_PASSED_MAX = 32, FIELD_PASSED_BYTES = 48 };

/* Names that nobody wants: fields without a slot, behind the others. */
typedef struct passed {
    uint32_t count;
    char names[FIELDS_PASSED_MAX][FIELD_PASSED_BYTES + 64];
} passed_t;

/* Of one source on one lane: the decoder writes down the order that it meets. */
typedef struct fields {
    field_t *
        items; /* one more behind the last, which no name matches: what stands before the first; then `passed` */
    uint32_t count;
    passed_t *passed;   /* learnt as records come, as the order is */
    uint16_t *slots;    /* of the wanted ones, side by side: to be cleared quickly */
    uint16_t rest_slot; /* the whole record as a packed map (all fields, wanted ones too), or SLOT_NONE */
    bool declared;      /* some field has a declared type: fields_check is needed */
    char *names;        /* storage of the names */
} fields_t;

/* From the program: a packed list of [name, slot, type, required]. NULL with a fault when malformed. */
fields_t *fields_new (const value_t *list, uint16_t rest_slot, fault_t *fault);
void fields_destroy (fields_t **self_p);

/* Whether the name at `p` is this field's, spelled as expected; `spelled` bytes are then behind it. FIELD_SPELLED_MAX
 * bytes are readable at `p`. */
static inline bool field_is_at (const field_t *self, const char *p) {
    if ((load_u64 (p) & self->mask) != self->head)
        return false;
    if (self->spelled <= 8)
        return true;
    if (load_u64 (p + self->spelled - 8) != self->tail)
        return false;
    return likely (self->spelled <= 16) || memcmp (p + 8, self->name + 7, self->spelled - 16u) == 0;
}

/* All wanted slots (and the rest) to MISSING: the first act of every decoder. */
static inline void fields_clear (const fields_t *self, value_t *row) {
    for (uint32_t i = 0; i < self->count; i++)
        row[self->slots[i]].tag = TAG_MISSING;
    if (self->rest_slot != SLOT_NONE)
        row[self->rest_slot].tag = TAG_MISSING;
}

/* The field of a name that stands behind `last`, which learns it. A name that nobody wants gets a field without a slot,
 * so that it is expected the next time; NULL when there is no room for one more, or JSON would have to escape it. */
field_t *fields_meet (const fields_t *self, const value_t *name, field_t *last);

/* The index of a name, or -1. `hint` is the index to try first (the field after the last one met). */
int fields_find (const fields_t *self, const char *name, uint32_t size, int hint);

/* Hold a decoded row against the declared types: an int where a float is declared becomes a float; a required
 * field that is missing or null, or any other type, is a fault (REASON_SCHEMA). */
bool fields_check (const fields_t *self, value_t *row, fault_t *fault);

#endif
