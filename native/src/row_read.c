/* row_read.c: see row_read.h. */
#include "row_read.h"

#include "pack.h"

bool list_read (const value_t *list, value_t *items, uint32_t count) {
    uint32_t found;
    if (list->tag != TAG_LIST)
        return false;
    const char *p = pack_open (list, &found), *end = list->p + list->size;
    if (found != count)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if ((p = pack_read (p, end, &items[i])) == NULL)
            return false;
    return true;
}

enum { ROW_ITEMS_MAX = 6 };

const char *row_read (const char *p, const char *end, row_head_t *head, value_t *rest, uint32_t count,
                      fault_t *fault) {
    value_t list, items[ROW_ITEMS_MAX];
    const char *behind = pack_read (p, end, &list);
    if (behind == NULL || count + 2 > ROW_ITEMS_MAX || !list_read (&list, items, count + 2) ||
        items[0].tag != TAG_INT || items[1].tag != TAG_BYTES) {
        fault_set (fault, REASON_DECODE, "a row of the state is malformed");
        return NULL;
    }
    head->key =
        (bkey_t){.bytes = items[1].p, .size = items[1].size, .hash = hash_bytes (items[1].p, items[1].size)};
    head->shard = key_shard (head->key.hash);
    if (items[0].i != (int64_t) head->shard) {
        fault_set (fault, REASON_DECODE, "a key stands under shard %lld and belongs to %u",
                   (long long) items[0].i, head->shard);
        return NULL;
    }
    memcpy (rest, items + 2, count * sizeof *rest);
    return behind;
}
