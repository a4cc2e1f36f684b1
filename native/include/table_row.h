/* table_row.h: the inside of a table, shared by table.c and table_dirty.c, and with windows for table_hit. */
#ifndef BETTONG_TABLE_ROW_H
#define BETTONG_TABLE_ROW_H

#include "fetch.h"
#include "table.h"

/* Keys up to ROW_KEY_INSIDE bytes lie in the row: one cache line less for the commonest look-up. */
enum { ROW_KEY_INSIDE = 16, ROW_LIVE = 1, ROW_KEY_OUTSIDE = 2, ROW_STORED = 4 };
#define NO_ROW UINT32_MAX

typedef struct row {
    union {
        uint64_t hash;
        uint32_t next_free; /* of a row in the free list */
    };
    union {
        char inside[ROW_KEY_INSIDE];
        struct {
            char *bytes;
            uint32_t capacity;
        } outside;
    };
    uint32_t size;
    uint32_t flags;
    char payload[];
} row_t;

struct table {
    uint64_t *places;
    uint32_t mask;
    uint32_t count;
    char **slabs;
    uint32_t shift;  /* rows a slab, as a power of two */
    uint32_t stride; /* bytes a row */
    uint32_t end;
    uint32_t free_row; /* the first of a chain, or NO_ROW */
    uint32_t payload_size;
    uint32_t slab_count, slab_capacity;
    uint32_t dirty_count;
    uint64_t *dirty; /* a bit a row */
    size_t dirty_words;
    uint32_t *sorted; /* dirty indexes by shard while they are visited */
    uint32_t sorted_capacity;
    uint64_t bytes;
};

static inline row_t *row_at (const table_t *self, uint32_t index) {
    uint32_t within = index & ((1u << self->shift) - 1);
    return (row_t *) (void *) (self->slabs[index >> self->shift] + (size_t) within * self->stride);
}

static inline const char *row_key (const row_t *row) {
    return row->flags & ROW_KEY_OUTSIDE ? row->outside.bytes : row->inside;
}

/* Keys are short or nearly so: compare words, the last two overlapping. */
static inline bool same_bytes (const char *a, const char *b, uint32_t size) {
    if (size >= 8) {
        uint32_t i = 0;
        for (; i + 8 < size; i += 8)
            if (load_u64 (a + i) != load_u64 (b + i))
                return false;
        return load_u64 (a + size - 8) == load_u64 (b + size - 8);
    }
    if (size >= 4)
        return load_u32 (a) == load_u32 (b) && load_u32 (a + size - 4) == load_u32 (b + size - 4);
    return size == 0 || (a[0] == b[0] && a[size / 2] == b[size / 2] && a[size - 1] == b[size - 1]);
}

static inline bool row_is (const row_t *row, const bkey_t *key) {
    return row->hash == key->hash && row->size == key->size &&
           same_bytes (row_key (row), key->bytes, key->size);
}

static inline void table_mark_row (table_t *self, uint32_t index) {
    uint64_t *word = &self->dirty[index / 64], bit = (uint64_t) 1 << (index % 64);
    if (!(*word & bit)) {
        *word |= bit;
        self->dirty_count++;
    }
}

/* Fetches the row in which the key most likely lies: that of its first place. */
static inline void table_expect (const table_t *self, const bkey_t *key) {
    uint64_t found = self->places[(uint32_t) key->hash & self->mask];
    if (found == 0)
        return;
    fetch (row_at (self, (uint32_t) found - 1), self->stride);
}

/* The row of a key, NULL when it has none. */
static inline row_t *table_hit (const table_t *self, const bkey_t *key, uint32_t *index) {
    uint64_t found;
    for (uint32_t place = (uint32_t) key->hash & self->mask; (found = self->places[place]) != 0;
         place = (place + 1) & self->mask) {
        if ((found ^ key->hash) >> 32)
            continue;
        *index = (uint32_t) found - 1;
        row_t *row = row_at (self, *index);
        if (likely (row_is (row, key)))
            return row;
    }
    return NULL;
}

void table_describe (row_t *row, uint32_t index, table_row_t *out);
void table_free_row (table_t *self, uint32_t index);

#endif
