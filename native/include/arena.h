/* arena.h: scratch memory of one event: a bump pointer over a block of fixed size, taken back as a whole. */
#ifndef BETTONG_ARENA_H
#define BETTONG_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "value.h"

/* arena_t is in cdefs.h. */

/* `count` bytes, aligned to 8, with ARENA_SLACK readable bytes behind them, or NULL when the arena is full
 * (the record is then an error with REASON_LIMIT). */
#define ARENA_SLACK 64
static inline char *arena_take (arena_t *self, size_t count) {
    size_t start = (self->used + 7) & ~(size_t) 7;
    if (unlikely (count > self->size || start + count + ARENA_SLACK > self->size))
        return NULL;
    self->used = start + count;
    return self->base + start;
}

/* Give back what was taken since `mark` (a former value of `used`). */
static inline size_t arena_mark (const arena_t *self) { return self->used; }
static inline void arena_release (arena_t *self, size_t mark) { self->used = mark; }

#endif
