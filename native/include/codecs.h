/* codecs.h: the formats behind format.c and encoder.c, and what they share. For those files only. */
#ifndef BETTONG_CODECS_H
#define BETTONG_CODECS_H

#include "decode.h"
#include "encode.h"
#include "number.h"
#include "pack_put.h"

/* ---- shared ---- */

static inline bool value_is_word (const value_t *value, const char *word) {
    return value->tag == TAG_STR && value->size == strlen (word) && memcmp (value->p, word, value->size) == 0;
}
static inline bool text_equals (const char *a, uint32_t a_size, const char *b, uint32_t b_size) {
    return a_size == b_size && memcmp (a, b, a_size) == 0;
}

/* True when the machine keeps the most significant byte first. */
static inline bool order_is_big (void) { return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__; }
static inline uint16_t load_big_u16 (const void *p) {
    return order_is_big() ? load_u16 (p) : __builtin_bswap16 (load_u16 (p));
}
static inline uint32_t load_big_u32 (const void *p) {
    return order_is_big() ? load_u32 (p) : __builtin_bswap32 (load_u32 (p));
}
static inline uint64_t load_big_u64 (const void *p) {
    return order_is_big() ? load_u64 (p) : __builtin_bswap64 (load_u64 (p));
}
static inline uint64_t load_little_u64 (const void *p) {
    return order_is_big() ? __builtin_bswap64 (load_u64 (p)) : load_u64 (p);
}

/* Short texts with 8 readable bytes are answered here: the first `size` of eight bytes. */
static inline uint64_t first_bytes (const char *p, uint32_t size) {
    return size == 0 ? 0 : load_little_u64 (p) << (64 - 8 * size);
}
static inline bool text_is_utf8 (const char *p, uint32_t size) {
    if (likely (size <= 8) && likely ((first_bytes (p, size) & 0x8080808080808080u) == 0))
        return true;
    return utf8_valid (p, size);
}
static inline bool key_equals (const char *a, uint32_t a_size, const char *b, uint32_t b_size) {
    if (unlikely (a_size != b_size))
        return false;
    return likely (a_size <= 8) ? first_bytes (a, a_size) == first_bytes (b, a_size)
                                : memcmp (a, b, a_size) == 0;
}

static inline value_t value_of_u64 (uint64_t u) {
    return u <= INT64_MAX ? value_int ((int64_t) u) : value_float ((double) u);
}
static inline value_t value_of_f32 (uint32_t bits) {
    float f;
    memcpy (&f, &bits, 4);
    return value_float (f);
}
static inline value_t value_of_f64 (uint64_t bits) {
    double f;
    memcpy (&f, &bits, 8);
    return value_float (f);
}

/* The one-byte delimiter under "delimiter" (',' when there is none): nothing that a number, a quote or a
 * line end is made of. */
bool csv_delimiter (const value_t *map, char *delimiter, fault_t *fault);

/* ---- decoders ---- */

/* A scalar into memory that has room: its bytes and SCALAR_HEAD_MAX; and behind the last one
 * PACK_HEAD_ROOM. */
enum { SCALAR_HEAD_MAX = 9, COUNT_HEAD_MAX = 5, TEXT_HEAD_MAX = 5 };
static inline char *put_text (char *p, const char *text, uint32_t size) {
    p = pack_put_text_head (p, size);
    memcpy (p, text, size);
    return p + size;
}
static inline char *put_scalar (char *p, const value_t *value) {
    switch (value->tag) {
    case TAG_BOOL: return pack_put_first (p, value->i ? FIRST_TRUE : FIRST_FALSE);
    case TAG_INT: return pack_put_int (p, value->i);
    case TAG_FLOAT: return pack_put_float (p, value->f);
    case TAG_STR: return put_text (p, value->p, value->size);
    case TAG_BYTES:
        p = pack_put_bytes_head (p, value->size);
        memcpy (p, value->p, value->size);
        return p + value->size;
    default: return pack_put_first (p, FIRST_NIL);
    }
}

