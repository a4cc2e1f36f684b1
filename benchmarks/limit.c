/* limit.c: the sensors job, hard-coded and single-threaded: what our engine is measured against.
 *
 *     limit INPUT OUTPUT
 *
 * Reads JSON lines; keeps those with status "ok" and temp above 15; counts, averages, lowest and highest temp per
 * device and 10 s of event time; a window closes when the largest time seen, less 2 s, reaches its end. Windows leave
 * as JSON lines by end, then in the order in which devices first appeared in them: byte for byte what
 * flows/sensors.toml writes. */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "reading.h"

enum { CHUNK = 256 * 1024, LINE_MAX_BYTES = 256, WINDOW_MS = 10000, LATE_MS = 2000 };
enum { DEVICES_MAX = 1 << 16, SLOTS = DEVICES_MAX * 2, OUT_BYTES = 256 * 1024 };

/* Never more than two windows are open: the watermark trails the largest time by less than a window. */
enum { PANES = 2 };

typedef struct cell {
    int64_t window;
    uint64_t n;
    double sum, lost, low, high; /* `lost`: what rounding took from the sum (Neumaier) */
} cell_t;

typedef struct device {
    uint64_t hash;
    text_t name;
    cell_t cells[PANES];
} device_t;

typedef struct pane {
    int64_t window;
    uint32_t count;
    uint32_t order[DEVICES_MAX]; /* devices by first appearance */
} pane_t;

static device_t devices[DEVICES_MAX];
static uint32_t device_count;
static uint32_t slots[SLOTS]; /* index + 1 of a device; 0: free */
static pane_t panes[PANES] = {{.window = -1}, {.window = -1}};
static int64_t largest_ms = INT64_MIN / 2;
static int64_t due_ms = INT64_MAX; /* end of the oldest open window */
static uint64_t late_count, bad_count;
static char out[OUT_BYTES + 4096];
static size_t out_size;
static int out_fd;

static void die (const char *what) {
    perror (what);
    exit (1);
}

static void flush (void) {
    for (size_t done = 0; done < out_size;) {
        ssize_t count = write (out_fd, out + done, out_size - done);
        if (count < 0)
            die ("write");
        done += (size_t) count;
    }
    out_size = 0;
}

static inline uint64_t fold (uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128) a * b;
    return (uint64_t) product ^ (uint64_t) (product >> 64);
}

static inline uint64_t hash (text_t name) {
    uint64_t a = 0, b = 0, state = 0x9e3779b97f4a7c15u ^ name.size;
    const char *p = name.p;
    uint32_t left = name.size;
    for (; left > 16; left -= 16, p += 16)
        state = fold (load8 (p) ^ 0xe7037ed1a0b428dbu, load8 (p + 8) ^ state);
    if (left >= 8) {
        a = load8 (p);
        b = load8 (p + left - 8);
    } else
        a = left ? load8 (p) & (~0ull >> (64 - 8 * left)) : 0; /* the buffer has slack */
    return fold (fold (a ^ 0x8ebc6af09c88c6e3u, b ^ state), 0x589965cc75374cc3u);
}

static device_t *device_add (text_t name, uint64_t key, uint32_t at) {
    if (device_count == DEVICES_MAX) {
        fputs ("limit: too many devices\n", stderr);
        exit (1);
    }
    device_t *self = &devices[device_count++];
    slots[at] = device_count;
    char *copy = malloc (name.size + 1);
    if (!copy)
        die ("malloc");
    memcpy (copy, name.p, name.size);
    *self = (device_t){.hash = key, .name = {copy, name.size}};
    for (int i = 0; i < PANES; i++)
        self->cells[i].window = -1;
    return self;
}

static inline device_t *device_find (text_t name) {
    uint64_t key = hash (name);
    uint32_t at = (uint32_t) key % SLOTS;
    for (; slots[at]; at = (at + 1) % SLOTS) {
        device_t *self = &devices[slots[at] - 1];
        if (likely (self->hash == key && self->name.size == name.size &&
                    !memcmp (self->name.p, name.p, name.size)))
            return self;
    }
    return device_add (name, key, at);
}

