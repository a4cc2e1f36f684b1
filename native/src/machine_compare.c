/* machine_compare.c: order and equality of values, all the way down, and `in`. */
#include <math.h>

#include "machine_call.h"

enum { UNORDERED_MAP_MAX = 1024 /* each key of one map is then looked for in the other: a million steps */ };

enum order order_int_float (int64_t a, double b) {
    if (isnan (b))
        return ORDER_NONE;
    if (b >= 0x1p63)
        return ORDER_LESS;
    if (b < -0x1p63)
        return ORDER_GREATER;
    int64_t whole = (int64_t) b;
    if (a != whole)
        return a < whole ? ORDER_LESS : ORDER_GREATER;
    double rest = b - (double) whole;
    return rest > 0 ? ORDER_LESS : rest < 0 ? ORDER_GREATER : ORDER_EQUAL;
}

static enum order order_floats (double a, double b) {
    return a < b ? ORDER_LESS : a > b ? ORDER_GREATER : a == b ? ORDER_EQUAL : ORDER_NONE;
}

static enum order order_ints (int64_t a, int64_t b) { return (enum order) ((a > b) - (a < b)); }

/* UTF-8 compares as its code points do. */
static enum order order_bytes (const value_t *a, const value_t *b) {
    uint32_t size = a->size < b->size ? a->size : b->size;
    int order = size ? memcmp (a->p, b->p, size) : 0;
    return order ? (order < 0 ? ORDER_LESS : ORDER_GREATER) : order_ints (a->size, b->size);
}

static enum order order_numbers (const value_t *a, const value_t *b) {
    if (a->tag == b->tag)
        return a->tag == TAG_INT ? order_ints (a->i, b->i) : order_floats (a->f, b->f);
    if (a->tag == TAG_INT)
        return order_int_float (a->i, b->f);
    enum order order = order_int_float (b->i, a->f);
    return order == ORDER_NONE ? order : (enum order) - order;
}

bool machine_order (const value_t *a, const value_t *b, enum order *order) {
    if (value_is_number (a) && value_is_number (b))
        *order = order_numbers (a, b);
    else if (a->tag != b->tag)
        return false;
    else if (a->tag == TAG_STR || a->tag == TAG_BYTES)
        *order = order_bytes (a, b);
    else if (a->tag == TAG_TIME)
        *order = order_ints (a->i, b->i);
    else
        return false;
    return true;
}

/* Values that are neither lists nor maps. */
static bool is_equal_flat (const value_t *a, const value_t *b) {
    if (value_is_null (a) || value_is_null (b))
        return value_is_null (a) && value_is_null (b);
    if (a->tag == TAG_BOOL && b->tag == TAG_BOOL)
        return a->i == b->i;
    enum order order;
    return machine_order (a, b, &order) && order == ORDER_EQUAL;
}

/* One list or map of either side, side by side. */
typedef struct pair {
    const char *a, *a_end;
    const char *b, *b_end;
    value_t map; /* the right side, when it is a map */
    uint32_t left, count;
} pair_t;

/* Both containers of one kind and count: what is inside has to be compared. */
static bool pair_open (const value_t *a, const value_t *b, pair_t *pair) {
    uint32_t count;
    if (a->tag != b->tag)
        return false;
    *pair = (pair_t){.map = *b, .a_end = a->p + a->size, .b_end = b->p + b->size};
    pair->a = pack_open (a, &pair->count);
    pair->b = pack_open (b, &count);
    pair->left = pair->count;
    return pair->count == count;
}

enum next { NEXT_DIFFERENT, NEXT_PAIR, NEXT_LIMIT, NEXT_BROKEN };

/* The next two values that belong together: the items of an index, or the entries of a key. */
static enum next pair_next (pair_t *pair, value_t *a, value_t *b) {
    value_t key, other;
    bool is_map = pair->map.tag == TAG_MAP;
    pair->left--;
    if (is_map && (!(pair->a = pack_read (pair->a, pair->a_end, &key)) ||
                   !(pair->b = pack_read (pair->b, pair->b_end, &other))))
        return NEXT_BROKEN;
    if (!(pair->a = pack_read (pair->a, pair->a_end, a)) || !(pair->b = pack_read (pair->b, pair->b_end, b)))
        return NEXT_BROKEN;
    if (!is_map || (key.size == other.size && text_equal (key.p, other.p, key.size)))
        return NEXT_PAIR;
    if (pair->count > UNORDERED_MAP_MAX)
        return NEXT_LIMIT;
    return pack_get (&pair->map, key.p, key.size, b) ? NEXT_PAIR : NEXT_DIFFERENT;
}

