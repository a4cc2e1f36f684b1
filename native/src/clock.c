/* clock.c: how fast the processor's counter runs, and the system's two clocks. */
#include "clock.h"

#include <pthread.h>
#include <sys/timex.h>
#include <time.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* 2 ms between two readings that are good to about 50 ns: one part in 40,000. */
enum { CALIBRATE_NS = 2000000, READING_TRIES = 8 };
#define SCALE_ONE ((uint64_t) 1 << 32)

clock_rate_t clock_rate = {.scale = SCALE_ONE, .counter = false};

int64_t clock_monotonic_ns (void) {
    struct timespec now;
    clock_gettime (CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t clock_wall_us (void) {
    struct timespec now;
    clock_gettime (CLOCK_REALTIME, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

bool clock_is_known (int64_t wall_us) {
    struct timex asked = {.modes = 0};
    return wall_us >= CLOCK_BUILT_US && adjtimex (&asked) != TIME_ERROR;
}

#if defined(__x86_64__)

/* An invariant time stamp counter runs at one rate, whatever the processor's frequency or sleep. */
static bool counter_is_even (void) {
    unsigned a, b, c, d;
    return __get_cpuid (0x80000007, &a, &b, &c, &d) && (d >> 8 & 1);
}

static uint64_t counter (void) { return __rdtsc(); }

/* Both clocks at one moment: of several readings, the one that was interrupted least. */
static void read_both (uint64_t *ticks, int64_t *ns) {
    int64_t best = INT64_MAX;
    for (int i = 0; i < READING_TRIES; i++) {
        int64_t before = clock_monotonic_ns();
        uint64_t between = counter();
        int64_t after = clock_monotonic_ns();
        if (after - before < best) {
            best = after - before;
            *ticks = between;
            *ns = before + (after - before) / 2;
        }
    }
}

static uint64_t measure_scale (void) {
    uint64_t first_ticks = 0, ticks = 0;
    int64_t first_ns = 0, ns = 0;
    read_both (&first_ticks, &first_ns);
    while (clock_monotonic_ns() - first_ns < CALIBRATE_NS)
        ;
    read_both (&ticks, &ns);
    if (ticks <= first_ticks || ns <= first_ns)
        return 0;
    return (uint64_t) ((double) (ns - first_ns) * (double) SCALE_ONE / (double) (ticks - first_ticks));
}

#elif defined(__aarch64__)

static bool counter_is_even (void) { return true; }

/* The generic timer says its own frequency. */
static uint64_t measure_scale (void) {
    uint64_t hertz;
    __asm__ volatile ("mrs %0, cntfrq_el0" : "=r"(hertz));
    return hertz ? (uint64_t) (1e9 * (double) SCALE_ONE / (double) hertz) : 0;
}

#else

static bool counter_is_even (void) { return false; }
static uint64_t measure_scale (void) { return 0; }

#endif

static void find_rate (void) {
    uint64_t scale = counter_is_even() ? measure_scale() : 0;
    if (scale == 0)
        return;
    clock_rate.scale = scale;
    clock_rate.counter = true;
}

void clock_start (void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once (&once, find_rate);
}

uint64_t clock_spin (int64_t ns, int64_t *monotonic_ns) {
    int64_t start_ns = clock_monotonic_ns(), now_ns;
    uint64_t start = clock_ticks();
    do
        now_ns = clock_monotonic_ns();
    while (now_ns - start_ns < ns);
    *monotonic_ns = now_ns - start_ns;
    return clock_ns (clock_ticks() - start);
}
