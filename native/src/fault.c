/* fault.c: why a record was set aside, in words that are UTF-8 whatever went into them. */
#include "fault.h"

#include <stdarg.h>
#include <stdio.h>

#include "number.h"

static const char *const REASONS[REASON_COUNT] = {
    "none",      "frame",  "decode", "schema", "time",  "expression", "key",
    "aggregate", "python", "encode", "limit",  "stuck", "unfinished",
};

static const char *const TAGS[] = {"missing", "null", "bool",  "int",  "float",
                                   "time",    "str",  "bytes", "list", "map"};

const char *reason_name (uint32_t reason) { return reason < REASON_COUNT ? REASONS[reason] : "unknown"; }

const char *tag_name (uint32_t tag) { return tag < sizeof TAGS / sizeof TAGS[0] ? TAGS[tag] : "unknown"; }

/* A message may quote bytes of the input and may have been cut in the middle of a character. What is not
 * UTF-8 becomes '?', but for the part of a character at the end of a cut message, which goes. */
static void make_valid (char *text, size_t size, bool is_cut) {
    size_t at = 0;
    while (at < size) {
        uint32_t length = utf8_sequence (text + at, (uint32_t) (size - at));
        if (length) {
            at += length;
            continue;
        }
        if (is_cut && size - at < 4 && ((unsigned char) text[at] & 0xc0) == 0xc0) {
            text[at] = 0;
            return;
        }
        text[at++] = '?';
    }
}

bool fault_set (fault_t *fault, enum reason reason, const char *format, ...) {
    fault->reason = reason;
    va_list arguments;
    va_start (arguments, format);
    int wanted = vsnprintf (fault->message, sizeof fault->message, format, arguments);
    va_end (arguments);
    if (wanted < 0) /* a message that cannot be formatted must not hide the fault itself */
        fault->message[0] = 0;
    make_valid (fault->message, strlen (fault->message), wanted >= (int) sizeof fault->message);
    return false;
}
