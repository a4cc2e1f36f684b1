/* json_whole.c: records that are kept as a whole, packed in scratch as they are read. */
#include "json_member.h"

enum { RECORD_HEAD_MAX = 5 };

/* The head goes right before the first member, into the room that was left for it; slots point into the
 * members, so these never move. */
static bool finish_record (scanner_t *self, char *first, const names_t *names, uint32_t count,
                           value_t *rest) {
    char head[PACK_HEAD_ROOM];
    size_t size = (size_t) (pack_put_count (head, true, count) - head);
    memcpy (first - size, head, size);
    *rest = (value_t){
        .p = first - size, .size = (uint32_t) ((size_t) (self->out - first) + size), .tag = TAG_MAP};
    if (likely (!names->is_suspect))
        return true;
    self->scratch->used = (size_t) (self->out - self->scratch->base);
    if (!pack_unique (rest, self->scratch))
        return scan_full (self);
    self->out = self->scratch->base + self->scratch->used;
    return true;
}

const char *read_whole (scanner_t *self, const fields_t *fields, const char *p, value_t *row, field_t *last) {
    if (!put_room (self, RECORD_HEAD_MAX))
        return NULL;
    char *first = self->out += RECORD_HEAD_MAX;
    names_t names = {0};
    uint32_t count = 0;
    self->packs = true;
    while (last && p)
        p = read_member (self, fields, p, row, &names, &count, &last);
    return p && finish_record (self, first, &names, count, &row[fields->rest_slot]) ? p : NULL;
}
