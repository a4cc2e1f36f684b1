/* table.h: keyed rows of fixed size: slab rows in order of insertion, open addressing, interned keys, a dirty
 * list. The lane is its only user; nothing here is locked.
 *
 * Rows never move while the table is not cleared (slabs), so a pointer to a row's payload stays valid.
 * Every key counts towards `table_bytes`, the memory it holds. */
#ifndef BETTONG_TABLE_H
#define BETTONG_TABLE_H

#include "key.h"

/* 2^30 rows: what an index of the table's 32 bits holds with room to spare. */
enum { TABLE_ROWS_MAX = 1 << 30 };

/* table_row_t is in cdefs.h: key (interned), payload (payload_size bytes, 8-aligned, zeroed when new), index
 * (0, 1, 2 … in order of insertion). A removed row's index is used again only after its tombstone was taken by
 * table_take_dirty; a table nothing is removed from keeps the order of insertion. */

/* `payload_size` in bytes. NULL when there is no memory. */
table_t *table_new (uint32_t payload_size);
void table_destroy (table_t **self_p);

/* The row of a key, made (zeroed, *is_new set) when it is not there. False when there is no memory. */
bool table_put (table_t *self, const bkey_t *key, table_row_t *row, bool *is_new);
/* Take back a row that table_put has just made, as if it had never been: no tombstone. */
void table_undo (table_t *self, uint32_t index);
bool table_find (const table_t *self, const bkey_t *key, table_row_t *row);
/* The payload is left as it is until table_take_dirty has shown the tombstone: its owner frees what it holds
 * before the call. */
bool table_remove (table_t *self, const bkey_t *key);
/* The row at an index; false when removed or beyond the end. */
bool table_at (const table_t *self, uint32_t index, table_row_t *row);
uint32_t table_end (const table_t *self);   /* one past the last index */
uint32_t table_count (const table_t *self); /* live rows */
uint64_t table_bytes (const table_t *self);
/* Forget all rows, keep the memory for the next use. */
void table_clear (table_t *self);

/* Something is about to be looked up: what every look-up reads is fetched, and the pages of what depends on its key
 * are made known to the processor. Changes nothing but time. */
void table_prepare (const table_t *self);

/* Dirty rows: marked by the owner, walked and forgotten at a cut. Removed rows stay listed as tombstones. */
void table_mark (table_t *self, uint32_t index);
/* The row has been visited, live, by a table_take_dirty that succeeded: a cut knows of it. */
bool table_stored (const table_t *self, uint32_t index);
/* As if such a visit had been: the row comes from a cut. */
void table_set_stored (table_t *self, uint32_t index);
/* bool table_visit_fn (void *context, const table_row_t *row, bool removed): see cdefs.h. */
/* Visit dirty rows sorted by shard, within a shard tombstones first (a key may have come back since), then by
 * index. False when `visit` said so or there is no memory. */
bool table_visit_dirty (table_t *self, table_visit_fn *visit, void *context);
/* The list is empty again. Only right after a visit that succeeded. */
void table_forget_dirty (table_t *self);
/* Both. Nothing is forgotten when the visit fails. */
bool table_take_dirty (table_t *self, table_visit_fn *visit, void *context);

#endif
