/* records.h: whole records, from the form in which a link carries them to the one in which a lane reads them. */
#ifndef BETTONG_RECORDS_H
#define BETTONG_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `lengths` are `count` numbers of 32 bits, little-endian; `body` is the records, one behind the other. Each goes to
 * `out` behind its length, big-endian: `size` + 4 * `count` bytes. False, and nothing useful in `out`: the lengths do
 * not add up to `size`. */
bool records_frame (const char *lengths, uint32_t count, const char *body, size_t size, char *out);

#endif
