/* csv_decode.c: CSV as RFC 4180 has it, a record a message.
 *
 * - A quoted cell may hold delimiters and doubled quotes. Line breaks inside quotes are not supported in
 *   frames of lines: the framer ends the message there, and the quote is then without its end, a fault.
 * - Quotes protect bytes, they say nothing about the type. An empty cell is null, quoted or not.
 * - A column whose field is declared as str is text, as bool `true` or `false`. In all others, JSON numbers
 *   are numbers and everything else is text, to be held against the declared types by fields_check.
 * - With a header, the first record of a partition names the columns, unless `columns` does; then it is
 *   passed over. Of columns of the same name the last one counts. Every record has as many cells as there
 *   are columns. */
#include <stdlib.h>

#include "codecs.h"
#include "csv_columns.h"
#include "pack.h"
#include "row_read.h"

struct csv_decoder {
    const fields_t *fields;
    uint64_t pattern; /* the delimiter in every byte */
    char delimiter;
    bool header;
    csv_columns_t *columns; /* from `columns`; NULL: the header names them */
};

struct format_state {
    csv_columns_t *columns; /* from the header, owned */
    bool started;           /* the header has been read */
};

/* The first delimiter at or behind `p`: there is one at the message's end, put there by csv_decode. */
static inline const char *find_delimiter (const char *p, uint64_t pattern) {
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    for (;; p += 8) {
        uint64_t different = load_little_u64 (p) ^ pattern;
        uint64_t hits = (different - ones) & ~different & highs;
        if (hits != 0)
            return p + (__builtin_ctzll (hits) >> 3);
    }
}

static value_t cell_value (const char *p, size_t size, uint8_t kind) {
    if (size == 0)
        return value_null();
    if (kind == CELL_BOOL && size == 4 && memcmp (p, "true", 4) == 0)
        return value_bool (true);
    if (kind == CELL_BOOL && size == 5 && memcmp (p, "false", 5) == 0)
        return value_bool (false);
    return value_text (p, (uint32_t) size);
}

static inline bool begins_number (char c) { return (unsigned char) (c - '0') < 10 || c == '-'; }

static inline const char *plain_cell (const csv_decoder_t *self, const char *p, uint8_t kind,
                                      value_t *value) {
    if (kind == CELL_ANY && begins_number (*p)) {
        const char *after = number_read (p, value);
        if (likely (after != NULL && *after == self->delimiter))
            return after;
    }
    const char *stop = find_delimiter (p, self->pattern);
    if (kind != CELL_SKIPPED)
        *value = cell_value (p, (size_t) (stop - p), kind);
    return stop;
}

/* The text of a cell with doubled quotes, in scratch. `p` is the first byte, *stop becomes the closing
 * quote. */
static char *undouble (const char *p, const char *end, const char **stop, size_t *size, arena_t *scratch,
                       fault_t *fault) {
    size_t mark = arena_mark (scratch);
    char *text = arena_take (scratch, (size_t) (end - p) + 1);
    if (text == NULL) {
        fault_set (fault, REASON_LIMIT, "a quoted cell is too large for the record");
        return NULL;
    }
    *size = 0;
    for (;;) {
        const char *quote = memchr (p, '"', (size_t) (end - p));
        if (quote == NULL) {
            arena_release (scratch, mark);
            fault_set (fault, REASON_DECODE, "a quoted cell has no closing quote");
            return NULL;
        }
        memcpy (text + *size, p, (size_t) (quote - p));
        *size += (size_t) (quote - p);
        *stop = quote;
        if (quote[1] != '"')
            break;
        text[(*size)++] = '"';
        p = quote + 2;
    }
    text[*size] = '\0'; /* where a number ends at the latest */
    arena_release (scratch, (size_t) (text - scratch->base) + *size + 1);
    return text;
}

