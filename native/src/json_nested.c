/* json_nested.c: lists and maps inside a record: checked, and where they are wanted written as msgpack.
 *
 * Recursion is bounded by PACK_DEPTH_MAX. A container's head is written when its count is known: one byte
 * is left free for it, and its items move up when it needs more. */
#include "json_put.h"
#include "names.h"

bool put_text_slow (scanner_t *self, value_t *text) {
    if (!put_room (self, PACK_HEAD_ROOM + (size_t) text->size))
        return false;
    bool is_here = text->p + text->size == self->out;
    char *to = is_here ? self->out - text->size : self->out;
    char head[PACK_HEAD_ROOM];
    size_t head_size = (size_t) (pack_put_text_head (head, text->size) - head);
    memmove (to + head_size, text->p, text->size);
    memcpy (to, head, head_size);
    self->out = to + head_size + text->size;
    if (is_here)
        text->p = to + head_size;
    return true;
}

/* ---- containers ---- */

static bool container_begin (scanner_t *self) {
    if (!self->packs)
        return true;
    if (!put_room (self, 1))
        return false;
    self->out++;
    return true;
}

/* Now that the count is known. `head` is the byte that was left free. */
static bool container_end (scanner_t *self, char *head, uint32_t count, value_t *value) {
    if (!self->packs)
        return true;
    char bytes[PACK_HEAD_ROOM];
    size_t size = (size_t) (pack_put_count (bytes, value->tag == TAG_MAP, count) - bytes);
    if (!put_room (self, size - 1))
        return false;
    if (size > 1)
        memmove (head + size, head + 1, (size_t) (self->out - head) - 1);
    memcpy (head, bytes, size);
    self->out += size - 1;
    value->p = head;
    value->size = (uint32_t) (self->out - head);
    return true;
}

static bool make_unique (scanner_t *self, char *head, value_t *map) {
    self->scratch->used = (size_t) (self->out - self->scratch->base);
    if (!pack_unique (map, self->scratch))
        return scan_full (self);
    memmove (head, map->p, map->size);
    map->p = head;
    self->out = head + map->size;
    return true;
}

static const char *list_read (scanner_t *self, const char *p, uint32_t depth, value_t *value) {
    char *head = self->out;
    uint32_t count = 0;
    if (!container_begin (self))
        return NULL;
    p = scan_space (self, p);
    while (*p != ']' || count) {
        value_t item;
        if (!(p = nested_read (self, p, depth, &item)))
            return NULL;
        count++;
        p = scan_space (self, p);
        if (*p == ']')
            break;
        if (*p != ',')
            return scan_refuse (self, p, "',' or ']'");
        p = scan_space (self, p + 1);
    }
    value->tag = TAG_LIST;
    return container_end (self, head, count, value) ? p + 1 : NULL;
}

/* "name": and what follows the colon; the name is noted and packed. */
static const char *name_read (scanner_t *self, const char *p, names_t *names) {
    if (*p != '"')
        return scan_refuse (self, p, "a name in quotes");
    value_t name;
    char *mark = self->out;
    if (!(p = scan_string (self, p + 1, &name)))
        return NULL;
    if (!self->packs)
        self->out = mark;
    else if (!put_text (self, &name))
        return NULL;
    else
        names_add (names, name.p, name.size);
    p = scan_space (self, p);
    return *p == ':' ? scan_space (self, p + 1) : scan_refuse (self, p, "':'");
}

static const char *map_read (scanner_t *self, const char *p, uint32_t depth, value_t *value) {
    char *head = self->out;
    names_t names = {0};
    uint32_t count = 0;
    if (!container_begin (self))
        return NULL;
    p = scan_space (self, p);
    while (*p != '}' || count) {
        value_t item;
        if (!(p = name_read (self, p, &names)) || !(p = nested_read (self, p, depth, &item)))
            return NULL;
        count++;
        p = scan_space (self, p);
        if (*p == '}')
            break;
        if (*p != ',')
            return scan_refuse (self, p, "',' or '}'");
        p = scan_space (self, p + 1);
    }
    value->tag = TAG_MAP;
    if (!container_end (self, head, count, value))
        return NULL;
    return names.is_suspect && !make_unique (self, head, value) ? NULL : p + 1;
}

const char *nested_read (scanner_t *self, const char *p, uint32_t depth, value_t *value) {
    if (*p == '{' || *p == '[') {
        if (depth >= PACK_DEPTH_MAX)
            return scan_refuse_what (self, p, "nested too deeply");
        return *p == '{' ? map_read (self, p + 1, depth + 1, value)
                         : list_read (self, p + 1, depth + 1, value);
    }
    char *mark = self->out;
    if (*p == '"') {
        if (!(p = scan_string (self, p + 1, value)))
            return NULL;
        if (!self->packs)
            self->out = mark;
        else if (!put_text (self, value))
            return NULL;
        return p;
    }
    p = scan_is_number (p) ? scan_number (self, p, value) : scan_word (self, p, value);
    return p && self->packs && !put_scalar (self, value) ? NULL : p;
}
