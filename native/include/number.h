/* number.h: numbers and times as text, exactly and without a locale. Needs 8 readable bytes behind the
 * text. */
#ifndef BETTONG_NUMBER_H
#define BETTONG_NUMBER_H

#include "value.h"

/* A JSON number at `p`, which stops at the first byte that cannot belong to it (there is one before the slack
 * ends). Gives TAG_INT, or TAG_FLOAT when it has a fraction or exponent or does not fit 64 bits. Returns what
 * follows, NULL when it is no JSON number or overflows to infinity. */
const char *number_read (const char *p, value_t *out);

enum { NUMBER_TEXT_MAX = 32 };
uint32_t number_write_int (char *out, int64_t value);
/* The shortest text that reads back the same, as Python's repr writes it ("1.0", "1e-07", "1e+16"). Finite
 * only. */
uint32_t number_write_float (char *out, double value);

enum { TIME_TEXT_MAX = 40 };
/* UTC, "2026-01-02T03:04:05Z", microseconds only if any. Years 0001 to 9999, else false. */
bool time_write_rfc3339 (char *out, int64_t us, uint32_t *size);
bool time_read_rfc3339 (const char *p, uint32_t size, int64_t *us);

/* Civil calendar: civil_t (in cdefs.h) and back. Exact for every int64 of microseconds; months 1 to 12,
 * the year within 290,000 of 1970; days, hours, minutes and seconds beyond their range carry over. */
civil_t civil_from_us (int64_t us);
int64_t civil_to_us (const civil_t *civil);

/* True when the bytes are UTF-8 without surrogates or overlong forms. */
bool utf8_valid (const char *p, uint32_t size);
/* The size of the one UTF-8 character at `p`, of which `left` bytes are there, or 0 when it is none. */
uint32_t utf8_sequence (const char *p, uint32_t left);

#endif
