/* fake_clock.c: stands before the C library: the box was started in 1970, until somebody sets its clock.
 *
 * CLOCK_BEHIND  seconds that the wall clock is behind …
 * CLOCK_SET     … until this file is there
 *
 * Once set, the kernel says that the clock is synchronised. */
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

static int is_set (void) {
    const char *mark = getenv ("CLOCK_SET");
    return mark == NULL || access (mark, F_OK) == 0;
}

int clock_gettime (clockid_t which, struct timespec *now) {
    static int (*real) (clockid_t, struct timespec *);
    if (real == NULL)
        real = (int (*) (clockid_t, struct timespec *)) dlsym (RTLD_NEXT, "clock_gettime");
    int failed = real (which, now);
    if (!failed && which == CLOCK_REALTIME && !is_set())
        now->tv_sec -= atol (getenv ("CLOCK_BEHIND"));
    return failed;
}

int adjtimex (struct timex *asked) {
    (void) asked;
    return is_set() ? TIME_OK : TIME_ERROR;
}
