/* msgpack_decode.c: one map a message, its scalars straight into the row, its lists and maps as spans of
 * the message.
 *
 * The input is anybody's: every length is held against what is there, nesting is bounded, every text is
 * UTF-8, every key is text, extension types are refused (their meaning is the sender's own) and nothing may
 * follow the map. All of the message is checked, wanted or not, so that a span can be walked later without
 * a second thought. */
#include "codecs.h"
#include "names.h"
#include "pack.h"

/* One item: a scalar, text, or the head of a container with `items` values behind it (two a pair). */
typedef struct token {
    value_t value; /* a container: TAG_LIST or TAG_MAP without its bytes */
    uint64_t items;
} token_t;

static inline const char *take_bytes (const char *p, const char *end, uint64_t size, uint8_t tag,
                                      token_t *token) {
    if (unlikely (p > end || size > (uint64_t) (end - p)))
        return NULL;
    token->value = (value_t){.p = p, .size = (uint32_t) size, .tag = tag};
    return p + size;
}

static inline const char *take_head (const char *p, uint64_t items, uint8_t tag, token_t *token) {
    token->value.tag = tag;
    token->items = items;
    return p;
}

static inline const char *take_scalar (const char *p, value_t value, token_t *token) {
    token->value = value;
    return p;
}

static const char *read_wide (const char *p, const char *end, token_t *token) {
    uint8_t first = (uint8_t) *p++;
    switch (first) {
    case 0xc0: return take_scalar (p, value_null(), token);
    case 0xc2: return take_scalar (p, value_bool (false), token);
    case 0xc3: return take_scalar (p, value_bool (true), token);
    case 0xc4: return take_bytes (p + 1, end, (uint8_t) *p, TAG_BYTES, token);
    case 0xc5: return take_bytes (p + 2, end, load_big_u16 (p), TAG_BYTES, token);
    case 0xc6: return take_bytes (p + 4, end, load_big_u32 (p), TAG_BYTES, token);
    case 0xca: return take_scalar (p + 4, value_of_f32 (load_big_u32 (p)), token);
    case 0xcb: return take_scalar (p + 8, value_of_f64 (load_big_u64 (p)), token);
    case 0xcc: return take_scalar (p + 1, value_int ((uint8_t) *p), token);
    case 0xcd: return take_scalar (p + 2, value_int (load_big_u16 (p)), token);
    case 0xce: return take_scalar (p + 4, value_int (load_big_u32 (p)), token);
    case 0xcf: return take_scalar (p + 8, value_of_u64 (load_big_u64 (p)), token);
    case 0xd0: return take_scalar (p + 1, value_int ((int8_t) *p), token);
    case 0xd1: return take_scalar (p + 2, value_int ((int16_t) load_big_u16 (p)), token);
    case 0xd2: return take_scalar (p + 4, value_int ((int32_t) load_big_u32 (p)), token);
    case 0xd3: return take_scalar (p + 8, value_int ((int64_t) load_big_u64 (p)), token);
    case 0xd9: return take_bytes (p + 1, end, (uint8_t) *p, TAG_STR, token);
    case 0xda: return take_bytes (p + 2, end, load_big_u16 (p), TAG_STR, token);
    case 0xdb: return take_bytes (p + 4, end, load_big_u32 (p), TAG_STR, token);
    case 0xdc: return take_head (p + 2, load_big_u16 (p), TAG_LIST, token);
    case 0xdd: return take_head (p + 4, load_big_u32 (p), TAG_LIST, token);
    case 0xde: return take_head (p + 2, 2 * (uint64_t) load_big_u16 (p), TAG_MAP, token);
    case 0xdf: return take_head (p + 4, 2 * (uint64_t) load_big_u32 (p), TAG_MAP, token);
    default: return NULL; /* 0xc1 is never used; extension types */
    }
}

/* Read one item. NULL when it is refused or goes beyond `end`. The slack behind `end` makes every head
 * readable; whether it was all there is asked once, at the end. */
static inline const char *token_read (const char *p, const char *end, token_t *token) {
    uint8_t first = (uint8_t) *p;
    const char *next;
    token->items = 0;
    if (first < 0x80)
        next = take_scalar (p + 1, value_int (first), token);
    else if (first >= 0xe0)
        next = take_scalar (p + 1, value_int ((int8_t) first), token);
    else if (first >= 0xc0)
        next = read_wide (p, end, token);
    else if (first >= 0xa0)
        next = take_bytes (p + 1, end, first & 31, TAG_STR, token);
    else if (first >= 0x90)
        next = take_head (p + 1, first & 15, TAG_LIST, token);
    else
        next = take_head (p + 1, 2 * (uint64_t) (first & 15), TAG_MAP, token);
    if (unlikely (next == NULL || next > end))
        return NULL;
    return next;
}

static const char *refuse (fault_t *fault, const char *why) {
    fault_set (fault, REASON_DECODE, "msgpack: %s", why);
    return NULL;
}

