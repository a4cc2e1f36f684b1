/* encoder.c: one face for all encoders, and the frames around what they write. */
#include <stdlib.h>

#include "codecs.h"
#include "pack.h"

enum encoder_kind { ENCODER_JSON, ENCODER_TEXT, ENCODER_CSV, ENCODER_MSGPACK, ENCODER_RAW, ENCODER_BINARY };

/* LINES: a newline behind. LENGTH: the size in front, u32, big-endian. DELIMITER: some bytes behind. */
enum envelope { ENVELOPE_NONE, ENVELOPE_LINES, ENVELOPE_LENGTH, ENVELOPE_DELIMITER };

enum { DELIMITER_BYTES_MAX = 16 };

struct encoder {
    uint8_t kind;     /* enum encoder_kind */
    uint8_t envelope; /* enum envelope */
    char delimiter[DELIMITER_BYTES_MAX];
    uint32_t delimiter_size;
    bool header; /* CSV: the names come first */
    template_t *template;
    csv_encoder_t *csv;
    binary_encoder_t *binary;
};

/* ---- writing ---- */

/* The field `data`, or the only one there is. */
static bool raw_write_record (const layout_t *layout, const value_t *row, buffer_t *out, fault_t *fault) {
    uint32_t hint = 0;
    value_t value = record_field (layout, row, "data", 4, &hint);
    if (value.tag == TAG_MISSING && layout->rest_slot == SLOT_NONE && layout->count == 1)
        value = row[layout->entries[0].slot];
    if (value.tag != TAG_BYTES && value.tag != TAG_STR)
        return fault_set (fault, REASON_ENCODE,
                          "a raw record is a field `data`, or only one, with bytes or text");
    return buffer_put (out, value.p, value.size) || fault_full (out, fault);
}

static bool write_body (const encoder_t *self, const layout_t *layout, const value_t *row, buffer_t *out,
                        uint64_t *nans, fault_t *fault) {
    switch (self->kind) {
    case ENCODER_TEXT: return template_write (self->template, layout, row, out, nans, fault);
    case ENCODER_CSV: return csv_write_record (self->csv, layout, row, out, nans, fault);
    case ENCODER_MSGPACK: return msgpack_write_record (layout, row, out, nans, fault);
    case ENCODER_RAW: return raw_write_record (layout, row, out, fault);
    case ENCODER_BINARY: return binary_write_record (self->binary, layout, row, out, fault);
    default:
        return json_write_record (layout, row, out, nans) ||
               fault_set (fault, REASON_ENCODE,
                          "the record cannot be written as JSON, or there is no room for it");
    }
}

/* Room for the length, to be filled in when it is known. */
static bool envelope_open (const encoder_t *self, buffer_t *out, fault_t *fault) {
    if (self->envelope != ENVELOPE_LENGTH)
        return true;
    return buffer_put (out, "\0\0\0\0", 4) || fault_full (out, fault);
}

static bool envelope_close (const encoder_t *self, size_t start, buffer_t *out, fault_t *fault) {
    if (self->envelope == ENVELOPE_LENGTH) {
        size_t size = out->size - start - 4;
        uint32_t big = order_is_big() ? (uint32_t) size : __builtin_bswap32 ((uint32_t) size);
        if (size > UINT32_MAX)
            return fault_set (fault, REASON_ENCODE, "a record of %zu bytes is too long for its frame", size);
        memcpy (out->data + start, &big, 4);
        return true;
    }
    return buffer_put (out, self->delimiter, self->delimiter_size) || fault_full (out, fault);
}

static bool write_header (const encoder_t *self, const layout_t *layout, buffer_t *out, fault_t *fault) {
    size_t start = out->size;
    return envelope_open (self, out, fault) && csv_write_header (self->csv, layout, out, fault) &&
           envelope_close (self, start, out, fault);
}

static bool write_record (const encoder_t *self, const layout_t *layout, const value_t *row, buffer_t *out,
                          uint64_t *nans, fault_t *fault) {
    size_t start = out->size;
    return envelope_open (self, out, fault) && write_body (self, layout, row, out, nans, fault) &&
           envelope_close (self, start, out, fault);
}

