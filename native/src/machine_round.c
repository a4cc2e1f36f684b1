/* machine_round.c: round, and digits after the point, correct to the last one. */
#include <math.h>
#include <stdio.h>

#include "machine_call.h"
#include "number.h"

__extension__ typedef unsigned __int128 wide_t;

enum {
    EXACT_POWER_MAX = 22 /* of ten, as a double */,
    DIGITS_OF_INT = 19 /* 10^19 fits 64 bits, 10^20 is beyond every int twice over */,
    DIGITS_OF_FLOAT = 323
};

static const double POWERS[EXACT_POWER_MAX + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                   1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                                   1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* x × 10^digits to the nearest whole number, halves to even, decided exactly: near a half, the product's rounding
 * error is taken from fma. False when the product is too large for that. */
static bool round_scaled (double x, uint32_t digits, double *whole) {
    double product = x * POWERS[digits];
    if (!(fabs (product) < 0x1p52))
        return false;
    double below = (double) (int64_t) product;
    below -= below > product;
    double above_half = product - below - 0.5;
    if (fabs (above_half) <= fabs (product) * 0x1p-52)
        above_half += fma (x, POWERS[digits], -product);
    if (above_half == 0.0)
        *whole = fmod (below, 2.0) == 0.0 ? below : below + 1.0;
    else
        *whole = above_half > 0 ? below + 1.0 : below;
    return true;
}

/* An integer value (beyond 2^53, so all its digits are written) rounded to 10^places, halves to even, as text. */
static uint32_t round_digits (char *text, uint32_t size, uint32_t places) {
    uint32_t first = text[0] == '-', cut = size - places;
    if (places > size - first) {
        text[first] = '0';
        return first + 1;
    }
    bool is_odd = cut > first && (text[cut - 1] & 1);
    bool has_rest = false;
    for (uint32_t at = cut + 1; at < size; at++)
        has_rest |= text[at] != '0';
    bool is_up = text[cut] > '5' || (text[cut] == '5' && (has_rest || is_odd));
    memset (text + cut, '0', places);
    for (uint32_t at = cut; is_up && at > first; at--) {
        is_up = text[at - 1] == '9';
        text[at - 1] = is_up ? '0' : (char) (text[at - 1] + 1);
    }
    if (is_up) { /* all nines: one digit more */
        memmove (text + first + 1, text + first, size - first);
        text[first] = '1';
        size++;
    }
    return text[first] == '0' ? first + 1 : size;
}

/* The general way: through the exact decimal digits. */
static bool round_slow (machine_t *self, const instruction_t *i, double x, int64_t digits, value_t *out) {
    char text[FIXED_TEXT_MAX + 16];
    uint32_t size = number_write_fixed (text, x, digits > 0 ? (uint32_t) digits : 0);
    if (digits < 0)
        size = round_digits (text, size, (uint32_t) -digits);
    memset (text + size, 0, 8);
    value_t value;
    if (!number_read (text + (text[0] == '-'), &value))
        return machine_fail (self, i, "the result is too large for a float");
    *out = value_float (copysign (value_as_float (&value), x));
    return true;
}

/* Below 2^63, to the left of the point: whole and fraction are separate and exact. */
static double round_left (double x, uint32_t places) {
    uint64_t whole = (uint64_t) fabs (x), unit = 1;
    bool has_fraction = fabs (x) != (double) whole;
    for (uint32_t n = 0; n < places; n++)
        unit *= 10;
    uint64_t count = whole / unit, rest = whole % unit, half = unit / 2;
    count += rest > half || (rest == half && (has_fraction || count & 1));
    return copysign ((double) ((wide_t) count * unit), x);
}

static bool round_float (machine_t *self, const instruction_t *i, double x, int64_t digits, value_t *out) {
    double whole;
    *out = value_float (x);
    if (!isfinite (x) || x == 0.0 || digits > DIGITS_OF_FLOAT || (digits >= 0 && fabs (x) >= 0x1p52))
        return true;
    if (digits >= 0 && digits <= EXACT_POWER_MAX && round_scaled (x, (uint32_t) digits, &whole)) {
        *out = value_float (copysign (fabs (whole) / POWERS[digits], x));
        return true;
    }
    bool is_int = fabs (x) < 0x1p63;
    if (digits < (is_int ? -DIGITS_OF_INT : -DIGITS_OF_FLOAT)) {
        *out = value_float (copysign (0.0, x));
        return true;
    }
    if (digits < 0 && is_int) {
        *out = value_float (round_left (x, (uint32_t) -digits));
        return true;
    }
    return round_slow (self, i, x, digits, out);
}

/* To tens, hundreds, …: halves to even. */
static bool round_int (machine_t *self, const instruction_t *i, int64_t x, int64_t digits, value_t *out) {
    *out = value_int (x);
    if (digits >= 0)
        return true;
    *out = value_int (0);
    if (digits < -DIGITS_OF_INT)
        return true;
    wide_t unit = 1, whole = x < 0 ? 0 - (uint64_t) x : (uint64_t) x;
    for (int64_t n = digits; n < 0; n++)
        unit *= 10;
    wide_t count = whole / unit, rest = whole % unit;
    count += 2 * rest > unit || (2 * rest == unit && count & 1);
    wide_t result = count * unit;
    if (result > (wide_t) INT64_MAX + (x < 0))
        return machine_fail (self, i, "the result does not fit 64 bits");
    *out = value_int (x < 0 ? (int64_t) (0 - (uint64_t) result) : (int64_t) result);
    return true;
}

bool call_round (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *x = machine_argument (self, i, 0), *digits = machine_argument (self, i, 1);
    if (!value_is_number (x) || (i->count == 2 && digits->tag != TAG_INT))
        return machine_refuse (self, i, "a number, and an int of digits");
    if (i->count == 2)
        return x->tag == TAG_INT ? round_int (self, i, x->i, digits->i, out)
                                 : round_float (self, i, x->f, digits->i, out);
    *out = *x;
    return x->tag == TAG_INT || machine_whole (self, i, rint (x->f), out);
}

uint32_t number_write_fixed (char *out, double value, uint32_t precision) {
    if (precision > FIXED_PRECISION_MAX)
        precision = FIXED_PRECISION_MAX;
    int size = snprintf (out, FIXED_TEXT_MAX, "%.*f", (int) precision, value);
    if (precision == 0)
        return (uint32_t) size;
    /* A locale may have another sign, of several bytes, where we write a point. */
    uint32_t whole = signbit (value) != 0;
    while ((unsigned char) out[whole] - (unsigned) '0' <= 9)
        whole++;
    memmove (out + whole + 1, out + (uint32_t) size - precision, precision);
    out[whole] = '.';
    return whole + 1 + precision;
}
