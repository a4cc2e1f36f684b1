/* window.h: one window step: panes of keyed accumulators, closed by the watermark (S13–S16). */
#ifndef BETTONG_WINDOW_H
#define BETTONG_WINDOW_H

#include "aggregate.h"
#include "key.h"
#include "section.h"

typedef struct window window_t;

/* Windows open at a time, and windows that one record of a hopping window falls into. */
enum { WINDOW_PANES_MAX = 100000 };
/* Sizes, steps and offsets up to 2^60 µs (36,000 years), times up to 2^61 on either side of 1970: so that no sum of
 * them leaves 64 bits. A record beyond is a fault (REASON_TIME). */
#define WINDOW_SIZE_MAX ((int64_t) 1 << 60)
#define WINDOW_TIME_MAX ((int64_t) 1 << 61)

/* From the program: {"kind": "tumbling" | "hopping" | "global", "size", "every", "offset" (µs; global: every 0 =
 * at every record), "aggregates": […], "start": slot, "end": slot, "keys": [slots for the key's values]}. */
window_t *window_new (const value_t *map, fault_t *fault);
void window_destroy (window_t **self_p);

/* Called once per result, the result's slots (keys, start, end, aggregates) filled; `key` is the row's key. The result speaks
 * at end_us − 1 µs (S29): the window's end, or for a global window with `every` the multiple that was passed, even
 * where its slots hold the times of the key's first and last record. */
typedef void window_emit_fn (void *context, const bkey_t *key, int64_t start_us, int64_t end_us);

enum window_added { WINDOW_ADDED, WINDOW_LATE, WINDOW_FAULT };
/* Add a record. `partition_watermark_us` is its own partition's as it stood before this record (S15).
 * A global window without `every` emits at once. */
enum window_added window_add (window_t *self, const bkey_t *key, value_t *row, int64_t time_us,
                              int64_t partition_watermark_us, arena_t *scratch, window_emit_fn *emit,
                              void *context, fault_t *fault);
/* The commonest case by itself: one of the latest panes of a tumbling window, a key that it has, numbers that need no
 * closer look. False, and nothing done, when it is anything else. What is due stays as it is. */
bool window_add_again (window_t *self, const bkey_t *key, const value_t *row, int64_t time_us,
                       int64_t partition_watermark_us);
/* A record is about to come, its key not known yet: what it will need of the window is fetched. */
void window_prepare (const window_t *self);
/* A record of this key is about to come: its row is sent for. What it brings is only time. */
void window_expect (const window_t *self, const bkey_t *key);
/* The smallest end that is open (INT64_MAX: none): close only when the watermark reaches it. A global window with
 * `every` first asks for any watermark at all, to know which multiple of `every` comes next. */
int64_t window_due (const window_t *self);
/* Close everything with end ≤ watermark, by (end, start), then by first appearance (S16). INT64_MAX closes all.
 * Scratch is released after each result. Emitting may add to other windows, never to this one. */
void window_advance (window_t *self, int64_t watermark_us, value_t *row, arena_t *scratch,
                     window_emit_fn *emit, void *context);

uint64_t window_bytes (const window_t *self);
/* Give back what is only kept for windows to come. */
void window_spare (window_t *self);
uint64_t window_keys (const window_t *self); /* open (key, window) pairs */

bool window_is_global (const window_t *self);

/* Dirty rows since the last settle, sorted by shard; each a packed list
 * [shard, key bytes (bin), start, end, order, accumulators | nil when closed] (docs/formats/state-rows.md), appended
 * to `out`. False when there is no memory. */
bool window_freeze (window_t *self, section_t *out);
/* What was frozen is safe in a cut: right after a freeze that succeeded. Without it the next one has the same rows. */
void window_settle (window_t *self);

/* Rows as a freeze wrote them, but no tombstones, in any order; before the first record. They count as stored. False
 * with a fault: the rows are not this step's. */
bool window_restore (window_t *self, const char *rows, size_t size, fault_t *fault);
/* After the last of them: `watermark_us` is how far the step had got. False when there is no memory. */
bool window_resume (window_t *self, int64_t watermark_us);

#endif