bool encoder_write (const encoder_t *self, const layout_t *layout, const value_t *row, bool *started,
                    buffer_t *out, uint64_t *nans, fault_t *fault) {
    size_t size = out->size;
    uint64_t nans_before = *nans;
    if (likely (self->kind == ENCODER_JSON && self->envelope == ENVELOPE_LINES)) {
        if (likely (json_write_record (layout, row, out, nans) && buffer_put_byte (out, '\n'))) {
            *started = true;
            return true;
        }
        fault_set (fault, REASON_ENCODE, "the record cannot be written as JSON, or there is no room for it");
    } else {
        bool ok = !self->header || *started || write_header (self, layout, out, fault);
        if (ok && write_record (self, layout, row, out, nans, fault)) {
            *started = true;
            return true;
        }
    }
    out->size = size;
    *nans = nans_before;
    return false;
}

/* ---- its life ---- */

static bool take_envelope (encoder_t *self, const value_t *map, fault_t *fault) {
    bool is_bytes =
        self->kind == ENCODER_MSGPACK || self->kind == ENCODER_RAW || self->kind == ENCODER_BINARY;
    value_t frame, delimiter = value_text ("\n", 1);
    bool given = pack_get (map, "frame", 5, &frame) && frame.tag != TAG_NULL;
    if (given ? value_is_word (&frame, "u32") : is_bytes) {
        self->envelope = ENVELOPE_LENGTH;
        return true;
    }
    if (given && value_is_word (&frame, "none"))
        return true;
    self->envelope = ENVELOPE_LINES;
    if (given && !value_is_word (&frame, "lines")) {
        self->envelope = ENVELOPE_DELIMITER;
        if (frame.tag != TAG_MAP || !pack_get (&frame, "delimiter", 9, &delimiter))
            return fault_set (fault, REASON_ENCODE, "a sink's frame is lines, u32, none or a delimiter");
    }
    bool is_text = delimiter.tag == TAG_STR || delimiter.tag == TAG_BYTES;
    if (!is_text || delimiter.size == 0 || delimiter.size > DELIMITER_BYTES_MAX)
        return fault_set (fault, REASON_ENCODE, "a frame's delimiter has 1 to %d bytes",
                          (int) DELIMITER_BYTES_MAX);
    memcpy (self->delimiter, delimiter.p, delimiter.size);
    self->delimiter_size = delimiter.size;
    return true;
}

static bool take_template (encoder_t *self, const value_t *map, fault_t *fault) {
    value_t text;
    if (!pack_get (map, "template", 8, &text) || text.tag == TAG_NULL)
        text = value_text ("{line}", 6);
    if (text.tag != TAG_STR)
        return fault_set (fault, REASON_ENCODE, "a template is text");
    self->template = template_new (text.p, text.size, fault);
    return self->template != NULL;
}

static bool take_csv (encoder_t *self, const value_t *map, fault_t *fault) {
    self->csv = csv_encoder_new (map, fault);
    self->header = self->csv != NULL && csv_wants_header (self->csv);
    return self->csv != NULL;
}

static bool encoder_init (encoder_t *self, const value_t *map, fault_t *fault) {
    static const char *const names[] = {"json", "text", "csv", "msgpack", "raw", "binary"};
    value_t kind;
    if (map->tag != TAG_MAP || !pack_get (map, "kind", 4, &kind))
        return fault_set (fault, REASON_ENCODE, "a sink's format is a map with a kind");
    while (self->kind < sizeof names / sizeof *names && !value_is_word (&kind, names[self->kind]))
        self->kind++;
    if (!take_envelope (self, map, fault))
        return false;
    switch (self->kind) {
    case ENCODER_TEXT: return take_template (self, map, fault);
    case ENCODER_CSV: return take_csv (self, map, fault);
    case ENCODER_BINARY: self->binary = binary_encoder_new (map, fault); return self->binary != NULL;
    case ENCODER_JSON:
    case ENCODER_MSGPACK:
    case ENCODER_RAW: return true;
    default: return fault_set (fault, REASON_ENCODE, "unknown kind of a sink's format");
    }
}

encoder_t *encoder_new (const value_t *map, fault_t *fault) {
    encoder_t *self = calloc (1, sizeof *self);
    if (self == NULL)
        fault_set (fault, REASON_LIMIT, "no memory for an encoder");
    else if (!encoder_init (self, map, fault))
        encoder_destroy (&self);
    return self;
}

void encoder_destroy (encoder_t **self_p) {
    encoder_t *self = *self_p;
    if (self == NULL)
        return;
    template_destroy (&self->template);
    csv_encoder_destroy (&self->csv);
    binary_encoder_destroy (&self->binary);
    free (self);
    *self_p = NULL;
}
