/* file_resume.c: files after a restart. A cut has kept how far each was read and which file it was; here the files that
 * there are now are told to be those or others. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"

static uint64_t position_of (const partition_t *self) { return self->base + self->end; }

static bool is_named (const partition_t *self, const char *path) { return !strcmp (self->name, path); }

/* What it had begun goes with it. */
static void let_go (partition_t *known) {
    known->source->lost += known->end - known->start;
    partition_forget (known);
}

/* What was behind its position cannot be read any more; of a file that had ended that was nothing. */
static void give_up (partition_t *known) {
    if (!known->ended) {
        lane_log (
            known->source->flow->lane, 30,
            "source %.*s: %s, read to byte %llu before the restart, has gone, and is in its folder under "
            "no other name either: what was behind that is lost",
            (int) known->source->name_size, known->source->name, known->name,
            (unsigned long long) position_of (known));
        known->source->lost_files++;
    }
    let_go (known);
}

/* ---- under another name ---- */

static int open_if_same (const partition_t *known, const char *path) {
    int fd = open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0 && file_match (&known->file.identity, fd, position_of (known)) != FILE_SAME) {
        close (fd);
        return -1;
    }
    return fd;
}

/* A rotated file stays in its folder, as a rule. */
static int find_in_folder (const partition_t *known) {
    char path[PATH_MAX];
    int fd = -1, looked_at = 0;
    const char *slash = strrchr (known->name, '/');
    int size = slash ? (int) (slash + 1 - known->name) : 0;
    if (!known->file.identity.inode || size >= PATH_MAX)
        return -1;
    snprintf (path, sizeof path, "%.*s", size, known->name);
    DIR *folder = opendir (size ? path : ".");
    for (struct dirent *entry; folder && fd < 0 && looked_at < FILE_SEARCH_MAX && (entry = readdir (folder));
         looked_at++)
        if (entry->d_ino == known->file.identity.inode &&
            snprintf (path, sizeof path, "%.*s%s", size, known->name, entry->d_name) < PATH_MAX)
            fd = open_if_same (known, path);
    if (folder)
        closedir (folder);
    return fd;
}

/* True when it was found there, and is read on under the name it had: it is finished before the one that has its name
 * now. */
static bool read_on_elsewhere (partition_t *known) {
    int fd = find_in_folder (known);
    struct stat status;
    if (fd < 0)
        return false;
    if (known->ended && (fstat (fd, &status) || (uint64_t) status.st_size == position_of (known))) {
        close (fd);
        let_go (known); /* nothing has been added to it since */
        return true;
    }
    file_say (known, 20, "is under another name now; reading the rest of it first");
    /* Of two that had one name the one that nothing was read of is the newer. */
    bool waits = !position_of (known) && partition_find (known->source, known->name, known->name_size);
    partition_take (known, fd);
    file_begin (known);
    known->file.waits = waits;
    known->ready = !waits;
    return true;
}

/* ---- what there is at a path ---- */

static void put_aside_others (source_t *self, const char *path, const partition_t *found) {
    for (partition_t *known = self->known, *next; known; known = next) {
        next = known->next;
        if (known != found && is_named (known, path) && !read_on_elsewhere (known))
            give_up (known);
    }
}

static enum file_resumed resume (partition_t *known, const char *path, int fd) {
    struct stat status;
    if (!partition_rename (known, path))
        return FILE_FAILED;
    if (known->ended && (fstat (fd, &status) || (uint64_t) status.st_size == position_of (known)))
        return FILE_READ;
    bool waits = partition_find (known->source, path, known->name_size) != NULL;
    partition_take (known, fd);
    file_begin (known);
    known->file.waits = waits;
    known->ready = !waits;
    if (!waits && !known->source->pattern && !known->source->arrival)
        known->counted = true; /* one that waited when the cut was made does not any more */
    file_placed (known, false);
    return FILE_RESUMED;
}

enum file_resumed file_resume (source_t *self, const char *path, int fd, uint64_t inode) {
    partition_t *found = NULL;
    for (partition_t *known = self->known, *next; known; known = next) {
        next = known->next;
        if (known->file.identity.inode != inode || (!inode && !is_named (known, path)))
            continue;
        enum file_match match = file_match (&known->file.identity, fd, position_of (known));
        if (match == FILE_UNREADABLE)
            return FILE_FAILED;
        if (match == FILE_SAME && (!found || is_named (known, path)))
            found = known;
        if (match == FILE_TRUNCATED && is_named (known, path)) {
            file_say (known, 30, "was truncated or written anew; reading it from its start");
            let_go (known);
        }
    }
    put_aside_others (self, path, found);
    return found ? resume (found, path, fd) : FILE_NEW;
}

/* ---- files that are not there ---- */

static bool is_asked_for (const source_t *self, const char *path) {
    for (uint32_t i = 0; i < self->path_count; i++)
        if (!strcmp (self->paths[i], path))
            return true;
    return false;
}

/* All paths have been looked at. What is known still has been read to its end, or is not there: it may have gone, or its
 * disk has not come yet. */
void files_resumed (source_t *self) {
    for (partition_t *known = self->known, *next; known; known = next) {
        next = known->next;
        if ((known->ended && is_asked_for (self, known->name)) || read_on_elsewhere (known))
            continue;
        if (self->follow && !known->ended)
            file_say (known, 20, "is not there; it is read on when it comes");
        else
            give_up (known);
    }
    self->known_until_ns =
        self->follow && self->known ? self->flow->lane->now_ns + FILE_ABSENT_NS : INT64_MAX;
}

int64_t files_absent_tick (source_t *self, int64_t now_ns) {
    if (self->known_until_ns > now_ns)
        return self->known_until_ns;
    while (self->known)
        give_up (self->known);
    self->flow->dirty = true;
    return self->known_until_ns = INT64_MAX;
}
