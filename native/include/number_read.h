/* number_read.h: the common case of number_read (number.h), to be compiled into the decoders' loops. */
#ifndef BETTONG_NUMBER_READ_H
#define BETTONG_NUMBER_READ_H

#include "decimal.h"

enum { DIGITS_MAX = 19 /* always fit 64 bits */, EXACT_POWER_MAX = 22 };

extern const double EXACT_POWERS[EXACT_POWER_MAX + 1];

/* What the fast way leaves: `count` digits from `first` to `end`, whose value is `mantissa` when they are
 * at most DIGITS_MAX, times 10^exponent. NULL when that is infinite. */
const char *number_read_float (const char *first, const char *end, uint64_t mantissa, uint64_t count,
                               int exponent, value_t *out);
/* An integer of DIGITS_MAX digits or more: it may or may not fit 64 bits. */
const char *number_read_long (const char *first, const char *end, uint64_t mantissa, uint64_t count,
                              value_t *out);
/* "-7", behind the e: added to *exponent. What follows, NULL without a digit. */
const char *number_read_exponent (const char *p, int *exponent);

static inline unsigned digit_at (const char *p) { return (unsigned char) *p - (unsigned) '0'; }

/* Digits onto the end of *mantissa, which wraps around after DIGITS_MAX of them. One at a time: the
 * processor runs ahead along the loop, while looking at eight bytes at once makes all that follows wait
 * for their end. */
static inline const char *digits_read (const char *p, uint64_t *mantissa) {
    uint64_t value = *mantissa;
    for (unsigned digit; (digit = digit_at (p)) <= 9; p++)
        value = value * 10 + digit;
    *mantissa = value;
    return p;
}

/* Eight bytes, of which digits have become 0 to 9. */
static inline uint64_t digits_load (const char *p) { return load_u64 (p) ^ 0x3030303030303030u; }

/* Whether all of them are. A sum that runs over into its neighbour comes from a byte that is none. */
static inline bool digits_are_eight (uint64_t digits) {
    return (((digits + 0x7676767676767676u) | digits) & 0x8080808080808080u) == 0;
}

/* What they say: neighbours into pairs, pairs into fours, fours into one. */
static inline uint64_t digits_join (uint64_t digits) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    digits = __builtin_bswap64 (digits);
#endif
    digits = digits * (10 << 8 | 1) >> 8;
    digits = (digits & 0x00ff00ff00ff00ffu) * (100 << 16 | 1) >> 16;
    return (digits & 0x0000ffff0000ffffu) * ((uint64_t) 10000 << 32 | 1) >> 32;
}

static inline __attribute__ ((always_inline)) const char *number_read_here (const char *p, value_t *out) {
    const char *first = p;
    p += *p == '-';
    const char *digits = p;
    uint64_t mantissa = 0;
    p = digits_read (p, &mantissa);
    uint64_t count = (uint64_t) (p - digits);
    if (unlikely (count == 0 || (*digits == '0' && count > 1)))
        return NULL;
    if (*p != '.' && (*p | 0x20) != 'e') {
        if (unlikely (count >= DIGITS_MAX))
            return number_read_long (first, p, mantissa, count, out);
        *out = value_int (*first == '-' ? -(int64_t) mantissa : (int64_t) mantissa);
        return p;
    }
    int exponent = 0;
    if (*p == '.') {
        const char *fraction = ++p;
        p = digits_read (p, &mantissa);
        if (unlikely (p == fraction))
            return NULL;
        count += (uint64_t) (p - fraction);
        exponent = (int) (fraction - p); /* whatever it is for too many digits: they go by their text */
    }
    if (unlikely ((*p | 0x20) == 'e') && !(p = number_read_exponent (p + 1, &exponent)))
        return NULL;
    if (unlikely (count > DIGITS_MAX || mantissa > (uint64_t) 1 << 53 || exponent < -EXACT_POWER_MAX ||
                  exponent > EXACT_POWER_MAX))
        return number_read_float (first, p, mantissa, count, exponent, out);
    double value = (double) mantissa;
    value = exponent < 0 ? value / EXACT_POWERS[-exponent] : value * EXACT_POWERS[exponent];
    *out = value_float (*first == '-' ? -value : value);
    return p;
}

#endif
