/* seen.h: ids that a source has brought, and when it did first: what comes again within that time is a repetition. */
#ifndef BETTONG_SEEN_H
#define BETTONG_SEEN_H

#include "fault.h"
#include "key.h"
#include "section.h"
#include "value.h"

typedef struct seen seen_t;

enum seen_found { SEEN_NEW, SEEN_BEFORE, SEEN_FAULT };
/* Ids that are forgotten with each new one, and at most in one turn of the lane. */
enum { SEEN_FORGET_EACH = 2, SEEN_FORGET_TURN = 1024 };

/* From the program: {"within": microseconds}. */
seen_t *seen_new (const value_t *map, fault_t *fault);
void seen_destroy (seen_t **self_p);

/* `now_us` never goes back. */
enum seen_found seen_add (seen_t *self, const bkey_t *id, int64_t now_us, fault_t *fault);
/* Forget the oldest that are due, at most so many; whether there were any. */
bool seen_forget (seen_t *self, int64_t now_us, uint32_t most);
uint64_t seen_bytes (const seen_t *self);
uint64_t seen_count (const seen_t *self);

/* As those of a running step; a row is [shard, id bytes, first seen]. */
bool seen_freeze (seen_t *self, section_t *out);
void seen_settle (seen_t *self);
bool seen_restore (seen_t *self, const char *rows, size_t size, fault_t *fault);
/* All rows are there: in order again, and later by as long as nothing ran. False when there is no memory. */
bool seen_resume (seen_t *self, int64_t by_us, int64_t now_us);

#endif
