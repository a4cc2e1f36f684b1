/* unfinished.c: what a flow's partitions hold of messages that have not come whole. Only reading ends them, so nobody
 * may stop reading because of them: they do not count in settings.memory, and have a bound of their own. Beyond it
 * files that are being read go back to where their message begins, and lose nothing; of the others, those that have
 * held the most bytes for the longest time are set aside, as if they were too long: many peers that begin messages and
 * leave them lose theirs, and one that is just sending keeps its own, however large. */
#include <errno.h>
#include <unistd.h>

#include "capture.h"
#include "lane.h"

/* Of settings.memory; and so many of the largest messages, so that one partition alone never loses one. Less than
 * HELD_MIN is no message to set aside: a delimiter may be as long. */
enum { UNFINISHED_SHARE = 8, UNFINISHED_FRAMES = 2, HELD_MIN = 16 };

/* A source of one partition holds one message at most. */
static bool has_many (const source_t *source) {
    return source->kind == SOURCE_LISTEN || source->kind == SOURCE_FILES || source->kind == SOURCE_CHUNKS;
}

uint64_t partition_unfinished (const partition_t *self) {
    return has_many (self->source) ? self->end - self->start : 0;
}

static uint64_t bound (const flow_t *self) {
    uint64_t bytes = self->memory_limit / UNFINISHED_SHARE;
    for (uint32_t i = 0; i < self->source_count; i++) {
        uint64_t needed = UNFINISHED_FRAMES * (uint64_t) self->sources[i].framer.max_bytes;
        if (has_many (&self->sources[i]) && needed > bytes)
            bytes = needed;
    }
    return bytes;
}

static uint64_t total (const flow_t *self) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < self->source_count; i++)
        for (const partition_t *part = self->sources[i].partitions; part; part = part->next)
            bytes += partition_unfinished (part);
    return bytes;
}

void partition_waits (partition_t *self) {
    uint64_t position = self->base + self->start;
    if (self->start == self->end || position == self->waiting_at)
        return;
    self->waiting_at = position;
    self->waiting_ns = self->source->flow->lane->now_ns;
}

/* ---- files that are being read ---- */

static bool is_being_read (const partition_t *self) {
    return self->source->kind == SOURCE_FILES && self->ready && partition_unfinished (self) &&
           !self->frame.skipping;
}

void partition_put_back (partition_t *self) {
    capture_t *capture = capture_of (self->source->flow);
    self->base += self->start;
    self->start = self->end = 0;
    self->frame.scanned = 0;
    if (unlikely (capture))
        capture_unfinished (capture, self, true);
}

static void read_again (partition_t *self) {
    if (lseek (self->fd, (off_t) (self->base + self->start), SEEK_SET) < 0)
        return;
    partition_put_back (self);
    partition_spare (self);
    self->source->put_back++;
}

/* All but the one that has come furthest: that one ends, and then the next has. */
static void put_back_files (flow_t *self) {
    const partition_t *furthest = NULL;
    for (uint32_t i = 0; i < self->source_count; i++)
        for (const partition_t *part = self->sources[i].partitions; part; part = part->next)
            if (is_being_read (part) &&
                (!furthest || partition_unfinished (part) > partition_unfinished (furthest)))
                furthest = part;
    if (!furthest)
        return;
    for (uint32_t i = 0; i < self->source_count; i++)
        for (partition_t *part = self->sources[i].partitions; part; part = part->next)
            if (part != furthest && is_being_read (part))
                read_again (part);
}

/* ---- the others ---- */

/* Bytes times milliseconds; 0: there is nothing to set aside. */
static uint64_t weight (const partition_t *self) {
    uint64_t held = partition_unfinished (self);
    if (held < HELD_MIN || self->frame.skipping || is_being_read (self))
        return 0;
    int64_t age_ms = (self->source->flow->lane->now_ns - self->waiting_ns) / 1000000;
    return held * (age_ms > 0 ? (uint64_t) age_ms + 1 : 1);
}

static uint64_t heaviest (const flow_t *self) {
    uint64_t found = 0;
    for (uint32_t i = 0; i < self->source_count; i++)
        for (const partition_t *part = self->sources[i].partitions; part; part = part->next)
            if (weight (part) > found)
                found = weight (part);
    return found;
}

static void say (flow_t *self, const partition_t *partition, uint64_t limit) {
    lane_t *lane = self->lane;
    if (lane->now_ns < self->unfinished_say_ns)
        return;
    self->unfinished_say_ns = lane->now_ns + MEMORY_SAY_EVERY_NS;
    lane_log (
        lane, 30,
        "source %.*s: unfinished: messages that have not come whole hold more than %llu bytes; those that "
        "have held the most for the longest are set aside, the first one of %.*s",
        (int) partition->source->name_size, partition->source->name, (unsigned long long) limit,
        (int) partition->name_size, partition->name);
}

/* Half as heavy or more, in one go: there are few rounds, however many there are. */
static uint64_t set_aside (flow_t *self, uint64_t held, uint64_t limit) {
    uint64_t least = heaviest (self) / 2;
    for (uint32_t i = 0; i < self->source_count; i++)
        for (partition_t *part = self->sources[i].partitions; part && held > limit; part = part->next) {
            uint64_t before = partition_unfinished (part);
            if (!weight (part) || weight (part) < least)
                continue;
            say (self, part, limit);
            partition_give_up (part);
            partition_spare (part);
            held -= before - partition_unfinished (part);
        }
    return held;
}

void flow_bound_unfinished (flow_t *self) {
    uint64_t held = total (self), limit = bound (self);
    if (self->memory_limit && held > limit && !self->lane->replaying) {
        put_back_files (self);
        held = total (self);
        while (held > limit && heaviest (self))
            held = set_aside (self, held, limit);
    }
    __atomic_store_n (&self->unfinished_bytes, held, __ATOMIC_RELAXED);
}
