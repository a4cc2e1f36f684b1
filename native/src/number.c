/* number.c: numbers from text, exactly.
 *
 * Three ways, each right by itself: one multiplication or division when both operands are exact doubles
 * (number_read.h); else a product of the digits with a 128-bit power of ten, taken only when its known
 * error cannot change how it rounds; else the C library, under the "C" locale. */
#include "number.h"

#include <assert.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "number_read.h"

__extension__ typedef unsigned __int128 wide_t;

enum { EXPONENT_MAX = 99999, FRACTION_BITS = 52, BIASED_INFINITY = 2047 };

const double EXACT_POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                               1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* mantissa × 10^exponent by one 64 × 128 bit product. False when that cannot decide, or at the ends of the
 * range.
 *
 * The power is rounded up by less than one unit, and the product's lowest 64 bits are cut off: the true
 * value lies within one unit of `top` on either side. Rounding to 53 bits can only be in doubt near the
 * middle of two doubles. */
static bool scale (uint64_t mantissa, int exponent, double *value) {
    if (mantissa == 0 || exponent < POWER_MIN || exponent > POWER_MAX)
        return false;
    power_t power = power_of_ten (exponent);
    int shift = __builtin_clzll (mantissa);
    mantissa <<= shift;
    wide_t top = (wide_t) mantissa * power.high + (((wide_t) mantissa * power.low) >> 64);
    int dropped = 74 + (int) (top >> 127);
    wide_t rest = top & (((wide_t) 1 << dropped) - 1), half = (wide_t) 1 << (dropped - 1);
    if (rest + 1 >= half && rest <= half + 1)
        return false;
    const uint64_t hidden = (uint64_t) 1 << FRACTION_BITS;
    uint64_t bits = (uint64_t) (top >> dropped) + (rest > half);
    int biased = power_log2 (exponent) - 127 + 64 - shift + dropped + FRACTION_BITS + 1023;
    if (bits == 2 * hidden) {
        bits = hidden;
        biased++;
    }
    if (biased <= 0 || biased >= BIASED_INFINITY)
        return false;
    bits = (bits - hidden) | (uint64_t) biased << FRACTION_BITS;
    memcpy (value, &bits, sizeof bits);
    return true;
}

static locale_t c_locale;
static void make_c_locale (void) { c_locale = newlocale (LC_ALL_MASK, "C", NULL); }

/* A number from `first` to `end`, whose shape was checked: the byte at `end` stops the library, too. */
static __attribute__ ((cold)) double library_read (const char *first, const char *end) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once (&once, make_c_locale);
    assert (c_locale); /* the C library has this one built in */
    char *stop;
    double value = strtod_l (first, &stop, c_locale);
    assert (stop == end);
    (void) end;
    return value;
}

const char *number_read_float (const char *first, const char *end, uint64_t mantissa, uint64_t count,
                               int exponent, value_t *out) {
    double value = 0.0;
    bool is_whole = count <= DIGITS_MAX; /* the mantissa is all of the digits */
    if (!is_whole || (mantissa != 0 && !scale (mantissa, exponent, &value))) {
        *out = value_float (library_read (first, end));
        return isinf (out->f) ? NULL : end;
    }
    *out = value_float (*first == '-' ? -value : value);
    return end;
}

const char *number_read_long (const char *first, const char *end, uint64_t mantissa, uint64_t count,
                              value_t *out) {
    bool is_negative = *first == '-';
    if (count == DIGITS_MAX && mantissa <= (uint64_t) INT64_MAX + is_negative) {
        *out = value_int ((int64_t) (is_negative ? 0 - mantissa : mantissa));
        return end;
    }
    return number_read_float (first, end, mantissa, count, 0, out);
}

const char *number_read_exponent (const char *p, int *exponent) {
    bool is_negative = *p == '-';
    p += is_negative || *p == '+';
    if (digit_at (p) > 9)
        return NULL;
    int value = 0;
    for (unsigned digit; (digit = digit_at (p)) <= 9; p++)
        if (value < EXPONENT_MAX)
            value = value * 10 + (int) digit;
    *exponent += is_negative ? -value : value;
    return p;
}

const char *number_read (const char *p, value_t *out) { return number_read_here (p, out); }

uint32_t number_write_int (char *out, int64_t value) {
    if (value >= 0)
        return digits_write (out, (uint64_t) value);
    *out = '-';
    return 1 + digits_write (out + 1, 0 - (uint64_t) value);
}
