/* file_names.c: followed files whose names come to mean other files, and files that are written anew.
 *
 * A log that is rotated is read on under its descriptor; the new one of its name is opened at once, so that not even
 * two rotations in a row hide one, and waits until the old one has been left. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"

static bool is_same (const partition_t *self, const struct stat *status) {
    return self->file.inode == status->st_ino && self->file.device == status->st_dev;
}

static bool means (const char *path, const partition_t *self) {
    struct stat status;
    return stat (path, &status) == 0 && is_same (self, &status);
}

static partition_t *find_file (const source_t *self, const struct stat *status) {
    partition_t *partition = self->partitions;
    while (partition && !is_same (partition, status))
        partition = partition->next;
    return partition;
}

/* ---- written anew ---- */

/* It has become shorter: what is in it now is read from its start. An unfinished line went with the rest. */
static bool was_truncated (partition_t *self) {
    struct stat status;
    if (fstat (self->fd, &status) || (uint64_t) status.st_size >= self->base + self->end)
        return false;
    file_say (self, 30, "was truncated; reading it from its start");
    lseek (self->fd, 0, SEEK_SET);
    file_identity_open (&self->file.identity, self->fd);
    partition_anew (self);
    file_placed (self, true);
    return true;
}

/* ---- names that mean other files ---- */

/* The list grows at its head: the last in it has waited longest. */
partition_t *file_waiting (const partition_t *self) {
    partition_t *longest = NULL;
    if (self->source->kind == SOURCE_FILES)
        for (partition_t *other = self->source->partitions; other; other = other->next)
            if (other->file.waits && other != self && !strcmp (other->name, self->name))
                longest = other;
    return longest;
}

/* Whether the writer has gone over to a new file: something is in it, or it has been replaced in turn. */
static bool has_begun (const partition_t *next) {
    struct stat status;
    return !means (next->name, next) || fstat (next->fd, &status) || status.st_size > 0;
}

/* True when there is nothing more to expect of this file, which has lost its name. */
static bool may_leave (partition_t *self, int64_t now_ns) {
    const partition_t *next = file_waiting (self);
    int64_t quiet_ns = self->heard_ns > self->file.unnamed_ns ? self->heard_ns : self->file.unnamed_ns;
    if (!next && !self->source->pattern)
        return false; /* a single file: the next one of its name is waited for */
    quiet_ns += next ? FILE_REPLACED_NS : FILE_GONE_NS;
    bool begun = !next || has_begun (next);
    if (begun && now_ns >= quiet_ns)
        return true;
    file_look_at (self, quiet_ns > now_ns ? quiet_ns : now_ns + FILE_RETRY_NS);
    return false;
}

static bool has_lost_its_name (partition_t *self, int64_t now_ns) {
    if (means (self->name, self)) {
        self->file.unnamed_ns = 0;
        return false;
    }
    if (!self->file.unnamed_ns)
        self->file.unnamed_ns = now_ns;
    return true;
}

bool file_at_end (partition_t *self) {
    int64_t now_ns = self->source->flow->lane->now_ns;
    self->file.look_ns = INT64_MAX;
    if (was_truncated (self))
        return true;
    if (has_lost_its_name (self, now_ns)) {
        if (!file_waiting (self))
            file_appeared (self->source, self->name);
        if (may_leave (self, now_ns)) {
            file_say (self, 20,
                      file_waiting (self) ? "is another file now; reading it from its start"
                                          : "has gone; it was read to its end");
            file_end (self);
            return true;
        }
    }
    self->ready = false;
    if (self->file.watch < 0) /* nothing tells of changes */
        file_look_at (self, now_ns + FILE_RETRY_NS);
    return false;
}

/* ---- what appears ---- */

static void cannot_open (source_t *self, const char *path, int error) {
    if (error == ENOENT || error == EALREADY)
        return; /* it has gone already, or was read to its end */
    if (error == ENFILE && !self->files_full)
        lane_log (self->flow->lane, 30,
                  "source %.*s: %s is not read, nor others: more than %d files at a time",
                  (int) self->name_size, self->name, path, PARTITIONS_MAX);
    if (error == ENFILE) {
        self->files_full = true; /* tried again when one goes */
        return;
    }
    source_complain (self, "cannot open", path, error);
    self->refused++;
    self->scan_ns = self->flow->lane->now_ns + FILE_RETRY_NS;
}

void file_appeared (source_t *self, const char *path) {
    struct stat status;
    partition_t *known = partition_find (self, path, (uint32_t) strlen (path));
    if (known)
        known->ready = !known->file.waits; /* it may have lost its name */
    if (stat (path, &status) || !S_ISREG (status.st_mode))
        return;
    partition_t *same = find_file (self, &status);
    if (same) {
        same->ready = !same->file.waits;
        return;
    }
    partition_t *partition = file_open (self, path);
    if (!partition) {
        cannot_open (self, path, errno);
        return;
    }
    self->look_ns = 0;
    source_refresh (self);
    self->flow->lane->more = true;
}

void file_renamed (source_t *self, const char *path) {
    struct stat status;
    partition_t *partition = stat (path, &status) ? NULL : find_file (self, &status);
    if (!partition || !strcmp (partition->name, path) || means (partition->name, partition))
        return;
    file_let_on (partition);
    if (!partition_rename (partition, path))
        return; /* it keeps the old one */
    partition->file.unnamed_ns = 0;
    partition->file.waits = false;
    partition->ready = true;
}
