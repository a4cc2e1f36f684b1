/* json_member.h: one member of a record, of any shape: compiled once for records of which only some fields are wanted,
 * once for those that are also kept as a whole. */
#ifndef BETTONG_JSON_MEMBER_H
#define BETTONG_JSON_MEMBER_H

#include "json_plain.h"
#include "json_put.h"
#include "names.h"

enum { RECORD_DEPTH = 1 };

/* From `p` on, behind '{' or ',' (json_whole.c): behind '}', or NULL with a fault. */
const char *read_whole (scanner_t *self, const fields_t *fields, const char *p, value_t *row, field_t *last);

/* ---- values, of which only some are wanted ---- */

ALWAYS_INLINE bool is_wanted (const field_t *field) { return field && field->slot != SLOT_NONE; }

/* A list or a map that is wanted, or a word. */
static inline const char *read_other (scanner_t *self, const char *p, value_t *value) {
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

/* ---- the member ---- */

/* A name and its colon; `*field` is the one it names, or NULL. `names` counts them in a record that is
 * kept. */
ALWAYS_INLINE const char *read_name (scanner_t *self, const fields_t *fields, const char *p, field_t *last,
                                     field_t **field, names_t *names) {
    char *mark = self->out;
    value_t name;
    *field = last->then;
    bool is_expected = field_is_at (*field, p);
    if (likely (is_expected)) {
        name = value_text ((*field)->name, (*field)->name_size);
        p += (*field)->spelled;
    } else {
        if (unlikely (!(p = scan_string (self, p + 1, &name))))
            return NULL;
        *field = fields_meet (fields, &name, last);
    }
    if (!names) {
        self->out = mark;
    } else {
        names_add (names, name.p, name.size);
        if (unlikely (!put_text (self, &name)))
            return NULL;
    }
    if (unlikely (!is_expected)) {
        p = scan_to (self, p, ':');
        if (unlikely (*p++ != ':'))
            return scan_refuse (self, p - 1, "':'");
    }
    return scan_space (self, p);
}

/* One member, or the end of a record without any: from behind '{' or ',' to behind ',' or '}'; *last becomes the
 * member's field, NULL behind '}'. Without `names` only what is wanted is read, else all is packed and counted. */
ALWAYS_INLINE const char *read_member (scanner_t *self, const fields_t *fields, const char *p, value_t *row,
                                       names_t *names, uint32_t *count, field_t **last) {
    bool is_first = p[-1] == '{';
    field_t *field;
    p = scan_to (self, p, '"');
    if (unlikely (*p != '"')) {
        if (!is_first || *p != '}')
            return scan_refuse (self, p, "a name in quotes");
        *last = NULL;
        return p + 1;
    }
    if (unlikely (!(p = read_name (self, fields, p, *last, &field, names))))
        return NULL;
    value_t kept;
    if (names)
        p = keep_value (self, p, &kept);
    else
        p = likely (is_wanted (field)) ? read_value (self, p, &row[field->slot]) : skip_value (self, p);
    if (unlikely (!p))
        return NULL;
    if (field) {
        *last = field;
        if (names && is_wanted (field))
            row[field->slot] = kept;
    }
    ++*count;
    p = scan_to (self, p, ',');
    if (likely (*p == ','))
        return p + 1;
    *last = NULL;
    return likely (*p == '}') ? p + 1 : scan_refuse (self, p, "',' or '}'");
}
#endif
