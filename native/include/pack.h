/* pack.h: msgpack, the form of nested values, keys, state and programs. Integers beyond int64 read as floats;
 * ext types are refused but for our time (type 1); names of a map and texts are UTF-8. */
#ifndef BETTONG_PACK_H
#define BETTONG_PACK_H

#include "arena.h"
#include "buffer.h"
#include "fault.h"

#define PACK_DEPTH_MAX 64

/* Read one value; containers come as a whole span (TAG_LIST or TAG_MAP with their msgpack bytes), checked
 * to be complete and no deeper than PACK_DEPTH_MAX. Returns what follows, or NULL when malformed or cut
 * short. */
const char *pack_read (const char *p, const char *end, value_t *value);

/* The same, but of a list or a map only the head: its tag and the count of its items (pairs for a map), which
 * follow. `*count` is left alone by all other values. */
const char *pack_head (const char *p, const char *end, value_t *value, uint32_t *count);

/* Enter a list or a map: its count of items (pairs for a map) and its first byte. `value` must come from
 * pack_read or from our own writers. */
const char *pack_open (const value_t *value, uint32_t *count);

bool pack_write (buffer_t *out, const value_t *value); /* any tag; MISSING as nil */
bool pack_write_text (buffer_t *out, const char *text, uint32_t size);
bool pack_write_int (buffer_t *out, int64_t value);
bool pack_write_list (buffer_t *out, uint32_t count); /* the header; the items follow */
bool pack_write_map (buffer_t *out, uint32_t count);

/* The value under `name` in a map; false when there is none. The last one wins. */
bool pack_get (const value_t *map, const char *name, uint32_t name_size, value_t *value);

/* A map without repeated names: the last value wins, at the place of the first, as in a Python dict. When
 * a name is repeated `map` becomes a copy in `scratch`. Maps inside of it are left as they are. False:
 * scratch is full. */
bool pack_unique (value_t *map, arena_t *scratch);

#endif