typedef struct csv_decoder csv_decoder_t;
csv_decoder_t *csv_decoder_new (const value_t *map, const fields_t *fields, fault_t *fault);
void csv_decoder_destroy (csv_decoder_t **self_p);
format_state_t *csv_decoder_open (const csv_decoder_t *self);
void csv_decoder_close (format_state_t **state_p);
bool csv_decoder_freeze (const format_state_t *state, buffer_t *out);
bool csv_decoder_thaw (const csv_decoder_t *self, format_state_t *state, const char *bytes, size_t size,
                       fault_t *fault);
enum decoded csv_decode (const csv_decoder_t *self, format_state_t *state, char *text, uint32_t size,
                         value_t *row, arena_t *scratch, fault_t *fault);

typedef struct binary_decoder binary_decoder_t;
binary_decoder_t *binary_decoder_new (const value_t *map, const fields_t *fields, fault_t *fault);
void binary_decoder_destroy (binary_decoder_t **self_p);
bool binary_decode (const binary_decoder_t *self, const char *text, uint32_t size, value_t *row,
                    arena_t *scratch, fault_t *fault);

/* Text: the message as the str `line`, without a line end; raw: as the bytes `data`. */
bool text_decode (const fields_t *fields, const char *text, uint32_t size, value_t *row, arena_t *scratch,
                  fault_t *fault);
bool raw_decode (const fields_t *fields, const char *text, uint32_t size, value_t *row, arena_t *scratch,
                 fault_t *fault);

/* ---- encoders ---- */

/* Each appends one record, or says why not and leaves what it wrote to its caller to take back. */

typedef struct template template_t;
template_t *template_new (const char *text, uint32_t size, fault_t *fault);
void template_destroy (template_t **self_p);
bool template_write (template_t *self, const layout_t *layout, const value_t *row, buffer_t *out,
                     uint64_t *nans, fault_t *fault);

typedef struct csv_encoder csv_encoder_t;
csv_encoder_t *csv_encoder_new (const value_t *map, fault_t *fault);
void csv_encoder_destroy (csv_encoder_t **self_p);
bool csv_wants_header (const csv_encoder_t *self);
bool csv_write_header (const csv_encoder_t *self, const layout_t *layout, buffer_t *out, fault_t *fault);
bool csv_write_record (const csv_encoder_t *self, const layout_t *layout, const value_t *row, buffer_t *out,
                       uint64_t *nans, fault_t *fault);

bool msgpack_write_record (const layout_t *layout, const value_t *row, buffer_t *out, uint64_t *nans,
                           fault_t *fault);

typedef struct binary_encoder binary_encoder_t;
binary_encoder_t *binary_encoder_new (const value_t *map, fault_t *fault);
void binary_encoder_destroy (binary_encoder_t **self_p);
bool binary_write_record (const binary_encoder_t *self, const layout_t *layout, const value_t *row,
                          buffer_t *out, fault_t *fault);

/* The field of that name as the layout shows it, MISSING when it does not. `hint` remembers its place. */
value_t record_field (const layout_t *layout, const value_t *row, const char *name, uint32_t name_size,
                      uint32_t *hint);
/* A time as sinks write it: an int in the unit (rounded down), or RFC 3339 text in `text`. False when the
 * unit cannot hold it. */
bool time_in_unit (int64_t us, uint8_t unit, char text[TIME_TEXT_MAX], value_t *out);
/* A value as plain text: str as it is, everything else as its JSON, without quotes around bytes and times. */
bool value_write_plain (const value_t *value, uint8_t unit, buffer_t *out, uint64_t *nans);
bool fault_full (const buffer_t *out, fault_t *fault);

/* ---- the fields of binary messages, for both directions ---- */

enum { BINARY_BYTES_MAX = 1 << 20 };
enum binary_type { BINARY_UNSIGNED, BINARY_SIGNED, BINARY_FLOAT, BINARY_TEXT };

typedef struct binary_item {
    const char *name;
    uint32_t name_size;
    uint8_t type; /* enum binary_type */
    uint32_t size;
    uint32_t offset;
} binary_item_t;

typedef struct binary_shape {
    binary_item_t *items;
    uint32_t count;
    uint32_t size; /* of a message */
    bool swap;     /* its byte order is not the machine's */
    char *names;
} binary_shape_t;

/* From "order" and "fields" of the program's map. */
bool binary_shape_init (binary_shape_t *self, const value_t *map, fault_t *fault);
void binary_shape_free (binary_shape_t *self);

#endif
