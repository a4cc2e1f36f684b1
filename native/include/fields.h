/* fields.h: which fields of a record a decoder (or a Python step's result) puts into which slots. */
#ifndef BETTONG_FIELDS_H
#define BETTONG_FIELDS_H

#include "arena.h"
#include "fault.h"

typedef struct field {
    const char *name; /* 64 readable bytes behind it; followed by '"' for the JSON decoder's masked compare */
    uint32_t name_size;
    uint16_t slot;
    uint8_t type;  /* a declared tag, or TAG_MISSING: anything */
    bool required; /* declared without `?` */
    uint16_t then; /* index of the field that followed it last time: what the JSON decoder expects next */
    uint64_t head; /* the first min(8, name_size + 1) bytes of name + '"' … */
    uint64_t mask; /* … and their mask, for one masked compare: never equal where JSON must escape the name */
} field_t;

enum { FIELDS_MAX = 4096 };

/* Of one source on one lane: the decoder writes down the order that it meets. */
typedef struct fields {
    field_t *items; /* and one more behind the last, which no name matches: what stands before the first */
    uint32_t count;
    uint16_t rest_slot; /* the whole record as a packed map (all fields, wanted ones too), or SLOT_NONE */
    bool declared;      /* some field has a declared type: fields_check is needed */
    char *names;        /* storage of the names */
} fields_t;

/* From the program: a packed list of [name, slot, type, required]. NULL with a fault when malformed. */
fields_t *fields_new (const value_t *list, uint16_t rest_slot, fault_t *fault);
void fields_destroy (fields_t **self_p);

/* All wanted slots (and the rest) to MISSING: the first act of every decoder. */
void fields_clear (const fields_t *self, value_t *row);

/* The index of a name, or -1. `hint` is the index to try first (the field after the last one met). */
int fields_find (const fields_t *self, const char *name, uint32_t size, int hint);

/* Hold a decoded row against the declared types: an int where a float is declared becomes a float; a required
 * field that is missing or null, or any other type, is a fault (REASON_SCHEMA). */
bool fields_check (const fields_t *self, value_t *row, fault_t *fault);

#endif
