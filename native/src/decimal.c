/* decimal.c: powers of ten and pairs of digits. */
#include "decimal.h"
#include <powers.h>

_Static_assert ((int) POWERS_FIRST == POWER_MIN && (int) POWERS_LAST == POWER_MAX, "tables.py and decimal.h");

power_t power_of_ten (int k) { return POWERS[k - POWER_MIN]; }

const char DIGIT_PAIRS[200] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
    "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
    "8081828384858687888990919293949596979899";

static uint32_t digits_count (uint64_t value) {
    uint32_t count = 1;
    for (;;) {
        if (value < 10)
            return count;
        if (value < 100)
            return count + 1;
        if (value < 1000)
            return count + 2;
        if (value < 10000)
            return count + 3;
        value /= 10000;
        count += 4;
    }
}

uint32_t digits_write (char *out, uint64_t value) {
    uint32_t count = digits_count (value);
    char *p = out + count;
    while (value >= 100) {
        uint64_t rest = value / 100;
        p -= 2;
        memcpy (p, DIGIT_PAIRS + 2 * (value - 100 * rest), 2);
        value = rest;
    }
    if (value >= 10)
        memcpy (p - 2, DIGIT_PAIRS + 2 * value, 2);
    else
        p[-1] = (char) ('0' + value);
    return count;
}
