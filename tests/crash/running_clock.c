/* running_clock.c: stands before the C library: a box whose clocks run ahead as a test says, while its processes go
 * on.
 *
 * CLOCK_AHEAD  a file of eight bytes, the nanoseconds that all clocks are ahead by; whoever writes it lets time go by
 *
 * Who waits on a semaphore until a moment looks a hundred times a second whether it has come; the deadline of a
 * condition is shifted back, for those are short. Waits in poll and epoll take as long as ever, with a bound each. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000ll
#define LOOK_EVERY_NS 10000000ll
/* A deadline by the wall clock is later than this, one by the other earlier. */
#define WALL_LEAST_S 1000000000

typedef int wait_t (sem_t *, clockid_t, const struct timespec *);

static int64_t ahead_ns (void) {
    static _Atomic (const int64_t *) page;
    const int64_t *found = page;
    if (found == NULL) {
        int fd = open (getenv ("CLOCK_AHEAD"), O_RDONLY | O_CLOEXEC);
        found = mmap (NULL, sizeof *found, PROT_READ, MAP_SHARED, fd, 0);
        close (fd);
        if (found == MAP_FAILED)
            abort();
        page = found;
    }
    return __atomic_load_n (found, __ATOMIC_ACQUIRE);
}

static struct timespec moved (struct timespec at, int64_t ns) {
    int64_t sum = at.tv_sec * SECOND_NS + at.tv_nsec + ns;
    return (struct timespec){.tv_sec = sum / SECOND_NS, .tv_nsec = sum % SECOND_NS};
}

static int real_clock (clockid_t which, struct timespec *now) {
    static int (*real) (clockid_t, struct timespec *);
    if (real == NULL)
        real = (int (*) (clockid_t, struct timespec *)) dlsym (RTLD_NEXT, "clock_gettime");
    return real (which, now);
}

int clock_gettime (clockid_t which, struct timespec *now) {
    int failed = real_clock (which, now);
    if (!failed && (which == CLOCK_REALTIME || which == CLOCK_MONOTONIC))
        *now = moved (*now, ahead_ns());
    return failed;
}

int sem_clockwait (sem_t *semaphore, clockid_t which, const struct timespec *until) {
    static wait_t *real;
    if (real == NULL)
        real = (wait_t *) dlsym (RTLD_NEXT, "sem_clockwait");
    for (;;) {
        struct timespec now;
        real_clock (which, &now);
        struct timespec due = moved (*until, -ahead_ns()), look = moved (now, LOOK_EVERY_NS);
        int is_last = due.tv_sec < look.tv_sec || (due.tv_sec == look.tv_sec && due.tv_nsec <= look.tv_nsec);
        if (due.tv_sec < 0)
            due = (struct timespec){0};
        int failed = real (semaphore, which, is_last ? &due : &look);
        if (!failed || errno != ETIMEDOUT || is_last)
            return failed;
    }
}

int sem_timedwait (sem_t *semaphore, const struct timespec *until) {
    return sem_clockwait (semaphore, CLOCK_REALTIME, until);
}

int pthread_cond_timedwait (pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    struct timespec due = moved (*until, -ahead_ns());
    clockid_t which = until->tv_sec > WALL_LEAST_S ? CLOCK_REALTIME : CLOCK_MONOTONIC;
    return pthread_cond_clockwait (condition, mutex, which, &due);
}
