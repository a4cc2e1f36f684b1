/* fault.h: saying why a record was set aside. */
#ifndef BETTONG_FAULT_H
#define BETTONG_FAULT_H

#include "value.h"

/* Fill `fault` and return false, so that a caller can `return fault_set (…)`. Printf-like; cut to fit, at a
 * character boundary. */
bool fault_set (fault_t *fault, enum reason reason, const char *format, ...)
    __attribute__ ((format (printf, 3, 4), cold));

/* The reason's name as it stands in metrics and in the error output ("decode", "schema", …). */
const char *reason_name (uint32_t reason);
/* A value's type in the words of S1 ("int", "str", "missing", …). */
const char *tag_name (uint32_t tag);

#endif
