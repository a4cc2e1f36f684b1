/* utf8.c: is it UTF-8? Eight bytes at a time while it is ASCII, which it mostly is. */
#include "number.h"

static const uint64_t HIGH_BITS = 0x8080808080808080u;

static bool is_continuation (const char *p) { return ((unsigned char) *p & 0xc0) == 0x80; }

/* Besides its shape, what a sequence may not be is decided by its first two bytes: overlong forms (C0, C1,
 * E0 with less than A0, F0 with less than 90), surrogates (ED with A0 or more), beyond U+10FFFF (F4 with
 * 90 or more, F5 …). */
uint32_t utf8_sequence (const char *p, uint32_t left) {
    if (left == 0)
        return 0;
    unsigned char first = (unsigned char) p[0];
    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    uint32_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (left < length || !is_continuation (p + 1))
        return 0;
    unsigned char second = (unsigned char) p[1];
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f))
        return 0;
    if ((first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f))
        return 0;
    if (length > 2 && !is_continuation (p + 2))
        return 0;
    if (length > 3 && !is_continuation (p + 3))
        return 0;
    return length;
}

bool utf8_valid (const char *p, uint32_t size) {
    const char *end = p + size;
    while (p < end) {
        while (end - p >= 8 && !(load_u64 (p) & HIGH_BITS))
            p += 8;
        if (p == end)
            break;
        uint32_t length = utf8_sequence (p, (uint32_t) (end - p));
        if (!length)
            return false;
        p += length;
    }
    return true;
}
