/* template_encode.c: records as text, `{word} => {count}`.
 *
 * `{name}` stands for a field's value: str as it is, null and missing as `null`, lists and maps as JSON,
 * bytes as base64; `{{` and `}}` for a brace. What a value holds is written as it is, newlines too: a
 * template is for people and for simple receivers; a receiver that must tell records apart takes a format
 * that escapes. */
#include <stdlib.h>

#include "codecs.h"

/* Some text, and the field behind it. */
typedef struct part {
    const char *text;
    uint32_t text_size;
    const char *name; /* NULL: only text */
    uint32_t name_size;
    uint32_t hint;
} part_t;

struct template {
    char *text; /* the parts point into it */
    part_t *parts;
    uint32_t count;
};

/* Copy literal text up to the next field, braces undoubled, to *to. Returns the opening brace of that
 * field, or the end; NULL for a closing brace that stands alone. */
static const char *take_literal (const char *p, const char *end, char **to) {
    while (p < end) {
        bool is_brace = *p == '{' || *p == '}';
        bool is_double = is_brace && p + 1 < end && p[1] == *p;
        if (is_brace && !is_double)
            return *p == '{' ? p : NULL;
        *(*to)++ = *p;
        p += is_double ? 2 : 1;
    }
    return p;
}

/* `p` is an opening brace. Returns what follows the closing one; NULL for a name that is empty or has no
 * end. */
static const char *take_name (const char *p, const char *end, part_t *part, char **to) {
    const char *stop = memchr (p, '}', (size_t) (end - p));
    if (stop == NULL || stop == p + 1 || memchr (p + 1, '{', (size_t) (stop - p - 1)) != NULL)
        return NULL;
    part->name = *to;
    part->name_size = (uint32_t) (stop - p - 1);
    memcpy (*to, p + 1, part->name_size);
    *to += part->name_size;
    return stop + 1;
}

static bool template_parse (template_t *self, const char *p, const char *end) {
    char *to = self->text;
    while (p < end) {
        part_t *part = &self->parts[self->count++];
        part->text = to;
        p = take_literal (p, end, &to);
        if (p == NULL)
            return false;
        part->text_size = (uint32_t) (to - part->text);
        if (p < end)
            p = take_name (p, end, part, &to);
        if (p == NULL)
            return false;
    }
    return true;
}

template_t *template_new (const char *text, uint32_t size, fault_t *fault) {
    uint32_t fields = 0;
    for (uint32_t i = 0; i < size; i++)
        fields += text[i] == '{';
    template_t *self = calloc (1, sizeof *self);
    if (self != NULL) {
        self->text = malloc ((size_t) size + 1);
        self->parts = calloc ((size_t) fields + 1, sizeof *self->parts);
    }
    if (self == NULL || self->text == NULL || self->parts == NULL) {
        fault_set (fault, REASON_LIMIT, "no memory for a template");
        template_destroy (&self);
    } else if (!template_parse (self, text, text + size)) {
        fault_set (fault, REASON_ENCODE,
                   "a template's fields are {name}; a brace itself is doubled, {{ or }}");
        template_destroy (&self);
    }
    return self;
}

void template_destroy (template_t **self_p) {
    template_t *self = *self_p;
    if (self == NULL)
        return;
    free (self->text);
    free (self->parts);
    free (self);
    *self_p = NULL;
}

bool template_write (template_t *self, const layout_t *layout, const value_t *row, buffer_t *out,
                     uint64_t *nans, fault_t *fault) {
    for (part_t *part = self->parts; part < self->parts + self->count; part++) {
        if (!buffer_put (out, part->text, part->text_size))
            return fault_full (out, fault);
        if (part->name == NULL)
            continue;
        value_t value = record_field (layout, row, part->name, part->name_size, &part->hint);
        if (!value_write_plain (&value, layout->unit, out, nans))
            return fault_set (fault, REASON_ENCODE, "field %.*s cannot be written as text",
                              (int) part->name_size, part->name);
    }
    return true;
}
