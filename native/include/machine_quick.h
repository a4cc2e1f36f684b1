/* machine_quick.h: the comparisons that need no call, for the machine's loop and for conditions. */
#ifndef BETTONG_MACHINE_QUICK_H
#define BETTONG_MACHINE_QUICK_H

#include "machine_call.h"

/* Ints up to 2^53 in size are exact doubles, so that a comparison may be made with doubles. */
static inline bool is_exact (int64_t i) { return (uint64_t) i + ((uint64_t) 1 << 53) <= (uint64_t) 1 << 54; }

/* Both as doubles, when that changes neither. */
static inline bool as_doubles (const value_t *a, const value_t *b, double *x, double *y) {
    if (a->tag == TAG_FLOAT) {
        *x = a->f;
        *y = b->tag == TAG_FLOAT ? b->f : (double) b->i;
        return b->tag == TAG_FLOAT || (b->tag == TAG_INT && is_exact (b->i));
    }
    *x = (double) a->i;
    *y = b->f;
    return a->tag == TAG_INT && b->tag == TAG_FLOAT && is_exact (a->i);
}

/* 1 or 0 when it is known at once; -1 for the slow path. */
static inline int quick_equal (const value_t *a, const value_t *b) {
    if (a->tag == TAG_STR && b->tag == TAG_STR)
        return a->size == b->size && text_equal (a->p, b->p, a->size);
    if (a->tag == b->tag && (a->tag == TAG_INT || a->tag == TAG_BOOL || a->tag == TAG_TIME))
        return a->i == b->i;
    double x, y;
    return as_doubles (a, b, &x, &y) ? x == y : -1;
}

#endif