static char *put_text (char *to, const char *from, size_t size) {
    memcpy (to, from, size);
    return to + size;
}
#define PUT(to, literal) put_text (to, literal, sizeof literal - 1)

static char *put_int (char *to, uint64_t value) {
    char digits[20];
    int count = 0;
    do
        digits[count++] = (char) ('0' + value % 10);
    while (value /= 10);
    while (count)
        *to++ = digits[--count];
    return to;
}

/* The shortest digits that read back the same, the slow way. */
static char *put_float_slowly (char *to, double value) {
    char text[40];
    for (int precision = 15; precision <= 17; precision++) {
        snprintf (text, sizeof text, "%.*g", precision, value);
        if (strtod (text, NULL) == value)
            break;
    }
    to = put_text (to, text, strlen (text));
    return strpbrk (text, ".en") ? to : PUT (to, ".0");
}

/* The same for 1 ≤ |value| < 2^32 by digit generation (Steele and White, 1990) in 60-bit fixed point, which holds such
 * a fraction exactly: digits are put out until what is left is within half a unit in the last place. */
static char *put_float (char *to, double value) {
    uint64_t bits;
    memcpy (&bits, &value, 8);
    int exponent = (int) (bits >> 52 & 0x7ff) - 1023;
    uint64_t mantissa = bits & ((1ull << 52) - 1);
    if (exponent < 0 || exponent > 31 ||
        !mantissa) /* below a power of two the neighbours are not evenly far */
        return put_float_slowly (to, value);
    const uint64_t one = 1ull << 60;
    uint64_t half = 1ull << (exponent + 7); /* half a unit in the last place */
    double whole = trunc (fabs (value));
    uint64_t rest = (uint64_t) ((fabs (value) - whole) * (double) one);
    if (value < 0)
        *to++ = '-';
    /* Rounding up may carry as far as the point: 9.99… is kept exact by the slow way. */
    if (one - rest <= half)
        return put_float_slowly (to - (value < 0), value);
    to = put_int (to, (uint64_t) whole);
    *to++ = '.';
    do {
        rest *= 10;
        half *= 10;
        *to++ = (char) ('0' + (rest >> 60));
        rest &= one - 1;
    } while (rest > half && one - rest > half);
    if (one - rest <
        rest) { /* the last digit goes up; it is no 9, or the digit before it would have ended the text */
        char *last = to - 1;
        ++*last;
    }
    return to;
}

static void put_window (const device_t *device, const cell_t *cell) {
    char *to = out + out_size;
    to = PUT (to, "{\"device\":\"");
    to = put_text (to, device->name.p, device->name.size);
    to = PUT (to, "\",\"window_start\":");
    to = put_int (to, (uint64_t) (cell->window * WINDOW_MS));
    to = PUT (to, ",\"window_end\":");
    to = put_int (to, (uint64_t) ((cell->window + 1) * WINDOW_MS));
    to = PUT (to, ",\"n\":");
    to = put_int (to, cell->n);
    to = PUT (to, ",\"mean\":");
    to = put_float (to, (cell->sum + cell->lost) / (double) cell->n);
    to = PUT (to, ",\"low\":");
    to = put_float (to, cell->low);
    to = PUT (to, ",\"high\":");
    to = put_float (to, cell->high);
    to = PUT (to, "}\n");
    out_size = (size_t) (to - out);
    if (out_size > OUT_BYTES)
        flush();
}

