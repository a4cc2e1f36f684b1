/* positions.c: how far a flow's sources and steps have got, in a cut. The form is described in docs/formats/cut.md. */
#include "fetch.h"
#include "lane.h"
#include "pack.h"
#include "pack_put.h"

/* Of one partition: ten numbers and six heads of at most nine bytes, an identity. */
enum { PARTITION_HEADS = 16 * PACK_HEAD_ROOM + FILE_IDENTITY_BYTES };

static bool put_text (buffer_t *out, const char *text) {
    return pack_write_text (out, text, (uint32_t) strlen (text));
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

static char *put_all (char *p, const char *bytes, size_t size) {
    if (size) /* nothing may come from nowhere */
        memcpy (p, bytes, size);
    return p + size;
}

static char *put_blob (char *p, const char *bytes, size_t size) {
    return put_all (pack_put_bytes_head (p, (uint32_t) size), bytes, size);
}

/* A file's name may be any bytes, and a text may not. */
static char *put_partition_name (const partition_t *self, char *p) {
    p = self->name_is_text ? pack_put_text_head (p, self->name_size)
                           : pack_put_bytes_head (p, self->name_size);
    return put_all (p, self->name, self->name_size);
}

static char *put_frame (const partition_t *self, char *p) {
    p = pack_put_count (p, false, 4);
    p = pack_put_int (p, (int64_t) (self->base + self->end));
    p = pack_put_int (p, (int64_t) self->frame.scanned);
    p = pack_put_first (p, self->frame.skipping ? FIRST_TRUE : FIRST_FALSE);
    return pack_put_int (p, (int64_t) self->frame.skipped);
}

/* Which file it is; nothing for what is none. */
static char *put_identity (const partition_t *self, char *p) {
    char bytes[FILE_IDENTITY_BYTES];
    bool is_file = self->source->kind == SOURCE_FILES;
    if (is_file)
        file_identity_pack (&self->file.identity, bytes);
    return put_blob (p, bytes, is_file ? sizeof bytes : 0);
}

/* After the restart the source goes on exactly behind the position, and the framer is given the unfinished bytes
 * first. There may be ten thousand: room is made once for each. */
static bool pack_partition (const partition_t *self, buffer_t *out) {
    buffer_t *format = &self->source->flow->pack;
    size_t unfinished = self->end - self->start;
    int64_t flags = (self->counted ? PARTITION_COUNTED : 0) | (self->idle ? PARTITION_IDLE : 0) |
                    (self->ended ? PARTITION_ENDED : 0);
    format->size = 0;
    if (!format_freeze (self->source->format, self->format, format) ||
        !buffer_room (out,
                      PARTITION_HEADS + self->name_size + self->position_size + unfinished + format->size))
        return false;
    char *p = pack_put_count (out->data + out->size, false, 10);
    p = pack_put_int (p, self->source->index);
    p = put_partition_name (self, p);
    p = self->position ? put_blob (p, self->position, self->position_size)
                       : pack_put_int (p, (int64_t) (self->base + self->end));
    p = put_blob (p, self->data ? self->data + self->start : NULL, unfinished);
    p = pack_put_int (p, self->max_time_us);
    p = pack_put_int (p, self->watermark_us);
    p = pack_put_int (p, flags);
    p = put_frame (self, p);
    p = put_blob (p, format->data, format->size);
    out->size = (size_t) (put_identity (self, p) - out->data);
    return true;
}

/* They lie anywhere: what the next ones will need is on its way while this one is packed. */
static void fetch_ahead (const partition_t *self) {
    const partition_t *next = self->next, *then = next ? next->next : NULL;
    if (!then)
        return;
    __builtin_prefetch (next->name);
    __builtin_prefetch (next->position);
    fetch_between (then, &then->file.watch);
}

static bool pack_list (const partition_t *first, buffer_t *out) {
    bool good = true;
    for (const partition_t *partition = first; partition && good; partition = partition->next) {
        fetch_ahead (partition);
        good = pack_partition (partition, out);
    }
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