/* `p` is the opening quote. Behind the message's end stands the delimiter, so quote[1] is never beyond it. */
static const char *quoted_cell (const csv_decoder_t *self, const char *p, const char *end, uint8_t kind,
                                value_t *value, arena_t *scratch, fault_t *fault) {
    const char *text = p + 1;
    const char *quote = memchr (text, '"', (size_t) (end - text));
    if (quote == NULL) {
        fault_set (fault, REASON_DECODE, "a quoted cell has no closing quote");
        return NULL;
    }
    size_t size = (size_t) (quote - text);
    if (quote[1] == '"') {
        text = undouble (text, end, &quote, &size, scratch, fault);
        if (text == NULL)
            return NULL;
    }
    if (quote[1] != self->delimiter) {
        fault_set (fault, REASON_DECODE, "there is text behind a closing quote");
        return NULL;
    }
    if (kind != CELL_ANY || size == 0 || !begins_number (*text) || number_read (text, value) != text + size)
        *value = cell_value (text, size, kind);
    return quote + 1;
}

static inline const char *next_cell (const csv_decoder_t *self, const char *p, const char *end, uint8_t kind,
                                     value_t *value, arena_t *scratch, fault_t *fault) {
    if (unlikely (*p == '"'))
        return quoted_cell (self, p, end, kind, value, scratch, fault);
    return plain_cell (self, p, kind, value);
}

/* ---- the header ---- */

/* The cells of a header, one by one. A byte order mark, as spreadsheets write it, is no part of a name. */
static bool read_names (const csv_decoder_t *self, const char *p, const char *end, csv_columns_t *columns,
                        arena_t *scratch, fault_t *fault) {
    if (end - p >= 3 && memcmp (p, "\xEF\xBB\xBF", 3) == 0)
        p += 3;
    for (;; p++) {
        value_t name;
        p = next_cell (self, p, end, CELL_TEXT, &name, scratch, fault);
        if (p == NULL)
            return false;
        const char *text = name.tag == TAG_STR ? name.p : "";
        if (!csv_columns_add (columns, text, name.size, fault))
            return false;
        if (p == end)
            return true;
    }
}

/* When it cannot be read, the partition is left without columns: its records are faults, not guesses. */
static enum decoded read_header (const csv_decoder_t *self, format_state_t *state, const char *p,
                                 const char *end, arena_t *scratch, fault_t *fault) {
    state->started = true;
    if (self->columns != NULL)
        return DECODED_NOTHING;
    csv_columns_t *columns = csv_columns_new (self->fields, fault);
    if (columns == NULL)
        return DECODED_FAULT;
    if (!read_names (self, p, end, columns, scratch, fault) || !csv_columns_bind (columns, fault)) {
        csv_columns_destroy (&columns);
        return DECODED_FAULT;
    }
    state->columns = columns;
    return DECODED_NOTHING;
}

/* ---- records ---- */

static bool fault_count (const csv_columns_t *columns, bool more, uint32_t count, fault_t *fault) {
    return fault_set (fault, REASON_DECODE, "the record has %s%u cells, there are %u columns",
                      more ? "more than " : "", count, columns->count);
}

/* `*map` is NULL or the whole record's map: its head is written, and there is room for every cell. Columns
 * that were bound to the fields of another format (one that shares the partition's state) fill the map
 * only. */
static bool read_record (const csv_decoder_t *self, const csv_columns_t *columns, const char *p,
                         const char *end, value_t *row, char **map, arena_t *scratch, fault_t *fault) {
    char *out = *map;
    bool own = likely (columns->fields == self->fields);
    for (uint32_t i = 0; own && i < columns->absent_count; i++)
        row[columns->absent[i]] = value_missing();
    const csv_column_t *column = columns->items;
    const csv_column_t *behind = column + columns->count;
    for (;; p++, column++) {
        if (unlikely (column == behind))
            return fault_count (columns, true, columns->count, fault);
        value_t value = value_null();
        uint8_t kind = out != NULL && column->kind == CELL_SKIPPED ? CELL_ANY : column->kind;
        p = next_cell (self, p, end, kind, &value, scratch, fault);
        if (unlikely (p == NULL))
            return false;
        if (own && column->slot != SLOT_NONE)
            row[column->slot] = value;
        if (out != NULL && !column->shadowed) {
            memcpy (out, column->packed, column->packed_size);
            out = put_scalar (out + column->packed_size, &value);
        }
        if (p == end)
            break;
    }
    *map = out;
    uint32_t count = (uint32_t) (column - columns->items) + 1;
    return likely (count == columns->count) || fault_count (columns, false, count, fault);
}

