/* layout.h: what a record looks like at one place of the flow: which names, in which order, from which
 * slots.
 *
 * A closed layout is its entries. An open one starts from a packed map (`rest_slot`): its fields in their
 * own order, names in `hidden` left out, an entry of the same name taking the field's place; then the
 * entries whose names have not come yet. Entries that are MISSING are left out. This is what a Python
 * dict would give. */
#ifndef BETTONG_LAYOUT_H
#define BETTONG_LAYOUT_H

#include "fault.h"
#include "pack.h"

enum { LAYOUT_ENTRIES_MAX = 1024 };

typedef struct entry {
    const char *name;
    uint32_t name_size;
    uint16_t slot;
    const char *json_key; /* "name": with quotes, escapes and colon, ready to be copied */
    uint32_t json_key_size;
} entry_t;

enum unit { UNIT_US, UNIT_MS, UNIT_S, UNIT_NS, UNIT_RFC3339 };

typedef struct layout {
    entry_t *entries;
    uint32_t count;
    uint16_t rest_slot; /* SLOT_NONE: closed */
    entry_t *hidden;    /* name and name_size only */
    uint32_t hidden_count;
    uint8_t unit; /* how times are written: enum unit */
    char *names;
} layout_t;

/* From the program: {"entries": [[name, slot], …], "rest": slot or -1, "hidden": [name, …], "unit": "ms"}. */
layout_t *layout_new (const value_t *map, fault_t *fault);
void layout_destroy (layout_t **self_p);

/* Walk a row's fields in order. Start with a zeroed cursor. */
typedef struct layout_cursor {
    const char *next; /* in the packed map */
    uint32_t left;
    uint32_t entry;
    bool started;
    uint64_t seen[LAYOUT_ENTRIES_MAX / 64];
} layout_cursor_t;

typedef struct named_value {
    const char *name;
    uint32_t name_size;
    const entry_t *entry; /* NULL for a field of the rest */
    value_t value;
} named_value_t;

bool layout_next (const layout_t *self, const value_t *row, layout_cursor_t *cursor, named_value_t *out);

/* The row as a packed map. */
bool layout_pack (const layout_t *self, const value_t *row, buffer_t *out);

#endif
