/* file_watch.c: how the lane hears of followed files: inotify tells of changes in those that are read, and of what
 * appears in the folders where more may come. A glob's folders may have wildcards too: each folder on the way is
 * watched, and one that appears is looked into. */
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "forks.h"

enum {
    FILE_EVENTS = IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF, /* IN_ATTRIB: one name fewer */
    FOLDER_EVENTS = IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_MOVE_SELF | IN_ONLYDIR,
    MATCHING = FNM_PERIOD | FNM_NOESCAPE
};

/* ---- files ---- */

/* By descriptor: the name may mean another file by now. */
void file_watch (partition_t *self) {
    source_t *source = self->source;
    char path[64];
    snprintf (path, sizeof path, "/proc/self/fd/%d", self->fd);
    self->file.watch = inotify_add_watch (source->fd, path, FILE_EVENTS);
    if (self->file.watch < 0)
        source_complain (source, "looks every second, for it cannot watch", self->name, errno);
}

/* ---- paths that are to be looked at ---- */

typedef struct paths {
    char **items;
    uint32_t count, capacity;
} paths_t;

static bool is_wanted (const source_t *self, const folder_t *folder, const char *name) {
    if (self->pattern) {
        const char *slash = strrchr (self->pattern, '/');
        return fnmatch (slash ? slash + 1 : self->pattern, name, MATCHING) == 0;
    }
    size_t size = strlen (folder->path);
    for (uint32_t i = 0; i < self->path_count; i++)
        if (!strncmp (self->paths[i], folder->path, size) && !strcmp (self->paths[i] + size, name))
            return true;
    return false;
}

static void no_room (source_t *self, const char *name) {
    source_complain (self, "cannot look at", name, ENOMEM);
    self->scan_ns = self->flow->lane->now_ns + FILE_RETRY_NS;
}

/* There may be more names than files that can be read: those that have gone already are among them. */
static void add_path (source_t *self, paths_t *paths, const folder_t *folder, const char *name) {
    char path[PATH_MAX];
    if (paths->count == paths->capacity) {
        uint32_t capacity = paths->capacity ? 2 * paths->capacity : 16;
        char **items =
            capacity > 4 * PARTITIONS_MAX ? NULL : realloc (paths->items, capacity * sizeof *items);
        if (!items) {
            no_room (self, name);
            return;
        }
        paths->items = items;
        paths->capacity = capacity;
    }
    if ((size_t) snprintf (path, sizeof path, "%s%s", folder->path, name) >= sizeof path)
        return; /* no file can be opened by it */
    if ((paths->items[paths->count] = strdup (path)))
        paths->count++;
    else
        no_room (self, name);
}

static int by_name (const void *a, const void *b) { return strcmp (*(char *const *) a, *(char *const *) b); }

/* In the order of their names. First those that are read under another name: then the name that they had is free for
 * the file that has it now. */
static void take_paths (source_t *self, paths_t *paths) {
    if (paths->count)
        qsort (paths->items, paths->count, sizeof *paths->items, by_name);
    for (uint32_t i = 0; i < paths->count && self->pattern; i++)
        file_renamed (self, paths->items[i]);
    /* Last to first, as partitions are put at the head of their list. */
    for (uint32_t i = paths->count; i-- > 0;) {
        file_appeared (self, paths->items[i]);
        free (paths->items[i]);
    }
    free (paths->items);
}

/* ---- folders ---- */

static const char *own_name (const char *path) { return *path ? path : "."; }

static void add_folder (source_t *self, const char *path, bool inner) {
    int watch = inotify_add_watch (self->fd, own_name (path), FOLDER_EVENTS);
    if (watch < 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            source_complain (self, "cannot watch", own_name (path), errno);
        self->scan_ns = self->flow->lane->now_ns + FILE_RETRY_NS;
        return;
    }
    for (uint32_t i = 0; i < self->folder_count; i++)
        if (self->folders[i].watch == watch && !strcmp (self->folders[i].path, path))
            return;
    folder_t *folders = realloc (self->folders, (self->folder_count + 1) * sizeof *folders);
    char *copy = strdup (path);
    if (folders)
        self->folders = folders;
    if (!folders || !copy) {
        free (copy);
        no_room (self, path);
        return;
    }
    self->folders[self->folder_count++] = (folder_t){copy, watch, inner};
}

static bool has_room (source_t *self, const char *path) {
    if (self->folder_count < FOLDERS_MAX)
        return true;
    if (!self->folders_full)
        lane_log (self->flow->lane, 30,
                  "source %.*s: files in %s are not read, nor in others: more than %d folders match",
                  (int) self->name_size, self->name, path, FOLDERS_MAX);
    self->folders_full = true;
    self->refused++;
    return false;
}

