/* positions.c: how far a flow's sources and steps have got, in a cut. The form is described in docs/formats/cut.md. */
#include "lane.h"
#include "pack.h"

static bool put_text (buffer_t *out, const char *text) {
    return pack_write_text (out, text, (uint32_t) strlen (text));
}

static bool put_bytes (buffer_t *out, const char *bytes, size_t size) {
    value_t value = {.p = bytes, .size = (uint32_t) size, .tag = TAG_BYTES};
    return pack_write (out, &value);
}

static bool put_bool (buffer_t *out, bool truth) {
    value_t value = value_bool (truth);
    return pack_write (out, &value);
}

static bool pack_source (const source_t *self, buffer_t *out) {
    return pack_write_list (out, 5) && pack_write_int (out, self->index) &&
           pack_write_int (out, self->watermark_us) && pack_write_int (out, self->left_time_us) &&
           put_bool (out, self->ended) && put_bool (out, self->idle_from_ns != 0);
}

static bool pack_frame (const partition_t *self, buffer_t *out) {
    return pack_write_list (out, 4) && pack_write_int (out, (int64_t) (self->base + self->end)) &&
           pack_write_int (out, (int64_t) self->frame.scanned) && put_bool (out, self->frame.skipping) &&
           pack_write_int (out, (int64_t) self->frame.skipped);
}

static bool pack_format (const partition_t *self, buffer_t *out) {
    buffer_t *packed = &self->source->flow->pack;
    packed->size = 0;
    return format_freeze (self->source->format, self->format, packed) &&
           put_bytes (out, packed->data, packed->size);
}

/* A file's name may be any bytes, and a text may not. */
static bool put_name (const partition_t *self, buffer_t *out) {
    return utf8_valid (self->name, self->name_size) ? pack_write_text (out, self->name, self->name_size)
                                                    : put_bytes (out, self->name, self->name_size);
}

/* Which file it is; nothing for what is none. */
static bool pack_identity (const partition_t *self, buffer_t *out) {
    char bytes[FILE_IDENTITY_BYTES];
    file_identity_pack (&self->file.identity, bytes);
    return put_bytes (out, bytes, self->source->kind == SOURCE_FILES ? sizeof bytes : 0);
}

/* After the restart the source goes on exactly behind the position, and the framer is given the unfinished bytes
 * first. */
static bool pack_partition (const partition_t *self, buffer_t *out) {
    bool good =
        pack_write_list (out, 10) && pack_write_int (out, self->source->index) && put_name (self, out);
    if (self->position)
        good = good && put_bytes (out, self->position, self->position_size);
    else
        good = good && pack_write_int (out, (int64_t) (self->base + self->end));
    const char *unfinished = self->data ? self->data + self->start : NULL;
    int64_t flags = (self->counted ? PARTITION_COUNTED : 0) | (self->idle ? PARTITION_IDLE : 0) |
                    (self->ended ? PARTITION_ENDED : 0);
    return good && put_bytes (out, unfinished, self->end - self->start) &&
           pack_write_int (out, self->max_time_us) && pack_write_int (out, self->watermark_us) &&
           pack_write_int (out, flags) && pack_frame (self, out) && pack_format (self, out) &&
           pack_identity (self, out);
}

static bool pack_list (const partition_t *first, buffer_t *out) {
    bool good = true;
    for (const partition_t *partition = first; partition && good; partition = partition->next)
        good = pack_partition (partition, out);
    return good;
}

bool flow_pack_positions (flow_t *self, buffer_t *out) {
    uint32_t count = 0;
    bool good = put_text (out, "now") && pack_write_int (out, self->lane->now_us) &&
                put_text (out, "sources") && pack_write_list (out, self->source_count);
    for (uint32_t i = 0; i < self->source_count && good; i++) {
        good = pack_source (&self->sources[i], out);
        count += self->sources[i].partition_count + self->sources[i].known_count;
    }
    good = good && put_text (out, "partitions") && pack_write_list (out, count);
    for (uint32_t i = 0; i < self->source_count && good; i++)
        good = pack_list (self->sources[i].partitions, out) && pack_list (self->sources[i].known, out);
    good = good && put_text (out, "steps") && pack_write_list (out, self->timed_count);
    for (uint32_t i = 0; i < self->timed_count && good; i++)
        good = pack_write_list (out, 2) && pack_write_int (out, self->timed[i]) &&
               pack_write_int (out, self->ops[self->timed[i]].watermark);
    return good;
}
