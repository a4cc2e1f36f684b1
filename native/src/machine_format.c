/* machine_format.c: values as text: str and format. */
#include <math.h>
#include <stdio.h>

#include "machine_call.h"
#include "number.h"

static bool write_float (double value, buffer_t *out) {
    if (isnan (value))
        return buffer_put (out, "nan", 3);
    if (isinf (value))
        return buffer_put (out, value < 0 ? "-inf" : "inf", value < 0 ? 4 : 3);
    if (!buffer_room (out, NUMBER_TEXT_MAX))
        return false;
    out->size += number_write_float (out->data + out->size, value);
    return true;
}

static bool write_time (machine_t *self, const instruction_t *i, int64_t us, buffer_t *out) {
    uint32_t size;
    if (!buffer_room (out, TIME_TEXT_MAX))
        return machine_full (self, i);
    if (!time_write_rfc3339 (out->data + out->size, us, &size))
        return machine_fail (self, i, "the time is outside of the years 1 to 9999");
    out->size += size;
    return true;
}

bool machine_write_str (machine_t *self, const instruction_t *i, const value_t *value, buffer_t *out) {
    bool is_room;
    switch (value->tag) {
    case TAG_BOOL: is_room = buffer_put (out, value->i ? "True" : "False", value->i ? 4 : 5); break;
    case TAG_INT:
        is_room = buffer_room (out, NUMBER_TEXT_MAX);
        if (is_room)
            out->size += number_write_int (out->data + out->size, value->i);
        break;
    case TAG_FLOAT: is_room = write_float (value->f, out); break;
    case TAG_TIME: return write_time (self, i, value->i, out);
    case TAG_BYTES:
        if (!utf8_valid (value->p, value->size))
            return machine_fail (self, i, "the bytes are not UTF-8");
        is_room = buffer_put (out, value->p, value->size);
        break;
    case TAG_STR: is_room = buffer_put (out, value->p, value->size); break;
    default:
        return fault_set (self->fault, REASON_EXPRESSION, "%s has no text for a %s", machine_name (i),
                          tag_name (value->tag));
    }
    return is_room || machine_full (self, i);
}

bool call_str (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *value = machine_argument (self, i, 0);
    buffer_t text;
    if (value->tag == TAG_STR) {
        *out = *value;
        return true;
    }
    if (!machine_write_begin (self, i, &text) || !machine_write_str (self, i, value, &text))
        return false;
    return machine_write_value (self, &text, TAG_STR, out);
}

/* ---- format ---- */

/* One place of a template: 0 (as it is), 'd', 'x', 'f', '0', '<', '>', and its number. */
typedef struct spec {
    char kind;
    uint32_t size;
} spec_t;

enum { WIDTH_MAX = 255 };

static const char *read_size (const char *p, const char *end, uint32_t *size) {
    for (*size = 0; p < end && (unsigned char) *p - (unsigned) '0' <= 9 && *size <= WIDTH_MAX; p++)
        *size = *size * 10 + (uint32_t) (*p - '0');
    return p;
}

/* The place whose '{' was at p - 1, up to its '}'. What follows, NULL when it is none. The templates of a flow were
 * checked when it was read; this trusts none all the same. */
static const char *read_spec (const char *p, const char *end, spec_t *spec) {
    *spec = (spec_t){0, 0};
    if (p < end && *p == ':')
        p++;
    if (p < end && (*p == 'd' || *p == 'x')) {
        spec->kind = *p++;
    } else if (p < end && *p == '.') {
        p = read_size (p + 1, end, &spec->size);
        spec->kind = 'f';
        if (p == end || *p++ != 'f')
            return NULL;
    } else if (p < end && *p == '0') {
        p = read_size (p + 1, end, &spec->size);
        spec->kind = '0';
        if (p == end || *p++ != 'd')
            return NULL;
    } else if (p < end && (*p == '<' || *p == '>')) {
        spec->kind = *p;
        p = read_size (p + 1, end, &spec->size);
    }
    return p < end && *p == '}' && spec->size <= WIDTH_MAX ? p + 1 : NULL;
}