static bool read_whole (const csv_decoder_t *self, const csv_columns_t *columns, const char *p,
                        const char *end, value_t *row, arena_t *scratch, fault_t *fault) {
    size_t room = COUNT_HEAD_MAX + columns->names.size + SCALAR_HEAD_MAX * (size_t) columns->count +
                  (size_t) (end - p) + PACK_HEAD_ROOM;
    char *map = arena_take (scratch, room);
    if (map == NULL)
        return fault_set (fault, REASON_LIMIT, "the record is too large");
    char *behind = pack_put_count (map, true, columns->map_count);
    if (!read_record (self, columns, p, end, row, &behind, scratch, fault))
        return false;
    row[self->fields->rest_slot] = (value_t){.p = map, .size = (uint32_t) (behind - map), .tag = TAG_MAP};
    return true;
}

static enum decoded decode (const csv_decoder_t *self, format_state_t *state, const char *p, const char *end,
                            value_t *row, arena_t *scratch, fault_t *fault) {
    if (unlikely (self->header && state == NULL)) {
        fault_set (fault, REASON_LIMIT, "no memory for the header of this partition");
        return DECODED_FAULT;
    }
    if (unlikely (self->header && !state->started))
        return read_header (self, state, p, end, scratch, fault);
    const csv_columns_t *columns = self->columns != NULL ? self->columns : state->columns;
    if (unlikely (columns == NULL)) {
        fault_set (fault, REASON_DECODE, "the header of this partition could not be read");
        return DECODED_FAULT;
    }
    char *no_map = NULL;
    bool ok = self->fields->rest_slot != SLOT_NONE
                  ? read_whole (self, columns, p, end, row, scratch, fault)
                  : read_record (self, columns, p, end, row, &no_map, scratch, fault);
    return ok ? DECODED_ROW : DECODED_FAULT;
}

enum decoded csv_decode (const csv_decoder_t *self, format_state_t *state, char *text, uint32_t size,
                         value_t *row, arena_t *scratch, fault_t *fault) {
    /* A datagram may bring its line end along. */
    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r'))
        size--;
    if (unlikely (size == 0))
        return DECODED_NOTHING;
    if (unlikely (!utf8_valid (text, size))) {
        if (state != NULL)
            state->started = true; /* a header, if this was one, is lost */
        fault_set (fault, REASON_DECODE, "not UTF-8");
        return DECODED_FAULT;
    }
    char old = text[size];
    text[size] = self->delimiter;
    enum decoded got = decode (self, state, text, text + size, row, scratch, fault);
    text[size] = old;
    return got;
}

/* ---- its life ---- */

