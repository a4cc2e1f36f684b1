/* condition.h: what most filters are, comparisons joined by `and`, decided without the expression machine. */
#ifndef BETTONG_CONDITION_H
#define BETTONG_CONDITION_H

#include "machine_quick.h"

enum { IS_LESS = 1, IS_EQUAL = 2, IS_GREATER = 4, IS_UNORDERED = 8 /* NaN */ };

/* One comparison of two slots. */
typedef struct comparison {
    uint16_t a, b;
    uint8_t accepts;  /* a set: which orders of a and b make it true */
    bool is_equality; /* == or !=: texts need no order */
} comparison_t;

/* The comparisons of a condition whose code leaves its truth in `result`, in the order in which they are looked at, and
 * their count; 0 when the code is anything else. `out` has room for `count` of them. Nothing but `result` may be read
 * of what the code writes. */
uint32_t condition_read (const instruction_t *code, uint32_t count, uint16_t result, comparison_t *out);

static inline int comparison_holds (const comparison_t *test, const value_t *row) {
    const value_t *a = &row[test->a], *b = &row[test->b];
    double x, y;
    unsigned order;
    if (a->tag == TAG_STR && b->tag == TAG_STR) {
        if (unlikely (!test->is_equality))
            return -1;
        order = a->size == b->size && text_equal (a->p, b->p, a->size) ? IS_EQUAL : IS_LESS;
    } else if (a->tag == TAG_INT && b->tag == TAG_INT)
        order = a->i < b->i ? IS_LESS : a->i == b->i ? IS_EQUAL : IS_GREATER;
    else if (likely (as_doubles (a, b, &x, &y)))
        order = x < y ? IS_LESS : x == y ? IS_EQUAL : x > y ? IS_GREATER : IS_UNORDERED;
    else
        return -1;
    return (test->accepts & order) != 0;
}

/* 1 or 0; -1 when a comparison that matters is not one of two numbers or two texts: ask the machine. */
static inline int condition_holds (const comparison_t *tests, uint32_t count, const value_t *row) {
    for (uint32_t i = 0; i < count; i++) {
        int truth = comparison_holds (&tests[i], row);
        if (truth != 1)
            return truth;
    }
    return 1;
}

#endif
