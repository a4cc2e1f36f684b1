/* machine_arithmetic.c: sums, products, quotients and powers with Python's meanings, within 64 bits. */
#include <math.h>

#include "machine_call.h"

__extension__ typedef unsigned __int128 wide_t;

static bool overflow (machine_t *self, const instruction_t *i) {
    return machine_fail (self, i, "the result does not fit 64 bits");
}

static bool zero_division (machine_t *self, const instruction_t *i) {
    return machine_fail (self, i, "division by zero");
}

static bool is_exact (int64_t i) { return i >= -((int64_t) 1 << 53) && i <= (int64_t) 1 << 53; }

static uint64_t magnitude (int64_t i) { return i < 0 ? 0 - (uint64_t) i : (uint64_t) i; }

/* a / b rounded once. Where one of them is no exact double, the quotient is computed to at least 56 bits, with the
 * lowest standing for all that follow, and rounded by the conversion. */
static double quotient (int64_t a, int64_t b) {
    if ((is_exact (a) && is_exact (b)) || a == 0)
        return (double) a / (double) b;
    uint64_t top = magnitude (a), bottom = magnitude (b);
    int shift = 56 + __builtin_clzll (top) - __builtin_clzll (bottom);
    if (shift < 0)
        shift = 0;
    wide_t dividend = (wide_t) top << shift;
    uint64_t whole = (uint64_t) (dividend / bottom);
    whole |= dividend % bottom != 0;
    double value = ldexp ((double) whole, -shift);
    return (a < 0) != (b < 0) ? -value : value;
}

/* Floor division of floats as Python does it: the remainder is exact and has the divisor's sign, the quotient is
 * the whole number next to (a − remainder) / b. */
static double floor_quotient (double a, double b, double *remainder) {
    double rest = fmod (a, b);
    double ratio = (a - rest) / b;
    if (rest == 0.0) {
        rest = copysign (0.0, b);
    } else if ((rest < 0) != (b < 0)) {
        rest += b;
        ratio -= 1.0;
    }
    *remainder = rest;
    if (ratio == 0.0)
        return copysign (0.0, a / b);
    double whole = floor (ratio);
    return ratio - whole > 0.5 ? whole + 1.0 : whole;
}

static bool are_numbers (const value_t *a, const value_t *b) {
    return value_is_number (a) && value_is_number (b);
}

/* ---- sums ---- */

static bool concatenate (machine_t *self, const instruction_t *i, const value_t *a, const value_t *b,
                         value_t *out) {
    buffer_t text;
    if (!machine_write_begin (self, i, &text))
        return false;
    if (a->tag != TAG_LIST) {
        if (!buffer_put (&text, a->p, a->size) || !buffer_put (&text, b->p, b->size))
            return machine_full (self, i);
        return machine_write_value (self, &text, a->tag, out);
    }
    uint32_t count, other;
    const char *first = pack_open (a, &count), *second = pack_open (b, &other);
    if (!pack_write_list (&text, count + other) ||
        !buffer_put (&text, first, (size_t) (a->p + a->size - first)) ||
        !buffer_put (&text, second, (size_t) (b->p + b->size - second)))
        return machine_full (self, i);
    return machine_write_value (self, &text, TAG_LIST, out);
}

static bool sum_ints (uint8_t op, int64_t a, int64_t b, int64_t *sum) {
    if (op == OP_ADD)
        return !__builtin_add_overflow (a, b, sum);
    return op == OP_SUBTRACT ? !__builtin_sub_overflow (a, b, sum) : !__builtin_mul_overflow (a, b, sum);
}

/* Times: two have a difference; an int of microseconds moves one. */
static bool sum_times (machine_t *self, const instruction_t *i, const value_t *a, const value_t *b,
                       value_t *out) {
    bool is_difference = a->tag == TAG_TIME && b->tag == TAG_TIME && i->op == OP_SUBTRACT;
    bool is_moved = (a->tag == TAG_TIME && b->tag == TAG_INT && i->op != OP_MULTIPLY) ||
                    (a->tag == TAG_INT && b->tag == TAG_TIME && i->op == OP_ADD);
    int64_t sum;
    if (!is_difference && !is_moved)
        return machine_refuse (self, i, "two times (for -), or a time and an int of microseconds");
    if (!sum_ints (i->op, a->i, b->i, &sum))
        return overflow (self, i);
    *out = is_difference ? value_int (sum) : value_time (sum);
    return true;
}

