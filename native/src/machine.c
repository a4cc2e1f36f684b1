/* machine.c: the loop of the expression machine and the check of its code.
 *
 * What is common and short is done in the loop: copies, jumps, truth, comparison and sums of numbers, equality of
 * text. Everything else is a call. */
#include "machine_quick.h"

static inline void store_bool (value_t *to, int64_t truth) {
    to->i = truth;
    to->tag = TAG_BOOL;
}
static inline void store_int (value_t *to, int64_t i) {
    to->i = i;
    to->tag = TAG_INT;
}
static inline void store_float (value_t *to, double f) {
    to->f = f;
    to->tag = TAG_FLOAT;
}

static const char *const WORDS[] = {"`and`", "`or`", "`if`"};

static bool __attribute__ ((cold)) no_truth (machine_t *self, const value_t *value, const char *word) {
    return fault_set (self->fault, REASON_EXPRESSION, "%s takes true, false or null, got %s", word,
                      tag_name (value->tag));
}

/* `and` and `or` of two: the strong value (false, true) decides, else null, else the other. */
static bool join (machine_t *self, const instruction_t *i, value_t *out) {
    int a = value_truth (&self->row[i->a]), b = value_truth (&self->row[i->b]);
    bool strong = i->op == OP_OR;
    if (unlikely (a == -2 || b == -2))
        return no_truth (self, &self->row[a == -2 ? i->a : i->b], WORDS[strong]);
    if (a == strong || b == strong)
        *out = value_bool (strong);
    else
        *out = a < 0 || b < 0 ? value_null() : value_bool (!strong);
    return true;
}

static bool run_call (machine_t *self, const instruction_t *i) {
    const call_t *call = &MACHINE_CALLS[i->op - CALL_FIRST];
    value_t out = value_null();
    if (!call->takes_null) {
        for (unsigned n = 0; n < i->count; n++) {
            if (value_is_null (machine_argument (self, i, n))) {
                self->row[i->to] = out;
                return true;
            }
        }
    }
    if (unlikely (!call->run (self, i, &out)))
        return false;
    self->row[i->to] = out;
    return true;
}

/* The slow path of a comparison or a sum. */
static bool __attribute__ ((noinline)) run_slow (machine_t *self, const instruction_t *i) {
    value_t out = value_null();
    bool is_done = i->op >= OP_ADD ? machine_arithmetic (self, i, &out) : machine_compare (self, i, &out);
    self->row[i->to] = out;
    return is_done;
}

/* The loop jumps straight from one instruction to the code of the next: each such jump has a place of its own, which
 * the processor learns by itself. Results are stored field by field: what is read next is read as it was written. */
#define NEXT                                                                                                 \
    do {                                                                                                     \
        if (next == end)                                                                                     \
            return true;                                                                                     \
        i = next++;                                                                                          \
        a = &row[i->a];                                                                                      \
        b = &row[i->b];                                                                                      \
        goto *PLACES[i->op];                                                                                 \
    } while (0)

#define SLOW                                                                                                 \
    if (unlikely (!run_slow (&self, i)))                                                                     \
        return false;                                                                                        \
    NEXT

#define COMPARE(sign)                                                                                        \
    if (a->tag == TAG_INT && b->tag == TAG_INT)                                                              \
        store_bool (&row[i->to], a->i sign b->i);                                                            \
    else if (likely (as_doubles (a, b, &x, &y)))                                                             \
        store_bool (&row[i->to], x sign y);                                                                  \
    else                                                                                                     \
        goto slow;                                                                                           \
    NEXT

#define SUM(checked, sign)                                                                                   \
    if (a->tag == TAG_FLOAT && value_is_number (b))                                                          \
        store_float (&row[i->to], a->f sign value_as_float (b));                                             \
    else if (a->tag == TAG_INT && b->tag == TAG_INT && !checked (a->i, b->i, &whole))                        \
        store_int (&row[i->to], whole);                                                                      \
    else                                                                                                     \
        goto slow;                                                                                           \
    NEXT

