/* rows.h: rows of state, merged: the last row of each key wins, a tombstone ends what stood before it. Rows are
 * packed lists (docs/formats/state-rows.md, python-state.md); they are compared by their bytes, never unpacked.
 *
 * The store merges with this; its twin in plain Python is tests/native/merge_rows.py. */
#ifndef BETTONG_ROWS_H
#define BETTONG_ROWS_H

#include "value.h"

enum { ROWS_MALFORMED = -1, ROWS_NO_MEMORY = -2 };

/* rows_merge is in cdefs.h. */

#endif
