/* json_plain.h: members as nearly all records have them: the name that is expected next, then text without escapes,
 * a number without exponent, or a word, with one space at most behind ':' and ','.
 *
 * Reading stops before the first member that is anything else, right or wrong, and the decoder's general way goes on
 * from there; so nothing is refused here, and nothing here needs to know where the message ends: a byte below 0x20
 * stops it. DECODE_SLACK bytes are readable behind that one. */
#ifndef BETTONG_JSON_PLAIN_H
#define BETTONG_JSON_PLAIN_H

#include "fields.h"
#include "number.h"
#include "number_read.h"

#define ALWAYS_INLINE static inline __attribute__ ((always_inline))

/* The compiler forgets what it knows about a variable: a constant is not kept in a register through the whole loop, nor
 * is a copy that is hardly ever wanted. The loop has more to keep than there are registers, and what it waits for is
 * the way of `p` from byte to byte. */
#define APART(variable) __asm__ volatile ("" : "+r"(variable))

/* So many digits always are an int, and an exact double. */
enum { PLAIN_INT_DIGITS = 18, PLAIN_FLOAT_DIGITS = 15 };

/* The first quote, backslash, control byte or byte beyond ASCII from `p` on. */
ALWAYS_INLINE const char *plain_stop (const char *p) {
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u, lows = ~highs;
    for (;; p += 8) {
        uint64_t text = load_u64 (p), low = text & lows;
        /* Sums of bytes below 0x80 stay within their byte: the top bit is 0 exactly for what is looked for. */
        uint64_t others =
            ((low ^ (ones * '"')) + lows) & ((low ^ (ones * '\\')) + lows) & (low + ones * 0x60);
        uint64_t marks = (~others | text) & highs;
        if (likely (marks))
            return p + ((unsigned) __builtin_ctzll (marks) >> 3);
    }
}

/* The quote that ends a text beyond ASCII, of which `p` is the first such byte; NULL when it has escapes or faults. */
const char *plain_stop_beyond (const char *p);

/* The closing quote of the text from `p` on, or NULL. */
ALWAYS_INLINE const char *plain_text (const char *p) {
    const char *stop = plain_stop (p);
    if (likely (*stop == '"'))
        return stop;
    return (unsigned char) *stop < 0x80 ? NULL : plain_stop_beyond (stop);
}

/* Behind the digits from `p` on, which go onto the end of *value. Eight of them are one test and three
 * multiplications; one at a time, the processor runs ahead along the loop. */
ALWAYS_INLINE const char *plain_digits (const char *p, uint64_t *value) {
    for (uint64_t eight; digits_are_eight (eight = digits_load (p)); p += 8)
        *value = *value * 100000000 + digits_join (eight);
    return digits_read (p, value);
}

/* What follows is for the caller to look at: an exponent is neither ',' nor '}'. Long numbers are read once more, the
 * general way. */
ALWAYS_INLINE const char *plain_number (const char *first, value_t *out) {
    const char *p = first;
    if (unlikely (*p == '-'))
        p++;
    const char *digits = p;
    uint64_t mantissa = 0;
    if (unlikely (digit_at (p) > 9 || (*p == '0' && digit_at (p + 1) <= 9)))
        return NULL;
    p = plain_digits (p, &mantissa);
    if (*p != '.') {
        if (unlikely (p - digits > PLAIN_INT_DIGITS))
            return number_read (first, out);
        *out = value_int (*first == '-' ? -(int64_t) mantissa : (int64_t) mantissa);
        return p;
    }
    const char *fraction = ++p;
    p = digits_read (p, &mantissa);
    if (unlikely (p == fraction))
        return NULL;
    if (unlikely (p - digits > PLAIN_FLOAT_DIGITS + 1))
        return number_read (first, out);
    double value = (double) (int64_t) mantissa / EXACT_POWERS[p - fraction];
    *out = value_float (*first == '-' ? -value : value);
    return p;
}

/* A number that nobody wants: that it is one, and no more. */
ALWAYS_INLINE const char *plain_number_pass (const char *first) {
    const char *p = first;
    if (unlikely (*p == '-'))
        p++;
    if (unlikely (digit_at (p) > 9 || (*p == '0' && digit_at (p + 1) <= 9)))
        return NULL;
    while (digit_at (p) <= 9)
        p++;
    if (*p == '.') {
        const char *fraction = ++p;
        while (digit_at (p) <= 9)
            p++;
        if (unlikely (p == fraction))
            return NULL;
    }
    value_t value;
    return likely (p - first <= PLAIN_INT_DIGITS) ? p : number_read (first, &value); /* is it infinite? */
}

/* true, false and null. */
const char *plain_word (const char *p, value_t *out);

ALWAYS_INLINE const char *plain_value (const char *p, value_t *out) {
    if (*p == '"') {
        const char *stop = plain_text (p + 1);
        if (unlikely (!stop))
            return NULL;
        *out = value_text (p + 1, (uint32_t) (stop - p - 1));
        return stop + 1;
    }
    return likely (digit_at (p) <= 9 || *p == '-') ? plain_number (p, out) : plain_word (p, out);
}

ALWAYS_INLINE const char *plain_pass (const char *p) {
    if (*p == '"') {
        const char *stop = plain_text (p + 1);
        return likely (stop) ? stop + 1 : NULL;
    }
    value_t word;
    return likely (digit_at (p) <= 9 || *p == '-') ? plain_number_pass (p) : plain_word (p, &word);
}

#endif
