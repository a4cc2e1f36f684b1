/* duration.c: durations as people write them, in whole microseconds; the same texts as units.py reads. */
#include <string.h>

#include "value.h"

enum { WHOLE_DIGITS_MAX = 18, FRACTION_DIGITS_MAX = 9 };

static const int64_t DURATION_MAX_US = INT64_C (36500) * 86400000000;

static int64_t unit_us (const char *p, size_t size) {
    static const struct {
        const char *name;
        int64_t us;
    } UNITS[] = {{"us", 1},       {"ms", 1000},      {"s", 1000000},
                 {"m", 60000000}, {"h", 3600000000}, {"d", 86400000000}};
    for (size_t i = 0; i < sizeof UNITS / sizeof *UNITS; i++)
        if (size == strlen (UNITS[i].name) && !memcmp (p, UNITS[i].name, size))
            return UNITS[i].us;
    return 0;
}

/* Digits onto `amount`, which holds all that the two limits allow; how many there were, -1 when there are too many. */
static int read_digits (const char **p, const char *end, int most, __int128 *amount) {
    int count = 0;
    for (; *p < end && **p >= '0' && **p <= '9'; ++*p) {
        if (++count > most)
            return -1;
        *amount = *amount * 10 + (**p - '0');
    }
    return count;
}

const char *duration_read (const char *p, size_t size, int64_t *us) {
    static const char *const WRONG =
        "is not a duration; write one like \"200ms\", \"10s\", \"5m\", \"24h\" or "
        "\"7d\"";
    const char *end = p + size;
    bool negative = p < end && *p == '-';
    __int128 amount = 0;
    int fraction = 0;
    p += negative;
    if (read_digits (&p, end, WHOLE_DIGITS_MAX, &amount) <= 0)
        return WRONG;
    if (p < end && *p == '.') {
        p++;
        fraction = read_digits (&p, end, FRACTION_DIGITS_MAX, &amount);
        if (fraction <= 0)
            return WRONG;
    }
    p += p < end && *p == ' ';
    int64_t unit = unit_us (p, (size_t) (end - p));
    if (!unit)
        return WRONG;
    amount *= unit;
    for (; fraction; fraction--, amount /= 10)
        if (amount % 10)
            return "is finer than the smallest unit, us";
    if (negative && amount)
        return "is negative; a duration here is zero or more";
    if (amount > DURATION_MAX_US)
        return "is too long; the longest duration is 36500d";
    *us = (int64_t) amount;
    return NULL;
}
