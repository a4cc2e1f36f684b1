/* row_read.h: state rows as they come back from a disk: nothing in them is trusted. */
#ifndef BETTONG_ROW_READ_H
#define BETTONG_ROW_READ_H

#include "fault.h"
#include "key.h"

typedef struct row_head {
    uint32_t shard;
    bkey_t key; /* its bytes lie in the row */
} row_head_t;

/* One row [shard, key, …]: its key, held against the shard, and the `count` items behind it. What follows the row, or
 * NULL with a fault. */
const char *row_read (const char *p, const char *end, row_head_t *head, value_t *rest, uint32_t count,
                      fault_t *fault);

/* Exactly `count` items of a list. */
bool list_read (const value_t *list, value_t *items, uint32_t count);

#endif
