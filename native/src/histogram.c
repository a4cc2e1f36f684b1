/* histogram.c: turning, adding up and asking. Slots are made when a turn first needs them, never while recording:
 * 17 KB each, half a megabyte for a histogram that has run for five minutes. */
#include "histogram.h"

#include <math.h>
#include <stdlib.h>

#include "pack.h"

histogram_t *histogram_new (void) {
    histogram_t *self = calloc (1, sizeof *self);
    if (self == NULL)
        return NULL;
    self->number = INT64_MIN;
    self->slots[0] = calloc (HISTOGRAM_BUCKETS, sizeof *self->slots[0]);
    self->past = calloc (HISTOGRAM_BUCKETS, sizeof *self->past);
    self->current = self->slots[0];
    if (self->slots[0] == NULL || self->past == NULL)
        histogram_destroy (&self);
    return self;
}

void histogram_destroy (histogram_t **self_p) {
    histogram_t *self = *self_p;
    if (self == NULL)
        return;
    for (uint32_t s = 0; s < HISTOGRAM_SLOTS; s++)
        free (self->slots[s]);
    free (self->past);
    free (self);
    *self_p = NULL;
}

uint64_t histogram_bucket_ns (uint32_t bucket) {
    if (bucket >> HISTOGRAM_SUB_BITS < 2)
        return bucket;
    uint32_t shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
    uint64_t step = bucket - (shift << HISTOGRAM_SUB_BITS);
    return ((step + 1) << shift) - 1;
}

static uint32_t slot_of (int64_t number) {
    int64_t slot = number % HISTOGRAM_SLOTS;
    return (uint32_t) (slot < 0 ? slot + HISTOGRAM_SLOTS : slot);
}

void histogram_turn (histogram_t *self, int64_t monotonic_ns) {
    int64_t number = monotonic_ns / HISTOGRAM_SLOT_NS;
    if (likely (number <= self->number))
        return;
    uint32_t slot = slot_of (number);
    if (self->number == INT64_MIN) {
        /* Nothing is known yet of what the first slot is about: it becomes this one. */
        uint32_t *first = self->slots[0];
        self->slots[0] = NULL;
        self->slots[slot] = first;
    } else {
        if (self->slots[slot] == NULL)
            self->slots[slot] = calloc (HISTOGRAM_BUCKETS, sizeof *self->slots[slot]);
        if (self->slots[slot] == NULL)
            return; /* no memory: go on counting in the slot at hand, and ask again at the next tick */
        for (uint32_t b = 0; b < HISTOGRAM_BUCKETS; b++)
            self->past[b] += self->current[b];
        memset (self->slots[slot], 0, HISTOGRAM_BUCKETS * sizeof *self->slots[slot]);
    }
    self->numbers[slot] = number;
    self->number = number;
    self->current = self->slots[slot];
}

/* One bucket over the last five minutes, or since the start. */
static uint64_t count_of (const histogram_t *self, uint32_t bucket, bool all) {
    if (all)
        return self->past[bucket] + self->current[bucket];
    uint64_t count = 0;
    for (uint32_t s = 0; s < HISTOGRAM_SLOTS; s++)
        if (self->slots[s] &&
            (self->slots[s] == self->current || self->number - self->numbers[s] < HISTOGRAM_SLOTS))
            count += self->slots[s][bucket];
    return count;
}

uint64_t histogram_count (const histogram_t *self, bool all) {
    uint64_t count = 0;
    for (uint32_t b = 0; b < HISTOGRAM_BUCKETS; b++)
        count += count_of (self, b, all);
    return count;
}

uint64_t histogram_quantile (const histogram_t *self, double q, bool all) {
    uint64_t count = histogram_count (self, all), passed = 0;
    if (count == 0)
        return 0;
    double rank = ceil (q * (double) count);
    uint32_t last = 0;
    for (uint32_t b = 0; b < HISTOGRAM_BUCKETS; b++) {
        uint64_t here = count_of (self, b, all);
        passed += here;
        if (here)
            last = b;
        if (here && (double) passed >= rank)
            break;
    }
    return histogram_bucket_ns (last);
}

bool histogram_pack (const histogram_t *self, buffer_t *out) {
    size_t before = out->size;
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint32_t used = 0;
    for (uint32_t b = 0; b < HISTOGRAM_BUCKETS; b++) {
        counts[b] = count_of (self, b, false);
        used += counts[b] > 0;
    }
    bool written = pack_write_list (out, 2 * used);
    for (uint32_t b = 0; written && b < HISTOGRAM_BUCKETS; b++)
        if (counts[b])
            written = pack_write_int (out, b) && pack_write_int (out, (int64_t) counts[b]);
    if (!written)
        out->size = before;
    return written;
}

void histogram_record_all (histogram_t *self, const uint64_t *ns, size_t count) {
    for (size_t i = 0; i < count; i++)
        histogram_record (self, ns[i]);
}

size_t histogram_copy (const histogram_t *self, char *out, size_t capacity) {
    buffer_t packed = {0};
    if (!histogram_pack (self, &packed))
        return 0;
    size_t size = packed.size;
    if (size <= capacity)
        memcpy (out, packed.data, size);
    buffer_free (&packed);
    return size;
}
