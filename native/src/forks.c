/* forks.c: see forks.h.
 *
 * Which descriptors are the lane's stands in a set of its own, of atomic words, and is not found by walking the lane's
 * structures: any thread may fork, and the child is a copy of that moment, in which the lane may have been in the middle
 * of changing a list. The worst that a moment too early or too late can do is a descriptor that the child keeps, or
 * one that it closes and would not have had in a moment: the parent's are not touched. */
#include "forks.h"

#include <pthread.h>
#include <stdint.h>
#include <unistd.h>

enum { WORD_BITS = 64 };

static uint64_t owned[FORKS_DESCRIPTORS_MAX / WORD_BITS];
static bool is_child;
static pthread_once_t watched = PTHREAD_ONCE_INIT;

static uint64_t bit_of (int fd) { return (uint64_t) 1 << (fd % WORD_BITS); }
static bool is_counted (int fd) { return fd >= 0 && fd < FORKS_DESCRIPTORS_MAX; }

static void let_go (void) {
    is_child = true;
    for (int word = 0; word < FORKS_DESCRIPTORS_MAX / WORD_BITS; word++) {
        uint64_t bits = __atomic_exchange_n (&owned[word], 0, __ATOMIC_RELAXED);
        for (int bit = 0; bits; bit++, bits >>= 1)
            if (bits & 1)
                close (word * WORD_BITS + bit);
    }
}

static void watch (void) { pthread_atfork (NULL, NULL, let_go); }

void forks_watch (void) { pthread_once (&watched, watch); }

bool forks_is_child (void) { return is_child; }

void forks_own (int fd) {
    if (is_counted (fd))
        __atomic_fetch_or (&owned[fd / WORD_BITS], bit_of (fd), __ATOMIC_RELAXED);
}

void forks_close (int fd) {
    if (is_counted (fd))
        __atomic_fetch_and (&owned[fd / WORD_BITS], ~bit_of (fd), __ATOMIC_RELAXED);
    if (fd >= 0)
        close (fd);
}