bool csv_delimiter (const value_t *map, char *delimiter, fault_t *fault) {
    value_t value;
    *delimiter = ',';
    if (!pack_get (map, "delimiter", 9, &value) || value.tag == TAG_NULL)
        return true;
    if (value.tag == TAG_STR && value.size == 1) {
        char c = *value.p;
        bool in_number = (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.' || c == 'e' || c == 'E';
        *delimiter = c;
        if (c > 0 && !in_number && c != '"' && c != '\n' && c != '\r')
            return true;
    }
    return fault_set (fault, REASON_DECODE,
                      "a CSV delimiter is one ASCII character that is no part of a number");
}

/* Columns by a list of their names; NULL with a fault. */
static csv_columns_t *read_columns (const csv_decoder_t *self, const value_t *list, fault_t *fault) {
    uint32_t count = 0;
    csv_columns_t *columns = list->tag == TAG_LIST ? csv_columns_new (self->fields, fault) : NULL;
    if (list->tag != TAG_LIST)
        fault_set (fault, REASON_DECODE, "the columns of CSV are a list of names");
    const char *p = columns != NULL ? pack_open (list, &count) : NULL;
    bool good = columns != NULL;
    for (uint32_t i = 0; good && i < count; i++) {
        value_t name;
        p = pack_read (p, list->p + list->size, &name);
        good = p != NULL && name.tag == TAG_STR
                   ? csv_columns_add (columns, name.p, name.size, fault)
                   : fault_set (fault, REASON_DECODE, "the columns of CSV are a list of names");
    }
    if (!good || !csv_columns_bind (columns, fault))
        csv_columns_destroy (&columns);
    return columns;
}

static bool is_empty (const value_t *list) {
    uint32_t count = 1;
    return list->tag == TAG_LIST && pack_open (list, &count) != NULL && count == 0;
}

csv_decoder_t *csv_decoder_new (const value_t *map, const fields_t *fields, fault_t *fault) {
    csv_decoder_t *self = calloc (1, sizeof *self);
    value_t header, columns;
    if (self == NULL) {
        fault_set (fault, REASON_LIMIT, "no memory for a format");
        return NULL;
    }
    self->fields = fields;
    self->header = pack_get (map, "header", 6, &header) && header.tag == TAG_BOOL && header.i;
    bool named = pack_get (map, "columns", 7, &columns) && columns.tag != TAG_NULL && !is_empty (&columns);
    bool ok = csv_delimiter (map, &self->delimiter, fault);
    if (ok && named)
        ok = (self->columns = read_columns (self, &columns, fault)) != NULL;
    else if (ok && !self->header)
        ok = fault_set (fault, REASON_DECODE, "CSV needs a header or the names of its columns");
    self->pattern = 0x0101010101010101u * (unsigned char) self->delimiter;
    if (!ok)
        csv_decoder_destroy (&self);
    return self;
}

void csv_decoder_destroy (csv_decoder_t **self_p) {
    csv_decoder_t *self = *self_p;
    if (self == NULL)
        return;
    csv_columns_destroy (&self->columns);
    free (self);
    *self_p = NULL;
}

format_state_t *csv_decoder_open (const csv_decoder_t *self) {
    return self->header ? calloc (1, sizeof (format_state_t)) : NULL;
}

void csv_decoder_close (format_state_t **state_p) {
    if (*state_p == NULL)
        return;
    csv_columns_destroy (&(*state_p)->columns);
    free (*state_p);
    *state_p = NULL;
}

/* ---- in a cut: [whether the header has been read, the names of its columns or nil] ---- */

bool csv_decoder_freeze (const format_state_t *state, buffer_t *out) {
    value_t started = value_bool (state->started), nil = value_null();
    if (!pack_write_list (out, 2) || !pack_write (out, &started))
        return false;
    const csv_columns_t *columns = state->columns;
    if (columns == NULL)
        return pack_write (out, &nil);
    return pack_write_list (out, columns->count) &&
           buffer_put (out, columns->names.data, columns->names.size);
}

bool csv_decoder_thaw (const csv_decoder_t *self, format_state_t *state, const char *bytes, size_t size,
                       fault_t *fault) {
    value_t whole, parts[2];
    if (pack_read (bytes, bytes + size, &whole) == NULL || !list_read (&whole, parts, 2) ||
        parts[0].tag != TAG_BOOL)
        return fault_set (fault, REASON_DECODE, "the header of a partition is malformed");
    state->started = parts[0].i != 0;
    if (value_is_null (&parts[1]) || self->columns != NULL)
        return true;
    return (state->columns = read_columns (self, &parts[1], fault)) != NULL;
}
