/* records.c: whole records behind their lengths. */
#include "records.h"

#include <string.h>

bool records_frame (const char *lengths, uint32_t count, const char *body, size_t size, char *out) {
    const uint8_t *from = (const uint8_t *) lengths;
    for (uint32_t i = 0; i < count; i++, from += 4) {
        size_t length =
            (size_t) from[0] | (size_t) from[1] << 8 | (size_t) from[2] << 16 | (size_t) from[3] << 24;
        if (length > size)
            return false;
        char head[4] = {(char) from[3], (char) from[2], (char) from[1], (char) from[0]};
        memcpy (out, head, 4);
        memcpy (out + 4, body, length);
        out += 4 + length;
        body += length;
        size -= length;
    }
    return size == 0;
}
