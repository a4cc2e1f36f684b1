/* files.h: what the parts of the source of files need of each other: reading (source_files.c), files that change
 * their name or are written anew (file_names.c), and how the lane hears of all that (file_watch.c). */
#ifndef BETTONG_FILES_H
#define BETTONG_FILES_H

#include "lane.h"

enum { FOLDERS_MAX = 1000, FILE_SEARCH_MAX = 100000 };

/* A file that has lost its name is left when it has brought nothing for so long: some writers write to it for a moment
 * after the new one is there; and one whose name means nothing at all may be about to get it back. */
#define FILE_REPLACED_NS 1000000000
#define FILE_GONE_NS 10000000000
/* What could not be opened or watched is tried again. */
#define FILE_RETRY_NS 1000000000
/* So long after a restart a followed file that is not there may come, as its disk may. */
#define FILE_ABSENT_NS 3600000000000

/* source_files.c */

/* Open this file as a partition of its own, or of the one that a cut has of it. NULL: errno says why; ENFILE that the
 * source has too many, EALREADY that an earlier run has read all of it. */
partition_t *file_open (source_t *self, const char *path);
/* It has its descriptor and its identity: read it from its position on. */
void file_begin (partition_t *self);
/* The one that waits for this file waits no longer. */
void file_let_on (const partition_t *self);
/* It brings nothing more: it goes, and the one that waits for it is let on. */
void file_end (partition_t *self);
/* Read it again at this time, whatever happens. */
void file_look_at (partition_t *self, int64_t when_ns);
/* Whether it counts has been decided other than by what it brought, or it begins `anew`: a capture is told. */
void file_placed (const partition_t *self, bool anew);
void file_say (const partition_t *self, uint32_t level, const char *what);

/* file_names.c */

/* A followed file has been read to its end, and may go. True when there may be more at once. */
bool file_at_end (partition_t *self);
/* There may be something new at this path. */
void file_appeared (source_t *self, const char *path);
/* The file at this path may be one that is read under another name: then this is its name now. */
void file_renamed (source_t *self, const char *path);
/* The one that had waited longest for a file of this name. */
partition_t *file_waiting (const partition_t *self);

/* file_resume.c */

enum file_resumed { FILE_NEW, FILE_RESUMED, FILE_READ, FILE_FAILED };
/* What a cut has of the file that was opened at `path`. RESUMED: its partition is at the head of the list, and the
 * descriptor is its. READ: to its end already. FAILED: errno says why. */
enum file_resumed file_resume (source_t *self, const char *path, int fd, uint64_t inode);
/* All paths have been opened: what is left is looked for under other names. */
void files_resumed (source_t *self);
/* Those that have not come are given up in the end; the moment of it. */
int64_t files_absent_tick (source_t *self, int64_t now_ns);

/* file_watch.c */

bool files_follow (source_t *self);
void file_watch (partition_t *self);
/* Look for all files that there are, as if they had just appeared. */
void files_scan (source_t *self);

#endif
