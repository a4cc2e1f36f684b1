/* decode.h: what every decoder is: one message in, the wanted slots of a row out.
 *
 * `text[0 … size)` is the message. It is writable, 64 more bytes behind it are readable, and a decoder may
 * put a sentinel at text[size] as long as it puts the old byte back before it returns. Slots may point into
 * `text`. False with a fault when the message cannot be decoded; the row's wanted slots are then
 * unspecified. */
#ifndef BETTONG_DECODE_H
#define BETTONG_DECODE_H

#include "fields.h"

#define DECODE_SLACK 64

/* One per source, from the program's {"kind": "json" | "csv" | "msgpack" | "text" | "raw" | "binary", …}. */
typedef struct format format_t;
/* One per partition (a CSV header is read once per partition); NULL for formats that need none. */
typedef struct format_state format_state_t;

format_t *format_new (const value_t *map, const fields_t *fields, fault_t *fault);
void format_destroy (format_t **self_p);
format_state_t *format_open (const format_t *self);
void format_close (const format_t *self, format_state_t **state_p);

/* What a cut keeps of a partition's state, appended to `out` (nothing for formats that need none); and back, into a
 * state that is new. False: no memory, or bytes that are not this format's. */
bool format_freeze (const format_t *self, const format_state_t *state, buffer_t *out);
bool format_thaw (const format_t *self, format_state_t *state, const char *bytes, size_t size,
                  fault_t *fault);

/* enum decoded is in cdefs.h. DECODED_NOTHING: a header, an empty line. The declared types are for the
 * caller to check (fields_check). A state may be shared by formats that differ in their fields only. */
enum decoded format_decode (const format_t *self, format_state_t *state, char *text, uint32_t size,
                            value_t *row, arena_t *scratch, fault_t *fault);

/* The single decoders behind it. */
bool json_decode (const fields_t *fields, char *text, uint32_t size, value_t *row, arena_t *scratch,
                  fault_t *fault);
/* A line that begins at `text` and its record at once, when a newline ends it before `end`: DECODED_ROW or
 * DECODED_FAULT, *size without the line's end. DECODED_NOTHING, and the row unspecified, when there is no such line or
 * it does not begin with an object: the framer and json_decode then say what it is. A newline stands at `end` or behind
 * it, with the slack behind that. Not for fields with a rest. */
enum decoded json_decode_line (const fields_t *fields, char *text, const char *end, uint32_t *size,
                               value_t *row, arena_t *scratch, fault_t *fault);
bool msgpack_decode (const fields_t *fields, const char *text, uint32_t size, value_t *row, arena_t *scratch,
                     fault_t *fault);

#endif
