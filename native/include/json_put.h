/* json_put.h: values that the JSON decoder packs at the end of its scratch memory. False when that is
 * full. */
#ifndef BETTONG_JSON_PUT_H
#define BETTONG_JSON_PUT_H

#include "json_scan.h"
#include "pack_put.h"

enum { SHORT_COPY = 32 /* more than a text with a head of one byte has, copied whole */ };

static inline bool put_room (const scanner_t *self, size_t count) {
    return likely ((size_t) (self->out_end - self->out) >= count) || scan_full (self);
}

/* json_nested.c: a long text, or one whose escapes were undone at the end of scratch, where its packed
 * form goes. */
bool put_text_slow (scanner_t *self, value_t *text);

/* A text that was just read. It may move: `text` follows it. */
static inline bool put_text (scanner_t *self, value_t *text) {
    if (unlikely (text->size > PACK_TEXT_SHORT || text->p + text->size == self->out ||
                  (size_t) (self->out_end - self->out) < 1 + SHORT_COPY))
        return put_text_slow (self, text);
    *self->out = (char) (FIRST_TEXT_SHORT | text->size);
    memcpy (self->out + 1, text->p,
            SHORT_COPY); /* into the slack behind the text, and behind what is packed */
    self->out += 1 + text->size;
    return true;
}

/* Any value but texts, lists and maps. */
static inline bool put_scalar (scanner_t *self, const value_t *value) {
    if (!put_room (self, PACK_HEAD_ROOM))
        return false;
    switch (value->tag) {
    case TAG_INT: self->out = pack_put_int (self->out, value->i); break;
    case TAG_FLOAT: self->out = pack_put_float (self->out, value->f); break;
    case TAG_BOOL: self->out = pack_put_first (self->out, value->i ? FIRST_TRUE : FIRST_FALSE); break;
    default: self->out = pack_put_first (self->out, FIRST_NIL); break;
    }
    return true;
}

#endif
