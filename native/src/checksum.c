/* checksum.c: XXH64. */
#include "checksum.h"
#include "hash.h"

#define PRIME_1 0x9e3779b185ebca87u
#define PRIME_2 0xc2b2ae3d27d4eb4fu
#define PRIME_3 0x165667b19e3779f9u
#define PRIME_4 0x85ebca77c2b2ae63u
#define PRIME_5 0x27d4eb2f165667c5u

static inline uint64_t turn (uint64_t word, int bits) { return word << bits | word >> (64 - bits); }

static inline uint64_t take_word (uint64_t sum, uint64_t word) {
    return turn (sum + word * PRIME_2, 31) * PRIME_1;
}

static inline uint64_t merge (uint64_t all, uint64_t sum) {
    return (all ^ take_word (0, sum)) * PRIME_1 + PRIME_4;
}

/* The bytes behind the last whole stripe of 32. */
static uint64_t take_rest (uint64_t all, const char *bytes, size_t left) {
    for (; left >= 8; left -= 8, bytes += 8)
        all = turn (all ^ take_word (0, load_little (bytes)), 27) * PRIME_1 + PRIME_4;
    if (left >= 4) {
        all = turn (all ^ load_short (bytes, 4) * PRIME_1, 23) * PRIME_2 + PRIME_3;
        left -= 4, bytes += 4;
    }
    for (; left; left--, bytes++)
        all = turn (all ^ (uint8_t) *bytes * PRIME_5, 11) * PRIME_1;
    return all;
}

uint64_t xxh64_bytes (const char *bytes, size_t size) {
    size_t left = size;
    uint64_t all = PRIME_5;
    if (size >= 32) {
        uint64_t a = PRIME_1 + PRIME_2, b = PRIME_2, c = 0, d = 0 - PRIME_1;
        for (; left >= 32; left -= 32, bytes += 32) {
            a = take_word (a, load_little (bytes));
            b = take_word (b, load_little (bytes + 8));
            c = take_word (c, load_little (bytes + 16));
            d = take_word (d, load_little (bytes + 24));
        }
        all = turn (a, 1) + turn (b, 7) + turn (c, 12) + turn (d, 18);
        all = merge (merge (merge (merge (all, a), b), c), d);
    }
    all = take_rest (all + size, bytes, left);
    all = (all ^ all >> 33) * PRIME_2;
    all = (all ^ all >> 29) * PRIME_3;
    return all ^ all >> 32;
}
