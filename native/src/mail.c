/* mail.c: see mail.h. */
#include "mail.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void wake (int fd) {
    uint64_t one = 1;
    /* An eventfd refuses only when its count would overflow: its reader is then awake already. */
    ssize_t written = write (fd, &one, sizeof one);
    (void) written;
}

static void quiet (int fd) {
    uint64_t count;
    ssize_t got = read (fd, &count, sizeof count);
    (void) got;
}

bool mail_open (mail_t *self) {
    *self = (mail_t){.fd = eventfd (0, EFD_NONBLOCK | EFD_CLOEXEC)};
    self->last = &self->first;
    return pthread_mutex_init (&self->lock, NULL) == 0 && self->fd >= 0;
}

void mail_close (mail_t *self) {
    for (letter_t *letter = mail_take (self, NULL, NULL); letter;) {
        letter_t *next = letter->next;
        free (letter);
        letter = next;
    }
    close (self->fd);
    pthread_mutex_destroy (&self->lock);
}

static void put_part (letter_t *letter, size_t *used, const char *bytes, size_t size) {
    if (size)
        memcpy (letter->bytes + *used, bytes, size);
    *used += size;
}

static struct share *share_of (mail_t *self, uint32_t flow, uint32_t source) {
    return &self->shares[flow % MAIL_FLOWS_MAX][source % MAIL_SOURCES_MAX];
}

static bool has_room (const struct share *share, size_t size) {
    return !share->chunks || (share->chunks < MAIL_CHUNKS_MAX && share->bytes + size <= MAIL_BYTES_MAX);
}

static void count_chunk (mail_t *self, const letter_t *letter, bool arrives) {
    struct share *share = share_of (self, letter->flow, letter->index);
    if (arrives) {
        share->bytes += (uint32_t) letter->size;
        share->chunks++;
        self->bytes += letter->size;
    } else {
        share->bytes -= (uint32_t) letter->size;
        share->chunks--;
        self->bytes -= letter->size;
    }
}

bool mail_send (mail_t *self, uint32_t kind, uint32_t flow, uint32_t index, uint64_t number, const char *data,
                size_t size, const char *partition, size_t partition_size, const char *position,
                size_t position_size) {
    letter_t *letter = malloc (sizeof *letter + size + partition_size + position_size);
    if (!letter) {
        /* Somebody would wait for its answer for ever: the lane ends, and begins again from its last cut. */
        __atomic_store_n (&self->lost, 1, __ATOMIC_RELAXED);
        __atomic_store_n (&self->waiting, 1, __ATOMIC_RELEASE);
        wake (self->fd);
        return false;
    }
    *letter = (letter_t){.kind = kind,
                         .flow = flow,
                         .index = index,
                         .number = number,
                         .size = size,
                         .partition_size = partition_size,
                         .position_size = position_size};
    size_t used = 0;
    put_part (letter, &used, data, size);
    put_part (letter, &used, partition, partition_size);
    put_part (letter, &used, position, position_size);
    pthread_mutex_lock (&self->lock);
    bool refused = kind == LETTER_CHUNK && !has_room (share_of (self, flow, index), size);
    if (!refused) {
        *self->last = letter;
        self->last = &letter->next;
        if (kind == LETTER_CHUNK)
            count_chunk (self, letter, true);
        __atomic_store_n (&self->waiting, 1, __ATOMIC_RELEASE);
        /* Under the lock: a wake after the letter was taken would stay, and the lane would turn without end. */
        wake (self->fd);
    }
    pthread_mutex_unlock (&self->lock);
    if (refused)
        free (letter);
    return !refused;
}

letter_t *mail_take (mail_t *self, bool (*waits) (void *context, const letter_t *letter), void *context) {
    letter_t *first = NULL, **last = &first;
    pthread_mutex_lock (&self->lock);
    letter_t **link = &self->first;
    while (*link) {
        letter_t *letter = *link;
        if (waits && waits (context, letter)) {
            link = &letter->next;
            continue;
        }
        *link = letter->next;
        letter->next = NULL;
        *last = letter;
        last = &letter->next;
        if (letter->kind == LETTER_CHUNK)
            count_chunk (self, letter, false);
    }
    self->last = link;
    /* Kept letters are looked at again in every turn, but do not wake the lane. */
    __atomic_store_n (&self->waiting, self->first != NULL, __ATOMIC_RELEASE);
    quiet (self->fd);
    pthread_mutex_unlock (&self->lock);
    return first;
}

bool posts_open (posts_t *self) {
    *self = (posts_t){.fd = eventfd (0, EFD_NONBLOCK | EFD_CLOEXEC)};
    self->last = &self->first;
    return pthread_mutex_init (&self->lock, NULL) == 0 && self->fd >= 0;
}

void posts_close (posts_t *self) {
    while (self->first) {
        posted_t *next = self->first->next;
        free (self->first->post.data);
        free (self->first);
        self->first = next;
    }
    close (self->fd);
    pthread_mutex_destroy (&self->lock);
}

bool posts_try (posts_t *self, uint32_t kind, uint32_t flow, uint32_t index, uint64_t number, char *data,
                size_t size) {
    posted_t *posted = malloc (sizeof *posted);
    if (!posted)
        return false;
    *posted = (posted_t){
        .post = {.kind = kind, .flow = flow, .index = index, .number = number, .data = data, .size = size}};
    pthread_mutex_lock (&self->lock);
    /* All but log lines are bounded by what they answer: one cut in flight, so many bytes a sink. */
    bool refused = kind == POST_LOG && self->count >= POSTS_MAX;
    if (refused) {
        self->refused++;
    } else {
        *self->last = posted;
        self->last = &posted->next;
        self->count++;
    }
    pthread_mutex_unlock (&self->lock);
    if (refused)
        free (posted);
    else
        wake (self->fd);
    return !refused;
}

bool posts_send (posts_t *self, uint32_t kind, uint32_t flow, uint32_t index, uint64_t number, char *data,
                 size_t size) {
    bool sent = posts_try (self, kind, flow, index, number, data, size);
    if (!sent)
        free (data);
    return sent;
}

bool posts_take (posts_t *self, post_t *post) {
    pthread_mutex_lock (&self->lock);
    posted_t *first = self->first;
    if (first) {
        self->first = first->next;
        self->count--;
        if (!self->first)
            self->last = &self->first;
    }
    if (!self->first)
        quiet (self->fd);
    pthread_mutex_unlock (&self->lock);
    if (!first)
        return false;
    *post = first->post;
    free (first);
    return true;
}
