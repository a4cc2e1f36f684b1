/* machine_convert.c: int, float and bool of other values. */
#include <math.h>

#include "machine_call.h"
#include "number.h"

/* A text without the white space around it. */
static value_t trimmed (const value_t *text) {
    const char *p = text->p, *end = text->p + text->size;
    while (p < end && is_ascii_space (*p))
        p++;
    while (p < end && is_ascii_space (end[-1]))
        end--;
    return value_text (p, (uint32_t) (end - p));
}

static bool is_digit (char byte) { return (unsigned char) byte - (unsigned) '0' <= 9; }

/* The text in a message; a long one is cut by the message's own size. */
static bool not_a_number (machine_t *self, const instruction_t *i, const value_t *text) {
    return fault_set (self->fault, REASON_EXPRESSION, "%s: no number: '%.*s'", machine_name (i),
                      (int) (text->size < 100 ? text->size : 100), text->p);
}

static bool int_of_text (machine_t *self, const instruction_t *i, const value_t *text, value_t *out) {
    value_t word = trimmed (text);
    const char *p = word.p, *end = word.p + word.size;
    bool is_negative = p < end && *p == '-';
    p += p < end && (*p == '-' || *p == '+');
    if (p == end)
        return not_a_number (self, i, text);
    bool fits = true;
    int64_t value = 0; /* kept negative: there is one more of these */
    for (; p < end; p++) {
        if (!is_digit (*p))
            return not_a_number (self, i, text);
        fits = fits && !__builtin_mul_overflow (value, 10, &value) &&
               !__builtin_sub_overflow (value, *p - '0', &value);
    }
    if (!fits || (!is_negative && value == INT64_MIN))
        return machine_fail (self, i, "the number does not fit 64 bits");
    *out = value_int (is_negative ? value : -value);
    return true;
}

bool call_int (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *x = machine_argument (self, i, 0);
    switch (x->tag) {
    case TAG_BOOL:
    case TAG_INT:
    case TAG_TIME: *out = value_int (x->i); return true;
    case TAG_FLOAT:
        if (!(x->f >= -0x1p63 && x->f < 0x1p63))
            return machine_fail (self, i, isnan (x->f) ? "NaN is no int" : "the number does not fit 64 bits");
        *out = value_int ((int64_t) x->f);
        return true;
    case TAG_STR: return int_of_text (self, i, x, out);
    default: return machine_refuse (self, i, "a number, a bool, a text or a time");
    }
}

/* "inf", "infinity", "nan", in any case. */
static bool special_of_word (const char *p, uint32_t size, double *value) {
    static const char *const WORDS[] = {"inf", "infinity", "nan"};
    for (uint32_t n = 0; n < 3; n++) {
        if (strlen (WORDS[n]) != size)
            continue;
        uint32_t at = 0;
        while (at < size && (p[at] | 0x20) == WORDS[n][at])
            at++;
        if (at == size) {
            *value = n == 2 ? (double) NAN : (double) INFINITY;
            return true;
        }
    }
    return false;
}

static const char *copy_digits (const char *p, const char *end, char **to) {
    while (p < end && is_digit (*p))
        *(*to)++ = *p++;
    return p;
}

/* Python's forms of a number without a sign (".5", "007", "5.") in JSON's, closed with zeros; false for others. */
static bool normal_form (const char *p, const char *end, char *to) {
    const char *start = p;
    while (p < end && *p == '0' && end - p > 1 && is_digit (p[1]))
        p++;
    bool has_digits = p < end && is_digit (*p);
    if (!has_digits)
        *to++ = '0';
    p = copy_digits (p, end, &to);
    if (p < end && *p == '.') {
        const char *fraction = ++p;
        *to++ = '.';
        p = copy_digits (p, end, &to);
        has_digits |= p > fraction;
        if (p == fraction)
            *to++ = '0';
    }
    if (has_digits && p < end && (*p | 0x20) == 'e') {
        *to++ = *p++;
        if (p < end && (*p == '-' || *p == '+'))
            *to++ = *p++;
        const char *exponent = p;
        p = copy_digits (p, end, &to);
        has_digits = p > exponent;
    }
    memset (to, 0, 16);
    return has_digits && p == end && p > start;
}

static bool float_of_text (machine_t *self, const instruction_t *i, const value_t *text, value_t *out) {
    value_t word = trimmed (text), value;
    const char *p = word.p, *end = word.p + word.size;
    bool is_negative = p < end && *p == '-';
    p += p < end && (*p == '-' || *p == '+');
    double special;
    if (special_of_word (p, (uint32_t) (end - p), &special)) {
        *out = value_float (is_negative ? -special : special);
        return true;
    }
    size_t mark = arena_mark (self->scratch);
    char *form = arena_take (self->scratch, (size_t) (end - p) + 20);
    if (!form)
        return machine_full (self, i);
    if (!normal_form (p, end, form))
        return not_a_number (self, i, text);
    double number = number_read (form, &value) ? value_as_float (&value) : (double) INFINITY;
    arena_release (self->scratch, mark);
    *out = value_float (is_negative ? -number : number);
    return true;
}

bool call_float (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *x = machine_argument (self, i, 0);
    switch (x->tag) {
    case TAG_BOOL:
    case TAG_INT: *out = value_float ((double) x->i); return true;
    case TAG_FLOAT: *out = *x; return true;
    case TAG_STR: return float_of_text (self, i, x, out);
    default: return machine_refuse (self, i, "a number, a bool or a text");
    }
}

bool call_bool (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *x = machine_argument (self, i, 0);
    uint32_t count;
    switch (x->tag) {
    case TAG_BOOL:
    case TAG_INT: *out = value_bool (x->i != 0); return true;
    case TAG_FLOAT: *out = value_bool (x->f != 0.0); return true;
    case TAG_STR:
    case TAG_BYTES: *out = value_bool (x->size != 0); return true;
    case TAG_LIST:
    case TAG_MAP:
        pack_open (x, &count);
        *out = value_bool (count != 0);
        return true;
    default: return machine_refuse (self, i, "anything but a time");
    }
}
