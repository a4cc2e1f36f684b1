/* json_decode.c: one JSON object to a row.
 *
 * What makes it fast: the field that is expected next is tried with one masked compare of eight bytes,
 * closing quote included, so that a name that comes as expected is never scanned; strings are looked at
 * eight bytes at a time; the order of the names is learnt from the records themselves.
 *
 * One loop serves two kinds of source, compiled once for each: only some fields are wanted, or the record
 * is also kept as a whole, packed in scratch as it is read. */
#include "decode.h"
#include "json_put.h"
#include "names.h"

#define ALWAYS_INLINE static inline __attribute__ ((always_inline))

enum { RECORD_DEPTH = 1, RECORD_HEAD_MAX = 5 };

/* ---- names ---- */

/* Whether the name at `p`, behind its opening quote, is this field's. */
ALWAYS_INLINE bool is_field (const field_t *field, const char *p, const char *end) {
    if ((load_u64 (p) & field->mask) != field->head)
        return false;
    if (likely (field->name_size < 8))
        return true;
    return (size_t) (end - p) > field->name_size &&
           memcmp (p + 8, field->name + 8, field->name_size - 7) == 0;
}

/* The field of a name that is not the one expected behind `last`, which learns it. A name that nobody wants
 * gets a field without a slot, so that it is expected the next time; NULL when there is no room for one
 * more. */
static field_t *find_field (const fields_t *fields, const value_t *name, field_t *last) {
    uint32_t end = fields->count + 1 + fields->passed->count;
    for (uint32_t i = 0; i < end; i++) {
        field_t *field = &fields->items[i];
        if (field->name_size == name->size && memcmp (field->name, name->p, name->size) == 0 &&
            i != fields->count) {
            last->then = (uint16_t) i;
            return field;
        }
    }
    field_t *field = fields_pass (fields, name->p, name->size);
    if (field)
        last->then = (uint16_t) end;
    return field;
}

/* ---- values, of which only some are wanted ---- */

ALWAYS_INLINE bool is_wanted (const field_t *field) { return field && field->slot != SLOT_NONE; }

/* A list or a map that is wanted, or a word. */
static const char *read_other (scanner_t *self, const char *p, value_t *value) {
    if (*p != '{' && *p != '[')
        return scan_word (self, p, value);
    self->packs = true;
    p = nested_read (self, p, RECORD_DEPTH, value);
    self->packs = false;
    return p;
}

ALWAYS_INLINE const char *read_value (scanner_t *self, const char *p, value_t *value) {
    if (*p == '"')
        return scan_string (self, p + 1, value);
    if (likely (scan_is_number (p)))
        return scan_number (self, p, value);
    return read_other (self, p, value);
}

ALWAYS_INLINE const char *skip_value (scanner_t *self, const char *p) {
    value_t value;
    if (likely (scan_is_number (p)))
        return scan_number (self, p, &value);
    if (*p != '"')
        return nested_read (self, p, RECORD_DEPTH, &value);
    char *mark = self->out;
    p = scan_string (self, p + 1, &value);
    self->out = mark;
    return p;
}

/* ---- values of a record that is kept ---- */

ALWAYS_INLINE const char *keep_value (scanner_t *self, const char *p, value_t *value) {
    if (*p == '"') {
        p = scan_string (self, p + 1, value);
        return likely (p) && likely (put_text (self, value)) ? p : NULL;
    }
    if (unlikely (!scan_is_number (p)))
        return nested_read (self, p, RECORD_DEPTH, value);
    p = scan_number (self, p, value);
    return likely (p) && likely (put_scalar (self, value)) ? p : NULL;
}

/* ---- the record ---- */

/* A name and its colon; `*field` is the one it names, or NULL. `names` counts them in a record that is
 * kept. */
ALWAYS_INLINE const char *read_name (scanner_t *self, const fields_t *fields, const char *p, field_t *last,
                                     field_t **field, names_t *names) {
    char *mark = self->out;
    value_t name;
    *field = &fields->items[last->then];
    if (likely (is_field (*field, p, self->end))) {
        name = value_text ((*field)->name, (*field)->name_size);
        p += name.size + 1;
    } else {
        if (unlikely (!(p = scan_string (self, p, &name))))
            return NULL;
        *field = find_field (fields, &name, last);
    }
    if (!names) {
        self->out = mark;
    } else {
        names_add (names, name.p, name.size);
        if (unlikely (!put_text (self, &name)))
            return NULL;
    }
    p = scan_to (self, p, ':');
    return likely (*p == ':') ? scan_space (self, p + 1) : scan_refuse (self, p, "':'");
}

