/* condition.h: what most filters are, comparisons joined by `and`, decided without the expression machine. */
#ifndef BETTONG_CONDITION_H
#define BETTONG_CONDITION_H

#include "value.h"

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

/* 1 or 0; -1 when a comparison that matters is not one of two numbers or two texts: ask the machine. */
int condition_holds (const comparison_t *tests, uint32_t count, const value_t *row);

#endif
