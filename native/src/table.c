/* table.c: rows by key.
 *
 *     index  one word a place: the key's upper 32 hash bits and the row's index + 1; 0 is free. Linear probing from
 *            the hash's low bits; removal shifts back, so that no place is ever a dead one.
 *     slabs  rows of equal size, a power of two of them a slab. Slabs are never moved or given back before
 *            table_destroy, and the bytes of long keys stay with their row for the next key: a table that is
 *            cleared and filled again allocates nothing.
 */
#include "table.h"

#include <stdlib.h>

#include "table_row.h"

enum { INDEX_MIN = 16, SLAB_BYTES = 4096, SLAB_ROWS_MAX_SHIFT = 8 };
/* What is fetched before a look-up is less for its own sake than for the processor to know the pages. A line of a page
 * table speaks of eight pages: some of the slabs, which mostly lie side by side, make all of them quick to find. */
enum { PAGE = 4096, SLABS_APART = 8 };

table_t *table_new (uint32_t payload_size) {
    table_t *self = calloc (1, sizeof *self);
    if (self == NULL)
        return NULL;
    self->payload_size = payload_size;
    self->stride = (uint32_t) sizeof (row_t) + ((payload_size + 7) & ~7u);
    while (self->shift < SLAB_ROWS_MAX_SHIFT && ((uint64_t) self->stride << (self->shift + 1)) <= SLAB_BYTES)
        self->shift++;
    self->free_row = NO_ROW;
    self->places = calloc (INDEX_MIN, sizeof *self->places);
    if (self->places == NULL) {
        free (self);
        return NULL;
    }
    self->mask = INDEX_MIN - 1;
    self->bytes = sizeof *self + INDEX_MIN * sizeof *self->places;
    return self;
}

void table_destroy (table_t **self_p) {
    table_t *self = *self_p;
    if (self == NULL)
        return;
    for (uint32_t s = 0; s < self->slab_count; s++) {
        for (uint32_t i = 0; i < 1u << self->shift; i++) {
            row_t *row = (row_t *) (void *) (self->slabs[s] + (size_t) i * self->stride);
            if (row->flags & ROW_KEY_OUTSIDE)
                free (row->outside.bytes);
        }
        free (self->slabs[s]);
    }
    free (self->slabs);
    free (self->places);
    free (self->dirty);
    free (self->sorted);
    free (self);
    *self_p = NULL;
}

/* The place of a key, or the free one where it would stand. */
static inline __attribute__ ((always_inline)) uint32_t place_of (const table_t *self, const bkey_t *key,
                                                                 row_t **row) {
    uint32_t place = (uint32_t) key->hash & self->mask;
    uint64_t found;
    while ((found = self->places[place]) != 0) {
        if ((found ^ key->hash) >> 32 == 0) {
            *row = row_at (self, (uint32_t) found - 1);
            if (likely (row_is (*row, key)))
                return place;
        }
        place = (place + 1) & self->mask;
    }
    *row = NULL;
    return place;
}

void table_describe (row_t *row, uint32_t index, table_row_t *out) {
    out->key = (bkey_t){.bytes = row_key (row), .size = row->size, .hash = row->hash};
    out->payload = row->payload;
    out->index = index;
}

static bool intern (table_t *self, row_t *row, const bkey_t *key) {
    bool outside = row->flags & ROW_KEY_OUTSIDE;
    if (key->size > (outside ? row->outside.capacity : ROW_KEY_INSIDE)) {
        uint32_t capacity = (key->size + 31) & ~31u;
        char *bytes = malloc (capacity);
        if (bytes == NULL)
            return false;
        if (outside) {
            free (row->outside.bytes);
            self->bytes -= row->outside.capacity;
        }
        row->outside.bytes = bytes;
        row->outside.capacity = capacity;
        row->flags |= ROW_KEY_OUTSIDE;
        self->bytes += capacity;
        outside = true;
    }
    if (key->size)
        memcpy (outside ? row->outside.bytes : row->inside, key->bytes, key->size);
    row->size = key->size;
    row->hash = key->hash;
    return true;
}

/* Another slab, and dirty bits for its rows. */
static bool add_slab (table_t *self) {
    uint32_t rows = 1u << self->shift;
    if (((uint64_t) self->slab_count << self->shift) + rows > TABLE_ROWS_MAX)
        return false;
    if (self->slab_count == self->slab_capacity) {
        uint32_t capacity = self->slab_capacity ? self->slab_capacity * 2 : 4;
        size_t words = (((size_t) capacity << self->shift) + 63) / 64;
        char **slabs = realloc (self->slabs, capacity * sizeof *slabs);
        if (slabs == NULL)
            return false;
        self->slabs = slabs;
        uint64_t *dirty = realloc (self->dirty, words * sizeof *dirty);
        if (dirty == NULL)
            return false;
        memset (dirty + self->dirty_words, 0, (words - self->dirty_words) * sizeof *dirty);
        self->bytes += (capacity - self->slab_capacity) * sizeof *slabs;
        self->bytes += (words - self->dirty_words) * sizeof *dirty;
        self->dirty = dirty;
        self->dirty_words = words;
        self->slab_capacity = capacity;
    }
    char *slab = calloc (rows, self->stride);
    if (slab == NULL)
        return false;
    self->slabs[self->slab_count++] = slab;
    self->bytes += (uint64_t) rows * self->stride;
    return true;
}

