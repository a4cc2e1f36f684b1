/* encode.h: a row to the bytes of a sink: one record appended to `out`, or nothing and a fault. */
#ifndef BETTONG_ENCODE_H
#define BETTONG_ENCODE_H

#include "buffer.h"
#include "layout.h"

/* From the program's {"kind": "json" | "text" | "csv" | "msgpack" | "raw" | "binary", "template": …, "frame":
 * "lines" | "u32" | "none" | {"delimiter": bytes}}. The frame (a newline, a length, …) is written too. */
typedef struct encoder encoder_t;

encoder_t *encoder_new (const value_t *map, fault_t *fault);
void encoder_destroy (encoder_t **self_p);
/* `started` is the sink's own flag: false before its first record (a CSV header), set by the encoder.
 * `*nans` counts the NaN and infinities that became null (S4). */
bool encoder_write (const encoder_t *self, const layout_t *layout, const value_t *row, bool *started,
                    buffer_t *out, uint64_t *nans, fault_t *fault);

bool json_write_record (const layout_t *layout, const value_t *row, buffer_t *out, uint64_t *nans);
bool json_write_value (const value_t *value, uint8_t unit, buffer_t *out, uint64_t *nans);
bool json_write_text (const char *text, uint32_t size, buffer_t *out); /* quoted and escaped */

#endif