bool machine_run (const instruction_t *code, uint32_t count, value_t *row, arena_t *scratch, int64_t now_us,
                  fault_t *fault) {
    static const void *const PLACES[OP_COUNT] = {
        [OP_MOVE] = &&move,
        [OP_JUMP] = &&jump,
        [OP_JUMP_FALSE] = &&jump_false,
        [OP_JUMP_TRUE] = &&jump_true,
        [OP_JUMP_UNLESS] = &&jump_unless,
        [OP_JUMP_KNOWN] = &&jump_known,
        [OP_AND] = &&both,
        [OP_OR] = &&either,
        [OP_NOT] = &&not,
        [OP_IS_NULL] = &&is_null,
        [OP_EQ] = &&equal,
        [OP_NE] = &&differ,
        [OP_LT] = &&less,
        [OP_LE] = &&at_most,
        [OP_GT] = &&greater,
        [OP_GE] = &&at_least,
        [OP_ADD] = &&add,
        [OP_SUBTRACT] = &&subtract,
        [OP_MULTIPLY] = &&multiply,
        [OP_DIVIDE] = &&divide,
        [CALL_FIRST... OP_COUNT - 1] = &&call,
    };
    machine_t self = {row, scratch, now_us, fault};
    const instruction_t *next = code, *end = code + count, *i;
    const value_t *a, *b;
    double x, y;
    int64_t whole;
    int truth;
    NEXT;

move:
    row[i->to] = a->tag == TAG_MISSING ? value_null() : *a;
    NEXT;
jump:
    next = code + i->to;
    NEXT;
jump_false:
    if (likely (a->tag == TAG_BOOL)) {
        next = a->i ? next : code + i->to;
        NEXT;
    }
    goto jump_null;
jump_true:
    if (likely (a->tag == TAG_BOOL)) {
        next = a->i ? code + i->to : next;
        NEXT;
    }
jump_null:
    if (unlikely (!value_is_null (a)))
        return no_truth (&self, a, WORDS[i->count]);
    NEXT;
jump_unless:
    truth = value_truth (a);
    if (unlikely (truth == -2))
        return no_truth (&self, a, WORDS[i->count]);
    next = truth == 1 ? next : code + i->to;
    NEXT;
jump_known:
    next = value_is_null (a) ? next : code + i->to;
    NEXT;
both:
    if (likely (a->tag == TAG_BOOL && b->tag == TAG_BOOL))
        store_bool (&row[i->to], a->i & b->i);
    else if (unlikely (!join (&self, i, &row[i->to])))
        return false;
    NEXT;
either:
    if (likely (a->tag == TAG_BOOL && b->tag == TAG_BOOL))
        store_bool (&row[i->to], a->i | b->i);
    else if (unlikely (!join (&self, i, &row[i->to])))
        return false;
    NEXT;
not:
    truth = value_truth (a);
    if (unlikely (truth == -2))
        return no_truth (&self, a, "`not`");
    row[i->to] = truth < 0 ? value_null() : value_bool (!truth);
    NEXT;
is_null:
    store_bool (&row[i->to], value_is_null (a));
    NEXT;
equal:
    truth = quick_equal (a, b);
    if (unlikely (truth < 0))
        goto slow;
    store_bool (&row[i->to], truth);
    NEXT;
differ:
    truth = quick_equal (a, b);
    if (unlikely (truth < 0))
        goto slow;
    store_bool (&row[i->to], !truth);
    NEXT;
less:
    COMPARE (<);
at_most:
    COMPARE (<=);
greater:
    COMPARE (>);
at_least:
    COMPARE (>=);
add:
    SUM (__builtin_add_overflow, +);
subtract:
    SUM (__builtin_sub_overflow, -);
multiply:
    SUM (__builtin_mul_overflow, *);
divide:
    if (a->tag == TAG_FLOAT && value_is_number (b) && value_as_float (b) != 0.0) {
        store_float (&row[i->to], a->f / value_as_float (b));
        NEXT;
    }
slow:
    SLOW;
call:
    if (unlikely (!run_call (&self, i)))
        return false;
    NEXT;
}

static bool is_call_sound (const instruction_t *i, uint32_t slots) {
    const call_t *call = &MACHINE_CALLS[i->op - CALL_FIRST];
    if (i->count < call->least || i->count > call->most)
        return false;
    return i->count <= 2 ? i->b < slots : (uint32_t) i->a + i->count <= slots;
}

bool machine_check (const instruction_t *code, uint32_t count, uint32_t slots, fault_t *fault) {
    for (uint32_t at = 0; at < count; at++) {
        const instruction_t *i = &code[at];
        bool is_jump = i->op >= OP_JUMP && i->op <= OP_JUMP_KNOWN;
        bool is_sound = i->op < OP_COUNT && i->a < slots;
        is_sound &= is_jump ? i->to > at && i->to <= count && i->count <= WORD_IF : i->to < slots;
        if (is_sound)
            is_sound = i->op >= CALL_FIRST ? is_call_sound (i, slots) : i->b < slots;
        if (!is_sound)
            return fault_set (fault, REASON_EXPRESSION, "instruction %u of the code is malformed", at);
    }
    return true;
}
