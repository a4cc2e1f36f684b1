/* machine_calls.c: the table of calls, and what they share: their names, their faults, room for their results. */
#include "machine_call.h"

enum { MANY = 255 };

const call_t MACHINE_CALLS[OP_COUNT - CALL_FIRST] = {
#define CALL(op, ...) [op - CALL_FIRST] = {__VA_ARGS__}
    CALL (OP_FLOOR_DIVIDE, call_floor_divide, "//", 2, 2, false),
    CALL (OP_MODULO, call_modulo, "%", 2, 2, false),
    CALL (OP_POW, call_pow, "**", 2, 2, false),
    CALL (OP_NEGATE, call_negate, "-", 1, 1, false),
    CALL (OP_PLUS, call_plus, "+", 1, 1, false),
    CALL (OP_IN, call_in, "in", 2, 2, false),
    CALL (OP_NOT_IN, call_in, "not in", 2, 2, false),
    CALL (OP_GET, call_get, "[]", 2, 2, false),
    CALL (OP_SLICE, call_slice, "[:]", 3, 3, true),
    CALL (OP_LIST, call_list, "[…]", 0, MANY, true),
    CALL (OP_MAP, call_map, "{…}", 0, MANY, true),
    CALL (OP_ABS, call_abs, "abs()", 1, 1, false),
    CALL (OP_ROUND, call_round, "round()", 1, 2, false),
    CALL (OP_FLOOR, call_floor, "floor()", 1, 1, false),
    CALL (OP_CEIL, call_ceil, "ceil()", 1, 1, false),
    CALL (OP_SQRT, call_sqrt, "sqrt()", 1, 1, false),
    CALL (OP_LOG, call_log, "log()", 1, 2, false),
    CALL (OP_EXP, call_exp, "exp()", 1, 1, false),
    CALL (OP_MIN, call_extreme, "min()", 1, MANY, false),
    CALL (OP_MAX, call_extreme, "max()", 1, MANY, false),
    CALL (OP_CLAMP, call_clamp, "clamp()", 3, 3, false),
    CALL (OP_SIGN, call_sign, "sign()", 1, 1, false),
    CALL (OP_LEN, call_len, "len()", 1, 1, false),
    CALL (OP_LOWER, call_case, "lower()", 1, 1, false),
    CALL (OP_UPPER, call_case, "upper()", 1, 1, false),
    CALL (OP_STRIP, call_strip, "strip()", 1, 2, false),
    CALL (OP_SPLIT, call_split, "split()", 1, 2, false),
    CALL (OP_JOIN, call_join, "join()", 1, 2, false),
    CALL (OP_REPLACE, call_replace, "replace()", 3, 3, false),
    CALL (OP_STARTSWITH, call_starts, "startswith()", 2, 2, false),
    CALL (OP_ENDSWITH, call_starts, "endswith()", 2, 2, false),
    CALL (OP_FORMAT, call_format, "format()", 1, MANY, false),
    CALL (OP_INT, call_int, "int()", 1, 1, false),
    CALL (OP_FLOAT, call_float, "float()", 1, 1, false),
    CALL (OP_STR, call_str, "str()", 1, 1, false),
    CALL (OP_BOOL, call_bool, "bool()", 1, 1, false),
    CALL (OP_NOW, call_now, "now()", 0, 0, false),
    CALL (OP_TO_TIME, call_to_time, "to_time()", 2, 2, false),
    CALL (OP_FORMAT_TIME, call_format_time, "format_time()", 2, 2, false),
    CALL (OP_YEAR, call_time_part, "year()", 1, 1, false),
    CALL (OP_MONTH, call_time_part, "month()", 1, 1, false),
    CALL (OP_DAY, call_time_part, "day()", 1, 1, false),
    CALL (OP_HOUR, call_time_part, "hour()", 1, 1, false),
    CALL (OP_MINUTE, call_time_part, "minute()", 1, 1, false),
    CALL (OP_SECOND, call_time_part, "second()", 1, 1, false),
    CALL (OP_WEEKDAY, call_time_part, "weekday()", 1, 1, false),
    CALL (OP_TRUNCATE_TIME, call_truncate_time, "truncate_time()", 2, 2, false),
    CALL (OP_HAS, call_has, "has()", 2, 2, false),
    CALL (OP_KEYS, call_keys, "keys()", 1, 1, false),
    CALL (OP_HASH, call_hash, "hash()", 1, 1, false),
    CALL (OP_CRC32, call_crc32, "crc32()", 1, 1, false),
#undef CALL
};

static const char *const OPERATORS[CALL_FIRST - OP_EQ] = {"==", "!=", "<", "<=", ">",
                                                          ">=", "+",  "-", "*",  "/"};

const char *machine_name (const instruction_t *i) {
    if (i->op >= CALL_FIRST)
        return MACHINE_CALLS[i->op - CALL_FIRST].name;
    return i->op >= OP_EQ ? OPERATORS[i->op - OP_EQ] : "a condition";
}

bool machine_refuse (machine_t *self, const instruction_t *i, const char *takes) {
    const char *types[3] = {"", "", ""};
    unsigned count = i->count > 3 ? 3 : i->count;
    for (unsigned n = 0; n < count; n++)
        types[n] = tag_name (machine_argument (self, i, n)->tag);
    return fault_set (self->fault, REASON_EXPRESSION, "%s takes %s, got %s%s%s%s%s%s", machine_name (i),
                      takes, types[0], count > 1 ? ", " : "", types[1], count > 2 ? ", " : "", types[2],
                      i->count > 3 ? ", …" : "");
}

bool machine_fail (machine_t *self, const instruction_t *i, const char *what) {
    return fault_set (self->fault, REASON_EXPRESSION, "%s: %s", machine_name (i), what);
}

bool machine_full (machine_t *self, const instruction_t *i) {
    return fault_set (self->fault, REASON_LIMIT, "%s: the result is too large", machine_name (i));
}

bool machine_write_begin (machine_t *self, const instruction_t *i, buffer_t *out) {
    char *start = arena_take (self->scratch, 1);
    if (unlikely (!start))
        return machine_full (self, i);
    size_t room = self->scratch->size - ARENA_SLACK - (size_t) (start - self->scratch->base);
    *out = (buffer_t){.data = start, .size = 0, .capacity = room, .limit = room};
    return true;
}

void machine_write_end (machine_t *self, const buffer_t *out) {
    self->scratch->used = (size_t) (out->data - self->scratch->base) + out->size;
}

bool machine_write_value (machine_t *self, const buffer_t *written, uint8_t tag, value_t *out) {
    machine_write_end (self, written);
    *out = (value_t){.p = written->data, .size = (uint32_t) written->size, .tag = tag};
    return true;
}
