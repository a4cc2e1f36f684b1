/* pack_unique.c: repeated names of a map, found by sorting: no input makes it slower than n log n. */
#include "names.h"
#include "pack.h"
#include "pack_put.h"

/* One pair of the map: where its name begins, and which pair's value it gets. Offsets from the map's first
 * byte. */
typedef struct pair {
    uint32_t at;
    uint32_t from; /* REPEATED: a pair that an earlier one of the same name stands for */
} pair_t;

enum { REPEATED = 0 /* there is the map's head, never a pair */ };

typedef int compare_fn (const char *bytes, const char *end, const pair_t *a, const pair_t *b);

static int by_place (const char *bytes, const char *end, const pair_t *a, const pair_t *b) {
    (void) bytes;
    (void) end;
    return a->at < b->at ? -1 : a->at > b->at;
}

static int by_name (const char *bytes, const char *end, const pair_t *a, const pair_t *b) {
    value_t left, right;
    pack_read (bytes + a->at, end, &left);
    pack_read (bytes + b->at, end, &right);
    if (left.size != right.size)
        return left.size < right.size ? -1 : 1;
    return memcmp (left.p, right.p, left.size);
}

static int by_name_and_place (const char *bytes, const char *end, const pair_t *a, const pair_t *b) {
    int order = by_name (bytes, end, a, b);
    return order ? order : by_place (bytes, end, a, b);
}

/* Let pairs[root] sink to its place in the heap of `count`. */
static void sink (pair_t *pairs, uint32_t root, uint32_t count, compare_fn *compare, const char *bytes,
                  const char *end) {
    for (uint32_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && compare (bytes, end, &pairs[child], &pairs[child + 1]) < 0)
            child++;
        if (compare (bytes, end, &pairs[root], &pairs[child]) >= 0)
            return;
        pair_t swapped = pairs[root];
        pairs[root] = pairs[child];
        pairs[child] = swapped;
    }
}

/* Heapsort: in place, and as fast on hostile input as on any other. */
static void sort (pair_t *pairs, uint32_t count, compare_fn *compare, const char *bytes, const char *end) {
    for (uint32_t root = count / 2; root-- > 0;)
        sink (pairs, root, count, compare, bytes, end);
    for (uint32_t left = count; left-- > 1;) {
        pair_t swapped = pairs[0];
        pairs[0] = pairs[left];
        pairs[left] = swapped;
        sink (pairs, 0, left, compare, bytes, end);
    }
}

static bool is_suspect (const char *p, const char *end, uint32_t count) {
    if (count > NAMES_MARKED)
        return true;
    names_t names = {0};
    for (value_t value; count--; p = pack_read (p, end, &value)) {
        p = pack_read (p, end, &value);
        names_add (&names, value.p, value.size);
    }
    return names.is_suspect;
}

/* The first of each name gets the value of the last; the number of pairs that go. */
static uint32_t resolve (pair_t *pairs, uint32_t count, const char *bytes, const char *end) {
    uint32_t repeated = 0;
    for (uint32_t first = 0, last; first < count; first = last + 1) {
        for (last = first; last + 1 < count && by_name (bytes, end, &pairs[first], &pairs[last + 1]) == 0;
             last++)
            pairs[last + 1].from = REPEATED;
        pairs[first].from = pairs[last].at;
        repeated += last - first;
    }
    return repeated;
}

/* The name of the pair at `at` with the value of the pair at `from`. */
static char *copy_pair (char *out, const char *bytes, const char *end, const pair_t *pair) {
    value_t skipped;
    const char *name_end = pack_read (bytes + pair->at, end, &skipped);
    size_t size = (size_t) (name_end - (bytes + pair->at));
    memcpy (out, bytes + pair->at, size);
    out += size;
    const char *value = pack_read (bytes + pair->from, end, &skipped);
    size = (size_t) (pack_read (value, end, &skipped) - value);
    memcpy (out, value, size);
    return out + size;
}

bool pack_unique (value_t *map, arena_t *scratch) {
    uint32_t count;
    const char *bytes = map->p, *end = bytes + map->size, *p = pack_open (map, &count);
    if (count < 2 || !is_suspect (p, end, count))
        return true;
    size_t mark = arena_mark (scratch);
    char *copy = arena_take (scratch, (size_t) map->size + PACK_HEAD_ROOM);
    pair_t *pairs = (pair_t *) (void *) arena_take (scratch, (size_t) count * sizeof *pairs);
    if (!copy || !pairs) {
        arena_release (scratch, mark);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        value_t skipped;
        pairs[i].at = (uint32_t) (p - bytes);
        p = pack_read (pack_read (p, end, &skipped), end, &skipped);
    }
    sort (pairs, count, by_name_and_place, bytes, end);
    uint32_t repeated = resolve (pairs, count, bytes, end);
    if (repeated == 0) {
        arena_release (scratch, mark);
        return true;
    }
    sort (pairs, count, by_place, bytes, end);
    char *out = pack_put_count (copy, true, count - repeated);
    for (uint32_t i = 0; i < count; i++)
        if (pairs[i].from != REPEATED)
            out = copy_pair (out, bytes, end, &pairs[i]);
    *map = (value_t){.p = copy, .size = (uint32_t) (out - copy), .tag = TAG_MAP};
    arena_release (scratch, (size_t) (out - scratch->base));
    return true;
}
