/* mail.h: letters to a lane from any thread, and its posts to the worker's Python threads. Both are queues under a
 * mutex with an eventfd to wake the reader; neither is touched per event. */
#ifndef BETTONG_MAIL_H
#define BETTONG_MAIL_H

#include <pthread.h>

#include "value.h"

enum letter_kind {
    LETTER_CHUNK,
    LETTER_END,
    LETTER_COMMITTED,
    LETTER_TAKEN,
    LETTER_ADDRESS,
    LETTER_SPOOL,
    LETTER_CAPTURE,
    LETTER_STOP,
    LETTER_ABORT
};

/* A source written in Python is pushed back while its letters hold this much, or are so many: those that wait are
 * looked at in every turn. Each source has its own share, so that one that waits does not fill the box for all. */
enum {
    MAIL_BYTES_MAX = 4 << 20,
    MAIL_CHUNKS_MAX = 1024,
    MAIL_FLOWS_MAX = 64,
    MAIL_SOURCES_MAX = 64,
    POSTS_MAX = 4096
};

typedef struct letter {
    struct letter *next;
    uint32_t kind, flow, index;
    uint64_t number;
    size_t size, partition_size, position_size; /* of the three parts behind `bytes`, in this order */
    char bytes[];
} letter_t;

typedef struct mail {
    pthread_mutex_t lock;
    letter_t *first, **last;
    struct share {
        uint32_t bytes, chunks;
    } shares[MAIL_FLOWS_MAX][MAIL_SOURCES_MAX]; /* waiting, by flow and source */
    size_t bytes;                               /* of all chunks waiting */
    int fd;
    int waiting; /* atomic: tested by the lane between buffers */
    int lost;    /* atomic: there was no memory for a letter */
} mail_t;

bool mail_open (mail_t *self);
void mail_close (mail_t *self);
/* False when its chunks fill the source's share (only chunks can be refused) or memory is out. */
bool mail_send (mail_t *self, uint32_t kind, uint32_t flow, uint32_t index, uint64_t number, const char *data,
                size_t size, const char *partition, size_t partition_size, const char *position,
                size_t position_size);
/* All letters waiting, oldest first, but for those that `waits` names (NULL: none), which stay in their order; the
 * caller frees each. */
letter_t *mail_take (mail_t *self, bool (*waits) (void *context, const letter_t *letter), void *context);

typedef struct posted {
    struct posted *next;
    post_t post;
} posted_t;

typedef struct posts {
    pthread_mutex_t lock;
    posted_t *first, **last;
    uint32_t count;
    uint64_t refused; /* log lines dropped because POSTS_MAX waited */
    int fd;
} posts_t;

bool posts_open (posts_t *self);
void posts_close (posts_t *self);
/* The same, but false leaves `data` to its owner. */
bool posts_try (posts_t *self, uint32_t kind, uint32_t flow, uint32_t index, uint64_t number, char *data,
                size_t size);
/* `data` is malloc'ed and becomes the post's. */
bool posts_send (posts_t *self, uint32_t kind, uint32_t flow, uint32_t index, uint64_t number, char *data,
                 size_t size);
bool posts_take (posts_t *self, post_t *post);

#endif