bool value_equal (const value_t *a, const value_t *b, bool *is_equal) {
    if (a->tag < TAG_LIST || b->tag < TAG_LIST) {
        *is_equal = is_equal_flat (a, b);
        return true;
    }
    pair_t pairs[PACK_DEPTH_MAX + 1];
    uint32_t depth = 1;
    *is_equal = false;
    if (!pair_open (a, b, &pairs[0]))
        return true;
    while (depth) {
        pair_t *pair = &pairs[depth - 1];
        if (!pair->left) {
            depth--;
            continue;
        }
        value_t x, y;
        enum next next = pair_next (pair, &x, &y);
        if (next == NEXT_DIFFERENT)
            return true;
        if (next != NEXT_PAIR || depth > PACK_DEPTH_MAX)
            return false;
        if (x.tag < TAG_LIST || y.tag < TAG_LIST) {
            if (!is_equal_flat (&x, &y))
                return true;
        } else if (!pair_open (&x, &y, &pairs[depth++])) {
            return true;
        }
    }
    *is_equal = true;
    return true;
}

bool machine_equal (machine_t *self, const instruction_t *i, const value_t *a, const value_t *b,
                    bool *is_equal) {
    return value_equal (a, b, is_equal) ||
           fault_set (self->fault, REASON_LIMIT, "%s: the maps are too large to compare", machine_name (i));
}

static bool is_ordered (uint8_t op, enum order order) {
    switch (op) {
    case OP_LT: return order == ORDER_LESS;
    case OP_LE: return order == ORDER_LESS || order == ORDER_EQUAL;
    case OP_GT: return order == ORDER_GREATER;
    default: return order == ORDER_GREATER || order == ORDER_EQUAL;
    }
}

bool machine_compare (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *a = &self->row[i->a], *b = &self->row[i->b];
    if (value_is_null (a) || value_is_null (b))
        return true;
    if ((a->tag == TAG_TIME && b->tag == TAG_STR) || (a->tag == TAG_STR && b->tag == TAG_TIME))
        return machine_fail (self, i, "a time and a text do not compare: use to_time()");
    if (i->op == OP_EQ || i->op == OP_NE) {
        bool is_equal;
        if (!machine_equal (self, i, a, b, &is_equal))
            return false;
        *out = value_bool (is_equal == (i->op == OP_EQ));
        return true;
    }
    enum order order;
    if (!machine_order (a, b, &order))
        return machine_refuse (self, i, "two numbers, texts, bytes or times");
    *out = value_bool (is_ordered (i->op, order));
    return true;
}

static bool list_contains (machine_t *self, const instruction_t *i, const value_t *item, const value_t *list,
                           bool *is_in) {
    uint32_t count;
    const char *end = list->p + list->size, *p = pack_open (list, &count);
    value_t value;
    for (*is_in = false; count-- && !*is_in;) {
        if (!(p = pack_read (p, end, &value)))
            return machine_full (self, i);
        if (!machine_equal (self, i, item, &value, is_in))
            return false;
    }
    return true;
}

bool call_in (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *item = machine_argument (self, i, 0), *place = machine_argument (self, i, 1);
    value_t found;
    bool is_in = false;
    if (place->tag == TAG_LIST) {
        if (!list_contains (self, i, item, place, &is_in))
            return false;
    } else if (place->tag == TAG_MAP) {
        is_in = item->tag == TAG_STR && pack_get (place, item->p, item->size, &found);
    } else if ((place->tag == TAG_STR || place->tag == TAG_BYTES) && item->tag == place->tag) {
        is_in = item->size == 0 || memmem (place->p, place->size, item->p, item->size) != NULL;
    } else {
        return machine_refuse (self, i, "a text in a text, or anything in a list or a map");
    }
    *out = value_bool (is_in == (i->op == OP_IN));
    return true;
}
