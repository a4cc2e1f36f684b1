/* running.h: running aggregates (S12): an output for every input, one accumulator row a key. */
#ifndef BETTONG_RUNNING_H
#define BETTONG_RUNNING_H

#include "aggregate.h"
#include "key.h"
#include "section.h"

typedef struct running running_t;

/* From the program: {"aggregates": […]}. */
running_t *running_new (const value_t *map, fault_t *fault);
void running_destroy (running_t **self_p);

/* Add the record and put the results into their slots. */
bool running_add (running_t *self, const bkey_t *key, value_t *row, int64_t time_us, arena_t *scratch,
                  fault_t *fault);
uint64_t running_bytes (const running_t *self);
uint64_t running_keys (const running_t *self);
/* As those of a window; a row is [shard, key bytes, accumulators]. */
bool running_freeze (running_t *self, section_t *out);
void running_settle (running_t *self);
bool running_restore (running_t *self, const char *rows, size_t size, fault_t *fault);

#endif