/* From behind the opening brace to behind the closing one. Without `names` only what is wanted is read,
 * else all is packed and counted. */
ALWAYS_INLINE const char *read_members (scanner_t *self, const fields_t *fields, const char *p, value_t *row,
                                        names_t *names, uint32_t *count) {
    field_t *last = &fields->items[fields->count], *field;
    p = scan_to (self, p, '"');
    if (unlikely (*p == '}'))
        return p + 1;
    for (;;) {
        if (unlikely (*p != '"'))
            return scan_refuse (self, p, "a name in quotes");
        if (unlikely (!(p = read_name (self, fields, p + 1, last, &field, names))))
            return NULL;
        value_t kept;
        if (names)
            p = keep_value (self, p, &kept);
        else
            p = likely (is_wanted (field)) ? read_value (self, p, &row[field->slot]) : skip_value (self, p);
        if (unlikely (!p))
            return NULL;
        if (field) {
            last = field;
            if (names && is_wanted (field))
                row[field->slot] = kept;
        }
        ++*count;
        p = scan_to (self, p, ',');
        if (*p != ',')
            return likely (*p == '}') ? p + 1 : scan_refuse (self, p, "',' or '}'");
        p = scan_to (self, p + 1, '"');
    }
}

static const char *read_wanted (scanner_t *self, const fields_t *fields, const char *p, value_t *row) {
    uint32_t count = 0;
    return read_members (self, fields, p, row, NULL, &count);
}

/* The head goes right before the first member, into the room that was left for it; slots point into the
 * members, so these never move. */
static bool finish_record (scanner_t *self, char *first, const names_t *names, uint32_t count,
                           value_t *rest) {
    char head[PACK_HEAD_ROOM];
    size_t size = (size_t) (pack_put_count (head, true, count) - head);
    memcpy (first - size, head, size);
    *rest = (value_t){
        .p = first - size, .size = (uint32_t) ((size_t) (self->out - first) + size), .tag = TAG_MAP};
    if (likely (!names->is_suspect))
        return true;
    self->scratch->used = (size_t) (self->out - self->scratch->base);
    if (!pack_unique (rest, self->scratch))
        return scan_full (self);
    self->out = self->scratch->base + self->scratch->used;
    return true;
}

static const char *read_whole (scanner_t *self, const fields_t *fields, const char *p, value_t *row) {
    if (!put_room (self, RECORD_HEAD_MAX))
        return NULL;
    char *first = self->out += RECORD_HEAD_MAX;
    names_t names = {0};
    uint32_t count = 0;
    self->packs = true;
    p = read_members (self, fields, p, row, &names, &count);
    return p && finish_record (self, first, &names, count, &row[fields->rest_slot]) ? p : NULL;
}

/* ---- the message ---- */

static bool read_message (scanner_t *self, const fields_t *fields, value_t *row) {
    const char *p = scan_to (self, self->text, '{');
    if (unlikely (*p != '{'))
        return scan_refuse (self, p, "an object");
    p = fields->rest_slot == SLOT_NONE ? read_wanted (self, fields, p + 1, row)
                                       : read_whole (self, fields, p + 1, row);
    if (unlikely (!p))
        return false;
    if (unlikely (p != self->end))
        p = scan_space (self, p);
    return likely (p == self->end) || scan_refuse (self, p, "the end of the record");
}

bool json_decode (const fields_t *fields, char *text, uint32_t size, value_t *row, arena_t *scratch,
                  fault_t *fault) {
    scanner_t scanner = {.text = text, .end = text + size, .scratch = scratch, .fault = fault};
    scanner.out = scratch->base + scratch->used;
    scanner.out_end = scratch->base + (scratch->size > ARENA_SLACK ? scratch->size - ARENA_SLACK : 0);
    if (unlikely (scanner.out_end < scanner.out))
        scanner.out_end = scanner.out;
    fields_clear (fields, row);
    /* A newline or another control byte behind the message stops everything as it is: mostly nothing is
     * written. */
    char behind = text[size];
    if (unlikely ((unsigned char) behind >= ' '))
        text[size] = '\n';
    bool is_decoded = read_message (&scanner, fields, row);
    if (unlikely ((unsigned char) behind >= ' '))
        text[size] = behind;
    scratch->used = (size_t) (scanner.out - scratch->base);
    return is_decoded;
}
