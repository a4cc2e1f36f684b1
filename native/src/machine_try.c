/* machine_try.c: code over a row that Python gives, for tests and for trying an expression out. Not for the lane. */
#include <stdlib.h>

#include "condition.h"
#include "machine_call.h"

enum { TRY_SLOTS_MAX = 65535, TRY_SCRATCH = 1 << 20 };

/* [slot, value, slot, value, …] into the row. */
static bool fill_row (const char *packed, size_t size, value_t *row, uint32_t slots, fault_t *fault) {
    value_t list, slot, value;
    uint32_t count;
    const char *end = packed + size;
    if (pack_read (packed, end, &list) != end || list.tag != TAG_LIST)
        return fault_set (fault, REASON_DECODE, "the row is no packed list");
    const char *p = pack_open (&list, &count);
    for (; count >= 2; count -= 2) {
        p = pack_read (p, end, &slot);
        p = pack_read (p, end, &value);
        if (slot.tag != TAG_INT || slot.i < 0 || slot.i >= (int64_t) slots)
            return fault_set (fault, REASON_DECODE, "the row has no such slot");
        row[slot.i] = value;
    }
    return true;
}

static int64_t pack_result (const value_t *value, char *out, size_t capacity, fault_t *fault) {
    buffer_t packed = {0};
    int64_t size = -1;
    if (pack_write (&packed, value) && packed.size <= capacity) {
        memcpy (out, packed.data, packed.size);
        size = (int64_t) packed.size;
    } else {
        fault_set (fault, REASON_LIMIT, "the result needs %zu bytes", packed.size);
    }
    buffer_free (&packed);
    return size;
}

int64_t machine_try (const char *code, size_t code_size, const char *row_packed, size_t row_size,
                     uint32_t slots, uint32_t result, int64_t now_us, char *out, size_t capacity,
                     fault_t *fault) {
    if (slots > TRY_SLOTS_MAX || result >= slots || code_size % sizeof (instruction_t)) {
        fault_set (fault, REASON_LIMIT, "no code, or no slot for the result");
        return -1;
    }
    uint32_t count = (uint32_t) (code_size / sizeof (instruction_t));
    instruction_t *instructions = malloc (code_size + 1);
    value_t *row = calloc (slots, sizeof *row);
    arena_t scratch = {.base = malloc (TRY_SCRATCH), .size = TRY_SCRATCH};
    int64_t size = -1;
    if (!instructions || !row || !scratch.base) {
        fault_set (fault, REASON_LIMIT, "there is no memory");
    } else {
        memcpy (instructions, code, code_size);
        if (fill_row (row_packed, row_size, row, slots, fault) &&
            machine_check (instructions, count, slots, fault) &&
            machine_run (instructions, count, row, &scratch, now_us, fault))
            size = pack_result (&row[result], out, capacity, fault);
    }
    free (instructions);
    free (row);
    free (scratch.base);
    return size;
}

int condition_try (const char *code, size_t code_size, const char *row_packed, size_t row_size,
                   uint32_t slots, uint32_t result, fault_t *fault) {
    uint32_t count = (uint32_t) (code_size / sizeof (instruction_t));
    instruction_t *instructions = malloc (code_size + 1);
    comparison_t *tests = malloc ((count + 1) * sizeof *tests);
    value_t *row = calloc (slots, sizeof *row);
    int truth = CONDITION_NONE;
    if (instructions && tests && row) {
        memcpy (instructions, code, code_size);
        if (fill_row (row_packed, row_size, row, slots, fault) &&
            machine_check (instructions, count, slots, fault)) {
            uint32_t found = condition_read (instructions, count, (uint16_t) result, tests);
            truth = found ? condition_holds (tests, found, row) : CONDITION_NONE;
        }
    }
    free (instructions);
    free (tests);
    free (row);
    return truth;
}
