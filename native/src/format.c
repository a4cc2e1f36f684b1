/* format.c: one face for all decoders. */
#include <stdlib.h>

#include "codecs.h"
#include "pack.h"

enum format_kind { FORMAT_JSON, FORMAT_CSV, FORMAT_MSGPACK, FORMAT_TEXT, FORMAT_RAW, FORMAT_BINARY };

struct format {
    uint8_t kind; /* enum format_kind */
    const fields_t *fields;
    csv_decoder_t *csv;
    binary_decoder_t *binary;
};

static bool format_init (format_t *self, const value_t *map, fault_t *fault) {
    static const char *const names[] = {"json", "csv", "msgpack", "text", "raw", "binary"};
    value_t kind;
    if (map->tag != TAG_MAP || !pack_get (map, "kind", 4, &kind))
        return fault_set (fault, REASON_DECODE, "a format is a map with a kind");
    while (self->kind < sizeof names / sizeof *names && !value_is_word (&kind, names[self->kind]))
        self->kind++;
    switch (self->kind) {
    case FORMAT_CSV: return (self->csv = csv_decoder_new (map, self->fields, fault)) != NULL;
    case FORMAT_BINARY: return (self->binary = binary_decoder_new (map, self->fields, fault)) != NULL;
    case FORMAT_JSON:
    case FORMAT_MSGPACK:
    case FORMAT_TEXT:
    case FORMAT_RAW: return true;
    default: return fault_set (fault, REASON_DECODE, "unknown kind of format");
    }
}

format_t *format_new (const value_t *map, const fields_t *fields, fault_t *fault) {
    format_t *self = calloc (1, sizeof *self);
    if (self == NULL) {
        fault_set (fault, REASON_LIMIT, "no memory for a format");
        return NULL;
    }
    self->fields = fields;
    if (!format_init (self, map, fault))
        format_destroy (&self);
    return self;
}

void format_destroy (format_t **self_p) {
    format_t *self = *self_p;
    if (self == NULL)
        return;
    csv_decoder_destroy (&self->csv);
    binary_decoder_destroy (&self->binary);
    free (self);
    *self_p = NULL;
}

format_state_t *format_open (const format_t *self) {
    return self->kind == FORMAT_CSV ? csv_decoder_open (self->csv) : NULL;
}

void format_close (const format_t *self, format_state_t **state_p) {
    (void) self;
    csv_decoder_close (state_p);
}

bool format_freeze (const format_t *self, const format_state_t *state, buffer_t *out) {
    return self->kind != FORMAT_CSV || state == NULL || csv_decoder_freeze (state, out);
}

bool format_thaw (const format_t *self, format_state_t *state, const char *bytes, size_t size,
                  fault_t *fault) {
    if (size == 0)
        return true;
    if (self->kind != FORMAT_CSV || state == NULL)
        return fault_set (fault, REASON_DECODE, "this format keeps nothing for a partition");
    return csv_decoder_thaw (self->csv, state, bytes, size, fault);
}

static enum decoded decode_other (const format_t *self, format_state_t *state, char *text, uint32_t size,
                                  value_t *row, arena_t *scratch, fault_t *fault) {
    bool ok = false;
    switch (self->kind) {
    case FORMAT_CSV: return csv_decode (self->csv, state, text, size, row, scratch, fault);
    case FORMAT_MSGPACK: ok = msgpack_decode (self->fields, text, size, row, scratch, fault); break;
    case FORMAT_TEXT: ok = text_decode (self->fields, text, size, row, scratch, fault); break;
    case FORMAT_RAW: ok = raw_decode (self->fields, text, size, row, scratch, fault); break;
    case FORMAT_BINARY: ok = binary_decode (self->binary, text, size, row, scratch, fault); break;
    }
    return ok ? DECODED_ROW : DECODED_FAULT;
}

enum decoded format_decode (const format_t *self, format_state_t *state, char *text, uint32_t size,
                            value_t *row, arena_t *scratch, fault_t *fault) {
    if (unlikely (self->kind != FORMAT_JSON))
        return decode_other (self, state, text, size, row, scratch, fault);
    if (likely (json_decode (self->fields, text, size, row, scratch, fault)))
        return DECODED_ROW;
    /* An empty line is no record; asking only after a fault keeps the question off the hot path. */
    return size == 0 ? DECODED_NOTHING : DECODED_FAULT;
}
