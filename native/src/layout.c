/* layout.c: the shape of a record at one place of the flow, loaded from the program, and the walk over a
 * row. */
#include "layout.h"

#include <stdlib.h>

#include "encode.h"
#include "pack_put.h"

enum { NAME_SLACK = 64 };

static const char *const UNITS[] = {
    [UNIT_US] = "us", [UNIT_MS] = "ms", [UNIT_S] = "s", [UNIT_NS] = "ns", [UNIT_RFC3339] = "rfc3339",
};

/* ---- loading ---- */

static bool read_unit (const value_t *map, uint8_t *unit) {
    value_t name;
    if (!pack_get (map, "unit", 4, &name) || name.tag != TAG_STR)
        return false;
    for (*unit = 0; *unit < sizeof UNITS / sizeof UNITS[0]; ++*unit)
        if (strlen (UNITS[*unit]) == name.size && memcmp (UNITS[*unit], name.p, name.size) == 0)
            return true;
    return false;
}

/* Append a name as it is, and as a JSON key. Until all are there, pointers are offsets: the buffer still
 * moves. */
static bool put_name (buffer_t *names, const value_t *name, entry_t *entry) {
    entry->name = (const char *) names->size;
    entry->name_size = name->size;
    if (!buffer_put (names, name->p, name->size))
        return false;
    entry->json_key = (const char *) names->size;
    if (!json_write_text (name->p, name->size, names) || !buffer_put_byte (names, ':'))
        return false;
    entry->json_key_size = (uint32_t) (names->size - (size_t) entry->json_key);
    return true;
}

/* "name" or ["name", slot] */
static bool read_entry (const value_t *item, bool has_slot, buffer_t *names, entry_t *entry) {
    value_t name = *item, slot = value_int (SLOT_NONE);
    if (has_slot) {
        uint32_t count = 0;
        const char *end = item->p + item->size, *p = item->tag == TAG_LIST ? pack_open (item, &count) : NULL;
        if (!p || count != 2 || !(p = pack_read (p, end, &name)) || !pack_read (p, end, &slot) ||
            slot.tag != TAG_INT || slot.i < 0 || slot.i >= SLOT_NONE)
            return false;
    }
    entry->slot = (uint16_t) slot.i;
    return name.tag == TAG_STR && put_name (names, &name, entry);
}

static bool read_entries (const value_t *map, const char *key, bool has_slot, buffer_t *names,
                          entry_t **entries, uint32_t *count) {
    value_t list;
    if (!pack_get (map, key, (uint32_t) strlen (key), &list) || list.tag != TAG_LIST)
        return false;
    const char *end = list.p + list.size, *p = pack_open (&list, count);
    if (*count > LAYOUT_ENTRIES_MAX || !(*entries = calloc ((size_t) *count + 1, sizeof **entries)))
        return false;
    for (uint32_t i = 0; i < *count; i++) {
        value_t item;
        p = pack_read (p, end, &item);
        if (!p || !read_entry (&item, has_slot, names, &(*entries)[i]))
            return false;
    }
    return true;
}

static void settle (entry_t *entries, uint32_t count, const char *names) {
    for (uint32_t i = 0; i < count; i++) {
        entries[i].name = names + (size_t) entries[i].name;
        entries[i].json_key = names + (size_t) entries[i].json_key;
    }
}

static bool read_layout (layout_t *self, const value_t *map, buffer_t *names) {
    value_t rest;
    static const char SLACK[NAME_SLACK];
    if (map->tag != TAG_MAP || !read_unit (map, &self->unit) || !pack_get (map, "rest", 4, &rest) ||
        rest.tag != TAG_INT || rest.i < -1 || rest.i >= SLOT_NONE)
        return false;
    self->rest_slot = rest.i < 0 ? SLOT_NONE : (uint16_t) rest.i;
    if (!read_entries (map, "entries", true, names, &self->entries, &self->count) ||
        !read_entries (map, "hidden", false, names, &self->hidden, &self->hidden_count) ||
        !buffer_put (names, SLACK, sizeof SLACK))
        return false;
    settle (self->entries, self->count, names->data);
    settle (self->hidden, self->hidden_count, names->data);
    return true;
}

layout_t *layout_new (const value_t *map, fault_t *fault) {
    layout_t *self = calloc (1, sizeof *self);
    buffer_t names = {0};
    bool is_read = self && read_layout (self, map, &names);
    if (self)
        self->names = names.data;
    if (!is_read) {
        fault_set (fault, REASON_DECODE,
                   "the program's layout must be {entries: [[name, slot], …], rest, hidden, unit}, at most "
                   "%d entries",
                   LAYOUT_ENTRIES_MAX);
        layout_destroy (&self);
    }
    return self;
}