/* Twice the places; rows are walked in their own order, which memory likes better than that of the places. */
static bool grow_places (table_t *self) {
    uint32_t mask = self->mask * 2 + 1;
    uint64_t *places = calloc ((size_t) mask + 1, sizeof *places);
    if (places == NULL)
        return false;
    for (uint32_t i = 0; i < self->end; i++) {
        const row_t *row = row_at (self, i);
        if (!(row->flags & ROW_LIVE))
            continue;
        uint32_t place = (uint32_t) row->hash & mask;
        while (places[place])
            place = (place + 1) & mask;
        places[place] = (row->hash >> 32 << 32) | (i + 1);
    }
    free (self->places);
    self->bytes += (uint64_t) (mask - self->mask) * sizeof *places;
    self->places = places;
    self->mask = mask;
    return true;
}

static bool insert (table_t *self, const bkey_t *key, uint32_t place, table_row_t *out) {
    /* At most half full: most look-ups then see one place, and the processor guesses right. */
    if (unlikely ((uint64_t) (self->count + 1) * 2 > (uint64_t) self->mask + 1)) {
        row_t *none;
        if (!grow_places (self))
            return false;
        place = place_of (self, key, &none);
    }
    uint32_t index = self->free_row != NO_ROW ? self->free_row : self->end;
    if (index == self->end && index == self->slab_count << self->shift && !add_slab (self))
        return false;
    row_t *row = row_at (self, index);
    uint32_t next_free = row->next_free;
    if (!intern (self, row, key))
        return false;
    if (index == self->end)
        self->end++;
    else
        self->free_row = next_free;
    memset (row->payload, 0, self->payload_size);
    row->flags = (row->flags & ROW_KEY_OUTSIDE) | ROW_LIVE;
    self->places[place] = (key->hash >> 32 << 32) | (index + 1);
    self->count++;
    table_describe (row, index, out);
    return true;
}

bool table_put (table_t *self, const bkey_t *key, table_row_t *out, bool *is_new) {
    row_t *row;
    uint32_t place = place_of (self, key, &row);
    *is_new = row == NULL;
    if (unlikely (row == NULL))
        return insert (self, key, place, out);
    table_describe (row, (uint32_t) self->places[place] - 1, out);
    return true;
}

bool table_find (const table_t *self, const bkey_t *key, table_row_t *out) {
    row_t *row;
    uint32_t place = place_of (self, key, &row);
    if (row == NULL)
        return false;
    table_describe (row, (uint32_t) self->places[place] - 1, out);
    return true;
}

/* Free a place. What stands behind it moves up as long as that brings it no further than its own first place. */
static void vacate (table_t *self, uint32_t place) {
    uint32_t hole = place;
    for (uint32_t next = (hole + 1) & self->mask; self->places[next]; next = (next + 1) & self->mask) {
        uint32_t home = (uint32_t) row_at (self, (uint32_t) self->places[next] - 1)->hash & self->mask;
        if (((next - home) & self->mask) >= ((next - hole) & self->mask)) {
            self->places[hole] = self->places[next];
            hole = next;
        }
    }
    self->places[hole] = 0;
    self->count--;
}

void table_free_row (table_t *self, uint32_t index) {
    row_t *row = row_at (self, index);
    row->next_free = self->free_row;
    self->free_row = index;
}

bool table_remove (table_t *self, const bkey_t *key) {
    row_t *row;
    uint32_t place = place_of (self, key, &row);
    if (row == NULL)
        return false;
    uint32_t index = (uint32_t) self->places[place] - 1;
    vacate (self, place);
    row->flags &= ~(uint32_t) ROW_LIVE;
    table_mark (self, index);
    return true;
}

void table_undo (table_t *self, uint32_t index) {
    row_t *row = row_at (self, index), *found;
    bkey_t key = {.bytes = row_key (row), .size = row->size, .hash = row->hash};
    vacate (self, place_of (self, &key, &found));
    row->flags &= ROW_KEY_OUTSIDE;
    if (index + 1 == self->end)
        self->end--;
    else
        table_free_row (self, index);
}

bool table_at (const table_t *self, uint32_t index, table_row_t *out) {
    if (index >= self->end)
        return false;
    row_t *row = row_at (self, index);
    if (!(row->flags & ROW_LIVE))
        return false;
    table_describe (row, index, out);
    return true;
}

uint32_t table_end (const table_t *self) { return self->end; }
uint32_t table_count (const table_t *self) { return self->count; }
uint64_t table_bytes (const table_t *self) { return self->bytes; }

void table_prepare (const table_t *self) {
    fetch (self, sizeof *self);
    fetch_some (self->places, ((size_t) self->mask + 1) * sizeof *self->places, PAGE);
    fetch (self->dirty, self->dirty_words * sizeof *self->dirty);
    for (uint32_t s = 0; s < self->slab_count && s < FETCH_MAX * SLABS_APART; s += SLABS_APART)
        fetch (self->slabs[s], 1);
}

void table_clear (table_t *self) {
    memset (self->places, 0, ((size_t) self->mask + 1) * sizeof *self->places);
    if (self->dirty_words)
        memset (self->dirty, 0, ((size_t) self->end + 63) / 64 * sizeof *self->dirty);
    self->dirty_count = 0;
    self->count = 0;
    self->end = 0;
    self->free_row = NO_ROW;
}
