/* reading.c: the lines that are not written as expected: any order, spaces, more fields. */
#include "reading.h"

static const char *spaces (const char *p) {
    while (*p == ' ' || *p == '\t' || *p == '\r')
        p++;
    return p;
}

static const char *skip_text (const char *p) {
    while (*(p = text_end (p)) == '\\')
        p += p[1] == '\n' ? 1 : 2;
    return *p == '"' ? p + 1 : NULL;
}

/* A value of any kind. Nested ones are skipped by counting brackets outside of texts. */
static const char *skip_value (const char *p) {
    unsigned depth = 0;
    do {
        p = spaces (p);
        if (*p == '"')
            p = skip_text (p + 1);
        else if (*p == '{' || *p == '[')
            depth++, p++;
        else if (*p == '}' || *p == ']')
            depth--, p++;
        else if (*p != '\n' && (depth || *p != ','))
            p++;
        else
            return NULL;
        if (!p)
            return NULL;
    } while (depth || !(*p == ',' || *p == '}' || *p == ' '));
    return p;
}

static bool is_named (const text_t *name, const char *wanted) {
    return name->size == strlen (wanted) && !memcmp (name->p, wanted, name->size);
}

static const char *parse_field (reading_t *to, const text_t *name, const char *p, unsigned *found) {
    if (is_named (name, "device") && *p == '"')
        return *found |= 1, parse_text (&to->device, p + 1);
    if (is_named (name, "ts"))
        return *found |= 2, parse_int (&to->ts, p);
    if (is_named (name, "temp"))
        return *found |= 4, parse_float (&to->temp, p);
    if (is_named (name, "status") && *p == '"')
        return *found |= 8, parse_text (&to->status, p + 1);
    return skip_value (p);
}

const char *reading_parse_any (reading_t *to, const char *p) {
    unsigned found = 0;
    p = spaces (p);
    do {
        if (*p != '{' && *p != ',')
            return NULL;
        p = spaces (p + 1);
        text_t name;
        if (*p != '"' || !(p = parse_text (&name, p + 1)))
            return NULL;
        p = spaces (p);
        if (*p != ':')
            return NULL;
        p = parse_field (to, &name, spaces (p + 1), &found);
        if (!p)
            return NULL;
        p = spaces (p);
    } while (*p != '}');
    p = spaces (p + 1);
    return *p == '\n' && found == 15 ? p : NULL;
}
