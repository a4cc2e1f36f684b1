/* frame.c: the framer's rarer ways: other frames than lines, messages beyond the limit, the end of a
 * stream. */
#include "frame.h"

#include "codecs.h"
#include "pack.h"

static bool fault_too_long (const framer_t *self, fault_t *fault) {
    return fault_set (fault, REASON_FRAME, "a message is longer than %u bytes (frame_max)", self->max_bytes);
}

/* The first bytes of a message that is too long. The limit bounds them too: so many bytes are there
 * whenever the fault is noticed, however the stream was split. */
static uint32_t excerpt_size (const framer_t *self, size_t length) {
    size_t size = length < self->max_bytes ? length : self->max_bytes;
    return (uint32_t) (size < FRAME_EXCERPT_BYTES ? size : FRAME_EXCERPT_BYTES);
}

/* The delimiter has not come yet. Its first bytes may be the last ones that did: those are kept. */
static enum framed delimiter_missing (const framer_t *self, frame_state_t *state, char *from, size_t have,
                                      size_t *start, char **text, uint32_t *size, fault_t *fault) {
    size_t keep = (size_t) (self->delimiter_size - 1) < have ? (size_t) (self->delimiter_size - 1) : have;
    size_t certain = have - keep; /* bytes that belong to the message, whatever follows */
    bool too_long = !state->skipping && certain > self->max_bytes;
    if (!state->skipping && !too_long) {
        state->scanned = certain;
        return FRAMED_MORE;
    }
    state->scanned = 0;
    state->skipped += certain;
    state->skipping = true;
    *start += certain;
    if (!too_long)
        return FRAMED_MORE;
    *text = from;
    *size = excerpt_size (self, certain);
    fault_too_long (self, fault);
    return FRAMED_FAULT;
}

static enum framed next_delimited (const framer_t *self, frame_state_t *state, char *data, size_t *start,
                                   size_t end, char **text, uint32_t *size, fault_t *fault) {
    while (*start < end) {
        char *from = data + *start;
        size_t have = end - *start;
        char *scan = from + state->scanned;
        size_t left = have - state->scanned;
        char *stop = self->delimiter_size == 1 ? memchr (scan, self->delimiter[0], left)
                                               : memmem (scan, left, self->delimiter, self->delimiter_size);
        if (stop == NULL)
            return delimiter_missing (self, state, from, have, start, text, size, fault);
        size_t length = (size_t) (stop - from);
        state->scanned = 0;
        *start += length + self->delimiter_size;
        if (state->skipping) {
            state->skipping = false;
            state->skipped += length;
            continue;
        }
        *text = from;
        if (length > self->max_bytes) {
            state->skipped += length;
            *size = excerpt_size (self, length);
            fault_too_long (self, fault);
            return FRAMED_FAULT;
        }
        bool is_cr = self->kind == FRAME_LINES && length > 0 && stop[-1] == '\r';
        *size = (uint32_t) (length - is_cr);
        return FRAMED_MESSAGE;
    }
    return FRAMED_MORE;
}

/* The rest of a message that was given up: so many bytes, however they look. */
static void skip_u32 (frame_state_t *state, size_t *start, size_t end) {
    size_t have = end - *start, count = have < state->scanned ? have : state->scanned;
    *start += count;
    state->scanned -= count;
    state->skipped += count;
    state->skipping = state->scanned > 0;
}

static enum framed next_u32 (const framer_t *self, frame_state_t *state, char *data, size_t *start,
                             size_t end, char **text, uint32_t *size, fault_t *fault) {
    if (unlikely (state->skipping))
        skip_u32 (state, start, end);
    size_t have = end - *start;
    if (have < 4)
        return FRAMED_MORE;
    char *from = data + *start;
    uint32_t length = load_big_u32 (from);
    if (unlikely (length > self->max_bytes)) {
        *text = from;
        *size = 4;
        fault_set (fault, REASON_FRAME, "a length of %u bytes is beyond the limit of %u bytes (frame_max)",
                   length, self->max_bytes);
        return FRAMED_BROKEN;
    }
    if (have - 4 < length)
        return FRAMED_MORE;
    *text = from + 4;
    *size = length;
    *start += 4 + (size_t) length;
    return FRAMED_MESSAGE;
}

/* Datagrams and chunks that are messages: all that is there. */
static enum framed next_whole (const framer_t *self, frame_state_t *state, char *data, size_t *start,
                               size_t end, char **text, uint32_t *size, fault_t *fault) {
    size_t have = end - *start;
    if (have == 0)
        return FRAMED_MORE;
    *text = data + *start;
    *start = end;
    if (have > self->max_bytes) {
        state->skipped += have;
        *size = excerpt_size (self, have);
        fault_too_long (self, fault);
        return FRAMED_FAULT;
    }
    *size = (uint32_t) have;
    return FRAMED_MESSAGE;
}

