/* hash.c: hashes of bytes: the one of keys, and CRC-32 as zlib has it. */
#include "hash.h"
#include "key.h"

uint64_t hash_bytes (const char *bytes, size_t size) {
    uint64_t state = HASH_SEED;
    size_t left = size;
    for (; left > 16; left -= 16, bytes += 16)
        state = hash_block (state, load_little (bytes), load_little (bytes + 8));
    uint64_t first, second = 0;
    if (left >= 8) {
        first = load_little (bytes);
        second = left == 16 ? load_little (bytes + 8) : load_short (bytes + 8, left - 8);
    } else {
        first = load_short (bytes, left);
    }
    return hash_end (hash_block (state, first, second), size);
}

/* The reflected CRC-32 of each nibble: two look-ups a byte in one cache line. It serves the expression `crc32`. */
static const uint32_t crc_table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                       0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};

uint32_t crc32_bytes (const char *bytes, size_t size) {
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; i++) {
        crc ^= (uint8_t) bytes[i];
        crc = crc >> 4 ^ crc_table[crc & 15];
        crc = crc >> 4 ^ crc_table[crc & 15];
    }
    return ~crc;
}
