/* hash.h: the one hash of keys. The same on every machine, because it says which shard a key belongs to; full
 * avalanche, because the shard is its top bits and the place in a table its low ones.
 *
 * Bytes are taken in blocks of 16, the last one filled up with zeros, each block as two little-endian words; the
 * size goes into the last round. So a short key that is already in registers is hashed without being read back. */
#ifndef BETTONG_HASH_H
#define BETTONG_HASH_H

#include "value.h"

/* Odd numbers with even counts of ones and zeros and no visible pattern (digits of the square roots of primes). */
#define HASH_SEED 0x6a09e667f3bcc909u
#define HASH_LEFT 0xbb67ae8584caa73bu
#define HASH_RIGHT 0x3c6ef372fe94f82bu
#define HASH_LAST 0xa54ff53a5f1d36f1u

static inline uint64_t load_little (const char *p) {
    uint64_t word = load_u64 (p);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64 (word);
#endif
    return word;
}

/* `count` < 8 bytes as a little-endian word filled up with zeros; nothing beyond them is read. Overlapping reads
 * put the same bits in the same place, so that they may be or-ed. */
static inline uint64_t load_short (const char *p, size_t count) {
    if (count >= 4) {
        uint64_t first = load_u32 (p), last = load_u32 (p + count - 4);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        first = __builtin_bswap32 ((uint32_t) first), last = __builtin_bswap32 ((uint32_t) last);
#endif
        return first | last << (8 * (count - 4));
    }
    if (count == 0)
        return 0;
    size_t middle = count / 2, end = count - 1;
    return (uint64_t) (uint8_t) p[0] | (uint64_t) (uint8_t) p[middle] << (8 * middle) |
           (uint64_t) (uint8_t) p[end] << (8 * end);
}

/* Both halves of a 128-bit product, folded. */
static inline uint64_t hash_multiply (uint64_t a, uint64_t b) {
#if defined(__SIZEOF_INT128__)
    __extension__ typedef unsigned __int128 wide_t;
    wide_t product = (wide_t) a * b;
    return (uint64_t) product ^ (uint64_t) (product >> 64);
#else
    uint64_t a_high = a >> 32, a_low = (uint32_t) a, b_high = b >> 32, b_low = (uint32_t) b;
    uint64_t low = a_low * b_low, cross = a_high * b_low + (low >> 32),
             other = a_low * b_high + (uint32_t) cross;
    return (other << 32 | (uint32_t) low) ^ (a_high * b_high + (cross >> 32) + (other >> 32));
#endif
}

/* One block into the state. The sum keeps a block alive whose one factor happens to be zero. */
static inline uint64_t hash_block (uint64_t state, uint64_t left, uint64_t right) {
    return hash_multiply (left ^ HASH_LEFT ^ state, right ^ HASH_RIGHT) +
           (left ^ (right << 32 | right >> 32));
}

static inline uint64_t hash_end (uint64_t state, size_t size) {
    return hash_multiply (state ^ HASH_LAST, (uint64_t) size * 2 + HASH_SEED);
}

#endif