enum framed framer_next_rare (const framer_t *self, frame_state_t *state, char *data, size_t *start,
                              size_t end, char **text, uint32_t *size, fault_t *fault) {
    switch (self->kind) {
    case FRAME_U32: return next_u32 (self, state, data, start, end, text, size, fault);
    case FRAME_WHOLE: return next_whole (self, state, data, start, end, text, size, fault);
    default: return next_delimited (self, state, data, start, end, text, size, fault);
    }
}

enum framed framer_end (const framer_t *self, frame_state_t *state, char *data, size_t *start, size_t end,
                        char **text, uint32_t *size, fault_t *fault) {
    size_t have = end - *start;
    bool skipping = state->skipping;
    state->skipping = false;
    state->scanned = 0;
    if (have == 0)
        return FRAMED_MORE;
    char *from = data + *start;
    *start = end;
    if (skipping) {
        state->skipped += have;
        return FRAMED_MORE;
    }
    *text = from;
    if (self->kind == FRAME_U32) {
        *size = excerpt_size (self, have);
        fault_set (fault, REASON_FRAME, "the stream ended inside a frame, after %zu of its bytes", have);
        return FRAMED_FAULT;
    }
    if (have > self->max_bytes) {
        state->skipped += have;
        *size = excerpt_size (self, have);
        fault_too_long (self, fault);
        return FRAMED_FAULT;
    }
    *size = (uint32_t) (have - (self->kind == FRAME_LINES && from[have - 1] == '\r'));
    return FRAMED_MESSAGE;
}

void framer_give_up (const framer_t *self, frame_state_t *state, char *data, size_t *start, size_t end,
                     char **text, uint32_t *size, fault_t *fault) {
    char *from = data + *start;
    size_t have = end - *start, keep = 0;
    state->scanned = 0;
    if (self->kind == FRAME_U32)
        state->scanned = 4 + (size_t) load_big_u32 (from) - have;
    else /* its last bytes may be the first ones of the delimiter */
        keep = (size_t) (self->delimiter_size - 1);
    *start += have - keep;
    state->skipped += have - keep;
    state->skipping = true;
    *text = from;
    *size = excerpt_size (self, have - keep);
    fault_set (
        fault, REASON_UNFINISHED,
        "after %zu bytes, the message did not come whole while there was room for it (settings.memory)",
        have);
}

enum framed framer_take (const framer_t *self, frame_state_t *state, char *data, size_t *start, size_t end,
                         char **text, uint32_t *size, fault_t *fault) {
    return framer_next (self, state, data, start, end, text, size, fault);
}

static bool init_kind (framer_t *self, const value_t *map, fault_t *fault) {
    static const char *const names[] = {"lines", "u32", "delimiter", "whole"};
    value_t kind;
    if (!pack_get (map, "kind", 4, &kind))
        return fault_set (fault, REASON_FRAME, "a frame needs a kind");
    for (uint8_t i = 0; i < sizeof names / sizeof *names; i++)
        if (value_is_word (&kind, names[i])) {
            self->kind = i;
            return true;
        }
    return fault_set (fault, REASON_FRAME,
                      "unknown kind of frame; known are lines, u32, delimiter and whole");
}

static bool init_delimiter (framer_t *self, const value_t *map, fault_t *fault) {
    value_t delimiter = value_text ("\n", 1);
    if (self->kind == FRAME_DELIMITER && !pack_get (map, "delimiter", 9, &delimiter))
        return fault_set (fault, REASON_FRAME, "a frame of this kind needs a delimiter");
    bool is_text = delimiter.tag == TAG_STR || delimiter.tag == TAG_BYTES;
    if (!is_text || delimiter.size == 0 || delimiter.size > sizeof self->delimiter)
        return fault_set (fault, REASON_FRAME, "a frame's delimiter has 1 to %zu bytes",
                          sizeof self->delimiter);
    memcpy (self->delimiter, delimiter.p, delimiter.size);
    self->delimiter_size = (uint8_t) delimiter.size;
    return true;
}

bool framer_init (framer_t *self, const value_t *map, fault_t *fault) {
    *self = (framer_t){.max_bytes = FRAME_MAX_DEFAULT};
    if (map->tag != TAG_MAP)
        return fault_set (fault, REASON_FRAME, "a frame is described by a map");
    if (!init_kind (self, map, fault) || !init_delimiter (self, map, fault))
        return false;
    value_t max;
    if (!pack_get (map, "max", 3, &max) || max.tag == TAG_NULL)
        return true;
    if (max.tag != TAG_INT || max.i < 1 || max.i > FRAME_MAX_LIMIT)
        return fault_set (fault, REASON_FRAME, "a frame's limit is 1 to %d bytes", (int) FRAME_MAX_LIMIT);
    self->max_bytes = (uint32_t) max.i;
    return true;
}
