/* names.h: has a map a name twice? A cheap first look, taken name by name while the map is read. */
#ifndef BETTONG_NAMES_H
#define BETTONG_NAMES_H

#include "value.h"

enum { NAMES_MARKED = 16 };

/* Start with zeros. */
typedef struct names {
    uint64_t seen; /* one bit for every mark */
    uint32_t count;
    bool is_suspect; /* two marks were equal, or there were too many to compare: look closely (pack_unique) */
    uint32_t marks[NAMES_MARKED];
} names_t;

/* 32 bits that are equal for equal names, and seldom for others. */
static inline uint32_t name_mark (const char *name, uint32_t size) {
    uint64_t a = 0, b = 0;
    if (size >= 8) {
        a = load_u64 (name);
        b = load_u64 (name + size - 8);
    } else if (size >= 4) {
        a = load_u32 (name);
        b = load_u32 (name + size - 4);
    } else if (size) {
        a = (unsigned char) name[0] | (uint64_t) (unsigned char) name[size - 1] << 8;
        b = (unsigned char) name[size / 2];
    }
    return (uint32_t) (((a ^ (b << 29 | b >> 35) ^ size) * 0x9e3779b97f4a7c15u) >> 32);
}

static inline void names_add (names_t *self, const char *name, uint32_t size) {
    if (unlikely (self->count == NAMES_MARKED)) {
        self->is_suspect = true;
        return;
    }
    uint32_t mark = name_mark (name, size);
    uint64_t bit = (uint64_t) 1 << (mark >> 26);
    if (unlikely (self->seen & bit))
        for (uint32_t i = 0; i < self->count; i++)
            self->is_suspect |= self->marks[i] == mark;
    self->seen |= bit;
    self->marks[self->count++] = mark;
}

#endif