void layout_destroy (layout_t **self_p) {
    layout_t *self = *self_p;
    if (!self)
        return;
    free (self->entries);
    free (self->hidden);
    free (self->names);
    free (self);
    *self_p = NULL;
}

/* ---- walking ---- */

static inline bool is_named (const entry_t *entry, const char *name, uint32_t size) {
    return entry->name_size == size && memcmp (entry->name, name, size) == 0;
}

static bool is_hidden (const layout_t *self, const char *name, uint32_t size) {
    for (uint32_t i = 0; i < self->hidden_count; i++)
        if (is_named (&self->hidden[i], name, size))
            return true;
    return false;
}

/* The index of a name among the entries, or `count`. The one at `hint` is tried first. */
static uint32_t find_entry (const layout_t *self, const char *name, uint32_t size, uint32_t hint) {
    if (hint < self->count && is_named (&self->entries[hint], name, size))
        return hint;
    uint32_t i = 0;
    while (i < self->count && !is_named (&self->entries[i], name, size))
        i++;
    return i;
}

/* The next field of the packed map, or of the entry that takes its place. False when the map is at its
 * end. */
static bool next_of_rest (const layout_t *self, const value_t *row, layout_cursor_t *cursor,
                          named_value_t *out) {
    const value_t *rest = &row[self->rest_slot];
    const char *end = rest->p + rest->size;
    while (cursor->left) {
        cursor->left--;
        value_t name;
        const char *p = pack_read (cursor->next, end, &name);
        if (!p || !(cursor->next = pack_read (p, end, &out->value)))
            break;
        if (self->hidden_count && is_hidden (self, name.p, name.size))
            continue; /* an entry of that name was put there after the field was dropped: at the end */
        uint32_t entry = find_entry (self, name.p, name.size, cursor->entry);
        out->name = name.p;
        out->name_size = name.size;
        out->entry = NULL;
        if (entry == self->count)
            return true;
        uint64_t bit = (uint64_t) 1 << (entry % 64), *seen = &cursor->seen[entry / 64];
        bool is_first = !(*seen & bit);
        *seen |= bit;
        cursor->entry = entry + 1;
        out->entry = &self->entries[entry];
        out->value = row[out->entry->slot];
        if (is_first && out->value.tag != TAG_MISSING)
            return true;
    }
    return false;
}

bool layout_next (const layout_t *self, const value_t *row, layout_cursor_t *cursor, named_value_t *out) {
    if (!cursor->started) {
        cursor->started = true;
        if (self->rest_slot != SLOT_NONE && row[self->rest_slot].tag == TAG_MAP)
            cursor->next = pack_open (&row[self->rest_slot], &cursor->left);
    }
    if (cursor->next) {
        if (next_of_rest (self, row, cursor, out))
            return true;
        cursor->next = NULL;
        cursor->entry = 0;
    }
    while (cursor->entry < self->count) {
        uint32_t index = cursor->entry++;
        const entry_t *entry = &self->entries[index];
        if (row[entry->slot].tag == TAG_MISSING || cursor->seen[index / 64] >> (index % 64) & 1)
            continue;
        *out = (named_value_t){entry->name, entry->name_size, entry, row[entry->slot]};
        return true;
    }
    return false;
}

/* The head of the map, whose room at `start` was reckoned for at most as many fields. */
static void finish_map (buffer_t *out, size_t start, size_t room, uint32_t count) {
    char head[PACK_HEAD_ROOM];
    size_t size = (size_t) (pack_put_count (head, true, count) - head);
    char *first = out->data + start;
    if (size != room)
        memmove (first + size, first + room, out->size - start - room);
    memcpy (first, head, size);
    out->size -= room - size;
}

bool layout_pack (const layout_t *self, const value_t *row, buffer_t *out) {
    uint32_t most = self->count, count = 0;
    if (self->rest_slot != SLOT_NONE && row[self->rest_slot].tag == TAG_MAP) {
        pack_open (&row[self->rest_slot], &count);
        most += count;
    }
    size_t start = out->size;
    if (!pack_write_map (out, most))
        return false;
    size_t room = out->size - start;
    layout_cursor_t cursor = {0};
    named_value_t field;
    for (count = 0; layout_next (self, row, &cursor, &field); count++) {
        if (!pack_write_text (out, field.name, field.name_size) || !pack_write (out, &field.value)) {
            out->size = start;
            return false;
        }
    }
    finish_map (out, start, room, count);
    return true;
}
