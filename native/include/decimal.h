/* decimal.h: what reading and writing of decimal numbers share: powers of ten and pairs of digits. */
#ifndef BETTONG_DECIMAL_H
#define BETTONG_DECIMAL_H

#include "value.h"

/* The kernels that look at eight bytes of text at once expect the first byte to be the lowest. */
_Static_assert (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the text kernels need a little-endian machine");

/* 10^k = (high × 2^64 + low) × 2^e for the e that sets the top bit; rounded up where it is not exact. */
typedef struct power {
    uint64_t high;
    uint64_t low;
} power_t;

enum { POWER_MIN = -292, POWER_MAX = 324 };

/* `k` from POWER_MIN to POWER_MAX. */
power_t power_of_ten (int k);

/* floor (log2 (10^k)) for |k| ≤ 1233, and floor (log10 (2^e)) for |e| ≤ 1500. */
static inline int power_log2 (int k) { return (k * 1741647) >> 19; }
static inline int power_log10 (int e) { return (e * 1262611) >> 22; }

/* "00", "01" … "99". */
extern const char DIGIT_PAIRS[200];

/* The decimal digits of `value`, without leading zeros; their count (at most 20). */
uint32_t digits_write (char *out, uint64_t value);

#endif
