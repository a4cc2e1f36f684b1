/* condition.c: comparisons joined by `and`.
 *
 * The machine computes `and` from left to right and leaves at the first that is false; so does this, but it knows true
 * and false only. Whatever else there may be (null, a comparison that is an error) is left to the machine, which begins
 * again: comparing has no effects. */
#include "condition.h"

/* The orders that an opcode accepts; 0: it is no comparison. */
static uint8_t orders_of (uint8_t op) {
    switch (op) {
    case OP_EQ: return IS_EQUAL;
    case OP_NE: return IS_LESS | IS_GREATER | IS_UNORDERED;
    case OP_LT: return IS_LESS;
    case OP_LE: return IS_LESS | IS_EQUAL;
    case OP_GT: return IS_GREATER;
    case OP_GE: return IS_GREATER | IS_EQUAL;
    default: return 0;
    }
}

/* A jump that leaves, at once or by way of others of its kind, when the condition is false already. */
static bool is_way_out (const instruction_t *code, uint32_t count, uint32_t at, uint16_t result) {
    while (at < count && code[at].op == OP_JUMP_FALSE && code[at].a == result)
        at = code[at].to;
    return at == count;
}

/* Whether the code before `at` writes a slot. */
static bool is_written (const instruction_t *code, uint32_t at, uint16_t slot) {
    for (uint32_t i = 0; i < at; i++)
        if (code[i].op != OP_JUMP_FALSE && code[i].to == slot)
            return true;
    return false;
}

/* The comparison at `at`; false when there is none, or it compares what the code itself has computed. */
static bool read_test (const instruction_t *code, uint32_t at, comparison_t *out) {
    const instruction_t *test = &code[at];
    *out = (comparison_t){.a = test->a,
                          .b = test->b,
                          .accepts = orders_of (test->op),
                          .is_equality = test->op == OP_EQ || test->op == OP_NE};
    return out->accepts && !is_written (code, at, test->a) && !is_written (code, at, test->b);
}

/* The first comparison writes the result; each of the others stands between a way out and an `and`. */
uint32_t condition_read (const instruction_t *code, uint32_t count, uint16_t result, comparison_t *out) {
    if (!count || code[0].to != result || !read_test (code, 0, out))
        return 0;
    uint32_t found = 1;
    for (uint32_t at = 1; at < count; at += 3) {
        if (count - at < 3 || !is_way_out (code, count, at, result) || !read_test (code, at + 1, &out[found]))
            return 0;
        const instruction_t *join = &code[at + 2];
        uint16_t other = code[at + 1].to;
        if (join->op != OP_AND || join->to != result || join->a != result || join->b != other ||
            other == result)
            return 0;
        found++;
    }
    return found;
}
