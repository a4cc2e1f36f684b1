/* machine_call.h: what the parts of the expression machine share.
 *
 * A call reads its arguments with machine_argument and fills `out`; the machine stores it. Unless its entry in the
 * table says otherwise, it is not called when an argument is null: the result is then null. */
#ifndef BETTONG_MACHINE_CALL_H
#define BETTONG_MACHINE_CALL_H

#include "buffer.h"
#include "machine.h"
#include "pack.h"

typedef struct machine {
    value_t *row;
    arena_t *scratch;
    int64_t now_us;
    fault_t *fault;
} machine_t;

typedef bool machine_call_fn (machine_t *self, const instruction_t *i, value_t *out);

/* One entry for each opcode from CALL_FIRST on. */
typedef struct call {
    machine_call_fn *run;
    const char *name;
    uint8_t least, most; /* arguments */
    bool takes_null;
} call_t;

enum { CALL_FIRST = OP_FLOOR_DIVIDE };
extern const call_t MACHINE_CALLS[OP_COUNT - CALL_FIRST];

static inline const value_t *machine_argument (const machine_t *self, const instruction_t *i, unsigned n) {
    return &self->row[i->count > 2 ? i->a + n : n ? i->b : i->a];
}

/* The name of what an instruction does, for messages: "round()", "//". */
const char *machine_name (const instruction_t *i);
/* Faults, for `return`: "round() takes a number, got str and int"; "round(): `what`"; the scratch is full. */
bool machine_refuse (machine_t *self, const instruction_t *i, const char *takes) __attribute__ ((cold));
bool machine_fail (machine_t *self, const instruction_t *i, const char *what) __attribute__ ((cold));
bool machine_full (machine_t *self, const instruction_t *i) __attribute__ ((cold));

/* All that is left of the scratch as a buffer; machine_write_end takes what was written and gives the rest back. A
 * write that does not fit fails, and the caller returns machine_full. Nothing else may take scratch in between. */
bool machine_write_begin (machine_t *self, const instruction_t *i, buffer_t *out);
void machine_write_end (machine_t *self, const buffer_t *out);
/* The same, with the bytes written as a value. */
bool machine_write_value (machine_t *self, const buffer_t *written, uint8_t tag, value_t *out);

/* ---- comparison (machine_compare.c) ---- */

enum order { ORDER_LESS = -1, ORDER_EQUAL, ORDER_GREATER, ORDER_NONE /* NaN */ };

/* The order of two values that are not null: both numbers, text, bytes or times. False without a fault for any
 * others. */
bool machine_order (const value_t *a, const value_t *b, enum order *order);
enum order order_int_float (int64_t a, double b);

/* Whether two values are equal, all the way down; inside of lists and maps null equals null. False with a fault
 * only when the comparison would take too long. */
bool machine_equal (machine_t *self, const instruction_t *i, const value_t *a, const value_t *b,
                    bool *is_equal);

/* The comparisons and sums that the machine does not do by itself, null included. */
bool machine_compare (machine_t *self, const instruction_t *i, value_t *out);
bool machine_arithmetic (machine_t *self, const instruction_t *i, value_t *out);

static inline bool text_equal (const char *a, const char *b, uint32_t size) {
    if (size >= 8) {
        for (uint32_t at = 0; at + 8 < size; at += 8)
            if (load_u64 (a + at) != load_u64 (b + at))
                return false;
        return load_u64 (a + size - 8) == load_u64 (b + size - 8);
    }
    if (size >= 4)
        return load_u32 (a) == load_u32 (b) && load_u32 (a + size - 4) == load_u32 (b + size - 4);
    if (size >= 2)
        return load_u16 (a) == load_u16 (b) && a[size - 1] == b[size - 1];
    return size == 0 || *a == *b;
}

/* ---- text (machine_text.c) ---- */

/* The size of the character at `p`. Text is UTF-8 already; all the same, nothing leads beyond its end. */
static inline uint32_t character_size (const char *p, const char *end) {
    unsigned char byte = (unsigned char) *p;
    uint32_t size = byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    return likely (size <= (size_t) (end - p)) ? size : (uint32_t) (end - p);
}
static inline bool character_begins (char byte) { return ((unsigned char) byte & 0xc0) != 0x80; }
uint32_t text_count (const value_t *text); /* characters */
/* The offset of the character with this index; the size of the text when there is none. */
uint32_t text_offset (const value_t *text, uint32_t index);
bool is_ascii_space (char byte);

/* A value as `str` and `{}` show it, into `out`. False with a fault: no room, or a value without a text. */
bool machine_write_str (machine_t *self, const instruction_t *i, const value_t *value, buffer_t *out);

/* A float without a fraction as an int; false with a fault when it does not fit. */
bool machine_whole (machine_t *self, const instruction_t *i, double x, value_t *out);

/* The digits of a finite number with `precision` of them after the point, rounded correctly. At most
 * FIXED_TEXT_MAX; the size. */
enum { FIXED_PRECISION_MAX = 340, FIXED_TEXT_MAX = 320 + FIXED_PRECISION_MAX };
uint32_t number_write_fixed (char *out, double value, uint32_t precision);

/* ---- the calls ---- */

machine_call_fn call_floor_divide, call_modulo, call_pow, call_negate, call_plus;
machine_call_fn call_in, call_get, call_slice, call_list, call_map, call_has, call_keys, call_hash,
    call_crc32;
machine_call_fn call_abs, call_round, call_floor, call_ceil, call_sqrt, call_log, call_exp, call_extreme,
    call_clamp, call_sign;
machine_call_fn call_len, call_case, call_strip, call_split, call_join, call_replace, call_starts,
    call_format;
machine_call_fn call_int, call_float, call_str, call_bool;
machine_call_fn call_now, call_to_time, call_format_time, call_time_part, call_truncate_time;

#endif
