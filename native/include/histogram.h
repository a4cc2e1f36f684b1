/* histogram.h: log-linear counts of nanoseconds: 128 buckets a power of two, so at most 1 % error; mergeable by
 * adding; 30 slots of 10 s, so that a percentile speaks of the last five minutes.
 *
 * One thread records and turns; others may read at any time: counts are plain words that only grow within a slot,
 * and slots appear but never go, so that a reader at worst misses what has just been recorded. */
#ifndef BETTONG_HISTOGRAM_H
#define BETTONG_HISTOGRAM_H

#include "buffer.h"

/* Values below 256 ns have a bucket each; values from 2^40 ns (18 minutes) on share the last. */
enum {
    HISTOGRAM_SLOTS = 30,
    HISTOGRAM_SUB_BITS = 7,
    HISTOGRAM_VALUE_BITS = 40,
    HISTOGRAM_BUCKETS = (HISTOGRAM_VALUE_BITS - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS
};
#define HISTOGRAM_SLOT_NS ((int64_t) 10000000000)

/* Visible for the sake of histogram_record; touched by histogram.c only. */
typedef struct histogram {
    uint32_t *current;                /* the counts of the slot at hand */
    uint32_t *slots[HISTOGRAM_SLOTS]; /* NULL: not needed yet */
    int64_t numbers[HISTOGRAM_SLOTS]; /* which stretch of 10 s each slot is about */
    int64_t number;                   /* of the slot at hand; INT64_MIN before the first turn */
    uint64_t *past;                   /* what the slots that were left have counted, since the start */
} histogram_t;

histogram_t *histogram_new (void);
void histogram_destroy (histogram_t **self_p);

static inline uint32_t histogram_bucket (uint64_t ns) {
    uint64_t top = ((uint64_t) 1 << HISTOGRAM_VALUE_BITS) - 1;
    ns = ns < top ? ns : top;
    uint32_t shift = 63 - HISTOGRAM_SUB_BITS - (uint32_t) __builtin_clzll (ns | 255);
    return (shift << HISTOGRAM_SUB_BITS) + (uint32_t) (ns >> shift);
}
static inline void histogram_record (histogram_t *self, uint64_t ns) {
    self->current[histogram_bucket (ns)]++;
}
/* `count` records of one value. */
static inline void histogram_record_many (histogram_t *self, uint64_t ns, uint32_t count) {
    self->current[histogram_bucket (ns)] += count;
}
/* The highest value of a bucket. */
uint64_t histogram_bucket_ns (uint32_t bucket);

/* Turn to the slot of this time; an old one is emptied. Called at ticks. */
void histogram_turn (histogram_t *self, int64_t monotonic_ns);
/* The sum of the slots, sparse: a packed list [bucket, count, bucket, count, …]. */
bool histogram_pack (const histogram_t *self, buffer_t *out);
/* The value below which the share `q` of all records lies (since the start when `all`). */
uint64_t histogram_quantile (const histogram_t *self, double q, bool all);
uint64_t histogram_count (const histogram_t *self, bool all);

#endif
