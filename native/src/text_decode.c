/* text_decode.c: the formats `text` and `raw`: a message is one field. */
#include "codecs.h"

/* The whole record for `rest_slot`: a map of that one field. */
static bool put_rest (uint16_t slot, const char *name, uint32_t name_size, const value_t *value, value_t *row,
                      arena_t *scratch, fault_t *fault) {
    size_t room = 1 + TEXT_HEAD_MAX + name_size + TEXT_HEAD_MAX + (size_t) value->size + PACK_HEAD_ROOM;
    char *map = arena_take (scratch, room);
    if (map == NULL)
        return fault_set (fault, REASON_LIMIT, "a message of %u bytes is too large for the record",
                          value->size);
    char *end = put_scalar (put_text (pack_put_count (map, true, 1), name, name_size), value);
    row[slot] = (value_t){.p = map, .size = (uint32_t) (end - map), .tag = TAG_MAP};
    return true;
}

static bool put_only (const fields_t *fields, const char *name, const value_t *value, value_t *row,
                      arena_t *scratch, fault_t *fault) {
    uint32_t name_size = (uint32_t) strlen (name);
    fields_clear (fields, row);
    int index = fields_find (fields, name, name_size, 0);
    if (index >= 0)
        row[fields->items[index].slot] = *value;
    return fields->rest_slot == SLOT_NONE ||
           put_rest (fields->rest_slot, name, name_size, value, row, scratch, fault);
}

bool text_decode (const fields_t *fields, const char *text, uint32_t size, value_t *row, arena_t *scratch,
                  fault_t *fault) {
    if (unlikely (!utf8_valid (text, size)))
        return fault_set (fault, REASON_DECODE, "not UTF-8");
    /* A datagram may bring its line end along: it is no part of the line. */
    if (size > 0 && text[size - 1] == '\n')
        size -= size > 1 && text[size - 2] == '\r' ? 2 : 1;
    value_t line = value_text (text, size);
    return put_only (fields, "line", &line, row, scratch, fault);
}

bool raw_decode (const fields_t *fields, const char *text, uint32_t size, value_t *row, arena_t *scratch,
                 fault_t *fault) {
    value_t data = {.p = text, .size = size, .tag = TAG_BYTES};
    return put_only (fields, "data", &data, row, scratch, fault);
}
