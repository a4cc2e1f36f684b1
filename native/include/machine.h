/* machine.h: the expression machine. Operands are slots of the row: fields, constants and temporaries alike. */
#ifndef BETTONG_MACHINE_H
#define BETTONG_MACHINE_H

#include "arena.h"
#include "fault.h"

/* Run `count` instructions over `row`. False with a fault (REASON_EXPRESSION or REASON_LIMIT) when one fails;
 * slots written before it keep their new values. `now_us` is the tick's clock. */
bool machine_run (const instruction_t *code, uint32_t count, value_t *row, arena_t *scratch, int64_t now_us,
                  fault_t *fault);

/* Program loading: every slot below `slots`, every jump forward and inside. */
bool machine_check (const instruction_t *code, uint32_t count, uint32_t slots, fault_t *fault);

/* Three-valued truth of a condition: 1, 0, or -1 for null; -2 for anything else (an error). */
static inline int value_truth (const value_t *v) {
    return v->tag == TAG_BOOL ? (int) v->i : v->tag <= TAG_NULL ? -1 : -2;
}

/* Whether two values are equal (S2), all the way down; inside of lists and maps null equals null. False when maps
 * whose keys stand in different orders are too large to tell. */
bool value_equal (const value_t *a, const value_t *b, bool *is_equal);

#endif
