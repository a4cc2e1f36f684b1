/* json_decode.c: one JSON object to a row.
 *
 * What makes it fast: the order of the names is learnt from the records themselves, so that a name that comes as
 * expected is one or two compares of eight bytes, quotes and colon included; members that are written as nearly all
 * are (json_plain.h) are read without asking where the message ends; strings are looked at eight bytes at a time. */
#include "decode.h"
#include "json_member.h"

/* ---- records of which some fields are wanted ---- */

/* Members from `p` on as long as they are plain; *last as read_member leaves it. */
ALWAYS_INLINE const char *read_plain (const char *p, value_t *row, field_t **last) {
    field_t *before = *last;
    const char *first = p;
    for (;;) {
        field_t *field = before->then;
        APART (p);
        if (unlikely (!field_is_at (field, p)))
            break;
        p += field->spelled;
        if (unlikely (*p == ' '))
            p++;
        p = likely (is_wanted (field)) ? plain_value (p, &row[field->slot]) : plain_pass (p);
        if (unlikely (!p))
            break;
        if (unlikely (*p != ',')) {
            before = *p == '}' ? NULL : before;
            first = *p == '}' ? p + 1 : first;
            break;
        }
        if (unlikely (*++p == ' '))
            p++;
        before = field;
        first = p;
    }
    *last = before;
    return first;
}

/* The same, where a call is no matter. */
static __attribute__ ((noinline)) const char *read_more_plain (const char *p, value_t *row, field_t **last) {
    return read_plain (p, row, last);
}

/* What read_plain has left, member by member, up to behind '}'. */
static const char *read_wanted (scanner_t *self, const fields_t *fields, const char *p, value_t *row,
                                field_t *last) {
    uint32_t count = 0;
    while (last && p) {
        p = read_member (self, fields, p, row, NULL, &count, &last);
        if (last && p)
            p = read_more_plain (p, row, &last);
    }
    return p;
}

/* ---- the message ---- */

/* What has not been read yet: from `p` on, where `last` is the field before, or NULL behind '}'. Nothing has been read
 * as long as `p` is the first byte. */
static bool read_rest (scanner_t *self, const fields_t *fields, const char *p, field_t *last, value_t *row) {
    if (p == self->text) {
        p = scan_to (self, p, '{');
        if (unlikely (*p != '{'))
            return scan_refuse (self, p, "an object");
        p++;
    }
    if (last)
        p = fields->rest_slot == SLOT_NONE ? read_wanted (self, fields, p, row, last)
                                           : read_whole (self, fields, p, row, last);
    if (unlikely (!p))
        return false;
    if (unlikely (p != self->end))
        p = scan_space (self, p);
    return likely (p == self->end) || scan_refuse (self, p, "the end of the record");
}

/* All that is not plain, up to the end of the message. A newline or another control byte behind it stops everything as
 * it is: mostly nothing is written. */
static bool finish_message (const fields_t *fields, char *text, uint32_t size, const char *p, field_t *last,
                            value_t *row, arena_t *scratch, fault_t *fault) {
    scanner_t scanner = {.text = text, .end = text + size, .scratch = scratch, .fault = fault};
    scanner.out = scratch->base + scratch->used;
    scanner.out_end = scratch->base + (scratch->size > ARENA_SLACK ? scratch->size - ARENA_SLACK : 0);
    if (unlikely (scanner.out_end < scanner.out))
        scanner.out_end = scanner.out;
    bool is_decoded = read_rest (&scanner, fields, p, last, row);
    scratch->used = (size_t) (scanner.out - scratch->base);
    return is_decoded;
}

bool json_decode (const fields_t *fields, char *text, uint32_t size, value_t *row, arena_t *scratch,
                  fault_t *fault) {
    field_t *last = &fields->items[fields->count];
    char behind = text[size];
    if (unlikely ((unsigned char) behind >= ' '))
        text[size] = '\n';
    const char *p = text;
    fields_clear (fields, row);
    if (likely (*text == '{') && fields->rest_slot == SLOT_NONE)
        p = read_more_plain (text + 1, row, &last);
    bool is_decoded =
        (!last && p == text + size) || finish_message (fields, text, size, p, last, row, scratch, fault);
    if (unlikely ((unsigned char) behind >= ' '))
        text[size] = behind;
    return is_decoded;
}

enum decoded json_decode_line (const fields_t *fields, char *text, const char *end, uint32_t *size,
                               value_t *row, arena_t *scratch, fault_t *fault) {
    if (unlikely (*text != '{'))
        return DECODED_NOTHING;
    field_t *last = &fields->items[fields->count];
    fields_clear (fields, row);
    const char *p = read_plain (text + 1, row, &last), *stop = p;
    if (likely (!last && p < end && *p == '\n')) {
        *size = (uint32_t) (p - text);
        return DECODED_ROW;
    }
    if (p >= end || !(stop = memchr (p, '\n', (size_t) (end - p))))
        return DECODED_NOTHING;
    *size = (uint32_t) (stop - text - (stop[-1] == '\r'));
    return finish_message (fields, text, *size, p, last, row, scratch, fault) ? DECODED_ROW : DECODED_FAULT;
}
