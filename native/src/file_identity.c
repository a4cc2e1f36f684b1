/* file_identity.c: see file_identity.h. */
#include "file_identity.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* FNV-1a: it can be gone on with from what it has come to, and 4 KiB a file cost nothing. */
#define FNV_SEED UINT64_C (0xcbf29ce484222325)
#define FNV_PRIME UINT64_C (0x100000001b3)

/* File systems whose inodes mean nothing after the next mount. */
enum { VFAT = 0x4d44, EXFAT = 0x2011bab0, FUSE = 0x65735546 };

static bool inode_of (int fd, uint64_t *inode, uint64_t *size) {
    struct stat status;
    struct statfs system;
    if (fstat (fd, &status) || fstatfs (fd, &system))
        return false;
    uint32_t type = (uint32_t) system.f_type;
    *inode = type == VFAT || type == EXFAT || type == FUSE ? 0 : status.st_ino;
    *size = (uint64_t) status.st_size;
    return true;
}

bool file_identity_open (file_identity_t *self, int fd) {
    uint64_t size;
    *self = (file_identity_t){.head = FNV_SEED};
    return inode_of (fd, &self->inode, &size);
}

void file_identity_read (file_identity_t *self, const char *bytes, size_t size) {
    size_t room = FILE_HEAD_MAX - self->head_size;
    size = size < room ? size : room;
    for (size_t i = 0; i < size; i++)
        self->head = (self->head ^ (uint8_t) bytes[i]) * FNV_PRIME;
    self->head_size += (uint32_t) size;
}

/* The first `size` bytes; fewer when there are no more. */
static bool read_head (int fd, uint32_t size, file_identity_t *found) {
    char head[FILE_HEAD_MAX];
    *found = (file_identity_t){.head = FNV_SEED};
    while (found->head_size < size) {
        ssize_t count = pread (fd, head, size - found->head_size, found->head_size);
        if (count < 0 && errno != EINTR)
            return false;
        if (count == 0)
            break;
        if (count > 0)
            file_identity_read (found, head, (size_t) count);
    }
    return true;
}

enum file_match file_match (const file_identity_t *self, int fd, uint64_t position) {
    uint64_t inode, size;
    file_identity_t found;
    if (!inode_of (fd, &inode, &size))
        return FILE_UNREADABLE;
    if (inode != self->inode)
        return FILE_REPLACED;
    if (size < position)
        return FILE_TRUNCATED;
    if (!read_head (fd, self->head_size, &found))
        return FILE_UNREADABLE;
    return found.head_size == self->head_size && found.head == self->head ? FILE_SAME : FILE_TRUNCATED;
}

static void put_little (char *out, uint64_t value, int size) {
    for (int i = 0; i < size; i++)
        out[i] = (char) (value >> 8 * i);
}

static uint64_t get_little (const char *p, int size) {
    uint64_t value = 0;
    for (int i = size; i-- > 0;)
        value = value << 8 | (uint8_t) p[i];
    return value;
}

void file_identity_pack (const file_identity_t *self, char out[FILE_IDENTITY_BYTES]) {
    put_little (out, self->inode, 8);
    put_little (out + 8, self->head, 8);
    put_little (out + 16, self->head_size, 4);
}

bool file_identity_unpack (file_identity_t *self, const char *bytes, size_t size) {
    if (size != FILE_IDENTITY_BYTES)
        return false;
    *self = (file_identity_t){.inode = get_little (bytes, 8),
                              .head = get_little (bytes + 8, 8),
                              .head_size = (uint32_t) get_little (bytes + 16, 4)};
    return self->head_size <= FILE_HEAD_MAX;
}
