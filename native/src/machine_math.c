/* machine_math.c: the library's functions of numbers. */
#include <math.h>

#include "machine_call.h"

/* The one argument, which has to be a number. */
static const value_t *number (machine_t *self, const instruction_t *i) {
    const value_t *x = machine_argument (self, i, 0);
    return value_is_number (x) || machine_refuse (self, i, "a number") ? x : NULL;
}

bool machine_whole (machine_t *self, const instruction_t *i, double x, value_t *out) {
    if (!(x >= -0x1p63 && x < 0x1p63))
        return machine_fail (self, i, isnan (x) ? "NaN is no int" : "the result does not fit 64 bits");
    *out = value_int ((int64_t) x);
    return true;
}

bool call_abs (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *x = number (self, i);
    if (!x)
        return false;
    if (x->tag == TAG_INT && x->i == INT64_MIN)
        return machine_fail (self, i, "the result does not fit 64 bits");
    *out = x->tag == TAG_INT ? value_int (x->i < 0 ? -x->i : x->i) : value_float (fabs (x->f));
    return true;
}

bool call_floor (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *x = number (self, i);
    if (!x)
        return false;
    *out = *x;
    return x->tag == TAG_INT || machine_whole (self, i, floor (x->f), out);
}

bool call_ceil (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *x = number (self, i);
    if (!x)
        return false;
    *out = *x;
    return x->tag == TAG_INT || machine_whole (self, i, ceil (x->f), out);
}

bool call_sign (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *x = number (self, i);
    if (!x)
        return false;
    if (x->tag == TAG_FLOAT && isnan (x->f))
        return machine_fail (self, i, "NaN has no sign");
    bool is_above = x->tag == TAG_INT ? x->i > 0 : x->f > 0,
         is_below = x->tag == TAG_INT ? x->i < 0 : x->f < 0;
    *out = value_int (is_above - is_below);
    return true;
}

bool call_sqrt (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *x = number (self, i);
    if (!x)
        return false;
    double value = value_as_float (x);
    if (value < 0)
        return machine_fail (self, i, "of a number below 0");
    *out = value_float (sqrt (value));
    return true;
}

bool call_exp (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *x = number (self, i);
    if (!x)
        return false;
    double power = exp (value_as_float (x));
    if (isinf (power) && isfinite (value_as_float (x)))
        return machine_fail (self, i, "the result is too large for a float");
    *out = value_float (power);
    return true;
}

bool call_log (machine_t *self, const instruction_t *i, value_t *out) {
    double logs[2] = {0, 1};
    for (unsigned n = 0; n < i->count; n++) {
        const value_t *x = machine_argument (self, i, n);
        if (!value_is_number (x))
            return machine_refuse (self, i, "numbers");
        if (value_as_float (x) <= 0)
            return machine_fail (self, i, "of a number that is not above 0");
        logs[n] = log (value_as_float (x));
    }
    if (logs[1] == 0.0)
        return machine_fail (self, i, "to the base 1");
    *out = value_float (i->count == 1 ? logs[0] : logs[0] / logs[1]);
    return true;
}

/* ---- min, max, clamp ---- */

static bool extreme_step (machine_t *self, const instruction_t *i, const value_t *x, value_t *best) {
    enum order order;
    if (!machine_order (x, best, &order)) {
        return fault_set (self->fault, REASON_EXPRESSION,
                          "%s takes numbers, texts, bytes or times, not %s and %s", machine_name (i),
                          tag_name (best->tag), tag_name (x->tag));
    }
    if (order == (i->op == OP_MIN ? ORDER_LESS : ORDER_GREATER))
        *best = *x;
    return true;
}

static bool extreme_of_list (machine_t *self, const instruction_t *i, const value_t *list, value_t *out) {
    uint32_t count;
    const char *end = list->p + list->size, *p = pack_open (list, &count);
    value_t best = value_null(), item;
    for (uint32_t n = 0; n < count; n++) {
        if (!(p = pack_read (p, end, &item)))
            return machine_full (self, i);
        if (value_is_null (&item))
            return true;
        if (n == 0)
            best = item;
        if (!extreme_step (self, i, &item, &best))
            return false;
    }
    *out = best;
    return true;
}

bool call_extreme (machine_t *self, const instruction_t *i, value_t *out) {
    value_t best = *machine_argument (self, i, 0);
    if (i->count == 1 && best.tag == TAG_LIST)
        return extreme_of_list (self, i, &best, out);
    if (i->count == 1)
        return machine_refuse (self, i, "a list, or two arguments");
    for (unsigned n = 1; n < i->count; n++)
        if (!extreme_step (self, i, machine_argument (self, i, n), &best))
            return false;
    *out = best;
    return true;
}

bool call_clamp (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *x = machine_argument (self, i, 0), *low = machine_argument (self, i, 1),
                  *high = machine_argument (self, i, 2);
    enum order below, above;
    if (!machine_order (x, low, &below) || !machine_order (x, high, &above))
        return machine_refuse (self, i, "three numbers, texts, bytes or times");
    *out = below == ORDER_LESS ? *low : above == ORDER_GREATER ? *high : *x;
    return true;
}