/* Close the windows that end at or before the watermark, the older one first. */
static void close_due (int64_t watermark_ms) {
    while (due_ms <= watermark_ms) {
        int64_t window = due_ms / WINDOW_MS - 1;
        pane_t *pane = &panes[window % PANES];
        for (uint32_t i = 0; i < pane->count; i++) {
            device_t *device = &devices[pane->order[i]];
            put_window (device, &device->cells[window % PANES]);
        }
        pane->window = -1;
        pane->count = 0;
        due_ms = INT64_MAX;
        for (int i = 0; i < PANES; i++)
            if (panes[i].window >= 0 && (panes[i].window + 1) * WINDOW_MS < due_ms)
                due_ms = (panes[i].window + 1) * WINDOW_MS;
    }
}

static void cell_open (device_t *device, cell_t *cell, int64_t window, double temp) {
    pane_t *pane = &panes[window % PANES];
    if (pane->window != window) {
        pane->window = window;
        if ((window + 1) * WINDOW_MS < due_ms)
            due_ms = (window + 1) * WINDOW_MS;
    }
    pane->order[pane->count++] = (uint32_t) (device - devices);
    *cell = (cell_t){.window = window, .n = 1, .sum = temp, .low = temp, .high = temp};
}

static inline void cell_add (cell_t *cell, double temp) {
    double sum = cell->sum + temp;
    cell->lost += fabs (cell->sum) >= fabs (temp) ? (cell->sum - sum) + temp : (temp - sum) + cell->sum;
    cell->sum = sum;
    cell->n++;
    if (temp < cell->low)
        cell->low = temp;
    if (temp > cell->high)
        cell->high = temp;
}

static inline void take (const reading_t *reading) {
    int64_t watermark_ms = largest_ms - LATE_MS; /* as it stood before this record */
    if (reading->ts > largest_ms) {
        largest_ms = reading->ts;
        if (unlikely (largest_ms - LATE_MS >= due_ms))
            close_due (largest_ms - LATE_MS);
    }
    if (!(reading->status.size == 2 && !memcmp (reading->status.p, "ok", 2) && reading->temp > 15))
        return;
    int64_t window = reading->ts / WINDOW_MS;
    if (unlikely ((window + 1) * WINDOW_MS <= watermark_ms)) {
        late_count++;
        return;
    }
    device_t *device = device_find (reading->device);
    cell_t *cell = &device->cells[window % PANES];
    if (unlikely (cell->window != window))
        cell_open (device, cell, window, reading->temp);
    else
        cell_add (cell, reading->temp);
}

/* All whole lines of [p, end); where the first unfinished one begins. */
static char *take_lines (char *p, char *end) {
    reading_t reading;
    char *last = memrchr (p, '\n', (size_t) (end - p));
    if (!last)
        return p;
    while (p <= last) {
        const char *newline = reading_parse (&reading, p);
        if (likely (newline != NULL))
            take (&reading);
        else {
            bad_count++;
            newline = memchr (p, '\n', (size_t) (last + 1 - p));
        }
        p = (char *) newline + 1;
    }
    return p;
}

int main (int argc, char **argv) {
    static char buffer[CHUNK + LINE_MAX_BYTES + READING_SLACK];
    if (argc != 3) {
        fputs ("usage: limit INPUT OUTPUT\n", stderr);
        return 2;
    }
    int in_fd = open (argv[1], O_RDONLY);
    out_fd = open (argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (in_fd < 0 || out_fd < 0)
        die ("open");
    size_t held = 0;
    ssize_t count;
    while ((count = read (in_fd, buffer + held, CHUNK + LINE_MAX_BYTES - held)) > 0) {
        char *end = buffer + held + count, *rest = take_lines (buffer, end);
        held = (size_t) (end - rest);
        if (held > LINE_MAX_BYTES)
            die ("a line is too long");
        memmove (buffer, rest, held);
    }
    if (count < 0)
        die ("read");
    close_due (INT64_MAX - 1);
    flush();
    if (late_count || bad_count)
        fprintf (stderr, "limit: %llu late, %llu bad\n", (unsigned long long) late_count,
                 (unsigned long long) bad_count);
    return 0;
}
