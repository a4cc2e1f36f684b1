/* buffer.h: growable bytes with a bound. Growth doubles, so that a warm buffer never allocates. */
#ifndef BETTONG_BUFFER_H
#define BETTONG_BUFFER_H

#include <stddef.h>

#include "value.h"

/* buffer_t is in cdefs.h. */

/* Slow path of buffer_room: false when the limit or memory is reached; the buffer is then unchanged. */
bool buffer_grow (buffer_t *self, size_t more);
void buffer_free (buffer_t *self);

/* Room for `more` bytes behind `size`. */
static inline bool buffer_room (buffer_t *self, size_t more) {
    return likely (self->size + more <= self->capacity) || buffer_grow (self, more);
}
static inline bool buffer_put (buffer_t *self, const void *bytes, size_t count) {
    if (unlikely (!buffer_room (self, count)))
        return false;
    if (likely (count)) /* nothing may come from nowhere */
        memcpy (self->data + self->size, bytes, count);
    self->size += count;
    return true;
}
static inline bool buffer_put_byte (buffer_t *self, char byte) { return buffer_put (self, &byte, 1); }

#endif
