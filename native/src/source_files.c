/* source_files.c: files and redirected streams. They are always ready as far as epoll knows, so they are read in turns
 * with the sockets, a buffer each; a followed file is looked at again when inotify says that it has changed. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "forks.h"
#include "lane.h"

static lane_t *lane_of (const source_t *self) { return self->flow->lane; }

/* ---- opening ---- */

static bool open_file (source_t *self, const char *path) {
    int fd = open (path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT && self->follow)
            return true; /* waited for */
        source_complain (self, "cannot open", path, errno);
        return false;
    }
    partition_t *partition = partition_new (self, path, (uint32_t) strlen (path), fd);
    if (!partition) {
        close (fd);
        return false;
    }
    partition->ready = true;
    partition->counted = !self->arrival; /* fixed partitions count from the start (S7) */
    if (self->follow)
        inotify_add_watch (self->fd, path, IN_MODIFY);
    return true;
}

/* ---- the end of a followed file, for now ---- */

static void say_anew (const partition_t *self, uint32_t level, const char *what) {
    lane_log (lane_of (self->source), level, "source %.*s: %s %s; reading it from its start",
              (int) self->source->name_size, self->source->name, self->name, what);
}

/* It has become shorter: what is in it now is read from its start. An unfinished line went with the rest. */
static bool was_truncated (partition_t *self) {
    struct stat status;
    off_t at = lseek (self->fd, 0, SEEK_CUR);
    if (fstat (self->fd, &status) || status.st_size >= at)
        return false;
    say_anew (self, 30, "was truncated");
    lseek (self->fd, 0, SEEK_SET);
    self->start = self->end = self->base = 0;
    self->frame = (frame_state_t){0};
    format_close (self->source->format, &self->format);
    self->format = format_open (self->source->format);
    return true;
}

/* The name means another file now, as after the rotation of a log: the old one has ended, the new one begins. */
static bool was_replaced (partition_t *self) {
    source_t *source = self->source;
    struct stat ours, named;
    if (fstat (self->fd, &ours) || stat (self->name, &named) ||
        (ours.st_ino == named.st_ino && ours.st_dev == named.st_dev))
        return false;
    say_anew (self, 20, "is another file now");
    for (uint32_t i = 0; i < source->path_count; i++)
        if (!strcmp (source->paths[i], self->name)) {
            partition_end (self);
            open_file (source, source->paths[i]);
            break;
        }
    return true;
}

/* ---- reading in turns ---- */

/* True when there may be more at once. */
static bool read_in_turn (partition_t *self) {
    if (!partition_room (self, READ_MAX)) {
        partition_failed (self, ENOMEM);
        return true;
    }
    ssize_t count = read (self->fd, self->data + self->end, READ_MAX);
    if (count < 0 && errno == EINTR)
        return true;
    if (count > 0) {
        partition_got (self, (size_t) count);
        if (!self->ended)
            return true;
    }
    if (count == 0 && self->source->follow) {
        return was_replaced (self) || (self->ready = was_truncated (self));
    }
    if (count < 0)
        source_complain (self->source, "cannot read", self->name, errno);
    partition_failed (self, 0);
    return true;
}

bool source_turn (source_t *self) {
    bool more = false;
    if (self->ended || self->paused || !source_is_read_in_turns (self))
        return false;
    for (partition_t *partition = self->partitions, *next; partition && !self->paused; partition = next) {
        next = partition->next;
        if (partition->ready)
            more = read_in_turn (partition) || more;
    }
    return more && !self->ended;
}

/* ---- starting, following ---- */

/* The folder tells of a file that was not there yet. */
static void watch_folder (source_t *self, const char *path) {
    char folder[PATH_MAX];
    const char *slash = strrchr (path, '/');
    snprintf (folder, sizeof folder, "%.*s", slash ? (int) (slash - path + 1) : 1, slash ? path : ".");
    if (inotify_add_watch (self->fd, folder, IN_CREATE | IN_MOVED_TO) < 0)
        source_complain (self, "cannot watch", folder, errno);
}

static bool start_following (source_t *self) {
    self->fd = inotify_init1 (IN_NONBLOCK | IN_CLOEXEC);
    forks_own (self->fd);
    if (self->fd < 0 || !lane_watch (lane_of (self), self->fd, self, WATCH_FOLLOW, EPOLLIN)) {
        source_complain (self, "cannot follow", "files", errno);
        return false;
    }
    for (uint32_t i = 0; i < self->path_count; i++)
        watch_folder (self, self->paths[i]);
    return true;
}

/* Followed files have changed, or appeared. Which ones is not asked: a read of an unchanged one costs little. */
void source_changed (source_t *self) {
    char events[4096];
    while (read (self->fd, events, sizeof events) > 0)
        continue;
    for (uint32_t i = 0; i < self->path_count; i++)
        if (!partition_find (self, self->paths[i], (uint32_t) strlen (self->paths[i])))
            open_file (self, self->paths[i]);
    for (partition_t *partition = self->partitions; partition; partition = partition->next)
        partition->ready = true;
}

bool source_start_files (source_t *self) {
    if (self->follow && !start_following (self))
        return false;
    /* Opened last to first: partitions are a list that grows at its head, and are read in the order given. */
    for (uint32_t i = self->path_count; i-- > 0;)
        if (!open_file (self, self->paths[i]))
            return false;
    source_refresh (self);
    if (!self->path_count && self->bounded)
        source_end (self);
    return true;
}
