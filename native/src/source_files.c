/* source_files.c: files and redirected streams. They are always ready as far as epoll knows, so they are read in turns
 * with the sockets, a buffer each; a followed file is looked at again when inotify says that it has changed. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "forks.h"

static lane_t *lane_of (const source_t *self) { return self->flow->lane; }

void file_say (const partition_t *self, uint32_t level, const char *what) {
    lane_log (lane_of (self->source), level, "source %.*s: %s %s", (int) self->source->name_size,
              self->source->name, self->name, what);
}

void file_placed (const partition_t *self, bool anew) {
    capture_t *capture = capture_of (self->source->flow);
    if (unlikely (capture))
        capture_place (capture, self, anew);
}

/* ---- opening and leaving ---- */

static partition_t *no_file (int fd, int error) {
    close (fd);
    errno = error;
    return NULL;
}

void file_begin (partition_t *self) {
    struct stat status = {0};
    fstat (self->fd, &status);
    lseek (self->fd, (off_t) (self->base + self->end), SEEK_SET);
    self->file.device = status.st_dev;
    self->file.inode = status.st_ino;
    self->file.watch = -1;
    self->file.look_ns = INT64_MAX;
    self->ready = true;
    if (self->source->follow)
        file_watch (self);
}

static partition_t *begin_anew (source_t *self, const char *path, int fd, const file_identity_t *identity) {
    partition_t *known = partition_find (self, path, (uint32_t) strlen (path));
    partition_t *partition = partition_new (self, path, (uint32_t) strlen (path), fd);
    if (!partition)
        return no_file (fd, self->partition_count + self->known_count >= PARTITIONS_MAX ? ENFILE : ENOMEM);
    partition->file.identity = *identity;
    file_begin (partition);
    partition->file.waits = known != NULL;
    partition->ready = !known;
    /* Named in the flow it counts from the start, one that appears later from its first record, and one that waits when
     * it is let on (S7). */
    partition->counted = !known && !self->arrival && (!self->pattern || !self->begun);
    file_placed (partition, false);
    return partition;
}

partition_t *file_open (source_t *self, const char *path) {
    file_identity_t identity;
    int fd = open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* or a pipe of that name would be waited for */
    if (fd < 0)
        return NULL;
    if (!file_identity_open (&identity, fd))
        return no_file (fd, errno);
    switch (file_resume (self, path, fd, identity.inode)) {
    case FILE_RESUMED: return self->partitions;
    case FILE_READ: return no_file (fd, EALREADY);
    case FILE_FAILED: return no_file (fd, errno);
    default: return begin_anew (self, path, fd, &identity);
    }
}

void source_file_left (partition_t *self) {
    source_t *source = self->source;
    bool shared = false;
    for (const partition_t *other = source->partitions; other; other = other->next)
        shared |= other->file.watch == self->file.watch;
    if (source->fd >= 0 && self->file.watch >= 0 && !shared)
        inotify_rm_watch (source->fd, self->file.watch);
    if (source->turn == self)
        source->turn = self->next;
    if (source->files_full && !source->stopped)
        source->scan_ns = lane_of (source)->now_ns; /* there is room for one more */
}

void file_let_on (const partition_t *self) {
    partition_t *next = file_waiting (self);
    if (!next)
        return;
    next->file.waits = false;
    next->ready = true;
    next->counted = self->counted; /* it takes its predecessor's place (S7) */
    next->heard_ns = lane_of (self->source)->now_ns;
    file_placed (next, false);
    lane_of (self->source)->more = true;
}

void file_end (partition_t *self) {
    file_let_on (self);
    partition_end (self);
}

void source_free_files (source_t *self) {
    for (uint32_t i = 0; i < self->path_count; i++)
        free (self->paths[i]);
    for (uint32_t i = 0; i < self->folder_count; i++)
        free (self->folders[i].path);
    free (self->paths);
    free (self->folders);
    free (self->pattern);
}

/* ---- reading in turns ---- */

void file_look_at (partition_t *self, int64_t when_ns) {
    self->file.look_ns = when_ns;
    if (when_ns < self->source->files_look_ns)
        self->source->files_look_ns = when_ns;
}

