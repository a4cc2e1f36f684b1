/* fail_nth.c: stands before the C library in a worker and makes the n-th operation of one kind fail, once.
 *
 * FAIL_KIND  read, write (of regular files), sync, send (on sockets), allocate (by the native lane); only the lane
 *            reads
 * FAIL_N     which, from 1; 0: none, they are only counted
 * FAIL_MARK  a file that is made when it fails: whoever finds it lets everything pass
 * FAIL_COUNT a file that gets the count when the process ends
 *
 * Other processes than workers are left alone. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *kind = "";
static long wanted, counted;
static int active;

static void __attribute__ ((constructor)) begin (void) {
    char line[4096] = "";
    int fd = open ("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read (fd, line, sizeof line - 1) : 0;
    close (fd);
    for (ssize_t i = 0; i < size; i++)
        active |= strcmp (line + i, "worker") == 0 && (i == 0 || line[i - 1] == 0);
    const char *mark = getenv ("FAIL_MARK"), *n = getenv ("FAIL_N");
    kind = getenv ("FAIL_KIND") ? getenv ("FAIL_KIND") : "";
    wanted = n ? atol (n) : 0;
    active &= mark != NULL && access (mark, F_OK) != 0;
}

/* A worker ends by _exit. */
void _exit (int code) {
    const char *path = getenv ("FAIL_COUNT");
    if (active && path) {
        FILE *out = fopen (path, "w");
        if (out) {
            fprintf (out, "%ld", __atomic_load_n (&counted, __ATOMIC_RELAXED));
            fclose (out);
        }
    }
    void (*real) (int) = (void (*) (int)) dlsym (RTLD_NEXT, "_exit");
    real (code);
    __builtin_unreachable();
}

static int fails (const char *what) {
    if (!active || strcmp (kind, what) != 0)
        return 0;
    if (__atomic_add_fetch (&counted, 1, __ATOMIC_RELAXED) != wanted)
        return 0;
    int fd = open (getenv ("FAIL_MARK"), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    close (fd);
    return 1;
}

static int is_regular (int fd) {
    struct stat status;
    return active && fd > 2 && fstat (fd, &status) == 0 && S_ISREG (status.st_mode);
}

#define FIND(type, name)                                                                                     \
    static type real;                                                                                        \
    if (real == NULL)                                                                                        \
    real = (type) dlsym (RTLD_NEXT, name)

typedef ssize_t (*read_fn) (int, void *, size_t);
typedef ssize_t (*write_fn) (int, const void *, size_t);
typedef ssize_t (*pwrite_fn) (int, const void *, size_t, off_t);
typedef ssize_t (*pwritev_fn) (int, const struct iovec *, int, off_t);
typedef int (*sync_fn) (int);
typedef ssize_t (*send_fn) (int, const void *, size_t, int);
typedef void *(*malloc_fn) (size_t);
typedef void *(*realloc_fn) (void *, size_t);
typedef void *(*calloc_fn) (size_t, size_t);

#define FAIL_WITH(code, value)                                                                               \
    do {                                                                                                     \
        errno = code;                                                                                        \
        return value;                                                                                        \
    } while (0)

/* Only the lane's own: the interpreter's are not ours to mend. */
static int is_lanes (void *caller, const char *what) {
    Dl_info info;
    return active && strcmp (kind, what) == 0 && dladdr (caller, &info) && info.dli_fname &&
           strstr (info.dli_fname, "_native") != NULL;
}

ssize_t read (int fd, void *bytes, size_t size) {
    FIND (read_fn, "read");
    if (is_lanes (__builtin_return_address (0), "read") && is_regular (fd) && fails ("read"))
        FAIL_WITH (EIO, -1);
    return real (fd, bytes, size);
}

ssize_t write (int fd, const void *bytes, size_t size) {
    FIND (write_fn, "write");
    if (is_regular (fd) && fails ("write"))
        FAIL_WITH (ENOSPC, -1);
    return real (fd, bytes, size);
}

ssize_t pwrite (int fd, const void *bytes, size_t size, off_t offset) {
    FIND (pwrite_fn, "pwrite");
    if (is_regular (fd) && fails ("write"))
        FAIL_WITH (ENOSPC, -1);
    return real (fd, bytes, size, offset);
}

ssize_t pwrite64 (int fd, const void *bytes, size_t size, off_t offset) {
    return pwrite (fd, bytes, size, offset);
}

ssize_t pwritev (int fd, const struct iovec *parts, int count, off_t offset) {
    FIND (pwritev_fn, "pwritev");
    if (is_regular (fd) && fails ("write"))
        FAIL_WITH (ENOSPC, -1);
    return real (fd, parts, count, offset);
}

ssize_t pwritev64 (int fd, const struct iovec *parts, int count, off_t offset) {
    return pwritev (fd, parts, count, offset);
}

int fsync (int fd) {
    FIND (sync_fn, "fsync");
    if (fails ("sync"))
        FAIL_WITH (EIO, -1);
    return real (fd);
}

int fdatasync (int fd) {
    FIND (sync_fn, "fdatasync");
    if (fails ("sync"))
        FAIL_WITH (EIO, -1);
    return real (fd);
}

ssize_t send (int fd, const void *bytes, size_t size, int flags) {
    FIND (send_fn, "send");
    if (fails ("send"))
        FAIL_WITH (ENOBUFS, -1);
    return real (fd, bytes, size, flags);
}

void *malloc (size_t size) {
    FIND (malloc_fn, "malloc");
    if (is_lanes (__builtin_return_address (0), "allocate") && fails ("allocate"))
        FAIL_WITH (ENOMEM, NULL);
    return real (size);
}

void *realloc (void *old, size_t size) {
    FIND (realloc_fn, "realloc");
    if (is_lanes (__builtin_return_address (0), "allocate") && fails ("allocate"))
        FAIL_WITH (ENOMEM, NULL);
    return real (old, size);
}

void *calloc (size_t count, size_t size) {
    static char early[65536];
    static size_t used;
    static calloc_fn real;
    static int finding;
    if (real == NULL && finding) { /* dlsym asks for some itself */
        void *found = early + used;
        used += (count * size + 15) & ~(size_t) 15;
        return used <= sizeof early ? found : NULL;
    }
    if (real == NULL) {
        finding = 1;
        real = (calloc_fn) dlsym (RTLD_NEXT, "calloc");
        finding = 0;
    }
    if (is_lanes (__builtin_return_address (0), "allocate") && fails ("allocate"))
        FAIL_WITH (ENOMEM, NULL);
    return real (count, size);
}