static bool put_fill (buffer_t *out, char fill, uint32_t count) {
    if (!buffer_room (out, count))
        return false;
    memset (out->data + out->size, fill, count);
    out->size += count;
    return true;
}

/* A value's text with blanks before or after it, to `size` characters. */
static bool put_padded (machine_t *self, const instruction_t *i, const value_t *value, spec_t spec,
                        buffer_t *out) {
    size_t start = out->size;
    if (!machine_write_str (self, i, value, out))
        return false;
    value_t text = value_text (out->data + start, (uint32_t) (out->size - start));
    uint32_t count = text_count (&text), missing = count < spec.size ? spec.size - count : 0;
    if (!put_fill (out, ' ', missing))
        return machine_full (self, i);
    if (spec.kind == '>') {
        memmove (out->data + start + missing, out->data + start, text.size);
        memset (out->data + start, ' ', missing);
    }
    return true;
}

static bool put_int (machine_t *self, const instruction_t *i, const value_t *value, spec_t spec,
                     buffer_t *out) {
    if (value->tag != TAG_INT)
        return machine_fail (self, i, "{:d} and {:x} take an int");
    char digits[NUMBER_TEXT_MAX];
    bool is_negative = value->i < 0;
    unsigned long long size_of =
        is_negative ? 0 - (unsigned long long) value->i : (unsigned long long) value->i;
    uint32_t count = (uint32_t) snprintf (digits, sizeof digits, spec.kind == 'x' ? "%llx" : "%llu", size_of);
    uint32_t taken = count + is_negative, zeros = spec.size > taken ? spec.size - taken : 0;
    bool is_room = (!is_negative || buffer_put_byte (out, '-')) && put_fill (out, '0', zeros);
    return (is_room && buffer_put (out, digits, count)) || machine_full (self, i);
}

static bool put_fixed (machine_t *self, const instruction_t *i, const value_t *value, spec_t spec,
                       buffer_t *out) {
    if (!value_is_number (value))
        return machine_fail (self, i, "{:.2f} takes a number");
    double number = value_as_float (value);
    if (!isfinite (number))
        return write_float (number, out) || machine_full (self, i);
    if (!buffer_room (out, FIXED_TEXT_MAX))
        return machine_full (self, i);
    out->size += number_write_fixed (out->data + out->size, number, spec.size);
    return true;
}

static bool put_place (machine_t *self, const instruction_t *i, const value_t *value, spec_t spec,
                       buffer_t *out) {
    switch (spec.kind) {
    case 0: return machine_write_str (self, i, value, out);
    case 'f': return put_fixed (self, i, value, spec, out);
    case 'd':
    case '0':
    case 'x': return put_int (self, i, value, spec, out);
    default: return put_padded (self, i, value, spec, out);
    }
}

bool call_format (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *template = machine_argument (self, i, 0);
    buffer_t text;
    if (template->tag != TAG_STR)
        return machine_refuse (self, i, "a template");
    if (!machine_write_begin (self, i, &text))
        return false;
    const char *p = template->p, *end = p + template->size;
    unsigned used = 1;
    while (p < end) {
        char byte = *p++;
        bool is_twice = p < end && *p == byte;
        if (byte == '{' && !is_twice) {
            spec_t spec;
            if (!(p = read_spec (p, end, &spec)) || used == i->count)
                return machine_fail (self, i, "the template is malformed");
            if (!put_place (self, i, machine_argument (self, i, used++), spec, &text))
                return false;
            continue;
        }
        p += (byte == '{' || byte == '}') && is_twice;
        if (!buffer_put_byte (&text, byte))
            return machine_full (self, i);
    }
    return machine_write_value (self, &text, TAG_STR, out);
}