static const char *refuse_token (const char *p, const char *end, fault_t *fault) {
    uint8_t first = p < end ? (uint8_t) *p : 0;
    if ((first >= 0xc7 && first <= 0xc9) || (first >= 0xd4 && first <= 0xd8))
        return refuse (fault, "extension types are not accepted");
    return refuse (fault, first == 0xc1 ? "the byte 0xc1 is no item" : "the message is cut short");
}

static inline bool token_is_utf8 (const token_t *token) {
    return token->value.tag != TAG_STR || text_is_utf8 (token->value.p, token->value.size);
}

/* Check the items of a container that lies inside `outer` others; returns what follows it. Every item takes
 * a byte at least, so a count beyond the bytes that are left is refused before anything is counted. */
static const char *check_items (const char *p, const char *end, const token_t *head, uint32_t outer,
                                fault_t *fault) {
    struct level {
        uint64_t left;
        bool is_map;
    } levels[PACK_DEPTH_MAX];
    uint32_t depth = 0;
    token_t token = *head;
    for (;;) {
        if (token.value.tag >= TAG_LIST) {
            if (outer + depth >= PACK_DEPTH_MAX)
                return refuse (fault, "lists and maps are nested too deeply");
            if (token.items > (uint64_t) (end - p))
                return refuse (fault, "the message is cut short");
            levels[depth++] = (struct level){token.items, token.value.tag == TAG_MAP};
        }
        while (levels[depth - 1].left == 0)
            if (--depth == 0)
                return p;
        struct level *level = &levels[depth - 1];
        bool is_key = level->is_map && level->left % 2 == 0;
        level->left--;
        const char *next = token_read (p, end, &token);
        if (next == NULL)
            return refuse_token (p, end, fault);
        if (is_key && token.value.tag != TAG_STR)
            return refuse (fault, "a key is not text");
        if (!token_is_utf8 (&token))
            return refuse (fault, "a text is not UTF-8");
        p = next;
    }
}

/* The fields of a record come in the same order again and again: try the one behind the last. -1: not wanted,
 * -2: not even UTF-8, which a key that equals a field's name need not be asked. */
static inline int find_field (const fields_t *fields, const value_t *key, int hint) {
    if (likely ((uint32_t) hint < fields->count)) {
        const field_t *field = &fields->items[hint];
        if (likely (key_equals (field->name, field->name_size, key->p, key->size)))
            return hint;
    }
    return text_is_utf8 (key->p, key->size) ? fields_find (fields, key->p, key->size, hint) : -2;
}

static const char *decode_pairs (const fields_t *fields, const char *p, const char *end, uint64_t pairs,
                                 value_t *row, names_t *names, fault_t *fault) {
    int hint = 0;
    for (; pairs > 0; pairs--) {
        token_t key, token;
        const char *start = token_read (p, end, &key);
        if (unlikely (start == NULL))
            return refuse_token (p, end, fault);
        if (unlikely (key.value.tag != TAG_STR))
            return refuse (fault, "a key is not text");
        p = token_read (start, end, &token);
        if (unlikely (p == NULL))
            return refuse_token (start, end, fault);
        int index = find_field (fields, &key.value, hint);
        if (unlikely (index == -2 || !token_is_utf8 (&token)))
            return refuse (fault, "a text is not UTF-8");
        if (unlikely (token.value.tag >= TAG_LIST)) {
            p = check_items (p, end, &token, 1, fault);
            if (p == NULL)
                return NULL;
            token.value.p = start;
            token.value.size = (uint32_t) (p - start);
        }
        if (names != NULL)
            names_add (names, key.value.p, key.value.size);
        if (index >= 0) {
            row[fields->items[index].slot] = token.value;
            hint = index + 1;
        }
    }
    return p;
}

bool msgpack_decode (const fields_t *fields, const char *text, uint32_t size, value_t *row, arena_t *scratch,
                     fault_t *fault) {
    const char *end = text + size;
    token_t head;
    names_t names = {.count = 0};
    bool is_whole = fields->rest_slot != SLOT_NONE;
    fields_clear (fields, row);
    const char *p = token_read (text, end, &head);
    if (unlikely (p == NULL || head.value.tag != TAG_MAP))
        return fault_set (fault, REASON_DECODE, "msgpack: the message is not a map");
    p = decode_pairs (fields, p, end, head.items / 2, row, is_whole ? &names : NULL, fault);
    if (unlikely (p == NULL))
        return false;
    if (unlikely (p != end))
        return fault_set (fault, REASON_DECODE, "msgpack: %zu bytes follow the map", (size_t) (end - p));
    if (is_whole) {
        value_t *rest = &row[fields->rest_slot];
        *rest = (value_t){.p = text, .size = size, .tag = TAG_MAP};
        if (names.is_suspect && !pack_unique (rest, scratch))
            return fault_set (fault, REASON_LIMIT, "the record is too large");
    }
    return true;
}
