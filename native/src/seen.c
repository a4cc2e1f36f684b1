/* seen.c: a table of ids, its rows in a list in the order of their times: the clock never goes back, so what is new
 * goes to its end and what is forgotten stands at its beginning. */
#include "seen.h"

#include <stdlib.h>

#include "pack.h"
#include "row_read.h"
#include "table.h"

#define NONE UINT32_MAX

typedef struct {
    int64_t first_us;
    uint32_t before, behind; /* rows */
} moment_t;

struct seen {
    table_t *table;
    int64_t within_us;
    uint32_t first, last; /* NONE: empty */
};

seen_t *seen_new (const value_t *map, fault_t *fault) {
    value_t within;
    if (map->tag != TAG_MAP || !pack_get (map, "within", 6, &within) || within.tag != TAG_INT ||
        within.i <= 0) {
        fault_set (fault, REASON_DECODE, "the program's memory of ids is malformed");
        return NULL;
    }
    seen_t *self = calloc (1, sizeof *self);
    if (self)
        self->table = table_new (sizeof (moment_t));
    if (!self || !self->table) {
        fault_set (fault, REASON_LIMIT, "no memory for ids");
        free (self);
        return NULL;
    }
    self->within_us = within.i;
    self->first = self->last = NONE;
    return self;
}

void seen_destroy (seen_t **self_p) {
    seen_t *self = *self_p;
    if (self == NULL)
        return;
    table_destroy (&self->table);
    free (self);
    *self_p = NULL;
}

static moment_t *moment_at (const seen_t *self, uint32_t index) {
    table_row_t row;
    return table_at (self->table, index, &row) ? row.payload : NULL;
}

static void unlink_row (seen_t *self, const moment_t *moment) {
    if (moment->before == NONE)
        self->first = moment->behind;
    else
        moment_at (self, moment->before)->behind = moment->behind;
    if (moment->behind == NONE)
        self->last = moment->before;
    else
        moment_at (self, moment->behind)->before = moment->before;
}

static void append (seen_t *self, uint32_t index, moment_t *moment) {
    moment->before = self->last;
    moment->behind = NONE;
    if (self->last == NONE)
        self->first = index;
    else
        moment_at (self, self->last)->behind = index;
    self->last = index;
}

/* Times may lie far apart in a store that was damaged: no overflow. */
static bool is_over (const seen_t *self, const moment_t *moment, int64_t now_us) {
    int64_t until_us;
    return !__builtin_add_overflow (moment->first_us, self->within_us, &until_us) && until_us <= now_us;
}

bool seen_forget (seen_t *self, int64_t now_us, uint32_t most) {
    bool any = false;
    table_row_t row;
    while (most-- && self->first != NONE && table_at (self->table, self->first, &row) &&
           is_over (self, row.payload, now_us)) {
        unlink_row (self, row.payload);
        table_remove (self->table, &row.key);
        any = true;
    }
    return any;
}

enum seen_found seen_add (seen_t *self, const bkey_t *id, int64_t now_us, fault_t *fault) {
    table_row_t row;
    bool is_new;
    seen_forget (self, now_us, SEEN_FORGET_EACH);
    if (!table_put (self->table, id, &row, &is_new)) {
        fault_set (fault, REASON_LIMIT, "no memory for an id");
        return SEEN_FAULT;
    }
    moment_t *moment = row.payload;
    if (!is_new && !is_over (self, moment, now_us))
        return SEEN_BEFORE;
    if (!is_new)
        unlink_row (self, moment);
    append (self, row.index, moment);
    moment->first_us = now_us;
    table_mark (self->table, row.index);
    return SEEN_NEW;
}

uint64_t seen_bytes (const seen_t *self) { return sizeof *self + table_bytes (self->table); }
uint64_t seen_count (const seen_t *self) { return table_count (self->table); }

/* ---- in a cut ---- */

typedef struct {
    const seen_t *seen;
    section_t *out;
} writing_t;

static bool write_row (void *context, const table_row_t *row, bool removed) {
    writing_t *writing = context;
    buffer_t *out = &writing->out->rows;
    size_t before = out->size;
    uint32_t shard = key_shard (row->key.hash);
    value_t key = {.p = row->key.bytes, .size = row->key.size, .tag = TAG_BYTES}, nil = value_null();
    const moment_t *moment = row->payload;
    if (removed && !table_stored (writing->seen->table, row->index))
        return true; /* no cut has had it */
    if (!pack_write_list (out, 3) || !pack_write_int (out, shard) || !pack_write (out, &key) ||
        !(removed ? pack_write (out, &nil) : pack_write_int (out, moment->first_us)))
        return false;
    section_note (writing->out, shard, before);
    return true;
}

bool seen_freeze (seen_t *self, section_t *out) {
    writing_t writing = {self, out};
    return table_visit_dirty (self->table, write_row, &writing);
}

void seen_settle (seen_t *self) { table_forget_dirty (self->table); }

bool seen_restore (seen_t *self, const char *rows, size_t size, fault_t *fault) {
    const char *end = rows + size;
    row_head_t head;
    value_t rest[1];
    table_row_t found;
    bool is_new;
    while (rows < end) {
        if (!(rows = row_read (rows, end, &head, rest, 1, fault)))
            return false;
        if (rest[0].tag != TAG_INT)
            return fault_set (fault, REASON_DECODE, "an id has no time");
        if (!table_put (self->table, &head.key, &found, &is_new))
            return fault_set (fault, REASON_LIMIT, "no memory for an id");
        if (!is_new)
            return fault_set (fault, REASON_DECODE, "an id comes twice");
        *(moment_t *) found.payload = (moment_t){rest[0].i, NONE, NONE};
        table_set_stored (self->table, found.index);
    }
    return true;
}

typedef struct {
    int64_t first_us;
    uint32_t row;
} place_t;

static int compare (const void *a, const void *b) {
    const place_t *one = a, *other = b;
    if (one->first_us != other->first_us)
        return one->first_us < other->first_us ? -1 : 1;
    return one->row < other->row ? -1 : one->row > other->row;
}

static int64_t later (int64_t time_us, int64_t by_us, int64_t now_us) {
    int64_t shifted_us;
    bool beyond = __builtin_add_overflow (time_us, by_us, &shifted_us);
    return beyond || shifted_us > now_us ? now_us : shifted_us;
}

bool seen_resume (seen_t *self, int64_t by_us, int64_t now_us) {
    uint32_t count = table_count (self->table), found = 0;
    place_t *places = malloc (((size_t) count + 1) * sizeof *places);
    if (places == NULL)
        return false;
    for (uint32_t i = 0; i < table_end (self->table); i++) {
        moment_t *moment = moment_at (self, i);
        if (moment)
            places[found++] = (place_t){moment->first_us, i};
    }
    qsort (places, found, sizeof *places, compare);
    for (uint32_t i = 0; i < found; i++) {
        moment_t *moment = moment_at (self, places[i].row);
        moment->first_us = later (moment->first_us, by_us, now_us);
        append (self, places[i].row, moment);
        if (by_us) /* the next cut's clock is not the last one's */
            table_mark (self->table, places[i].row);
    }
    free (places);
    return true;
}
