/* machine_text.c: the library's functions of text. Text is valid UTF-8; characters are code points. */
#include "machine_call.h"

#include <case_table.h>

uint32_t text_count (const value_t *text) {
    uint32_t count = 0;
    for (uint32_t at = 0; at < text->size; at++)
        count += character_begins (text->p[at]);
    return count;
}

uint32_t text_offset (const value_t *text, uint32_t index) {
    const char *p = text->p, *end = p + text->size;
    while (index-- && p < end)
        p += character_size (p, end);
    return (uint32_t) (p - text->p);
}

bool is_ascii_space (char byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

static uint32_t character_read (const char *p, uint32_t size) {
    uint32_t point = (unsigned char) *p;
    if (size > 1)
        point &= 0x7fu >> size;
    for (uint32_t at = 1; at < size; at++)
        point = point << 6 | ((unsigned char) p[at] & 0x3f);
    return point;
}

static uint32_t character_write (char *p, uint32_t point) {
    if (point < 0x80) {
        *p = (char) point;
        return 1;
    }
    uint32_t size = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (uint32_t at = size - 1; at; at--) {
        p[at] = (char) (0x80 | (point & 0x3f));
        point >>= 6;
    }
    p[0] = (char) ((0xf00 >> size) | point);
    return size;
}

/* The one argument, or the first, which has to be a text. */
static const value_t *text_argument (machine_t *self, const instruction_t *i, unsigned n, const char *takes) {
    const value_t *text = machine_argument (self, i, n);
    return text->tag == TAG_STR || machine_refuse (self, i, takes) ? text : NULL;
}

/* ---- lower, upper ---- */

static uint32_t case_change (const case_range_t *ranges, uint32_t count, uint32_t point) {
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (point > ranges[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == count || point < ranges[low].first || (point - ranges[low].first) % ranges[low].step)
        return point;
    return (uint32_t) ((int32_t) point + ranges[low].delta);
}

bool call_case (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *text = text_argument (self, i, 0, "a text");
    if (!text)
        return false;
    bool is_lower = i->op == OP_LOWER;
    char first = is_lower ? 'A' : 'a';
    /* No character becomes more than half as long again: those of one byte stay within two. */
    char *start = arena_take (self->scratch, (size_t) text->size * 2);
    if (!start)
        return machine_full (self, i);
    char *p = start;
    for (uint32_t at = 0, size; at < text->size; at += size) {
        char byte = text->p[at];
        size = character_size (text->p + at, text->p + text->size);
        if (size == 1) {
            *p++ = (unsigned char) (byte - first) < 26 ? (char) (byte ^ 0x20) : byte;
            continue;
        }
        uint32_t point = character_read (text->p + at, size);
        point = is_lower ? case_change (CASE_LOWER, sizeof CASE_LOWER / sizeof *CASE_LOWER, point)
                         : case_change (CASE_UPPER, sizeof CASE_UPPER / sizeof *CASE_UPPER, point);
        p += character_write (p, point);
    }
    *out = value_text (start, (uint32_t) (p - start));
    return true;
}

/* ---- strip, split ---- */

/* White space as Python's str.split has it. */
static bool is_space (uint32_t point) {
    return (point >= 0x09 && point <= 0x0d) || (point >= 0x1c && point <= 0x20) || point == 0x85 ||
           point == 0xa0 || point == 0x1680 || (point >= 0x2000 && point <= 0x200a) || point == 0x2028 ||
           point == 0x2029 || point == 0x202f || point == 0x205f || point == 0x3000;
}

/* Whether the character at `p` is white space, or, where there is a set, one of its characters. */
static bool is_stripped (const char *p, uint32_t size, const value_t *set) {
    if (!set)
        return is_space (character_read (p, size));
    const char *q = set->p, *end = q + set->size;
    for (uint32_t other; q < end; q += other) {
        other = character_size (q, end);
        if (other == size && memcmp (q, p, size) == 0)
            return true;
    }
    return false;
}

bool call_strip (machine_t *self, const instruction_t *i, value_t *out) {
    const char *takes = "one text or two";
    const value_t *text = text_argument (self, i, 0, takes), *set = NULL;
    if (!text || (i->count == 2 && !(set = text_argument (self, i, 1, takes))))
        return false;
    const char *p = text->p, *end = text->p + text->size;
    while (p < end && is_stripped (p, character_size (p, end), set))
        p += character_size (p, end);
    while (p < end) {
        const char *last = end - 1;
        while (!character_begins (*last))
            last--;
        if (!is_stripped (last, (uint32_t) (end - last), set))
            break;
        end = last;
    }
    *out = value_text (p, (uint32_t) (end - p));
    return true;
}

/* The next part of a text between runs of white space. */
static bool next_word (const char **p, const char *end, value_t *word) {
    while (*p < end && is_stripped (*p, character_size (*p, end), NULL))
        *p += character_size (*p, end);
    const char *start = *p;
    while (*p < end && !is_stripped (*p, character_size (*p, end), NULL))
        *p += character_size (*p, end);
    *word = value_text (start, (uint32_t) (*p - start));
    return word->size != 0;
}

/* The next part before a separator or the end; `*p` is NULL after the last. */
static bool next_part (const char **p, const char *end, const value_t *separator, value_t *part) {
    if (!*p)
        return false;
    const char *found = memmem (*p, (size_t) (end - *p), separator->p, separator->size);
    *part = value_text (*p, (uint32_t) ((found ? found : end) - *p));
    *p = found ? found + separator->size : NULL;
    return true;
}

bool call_split (machine_t *self, const instruction_t *i, value_t *out) {
    const char *takes = "one text or two";
    const value_t *text = text_argument (self, i, 0, takes), *separator = NULL;
    if (!text || (i->count == 2 && !(separator = text_argument (self, i, 1, takes))))
        return false;
    if (separator && separator->size == 0)
        return machine_fail (self, i, "the separator is empty");
    const char *end = text->p + text->size;
    value_t part;
    uint32_t count = 0;
    const char *p = text->p;
    while (separator ? next_part (&p, end, separator, &part) : next_word (&p, end, &part))
        count++;
    buffer_t list;
    if (!machine_write_begin (self, i, &list))
        return false;
    bool is_room = pack_write_list (&list, count);
    p = text->p;
    while (is_room && (separator ? next_part (&p, end, separator, &part) : next_word (&p, end, &part)))
        is_room = pack_write_text (&list, part.p, part.size);
    return is_room ? machine_write_value (self, &list, TAG_LIST, out) : machine_full (self, i);
}

/* ---- join, replace, starts, ends ---- */

bool call_join (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *list = machine_argument (self, i, 0), empty = value_text ("", 0);
    const value_t *separator = i->count == 2 ? machine_argument (self, i, 1) : &empty;
    if (list->tag != TAG_LIST || separator->tag != TAG_STR)
        return machine_refuse (self, i, "a list of text, and a text");
    uint32_t count;
    const char *end = list->p + list->size, *p = pack_open (list, &count);
    buffer_t text;
    if (!machine_write_begin (self, i, &text))
        return false;
    for (uint32_t n = 0; n < count; n++) {
        value_t item;
        if (!(p = pack_read (p, end, &item)))
            return machine_full (self, i);
        if (item.tag != TAG_STR)
            return fault_set (self->fault, REASON_EXPRESSION, "join(): item %u of the list is %s, not str", n,
                              tag_name (item.tag));
        if ((n && !buffer_put (&text, separator->p, separator->size)) ||
            !buffer_put (&text, item.p, item.size))
            return machine_full (self, i);
    }
    return machine_write_value (self, &text, TAG_STR, out);
}

bool call_replace (machine_t *self, const instruction_t *i, value_t *out) {
    const char *takes = "three texts";
    const value_t *text = text_argument (self, i, 0, takes), *old, *new;
    if (!text || !(old = text_argument (self, i, 1, takes)) || !(new = text_argument (self, i, 2, takes)))
        return false;
    if (old->size == 0)
        return machine_fail (self, i, "there is nothing to replace");
    buffer_t result;
    if (!machine_write_begin (self, i, &result))
        return false;
    const char *end = text->p + text->size, *p = text->p;
    value_t part;
    for (bool is_first = true; next_part (&p, end, old, &part); is_first = false)
        if ((!is_first && !buffer_put (&result, new->p, new->size)) ||
            !buffer_put (&result, part.p, part.size))
            return machine_full (self, i);
    return machine_write_value (self, &result, TAG_STR, out);
}

bool call_starts (machine_t *self, const instruction_t *i, value_t *out) {
    const value_t *text = machine_argument (self, i, 0), *part = machine_argument (self, i, 1);
    if ((text->tag != TAG_STR && text->tag != TAG_BYTES) || part->tag != text->tag)
        return machine_refuse (self, i, "two texts, or bytes and bytes");
    bool fits = part->size <= text->size;
    const char *place = fits && i->op == OP_ENDSWITH ? text->p + (text->size - part->size) : text->p;
    *out = value_bool (fits && text_equal (place, part->p, part->size));
    return true;
}
