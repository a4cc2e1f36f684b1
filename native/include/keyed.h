/* keyed.h: one keyed step outside a lane: records in, results and state rows out, all packed. What a test drives,
 * and any engine that runs our operators on keyed state of its own. The functions are declared in cdefs.h.
 *
 * The program is a packed map: {"slots": n, "key": [slots], "null_key": bool, "results": [slots], and one of
 * "window": {…}, "running": {…} (as in a flow's program) or "aggregates": […] (one set of accumulators, no key)}.
 *
 * keyed_add takes a record as a packed list of the values of slots 0, 1, 2 …; it returns enum window_added. Every
 * result is appended to what keyed_take gives: a packed list of the values of the result slots, a window's followed
 * by the end_us of window_emit_fn; "aggregates" give theirs at keyed_advance. keyed_freeze appends the state rows: of
 * "aggregates", the accumulators alone. keyed_restore puts accumulators of that form in the place of those held,
 * keyed_merge adds them (both "aggregates" only). keyed_take: the bytes since the last one, valid until the next
 * call. */
#ifndef BETTONG_KEYED_H
#define BETTONG_KEYED_H

#include "running.h"
#include "window.h"

enum { KEYED_SLOTS_MAX = 4096, KEYED_SCRATCH_BYTES = 1 << 20 };

#endif
