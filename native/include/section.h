/* section.h: the rows of one step in a cut, sorted by shard. */
#ifndef BETTONG_SECTION_H
#define BETTONG_SECTION_H

#include "buffer.h"
#include "key.h"

/* A cut and each of its parts: state and results of one interval, on a box with less memory than this. */
enum { CUT_BYTES_MAX = 1 << 30 };

typedef struct section {
    buffer_t rows; /* packed, one after the other */
    uint64_t count;
    uint32_t sizes[SHARD_COUNT]; /* bytes of each shard's rows */
} section_t;

/* Empty again, its memory kept. */
static inline void section_clear (section_t *self) {
    self->rows.size = 0;
    self->rows.limit = CUT_BYTES_MAX;
    self->count = 0;
    memset (self->sizes, 0, sizeof self->sizes);
}

/* A row has been written: all that stands behind `before`. */
static inline void section_note (section_t *self, uint32_t shard, size_t before) {
    self->count++;
    self->sizes[shard] += (uint32_t) (self->rows.size - before);
}

#endif
