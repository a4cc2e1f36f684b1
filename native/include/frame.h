/* frame.h: finding the messages in a stream of bytes, in place: nothing is copied, no byte is looked at
 * twice.
 *
 * The caller owns the buffer: data[*start … end) is what has not been taken yet, with DECODE_SLACK readable
 * bytes behind `end`. It may move the unread bytes to the front between calls (`state` counts from *start),
 * may add bytes behind `end`, and drops what lies before *start.
 *
 * However the bytes are split into calls, the messages and the faults are the same. Memory is bounded by
 * the limit: a message that has grown beyond it is reported once and its bytes are dropped as they come, up
 * to the next delimiter, where the next message begins. */
#ifndef BETTONG_FRAME_H
#define BETTONG_FRAME_H

#include "fault.h"

/* enum frame_kind, enum framed, framer_t and frame_state_t are in cdefs.h: Python sees them too. */

enum {
    FRAME_MAX_DEFAULT = 1 << 20, /* the flow file's `frame_max` */
    FRAME_MAX_LIMIT = 1 << 28,   /* as buffers: 256 MiB */
    FRAME_EXCERPT_BYTES = 4096   /* of a message that is too long, for the error output */
};

/* From the program: {"kind": "lines" | "u32" | "delimiter" | "whole", "delimiter": bytes, "max": bytes}. */
bool framer_init (framer_t *self, const value_t *map, fault_t *fault);

/* All but a line within the limit. Called by framer_next only. */
enum framed framer_next_rare (const framer_t *self, frame_state_t *state, char *data, size_t *start,
                              size_t end, char **text, uint32_t *size, fault_t *fault);

/* The next message, *start moved behind it.
 * FRAMED_MESSAGE: text and size; a line comes without its newline and one '\r' before it, and may be empty.
 * FRAMED_MORE: none is complete. FRAMED_FAULT: one was too long; text and size are its first bytes; go on.
 * FRAMED_BROKEN: a length beyond the limit; where the next message begins cannot be known: give the stream
 * up. */
static inline enum framed framer_next (const framer_t *self, frame_state_t *state, char *data, size_t *start,
                                       size_t end, char **text, uint32_t *size, fault_t *fault) {
    if (likely (self->kind == FRAME_LINES && !state->skipping)) {
        size_t have = end - *start;
        if (have == state->scanned)
            return FRAMED_MORE;
        char *from = data + *start;
        char *stop = memchr (from + state->scanned, '\n', have - state->scanned);
        size_t length = stop != NULL ? (size_t) (stop - from) : have;
        if (likely (length <= self->max_bytes)) {
            if (stop == NULL) {
                state->scanned = have;
                return FRAMED_MORE;
            }
            state->scanned = 0;
            *start += length + 1;
            *text = from;
            *size = (uint32_t) (length - (length > 0 && stop[-1] == '\r'));
            return FRAMED_MESSAGE;
        }
    }
    return framer_next_rare (self, state, data, start, end, text, size, fault);
}

/* After the last framer_next, at the end of a partition: what is left. The last line needs no newline and
 * is a message; the rest of a message that was too long is dropped (FRAMED_MORE); half a u32 frame is
 * FRAMED_FAULT.
 * FRAMED_MORE: nothing is left. */
enum framed framer_end (const framer_t *self, frame_state_t *state, char *data, size_t *start, size_t end,
                        char **text, uint32_t *size, fault_t *fault);

/* An unfinished message of at least 16 bytes (as long as a delimiter may be) is done with: what is there of it goes, and
 * its rest when it comes; the next message is found as ever. */
void framer_give_up (const framer_t *self, frame_state_t *state, char *data, size_t *start, size_t end,
                     char **text, uint32_t *size, fault_t *fault);

#endif
