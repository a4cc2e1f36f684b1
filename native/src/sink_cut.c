/* sink_cut.c: what a cut takes of a sink, and a sink that goes on from one. */
#include "lane.h"
#include "pack.h"

static lane_t *lane_of (const sink_t *self) { return self->flow->lane; }

/* An immediate sink's block is what has not been taken yet: of a connection or a stream from the last whole record, of
 * a file from where it is written to. A spooled one gives all there is. */
static size_t block_start (sink_t *self) {
    if (self->kind == SINK_SPOOL)
        return 0;
    if (self->immediate)
        return sink_gone (self);
    return self->frozen > self->sent ? self->frozen : self->sent;
}

static size_t block_size (sink_t *self) { return self->out.size - block_start (self); }

bool sink_put_block (sink_t *self, buffer_t *out) {
    size_t size = block_size (self);
    return size == 0 || buffer_put (out, self->out.data + block_start (self), size);
}

bool sink_pack (sink_t *self, buffer_t *out) {
    value_t started = value_bool (self->started);
    value_t shards = {.p = self->shards.data, .size = (uint32_t) self->shards.size, .tag = TAG_BYTES};
    return pack_write_list (out, 6) && pack_write_int (out, (int64_t) self->records) &&
           pack_write_int (out, (int64_t) block_size (self)) &&
           pack_write_int (out, self->kind == SINK_SPOOL ? (int64_t) self->held : 0) &&
           pack_write (out, &shards) && pack_write (out, &started) &&
           pack_write_int (out, (int64_t) self->offset);
}

void sink_freeze (sink_t *self) {
    self->pended = self->immediate && !sink_idle (self);
    self->frozen = self->out.size;
    if (self->kind != SINK_SPOOL)
        return;
    self->out.size = self->shards.size = 0;
    self->held = self->frozen = 0;
    lane_of (self)->more |= self->full; /* its sources are let on in the next turn */
    self->full = self->spool_full && !self->drop_newest;
}

void sink_release (sink_t *self) {
    if (self->frozen > self->released) {
        self->released = self->frozen;
        self->dirty = true;
    }
}

static bool is_framed_well (const value_t *pending) {
    const char *p = pending->p, *end = p + pending->size;
    value_t record;
    while (p < end)
        if ((p = pack_read (p, end, &record)) == NULL || record.tag != TAG_BYTES)
            return false;
    return true;
}

bool sink_restore (sink_t *self, const value_t *pending) {
    uint32_t size = pending->size;
    if (size == 0)
        return true;
    if (self->kind == SINK_SPOOL || (self->framed && !is_framed_well (pending)) ||
        !buffer_put (&self->out, pending->p, size))
        return false;
    /* Where its records end is not known any more: sent again as one. */
    if ((self->kind == SINK_CONNECT || self->kind == SINK_STREAM) &&
        !buffer_put (&self->sizes, &size, sizeof size))
        return false;
    self->released = self->frozen = self->out.size;
    self->dirty = true;
    return true;
}
