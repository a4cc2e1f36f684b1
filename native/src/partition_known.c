/* partition_known.c: partitions that are not read now, and how far they have been read: those of a cut that have not
 * come back yet, and those that have ended and must not be read again after a restart. */
#include <stdlib.h>

#include "forks.h"
#include "lane.h"

/* Sources whose partitions are the same ones after a restart. A followed file never ends for good. */
static bool can_resume (const source_t *self) {
    return (self->kind == SOURCE_FILES || self->kind == SOURCE_CHUNKS) && !self->forgets;
}

static partition_t **find (source_t *self, const char *name, uint32_t name_size) {
    partition_t **link = &self->known;
    while (*link && ((*link)->name_size != name_size || memcmp ((*link)->name, name, name_size)))
        link = &(*link)->next;
    return link;
}

static void unlink_known (source_t *self, partition_t **link) {
    partition_t *partition = *link;
    *link = partition->next;
    partition->next = NULL;
    self->known_count--;
}

void partition_retire (partition_t *self) {
    source_t *source = self->source;
    if (!can_resume (source) || source->follow) {
        partition_drop (self);
        return;
    }
    partition_leave (self);
    if (self->start < self->end) {
        self->ended = false; /* the flow has stopped: what was not looked at is the next run's */
    } else {
        free (self->data);
        self->base += self->end;
        self->data = NULL;
        self->capacity = self->start = self->end = 0;
    }
    self->ready = false;
    self->next = source->known;
    source->known = self;
    source->known_count++;
}

static void take (partition_t **link, int fd) {
    partition_t *self = *link;
    source_t *source = self->source;
    unlink_known (source, link);
    if (self->ended) /* it left the minimum; it joins again with its next record */
        self->ended = false, self->idle = true;
    self->fd = fd;
    forks_own (fd);
    self->heard_ns = source->flow->lane->now_ns;
    self->next = source->partitions;
    source->partitions = self;
    source->partition_count++;
    capture_t *capture = capture_of (source->flow);
    if (unlikely (capture))
        capture_partition (capture, CAPTURED_RESUME, self);
}

static partition_t **link_of (partition_t *known) {
    partition_t **link = &known->source->known;
    while (*link != known)
        link = &(*link)->next;
    return link;
}

void partition_take (partition_t *known, int fd) { take (link_of (known), fd); }

void partition_forget (partition_t *known) {
    unlink_known (known->source, link_of (known));
    partition_free (known);
}

partition_t *partition_resume (source_t *source, const char *name, uint32_t name_size) {
    partition_t **link = find (source, name, name_size), *self = *link;
    if (self)
        take (link, -1);
    return self;
}

/* A source that says no positions does not go on where it was: what comes next is not the rest of a cut-off message. */
static void cut_off (partition_t *self) {
    if (self->source->replayable || self->position_size)
        return;
    self->source->lost += self->end - self->start;
    self->start = self->end;
    self->frame = (frame_state_t){0};
}

/* In the order in which they stood. */
static void resume_chunks (source_t *self) {
    partition_t **last = &self->partitions;
    for (partition_t **link = &self->known; *link;) {
        partition_t *partition = *link;
        if (partition->ended) {
            link = &partition->next;
            continue;
        }
        unlink_known (self, link);
        cut_off (partition);
        partition->heard_ns = self->flow->lane->now_ns;
        *last = partition;
        last = &partition->next;
        self->partition_count++;
    }
}

void source_resume (source_t *self) {
    lane_t *lane = self->flow->lane;
    if (!self->resumed)
        return;
    if (self->kind == SOURCE_CHUNKS)
        resume_chunks (self);
    else if (self->kind != SOURCE_FILES)
        source_forget (self);
    source_refresh (self);
    if (self->lost)
        lane_log (lane, 30, "source %.*s: %llu bytes of messages that were cut off at the restart are lost",
                  (int) self->name_size, self->name, (unsigned long long) self->lost);
    if (self->arrival || self->lowest)
        return;
    if (self->resumed_idle) {
        self->idle_from_ns = lane->now_ns;
        self->idle_watermark_us = self->watermark_us;
    } else if (self->idle_us >= 0) {
        /* Nobody is back yet, and a restart does not count as time in which a source was idle. */
        self->look_ns = lane->now_ns + self->idle_us * 1000;
    }
}

void source_forget (source_t *self) {
    while (self->known) {
        partition_t *partition = self->known;
        self->lost += partition->end - partition->start;
        unlink_known (self, &self->known);
        partition_free (partition);
    }
}
