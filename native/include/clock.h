/* clock.h: the only place with machine-specific code: a counter that costs a few nanoseconds to read. Where the
 * processor has none that runs evenly, clock_gettime takes its place.
 *
 * Ticks are for differences: `clock_ns (clock_ticks () - start)`. Their zero means nothing. */
#ifndef BETTONG_CLOCK_H
#define BETTONG_CLOCK_H

#include "value.h"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

/* Set once by clock_start. `scale`: nanoseconds a tick, 32.32 fixed point. */
typedef struct clock_rate {
    uint64_t scale;
    bool counter; /* the processor's counter is good */
} clock_rate_t;
extern clock_rate_t clock_rate;

/* Find the counter's rate; takes at most 5 ms, once. Before it, ticks are nanoseconds. Any thread, any number of
 * times; but no ticks from before the first call may be held against ticks from after it. */
void clock_start (void);

/* The moment at which `from` will have become `to`, INT64_MAX when that is out of range. */
static inline int64_t moment_after (int64_t now_ns, int64_t from_us, int64_t to_us) {
    int64_t wait;
    if (__builtin_sub_overflow (to_us, from_us, &wait) || __builtin_mul_overflow (wait, 1000, &wait) ||
        __builtin_add_overflow (now_ns, wait, &wait))
        return INT64_MAX;
    return wait;
}

int64_t clock_monotonic_ns (void);
int64_t clock_wall_us (void);

/* 2026-11-01: no clock of a box that runs this is right before. */
#define CLOCK_BUILT_US 1793491200000000
/* Whether the box knows the time (S8): it is not before this was built, and the kernel calls it synchronised. */
bool clock_is_known (int64_t wall_us);

/* Wait by the monotonic clock; both clocks' opinion of how long it took. What `doctor` and the tests hold against
 * each other. */
uint64_t clock_spin (int64_t ns, int64_t *monotonic_ns);

static inline uint64_t clock_ticks (void) {
    if (likely (clock_rate.counter)) {
#if defined(__x86_64__)
        return __rdtsc();
#elif defined(__aarch64__)
        uint64_t ticks;
        __asm__ volatile ("mrs %0, cntvct_el0" : "=r"(ticks));
        return ticks;
#endif
    }
    return (uint64_t) clock_monotonic_ns();
}

/* A difference of ticks in nanoseconds, within 0.1 %. A negative one (a counter that differs between processors)
 * is 0. */
static inline uint64_t clock_ns (uint64_t ticks) {
    if (unlikely ((int64_t) ticks < 0))
        return 0;
    uint64_t high = ticks >> 32, low = ticks & UINT32_MAX;
    return high * clock_rate.scale + (low * (clock_rate.scale >> 32)) +
           ((low * (clock_rate.scale & UINT32_MAX)) >> 32);
}

#endif
