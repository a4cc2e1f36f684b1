/* machine_time.c: the library's functions of time. All is UTC; parts and texts exist for the years 1 to 9999. */
#include <math.h>

#include "machine_call.h"
#include "number.h"

/* 0001-01-01T00:00:00 and 9999-12-31T23:59:59.999999. */
static const int64_t TIME_FIRST = -62135596800000000, TIME_LAST = 253402300799999999;

bool call_now (machine_t *self, const instruction_t *i, value_t *out) {
    (void) i;
    *out = value_time (self->now_us);
    return true;
}

/* `unit_ns` nanoseconds each: 1,000,000,000, 1,000,000, 1,000 or 1. */
static bool time_of_int (int64_t x, int64_t unit_ns, int64_t *us) {
    if (unit_ns >= 1000)
        return !__builtin_mul_overflow (x, unit_ns / 1000, us);
    *us = x / 1000 - (x % 1000 < 0);
    return true;
}

static bool time_of_float (double x, int64_t unit_ns, int64_t *us) {
    double value = rint (unit_ns >= 1000 ? x * (double) (unit_ns / 1000) : x / 1000.0);
    if (!(value >= -0x1p63 && value < 0x1p63))
        return false;
    *us = (int64_t) value;
    return true;
}

bool call_to_time (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *x = machine_argument (self, i, 0), *unit = machine_argument (self, i, 1);
    int64_t us;
    bool fits;
    if (unit->tag != TAG_INT)
        return machine_refuse (self, i, "a number or a text, and a unit");
    switch (x->tag) {
    case TAG_TIME: *out = *x; return true;
    case TAG_INT: fits = time_of_int (x->i, unit->i, &us); break;
    case TAG_FLOAT: fits = time_of_float (x->f, unit->i, &us); break;
    case TAG_STR:
        if (!time_read_rfc3339 (x->p, x->size, &us))
            return fault_set (self->fault, REASON_EXPRESSION,
                              "to_time(): not like 2026-01-02T03:04:05Z: '%.*s'",
                              (int) (x->size < 100 ? x->size : 100), x->p);
        fits = true;
        break;
    default: return machine_refuse (self, i, "a number, a text or a time, and a unit");
    }
    if (!fits)
        return machine_fail (self, i, "the time does not fit 64 bits of microseconds");
    *out = value_time (us);
    return true;
}

/* The calendar of the first argument. */
static bool calendar (machine_t *self, const instruction_t *i, civil_t *civil) {
    const value_t *time = machine_argument (self, i, 0);
    if (time->tag != TAG_TIME)
        return machine_refuse (self, i, "a time, as to_time() makes it");
    if (time->i < TIME_FIRST || time->i > TIME_LAST)
        return machine_fail (self, i, "the time is outside of the years 1 to 9999");
    *civil = civil_from_us (time->i);
    return true;
}

bool call_time_part (machine_t *self, const instruction_t *i, value_t *out) {
    civil_t civil = {0};
    if (!calendar (self, i, &civil))
        return false;
    int64_t part;
    switch (i->op) {
    case OP_YEAR: part = civil.year; break;
    case OP_MONTH: part = civil.month; break;
    case OP_DAY: part = civil.day; break;
    case OP_HOUR: part = civil.hour; break;
    case OP_MINUTE: part = civil.minute; break;
    case OP_SECOND: part = civil.second; break;
    default: part = civil.weekday;
    }
    *out = value_int (part);
    return true;
}

bool call_truncate_time (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *time = machine_argument (self, i, 0), *unit = machine_argument (self, i, 1);
    if (time->tag != TAG_TIME || unit->tag != TAG_INT || unit->i <= 0)
        return machine_refuse (self, i, "a time, as to_time() makes it, and a duration");
    int64_t rest = time->i % unit->i, start;
    if (rest < 0)
        rest += unit->i;
    if (__builtin_sub_overflow (time->i, rest, &start))
        return machine_fail (self, i, "the time does not fit 64 bits of microseconds");
    *out = value_time (start);
    return true;
}

/* ---- format_time ---- */

/* `value` in decimal with `count` digits. */
static bool put_digits (buffer_t *out, int64_t value, uint32_t count) {
    if (!buffer_room (out, count))
        return false;
    for (uint32_t at = count; at; at--) {
        out->data[out->size + at - 1] = (char) ('0' + value % 10);
        value /= 10;
    }
    out->size += count;
    return true;
}

static int64_t day_of_year (const civil_t *civil) {
    civil_t start = {.year = civil->year, .month = 1, .day = 1}, day = start;
    day.month = civil->month;
    day.day = civil->day;
    return (civil_to_us (&day) - civil_to_us (&start)) / 86400000000 + 1;
}

/* What `%letter` stands for; false when the text is full or the letter unknown. */
static bool put_part (buffer_t *out, const civil_t *civil, char letter) {
    switch (letter) {
    case 'Y': return put_digits (out, civil->year, 4);
    case 'y': return put_digits (out, civil->year % 100, 2);
    case 'm': return put_digits (out, civil->month, 2);
    case 'd': return put_digits (out, civil->day, 2);
    case 'H': return put_digits (out, civil->hour, 2);
    case 'M': return put_digits (out, civil->minute, 2);
    case 'S': return put_digits (out, civil->second, 2);
    case 'f': return put_digits (out, civil->microsecond, 6);
    case 'j': return put_digits (out, day_of_year (civil), 3);
    case '%': return buffer_put_byte (out, '%');
    default: return false;
    }
}

bool call_format_time (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *pattern = machine_argument (self, i, 1);
    civil_t civil = {0};
    buffer_t text;
    if (pattern->tag != TAG_STR)
        return machine_refuse (self, i, "a time and a pattern");
    if (!calendar (self, i, &civil) || !machine_write_begin (self, i, &text))
        return false;
    for (uint32_t at = 0; at < pattern->size; at++) {
        char byte = pattern->p[at];
        bool is_part = byte == '%' && at + 1 < pattern->size;
        if (is_part ? !put_part (&text, &civil, pattern->p[++at]) : !buffer_put_byte (&text, byte))
            return machine_full (self, i);
    }
    return machine_write_value (self, &text, TAG_STR, out);
}
