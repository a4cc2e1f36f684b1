/* buffer.c: the slow path of growable bytes. */
#include "buffer.h"

#include <stdlib.h>

enum { BUFFER_FIRST = 256 };
static const size_t BUFFER_LIMIT = (size_t) 256 << 20;

bool buffer_grow (buffer_t *self, size_t more) {
    size_t limit = self->limit ? self->limit : BUFFER_LIMIT;
    if (self->size > limit || more > limit - self->size)
        return false;
    size_t needed = self->size + more;
    size_t capacity = self->capacity < BUFFER_FIRST ? BUFFER_FIRST : 2 * self->capacity;
    if (capacity < needed)
        capacity = needed;
    if (capacity > limit)
        capacity = limit;
    char *data = realloc (self->data, capacity);
    if (!data)
        return false;
    self->data = data;
    self->capacity = capacity;
    return true;
}

void buffer_free (buffer_t *self) {
    free (self->data);
    self->data = NULL;
    self->size = self->capacity = 0;
}
