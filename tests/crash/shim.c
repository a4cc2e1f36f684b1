/* shim.c: stands before the C library in a process that uses a store. It records every write and sync of data.mdb,
 * and makes the n-th of them fail.
 *
 * STORE_TRACE names the file of the trace; a record is u32 operation, u32 synced (the write is durable when it
 * returns), u64 offset, u64 size, then the bytes of a write. A write of 8 bytes to descriptor 777 becomes a mark.
 * After shim_fail (n, errno, short) the n-th write or sync from then on (from 1) fails with errno; a short one writes
 * half of its bytes. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OP_WRITE = 1, OP_SYNC = 2, OP_TRUNCATE = 3, OP_MARK = 4, FILES_MAX = 1024, MARK_DESCRIPTOR = 777 };

typedef struct {
    uint32_t operation, synced;
    uint64_t offset, size;
} record_t;

static int trace = -1;
static char is_data[FILES_MAX], is_synced[FILES_MAX];
static long fail_at, fail_errno, fail_short, counted;

static int (*real_open) (const char *, int, ...);
static int (*real_fcntl) (int, int, ...);
static ssize_t (*real_pwrite) (int, const void *, size_t, off_t);
static ssize_t (*real_write) (int, const void *, size_t);
static ssize_t (*real_pwritev) (int, const struct iovec *, int, off_t);
static ssize_t (*real_writev) (int, const struct iovec *, int);
static int (*real_fdatasync) (int), (*real_fsync) (int), (*real_ftruncate) (int, off_t);

static void find (void) {
    if (real_open != NULL)
        return;
    real_fcntl = dlsym (RTLD_NEXT, "fcntl");
    real_pwrite = dlsym (RTLD_NEXT, "pwrite");
    real_write = dlsym (RTLD_NEXT, "write");
    real_pwritev = dlsym (RTLD_NEXT, "pwritev");
    real_writev = dlsym (RTLD_NEXT, "writev");
    real_fdatasync = dlsym (RTLD_NEXT, "fdatasync");
    real_fsync = dlsym (RTLD_NEXT, "fsync");
    real_ftruncate = dlsym (RTLD_NEXT, "ftruncate");
    real_open = dlsym (RTLD_NEXT, "open");
    const char *name = getenv ("STORE_TRACE");
    if (name != NULL)
        trace = real_open (name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

void shim_fail (long n, long error, long is_short) {
    fail_at = n;
    fail_errno = error;
    fail_short = is_short;
    counted = 0;
}

/* Writes and syncs since shim_fail. */
long shim_counted (void) { return counted; }

static int is_watched (int fd) { return fd >= 0 && fd < FILES_MAX && is_data[fd]; }

static void note (uint32_t operation, int fd, uint64_t offset, uint64_t size) {
    record_t record = {operation, fd >= 0 && is_synced[fd], offset, size};
    if (trace >= 0 && real_write (trace, &record, sizeof record) != sizeof record)
        abort();
}

static void note_bytes (const void *bytes, size_t size) {
    if (trace >= 0 && real_write (trace, bytes, size) != (ssize_t) size)
        abort();
}

/* Whether this operation is the one that fails; counts it. */
static int fails (void) {
    return ++counted == fail_at;
}

int open (const char *path, int flags, ...) {
    va_list rest;
    va_start (rest, flags);
    int mode = va_arg (rest, int);
    va_end (rest);
    find();
    int fd = real_open (path, flags, mode);
    size_t size = strlen (path);
    if (fd >= 0 && fd < FILES_MAX) {
        is_data[fd] = size >= 8 && strcmp (path + size - 8, "data.mdb") == 0 && (flags & O_ACCMODE) != O_RDONLY;
        is_synced[fd] = (flags & (O_DSYNC | O_SYNC)) != 0;
    }
    return fd;
}

int open64 (const char *path, int flags, ...) {
    va_list rest;
    va_start (rest, flags);
    int mode = va_arg (rest, int);
    va_end (rest);
    return open (path, flags, mode);
}

int fcntl (int fd, int command, ...) {
    va_list rest;
    va_start (rest, command);
    void *argument = va_arg (rest, void *);
    va_end (rest);
    find();
    if (command == F_SETFL && is_watched (fd) && ((long) argument & (O_DSYNC | O_SYNC)))
        is_synced[fd] = 1;
    return real_fcntl (fd, command, argument);
}

static ssize_t write_all (int fd, const struct iovec *parts, int count, off_t offset) {
    uint64_t size = 0;
    for (int i = 0; i < count; i++)
        size += parts[i].iov_len;
    int failing = fails();
    if (failing && !fail_short) {
        errno = (int) fail_errno;
        return -1;
    }
    uint64_t wanted = failing ? size / 2 : size, left = wanted;
    note (OP_WRITE, fd, (uint64_t) offset, wanted);
    for (int i = 0; i < count && left > 0; i++) {
        size_t part = parts[i].iov_len < left ? parts[i].iov_len : left;
        note_bytes (parts[i].iov_base, part);
        if (real_pwrite (fd, parts[i].iov_base, part, offset) != (ssize_t) part)
            abort();
        offset += (off_t) part;
        left -= part;
    }
    return (ssize_t) wanted;
}

ssize_t pwritev (int fd, const struct iovec *parts, int count, off_t offset) {
    find();
    return is_watched (fd) ? write_all (fd, parts, count, offset) : real_pwritev (fd, parts, count, offset);
}

ssize_t pwritev64 (int fd, const struct iovec *parts, int count, off_t offset) {
    return pwritev (fd, parts, count, offset);
}

ssize_t pwrite (int fd, const void *bytes, size_t size, off_t offset) {
    find();
    struct iovec part = {(void *) bytes, size};
    return is_watched (fd) ? write_all (fd, &part, 1, offset) : real_pwrite (fd, bytes, size, offset);
}

ssize_t pwrite64 (int fd, const void *bytes, size_t size, off_t offset) {
    return pwrite (fd, bytes, size, offset);
}

static ssize_t write_here (int fd, const struct iovec *parts, int count) {
    off_t at = lseek (fd, 0, SEEK_CUR);
    ssize_t done = write_all (fd, parts, count, at);
    if (done > 0)
        lseek (fd, at + done, SEEK_SET);
    return done;
}

ssize_t writev (int fd, const struct iovec *parts, int count) {
    find();
    return is_watched (fd) ? write_here (fd, parts, count) : real_writev (fd, parts, count);
}

ssize_t write (int fd, const void *bytes, size_t size) {
    find();
    if (fd == MARK_DESCRIPTOR && size == 8) {
        note (OP_MARK, -1, *(const uint64_t *) bytes, 0);
        return 8;
    }
    struct iovec part = {(void *) bytes, size};
    return is_watched (fd) ? write_here (fd, &part, 1) : real_write (fd, bytes, size);
}

static int sync_with (int fd, int (*real) (int)) {
    if (is_watched (fd)) {
        if (fails()) {
            errno = (int) fail_errno;
            return -1;
        }
        note (OP_SYNC, fd, 0, 0);
    }
    return real (fd);
}

int fdatasync (int fd) {
    find();
    return sync_with (fd, real_fdatasync);
}

int fsync (int fd) {
    find();
    return sync_with (fd, real_fsync);
}

int ftruncate (int fd, off_t size) {
    find();
    if (is_watched (fd))
        note (OP_TRUNCATE, fd, (uint64_t) size, 0);
    return real_ftruncate (fd, size);
}

int ftruncate64 (int fd, off_t size) { return ftruncate (fd, size); }
