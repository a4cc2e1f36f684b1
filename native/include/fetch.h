/* fetch.h: memory that will soon be needed is sent for, so that it is near when it is. Nobody waits for it, and nothing
 * changes but time: any address will do. */
#ifndef BETTONG_FETCH_H
#define BETTONG_FETCH_H

#include "value.h"

/* Of one thing so many lines at most: more would push out what was fetched before. */
enum { CACHE_LINE = 64, FETCH_MAX = 16 };

/* The lines of the memory from `first` on that lie `step` bytes apart. */
static inline void fetch_some (const void *first, size_t size, size_t step) {
    size = size < FETCH_MAX * step ? size : FETCH_MAX * step;
    for (size_t at = 0; at < size; at += step)
        __builtin_prefetch ((const char *) first + at);
}

static inline void fetch (const void *first, size_t size) { fetch_some (first, size, CACHE_LINE); }

/* What stands between two members of one struct. */
static inline void fetch_between (const void *first, const void *end) {
    fetch (first, (size_t) ((const char *) end - (const char *) first));
}

#endif
