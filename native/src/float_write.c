/* float_write.c: the shortest decimal text that reads back as the same double, nearest to it where several
 * are.
 *
 * Most floats that people send have few digits: those are found by one multiplication and checked by one
 * division. The rest go by the Schubfach method (Raffaele Giulietti, "The Schubfach way to render
 * doubles", 2021). The doubles' rounding interval around v = c × 2^q is [l, u]; for k = floor (log10 (u -
 * l)) the grid 10^k has at least one point in it and 10^(k+1) at most one. So at most four candidates are
 * compared, on integers scaled by 4 × 10^-k, whose inexactness is kept in a sticky lowest bit. */
#include "number.h"

#include <assert.h>

#include "decimal.h"

__extension__ typedef unsigned __int128 wide_t;

enum { FRACTION_BITS = 52, EXPONENT_BIAS = 1075 /* of c × 2^q with an integer c */ };
/* Python's repr: without an exponent for 1e-4 ≤ v < 1e16. */
enum { POINT_MIN = -3, POINT_MAX = 16 };

typedef struct decimal {
    uint64_t digits;
    int exponent;
} decimal_t;

static inline int power_log10_irregular (int e) { return (e * 1262611 - 524031) >> 22; } /* of 3/4 × 2^e */

/* floor (power × factor / 2^128), the lowest bit set when anything was cut off. The power is rounded up, so a
 * remainder of one unit is none. */
static inline uint64_t scaled (power_t power, uint64_t factor) {
    wide_t low = (wide_t) power.low * factor;
    wide_t high = (wide_t) power.high * factor + (uint64_t) (low >> 64);
    return (uint64_t) (high >> 64) | ((uint64_t) high > 1);
}

static decimal_t shortest (uint64_t fraction, int biased) {
    uint64_t c = biased ? fraction | (uint64_t) 1 << FRACTION_BITS : fraction;
    int q = (biased ? biased : 1) - EXPONENT_BIAS;
    /* Below a power of two the neighbour is half as far away. */
    bool is_irregular = fraction == 0 && biased > 1;
    int k = is_irregular ? power_log10_irregular (q) : power_log10 (q);
    int shift = q + power_log2 (-k) + 1;
    assert (shift >= 1 && shift <= 4);

    power_t power = power_of_ten (-k);
    bool is_odd = c & 1; /* reading rounds ties to even: the ends belong to an even c */
    uint64_t lower = scaled (power, (4 * c - 2 + is_irregular) << shift) + is_odd;
    uint64_t value = scaled (power, (4 * c) << shift);
    uint64_t upper = scaled (power, (4 * c + 2) << shift) - is_odd;

    uint64_t s = value / 4;
    if (s >= 10) {
        uint64_t ten = s / 10;
        bool is_below = lower <= 40 * ten, is_above = 40 * ten + 40 <= upper;
        if (is_below != is_above)
            return (decimal_t){ten + is_above, k + 1};
    }
    bool is_below = lower <= 4 * s, is_above = 4 * s + 4 <= upper;
    if (is_below != is_above)
        return (decimal_t){s + is_above, k};
    uint64_t middle = 4 * s + 2;
    return (decimal_t){s + (value > middle || (value == middle && (s & 1))), k};
}

static char *put_zeros (char *p, int count) {
    for (int i = 0; i < count; i++)
        *p++ = '0';
    return p;
}

static char *put_exponent (char *p, int exponent) {
    *p++ = 'e';
    *p++ = exponent < 0 ? '-' : '+';
    uint32_t size = (uint32_t) (exponent < 0 ? -exponent : exponent);
    if (size < 10)
        *p++ = '0';
    return p + digits_write (p, size);
}

/* As Python's repr lays the digits out. */
static char *put_decimal (char *p, decimal_t decimal) {
    while (decimal.digits % 10 == 0) {
        decimal.digits /= 10;
        decimal.exponent++;
    }
    char digits[20];
    int count = (int) digits_write (digits, decimal.digits);
    int point = count + decimal.exponent; /* the decimal point stands behind so many digits */
    if (point < POINT_MIN || point > POINT_MAX) {
        *p++ = digits[0];
        if (count > 1) {
            *p++ = '.';
            memcpy (p, digits + 1, (size_t) count - 1);
            p += count - 1;
        }
        return put_exponent (p, point - 1);
    }
    if (point <= 0) {
        *p++ = '0';
        *p++ = '.';
        p = put_zeros (p, -point);
        memcpy (p, digits, (size_t) count);
        return p + count;
    }
    int whole = count < point ? count : point;
    memcpy (p, digits, (size_t) whole);
    p = put_zeros (p + whole, point - whole);
    *p++ = '.';
    if (count == whole)
        *p++ = '0';
    memcpy (p, digits + whole, (size_t) (count - whole));
    return p + (count - whole);
}

/* Six decimal places, when they say it all. No two decimals of at most 15 digits are the same double, so what
 * reads back equal is the shortest. `value` is from 0.001 to 1e9, or 0. NULL when it needs more places. */
static inline char *put_short (char *p, double value) {
    enum { PLACES = 1000000 };
    uint64_t digits = (uint64_t) (value * PLACES + 0.5);
    if ((double) digits / PLACES != value)
        return NULL;
    uint64_t whole = digits / PLACES;
    uint32_t rest = (uint32_t) (digits - whole * PLACES);
    p += digits_write (p, whole);
    *p++ = '.';
    memcpy (p, DIGIT_PAIRS + 2 * (rest / 10000), 2);
    memcpy (p + 2, DIGIT_PAIRS + 2 * (rest / 100 % 100), 2);
    memcpy (p + 4, DIGIT_PAIRS + 2 * (rest % 100), 2);
    for (p += 6; p[-1] == '0' && p[-2] != '.'; p--)
        ;
    return p;
}

uint32_t number_write_float (char *out, double value) {
    uint64_t bits;
    memcpy (&bits, &value, sizeof bits);
    char *p = out;
    if (bits >> 63) {
        *p++ = '-';
        value = -value;
    }
    if ((value >= 1e-3 && value < 1e9) || value == 0) {
        char *end = put_short (p, value);
        if (likely (end))
            return (uint32_t) (end - out);
    }
    uint64_t fraction = bits & (((uint64_t) 1 << FRACTION_BITS) - 1);
    int biased = (int) (bits >> FRACTION_BITS) & 0x7ff;
    assert (biased < 0x7ff); /* finite only */
    p = put_decimal (p, shortest (fraction, biased));
    return (uint32_t) (p - out);
}