static bool sum (machine_t *self, const instruction_t *i, const value_t *a, const value_t *b, value_t *out) {
    int64_t whole;
    if (a->tag == TAG_INT && b->tag == TAG_INT) {
        if (!sum_ints (i->op, a->i, b->i, &whole))
            return overflow (self, i);
        *out = value_int (whole);
        return true;
    }
    if (are_numbers (a, b)) {
        double x = value_as_float (a), y = value_as_float (b);
        *out = value_float (i->op == OP_ADD ? x + y : i->op == OP_SUBTRACT ? x - y : x * y);
        return true;
    }
    if (a->tag == TAG_TIME || b->tag == TAG_TIME)
        return sum_times (self, i, a, b, out);
    bool is_joined = i->op == OP_ADD && a->tag == b->tag;
    if (is_joined && (a->tag == TAG_STR || a->tag == TAG_BYTES || a->tag == TAG_LIST))
        return concatenate (self, i, a, b, out);
    return machine_refuse (self, i, i->op == OP_ADD ? "two numbers, texts, bytes or lists" : "two numbers");
}

bool machine_arithmetic (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *a = &self->row[i->a], *b = &self->row[i->b];
    if (value_is_null (a) || value_is_null (b))
        return true;
    if (i->op != OP_DIVIDE)
        return sum (self, i, a, b, out);
    if (!are_numbers (a, b))
        return machine_refuse (self, i, "two numbers");
    if (value_as_float (b) == 0.0)
        return zero_division (self, i);
    bool is_whole = a->tag == TAG_INT && b->tag == TAG_INT;
    *out = value_float (is_whole ? quotient (a->i, b->i) : value_as_float (a) / value_as_float (b));
    return true;
}

/* ---- floor division, remainder, power ---- */

/* `//` and `%` of two numbers: the quotient or the remainder. */
static bool divide_floor (machine_t *self, const instruction_t *i, bool is_quotient, value_t *out) {
    const value_t *a = machine_argument (self, i, 0), *b = machine_argument (self, i, 1);
    if (!are_numbers (a, b))
        return machine_refuse (self, i, "two numbers");
    if (value_as_float (b) == 0.0)
        return zero_division (self, i);
    if (a->tag == TAG_FLOAT || b->tag == TAG_FLOAT) {
        double remainder, whole = floor_quotient (value_as_float (a), value_as_float (b), &remainder);
        *out = value_float (is_quotient ? whole : remainder);
        return true;
    }
    if (b->i == -1) { /* the one division of ints that can overflow, and a trap in hardware */
        if (is_quotient && a->i == INT64_MIN)
            return overflow (self, i);
        *out = value_int (is_quotient ? -a->i : 0);
        return true;
    }
    int64_t whole = a->i / b->i, rest = a->i % b->i;
    bool is_below = rest != 0 && (rest < 0) != (b->i < 0);
    *out = value_int (is_quotient ? whole - is_below : rest + (is_below ? b->i : 0));
    return true;
}

bool call_floor_divide (machine_t *self, const instruction_t *i, value_t *out) {
    return divide_floor (self, i, true, out);
}

bool call_modulo (machine_t *self, const instruction_t *i, value_t *out) {
    return divide_floor (self, i, false, out);
}

static bool power_of_ints (int64_t base, uint64_t exponent, int64_t *power) {
    *power = 1;
    while (exponent) {
        if (exponent & 1 && __builtin_mul_overflow (*power, base, power))
            return false;
        exponent >>= 1;
        /* The square is needed only when a bit is left; for ±1 and 0 it never overflows. */
        if (exponent && __builtin_mul_overflow (base, base, &base))
            return false;
    }
    return true;
}

bool call_pow (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *a = machine_argument (self, i, 0), *b = machine_argument (self, i, 1);
    if (!are_numbers (a, b))
        return machine_refuse (self, i, "two numbers");
    if (a->tag == TAG_INT && b->tag == TAG_INT && b->i >= 0) {
        int64_t whole;
        if (!power_of_ints (a->i, (uint64_t) b->i, &whole))
            return overflow (self, i);
        *out = value_int (whole);
        return true;
    }
    double base = value_as_float (a), exponent = value_as_float (b);
    bool is_finite = isfinite (base) && isfinite (exponent);
    if (base == 0.0 && exponent < 0 && isfinite (exponent))
        return zero_division (self, i);
    if (base < 0 && is_finite && exponent != floor (exponent))
        return machine_fail (self, i, "a negative number has no such power");
    double power = pow (base, exponent);
    if (isinf (power) && is_finite)
        return machine_fail (self, i, "the result is too large for a float");
    *out = value_float (power);
    return true;
}

bool call_negate (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *a = machine_argument (self, i, 0);
    if (!value_is_number (a))
        return machine_refuse (self, i, "a number");
    if (a->tag == TAG_INT && a->i == INT64_MIN)
        return overflow (self, i);
    *out = a->tag == TAG_INT ? value_int (-a->i) : value_float (-a->f);
    return true;
}

bool call_plus (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *a = machine_argument (self, i, 0);
    if (!value_is_number (a))
        return machine_refuse (self, i, "a number");
    *out = *a;
    return true;
}