static void got (partition_t *self, size_t count) {
    uint32_t known = self->file.identity.head_size;
    uint64_t at = self->base + self->end, again = known > at ? known - at : 0; /* it was put back */
    if (self->source->kind == SOURCE_FILES && known < FILE_HEAD_MAX && again < count)
        file_identity_read (&self->file.identity, self->data + self->end + again, count - again);
    partition_got (self, count);
}

/* It is tried again in the next turn. */
static bool lacks_memory (partition_t *self) {
    if (!self->source->is_short)
        source_complain (self->source, "cannot read", self->name, ENOMEM);
    self->source->is_short = true;
    return false;
}

/* A followed file stays, for its disk may come back. */
static bool cannot_read (partition_t *self, int error) {
    source_complain (self->source, "cannot read", self->name, error);
    if (!self->source->follow) {
        self->source->unread++;
        file_end (self);
        return true;
    }
    self->ready = false;
    file_look_at (self, lane_of (self->source)->now_ns + FILE_RETRY_NS);
    return false;
}

/* True when there may be more at once. */
static bool read_in_turn (partition_t *self) {
    if (!partition_room (self, READ_MAX))
        return lacks_memory (self);
    self->source->is_short = false;
    ssize_t count = read (self->fd, self->data + self->end, READ_MAX);
    if (count < 0)
        return errno == EINTR || cannot_read (self, errno);
    if (count > 0)
        got (self, (size_t) count);
    if (count == 0 && self->source->follow)
        return file_at_end (self);
    if (count == 0 || self->ended)
        file_end (self);
    return true;
}

/* A full sink ends the turn. The next begins behind the partition that filled it, so that each gets its turn. */
bool source_turn (source_t *self) {
    bool more = false;
    if (self->ended || self->paused || !source_is_read_in_turns (self))
        return false;
    partition_t *partition = self->turn ? self->turn : self->partitions;
    while (partition && !self->paused) {
        self->turn = partition->next;
        if (partition->ready)
            more = read_in_turn (partition) || more;
        partition = self->turn;
    }
    return more && !self->ended;
}

int64_t source_files_tick (source_t *self, int64_t now_ns) {
    if (self->kind != SOURCE_FILES || !self->follow || self->paused || self->stopped)
        return INT64_MAX;
    if (self->scan_ns <= now_ns) {
        self->scan_ns = INT64_MAX;
        files_scan (self);
        lane_of (self)->more = true;
    }
    if (self->files_look_ns <= now_ns) {
        self->files_look_ns = INT64_MAX;
        for (partition_t *partition = self->partitions; partition; partition = partition->next) {
            if (partition->file.look_ns <= now_ns) {
                partition->file.look_ns = INT64_MAX;
                partition->ready = !partition->file.waits;
            }
            file_look_at (partition, partition->file.look_ns);
        }
        lane_of (self)->more = true;
    }
    int64_t next_ns = self->scan_ns < self->files_look_ns ? self->scan_ns : self->files_look_ns;
    int64_t absent_ns = files_absent_tick (self, now_ns);
    return next_ns < absent_ns ? next_ns : absent_ns;
}

/* ---- starting ---- */

static bool start_file (source_t *self, const char *path) {
    if (file_open (self, path) || errno == EALREADY || (errno == ENOENT && self->follow))
        return true; /* the last is waited for */
    source_complain (self, "cannot open", path, errno);
    return false;
}

bool source_start_files (source_t *self) {
    self->files_look_ns = self->scan_ns = self->known_until_ns = INT64_MAX;
    if (self->follow && !files_follow (self))
        return false;
    /* Opened last to first: partitions are a list that grows at its head, and are read in the order given. */
    for (uint32_t i = self->path_count; i-- > 0;)
        if (!start_file (self, self->paths[i]))
            return false;
    files_resumed (self);
    self->begun = true;
    if (self->follow)
        files_scan (self); /* what has appeared since the paths were listed */
    source_refresh (self);
    if (!self->partitions && self->bounded)
        source_end (self);
    return true;
}