/* Watch `path` and, where `rest` of the pattern goes on below it, the folders there that match. */
static void watch_below (source_t *self, const char *path, const char *rest) {
    const char *slash = strchr (rest, '/');
    char below[PATH_MAX], wanted[NAME_MAX + 1];
    if (!has_room (self, path))
        return;
    add_folder (self, path, slash != NULL);
    if (!slash || slash - rest > NAME_MAX)
        return;
    snprintf (wanted, sizeof wanted, "%.*s", (int) (slash - rest), rest);
    DIR *folder = opendir (own_name (path));
    for (struct dirent *entry; folder && (entry = readdir (folder));) {
        struct stat status;
        int size = snprintf (below, sizeof below, "%s%s/", path, entry->d_name);
        if (size < (int) sizeof below && fnmatch (wanted, entry->d_name, MATCHING) == 0 &&
            stat (below, &status) == 0 && S_ISDIR (status.st_mode))
            watch_below (self, below, slash + 1);
    }
    if (folder)
        closedir (folder);
}

/* The part of the pattern before the first component with a wildcard; of a path, its folder. */
static size_t plain_size (const char *path, bool pattern) {
    size_t end = pattern ? strcspn (path, "*?[") : strlen (path);
    while (end && path[end - 1] != '/')
        end--;
    return end;
}

static void watch_folders (source_t *self) {
    char folder[PATH_MAX];
    for (uint32_t i = 0; i < (self->pattern ? 1 : self->path_count); i++) {
        const char *path = self->pattern ? self->pattern : self->paths[i];
        size_t size = plain_size (path, self->pattern != NULL);
        if (size >= sizeof folder)
            continue;
        memcpy (folder, path, size);
        folder[size] = 0;
        watch_below (self, folder, path + size);
    }
}

static void forget_folder (source_t *self, int watch) {
    for (uint32_t i = self->folder_count; i-- > 0;)
        if (self->folders[i].watch == watch) {
            free (self->folders[i].path);
            self->folders[i] = self->folders[--self->folder_count];
            self->scan_ns = self->flow->lane->now_ns; /* there may be another of its name */
        }
}

static void list_folder (source_t *self, const folder_t *folder, paths_t *paths) {
    DIR *entries = folder->inner ? NULL : opendir (own_name (folder->path));
    for (struct dirent *entry; entries && (entry = readdir (entries));)
        if (is_wanted (self, folder, entry->d_name))
            add_path (self, paths, folder, entry->d_name);
    if (entries)
        closedir (entries);
}

static void list_all (source_t *self, paths_t *paths) {
    watch_folders (self);
    for (uint32_t i = 0; i < self->folder_count; i++)
        list_folder (self, &self->folders[i], paths);
}

void files_scan (source_t *self) {
    paths_t paths = {0};
    list_all (self, &paths);
    take_paths (self, &paths);
}

/* ---- events ---- */

static void all_changed (source_t *self) {
    for (partition_t *partition = self->partitions; partition; partition = partition->next)
        partition->ready = !partition->file.waits;
}

/* True when all folders must be looked through. */
static bool note_event (source_t *self, const struct inotify_event *event, paths_t *paths) {
    bool found = false;
    if (event->mask & IN_Q_OVERFLOW) {
        all_changed (self);
        return true;
    }
    for (partition_t *partition = self->partitions; partition; partition = partition->next)
        if (partition->file.watch == event->wd)
            partition->ready = !partition->file.waits;
    for (uint32_t i = 0; i < self->folder_count; i++) {
        const folder_t *folder = &self->folders[i];
        if (folder->watch != event->wd || !event->len)
            continue;
        if (folder->inner)
            found = true;
        else if (is_wanted (self, folder, event->name))
            add_path (self, paths, folder, event->name);
    }
    if (event->mask & IN_MOVE_SELF && !event->len) {
        for (uint32_t i = 0; i < self->folder_count; i++)
            if (self->folders[i].watch == event->wd) {
                inotify_rm_watch (self->fd, event->wd); /* IN_IGNORED comes of it */
                break;
            }
    }
    if (event->mask & IN_IGNORED)
        forget_folder (self, event->wd);
    return found;
}

void source_changed (source_t *self) {
    char events[16384] __attribute__ ((aligned (__alignof__ (struct inotify_event))));
    paths_t paths = {0};
    bool all = false;
    ssize_t size;
    while ((size = read (self->fd, events, sizeof events)) > 0)
        for (ssize_t at = 0; at < size;) {
            const struct inotify_event *event = (const struct inotify_event *) (events + at);
            all = note_event (self, event, &paths) || all;
            at += (ssize_t) (sizeof *event + event->len);
        }
    if (all)
        list_all (self, &paths);
    take_paths (self, &paths);
}

bool files_follow (source_t *self) {
    self->fd = inotify_init1 (IN_NONBLOCK | IN_CLOEXEC);
    forks_own (self->fd);
    if (self->fd < 0 || !lane_watch (self->flow->lane, self->fd, self, WATCH_FOLLOW, EPOLLIN)) {
        source_complain (self, "cannot follow", "files", errno);
        return false;
    }
    watch_folders (self);
    return true;
}
