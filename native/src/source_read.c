/* source_read.c: where the bytes come from: sockets by epoll, chunks by mail; files are in source_files.c. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "forks.h"
#include "lane.h"

#define WATCH_AGAIN_NS 1000000000
enum { ACCEPTS_PER_TURN = 64, RETRY_FIRST_MS = 100, RETRY_MAX_MS = 10000, DATAGRAM_MAX = 65536 };

static lane_t *lane_of (const source_t *self) { return self->flow->lane; }

void source_complain (source_t *self, const char *what, const char *name, int error) {
    lane_log (lane_of (self), 30, "source %.*s: %s %s: %s", (int) self->name_size, self->name, what, name,
              strerror (error));
}

void source_end (source_t *self) {
    if (self->ended)
        return;
    capture_t *capture = capture_of (self->flow);
    if (unlikely (capture))
        capture_switch (capture, CAPTURED_SOURCE_END, self->index, true);
    self->ended = true;
    source_refresh (self);
    flow_advance (self->flow);
    self->flow->dirty = true;
}

/* The partition brings nothing more: what is left in its buffer is processed, then it goes. */
void partition_end (partition_t *self) {
    source_t *source = self->source;
    lane_t *lane = lane_of (source);
    capture_t *capture = capture_of (source->flow);
    if (unlikely (capture))
        capture_partition (capture, CAPTURED_PARTITION_END, self);
    lane->received = clock_ticks();
    if (self->data || partition_room (self, 1))
        partition_process (self, true);
    self->ended = true;
    if (self->max_time_us > source->left_time_us)
        source->left_time_us = self->max_time_us;
    partition_retire (self);
    source_refresh (source);
    if (source->watermark_us >= source->flow->due || !source->counts)
        flow_advance (source->flow);
    bool single = source->kind == SOURCE_STREAM || source->kind == SOURCE_FILES;
    if (single && !source->partitions && source->bounded)
        source_end (source);
    lane_flush (lane);
}

/* ---- sockets ---- */

static void name_peer (const struct sockaddr_storage *address, char *out, size_t size) {
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *) address;
        inet_ntop (AF_INET6, &six->sin6_addr, host, sizeof host);
        snprintf (out, size, "[%s]:%u", host, ntohs (six->sin6_port));
    } else {
        const struct sockaddr_in *four = (const struct sockaddr_in *) address;
        inet_ntop (AF_INET, &four->sin_addr, host, sizeof host);
        snprintf (out, size, "%s:%u", host, ntohs (four->sin_port));
    }
}

/* A connection is a partition of its own (S5), named by its peer. */
static bool add_connection (source_t *self, int fd, const struct sockaddr_storage *address) {
    char peer[64];
    name_peer (address, peer, sizeof peer);
    partition_t *partition = partition_new (self, peer, (uint32_t) strlen (peer), fd);
    if (!partition) {
        source_complain (self, "cannot take the connection of", peer, EMFILE);
        close (fd);
        return false;
    }
    snprintf (partition->peer, sizeof partition->peer, "%s", peer);
    if (!self->paused && !lane_watch (lane_of (self), fd, partition, WATCH_PARTITION, EPOLLIN)) {
        source_complain (self, "cannot wait for", peer, errno);
        self->refused++;
        partition_drop (partition);
        return false;
    }
    self->accepted++;
    return true;
}

static void retry_later (source_t *self) {
    uint32_t shift = self->retry_count < 7 ? self->retry_count : 7;
    int64_t wait_ms = (int64_t) RETRY_FIRST_MS << shift;
    if (wait_ms > RETRY_MAX_MS)
        wait_ms = RETRY_MAX_MS;
    wait_ms += (int64_t) (clock_ticks() % (uint64_t) (wait_ms / 4 + 1)); /* jitter */
    self->connect_state = CONNECT_WAITING;
    self->retry_ns = lane_of (self)->now_ns + wait_ms * 1000000;
    self->retry_count++;
}

void source_accept (source_t *self) {
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage address = {0};
        socklen_t size = sizeof address;
        int fd = accept4 (self->fd, (struct sockaddr *) &address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
                if (!self->retry_count)
                    source_complain (self, "cannot accept on", "its listener", errno);
                /* Out of descriptors: leave the listener alone until a connection has gone, or for a while, for
                 * it may be others that have them. */
                lane_unwatch (lane_of (self), self->fd);
                self->watched = false;
                retry_later (self);
            }
            return;
        }
        self->retry_count = 0;
        add_connection (self, fd, &address);
    }
}

static void listen_again (source_t *self) {
    if (self->kind == SOURCE_LISTEN && !self->watched && !self->paused && self->fd >= 0)
        self->watched = lane_watch (lane_of (self), self->fd, self, WATCH_LISTENER, EPOLLIN);
}

void source_address (source_t *self, const char *address, size_t size) {
    struct sockaddr_storage storage = {0};
    if (self->connect_state != CONNECT_RESOLVING)
        return;
    if (!size || size > sizeof storage) {
        retry_later (self);
        return;
    }
    memcpy (&storage, address, size);
    int fd = socket (storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || (connect (fd, (struct sockaddr *) &storage, (socklen_t) size) && errno != EINPROGRESS)) {
        if (fd >= 0)
            close (fd);
        retry_later (self);
        return;
    }
    if (add_connection (self, fd, &storage))
        self->connect_state = CONNECT_OPENING;
    else
        retry_later (self);
}

/* The connection of a connecting source has gone: try again, later each time until one brings something. */
static void connection_lost (partition_t *self, int error) {
    source_t *source = self->source;
    if (source->kind != SOURCE_CONNECT)
        return;
    if (error && source->connect_state == CONNECT_OPEN)
        source_complain (source, "lost", self->peer, error);
    retry_later (source);
}

void partition_failed (partition_t *self, int error) {
    source_t *source = self->source;
    connection_lost (self, error);
    partition_end (self);
    listen_again (source);
}

static void heard (partition_t *self) {
    self->heard_ns = lane_of (self->source)->now_ns;
    if (self->source->kind == SOURCE_CONNECT && self->source->connect_state != CONNECT_OPEN) {
        self->source->connect_state = CONNECT_OPEN;
        self->source->retry_count = 0;
    }
}

/* 4 KiB when quiet; twice as much each time a read comes back full, half of it when it comes back almost empty. */
static void learn_size (partition_t *self, size_t count, size_t room) {
    if (count == room && self->read_size < READ_MAX)
        self->read_size *= 2;
    else if (count < self->read_size / 8 && self->read_size > READ_MIN)
        self->read_size /= 2;
}

static void add (partition_t *self, size_t count, bool whole) {
    lane_of (self->source)->received = clock_ticks();
    self->end += count;
    self->source->bytes += count;
    self->source->flow->unmeasured += count;
    heard (self);
    capture_t *capture = capture_of (self->source->flow);
    if (unlikely (capture))
        capture_bytes (capture, self, count, whole);
}

void partition_got (partition_t *self, size_t count) {
    lane_t *lane = lane_of (self->source);
    add (self, count, false);
    partition_process (self, false);
    lane_flush (lane);
}

void partition_got_whole (partition_t *self, size_t count) {
    add (self, count, true);
    partition_process (self, true);
}

static void read_datagrams (partition_t *self) {
    lane_t *lane = lane_of (self->source);
    for (int i = 0; i < DATAGRAMS_PER_TURN; i++) {
        if (!partition_room (self, DATAGRAM_MAX))
            return;
        ssize_t count = recv (self->fd, self->data + self->end, DATAGRAM_MAX, MSG_DONTWAIT);
        if (count < 0)
            break;
        /* A datagram is whole: its last line needs no newline, and nothing of it waits for the next. */
        partition_got_whole (self, (size_t) count);
    }
    lane_flush (lane);
}

void partition_read (partition_t *self) {
    /* A sink may have become full since epoll named this socket: it stays as it is. */
    if (self->source->paused)
        return;
    if (self->source->kind == SOURCE_DATAGRAM) {
        read_datagrams (self);
        return;
    }
    size_t room = self->read_size;
    if (!partition_room (self, room)) {
        partition_failed (self, ENOMEM);
        return;
    }
    if (room == READ_MIN) /* it has been quiet */
        partition_prepare (self);
    ssize_t count = read (self->fd, self->data + self->end, room);
    if (count > 0) {
        learn_size (self, (size_t) count, room);
        partition_got (self, (size_t) count);
        if (self->ended)
            partition_failed (self, 0);
    } else if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
        partition_failed (self, count ? errno : 0);
    }
}

/* ---- chunks of sources written in Python ---- */

static bool set_position (partition_t *self, const char *position, size_t size) {
    if (size > self->position_capacity) {
        char *larger = realloc (self->position, size);
        if (!larger)
            return false;
        self->position = larger;
        self->position_capacity = (uint32_t) size;
    }
    if (size)
        memcpy (self->position, position, size);
    self->position_size = (uint32_t) size;
    return true;
}

/* A chunk is missing: whatever came behind it would make its position pass for read. */
static void run_short (source_t *self, const char *name, uint32_t size) {
    lane_log (lane_of (self), 40, "source %.*s: not enough memory for a chunk of %.*s", (int) self->name_size,
              self->name, (int) size, name);
    lane_of (self)->is_short = true;
}

void source_chunk (source_t *self, const letter_t *letter) {
    const char *name = letter->bytes + letter->size;
    if (unlikely (self->ended && lane_of (self)->stopping)) {
        self->refused++; /* its windows are closed already: this, and its position, is the next run's */
        return;
    }
    if (unlikely (lane_of (self)->is_short))
        return; /* nothing behind a chunk that is missing */
    if (unlikely (self->ended && self->resumed))
        source_revive (self);
    uint32_t name_size = (uint32_t) letter->partition_size;
    partition_t *partition = partition_find (self, name, name_size);
    if (!partition && !(partition = partition_resume (self, name, name_size)))
        partition = partition_new (self, name, name_size, -1);
    if (!partition && self->partition_count + self->known_count >= PARTITIONS_MAX) {
        source_complain (self, "cannot take a chunk of", "a new partition", ENFILE);
        return; /* counted where it was refused */
    }
    if (!partition || !partition_room (partition, letter->size)) {
        run_short (self, name, name_size);
        return;
    }
    memcpy (partition->data + partition->end, letter->bytes, letter->size);
    partition_got (partition, letter->size);
    if (!set_position (partition, name + letter->partition_size, letter->position_size))
        run_short (self, name, name_size);
    if (partition->ended)
        partition_end (partition);
}

void source_end_chunks (source_t *self) {
    while (self->partitions)
        partition_end (self->partitions);
    source_end (self);
}

/* ---- starting, pausing, stopping ---- */

/* One partition on a descriptor that was opened for us. A regular file cannot be waited for: it is read in turns. */
static bool start_single (source_t *self, const char *name) {
    partition_t *partition = partition_new (self, name, (uint32_t) strlen (name), self->fd);
    if (!partition)
        return false;
    self->fd = -1;
    self->watched = lane_watch (lane_of (self), partition->fd, partition, WATCH_PARTITION, EPOLLIN);
    partition->ready = !self->watched;
    return true;
}

static bool start_kind (source_t *self) {
    switch (self->kind) {
    case SOURCE_LISTEN: listen_again (self); return self->watched;
    case SOURCE_CONNECT: self->connect_state = CONNECT_WAITING; return true;
    case SOURCE_DATAGRAM: return start_single (self, "udp");
    case SOURCE_STREAM: return start_single (self, "stdin");
    case SOURCE_FILES: return source_start_files (self);
    default: return true;
    }
}

static void watch_all (source_t *self, bool on) {
    lane_t *lane = lane_of (self);
    for (partition_t *partition = self->partitions; partition; partition = partition->next) {
        if (partition->fd < 0 || source_is_read_in_turns (self))
            continue;
        if (!on) {
            lane_unwatch (lane, partition->fd);
        } else if (!lane_watch (lane, partition->fd, partition, WATCH_PARTITION, EPOLLIN)) {
            source_complain (self, "cannot wait for", partition->name, errno);
            self->watch_ns =
                lane->now_ns + WATCH_AGAIN_NS; /* the partition may be in use: it cannot go now */
        }
    }
}

/* Connections that could not be watched when they were let on again. */
static int64_t watch_again (source_t *self, int64_t now_ns) {
    if (self->paused || self->watch_ns > now_ns)
        return self->paused ? INT64_MAX : self->watch_ns;
    self->watch_ns = INT64_MAX;
    watch_all (self, true);
    return self->watch_ns;
}

bool source_start (source_t *self) {
    forks_own (self->fd);
    self->counts = self->arrival && !self->ended;
    self->watch_ns = INT64_MAX;
    if (self->counts) /* nothing that arrives from now on is older */
        self->watermark_us = lane_of (self)->now_us;
    if (!start_kind (self))
        return false;
    if (self->ended && self->partitions)
        source_revive (self);
    source_resume (self);
    return true;
}

/* The lane's turn for a source that connects: ask for its address when it is time; for one that could not accept: try
 * again. The next moment to look. */
static int64_t connect_tick (source_t *self, int64_t now_ns) {
    if (self->kind == SOURCE_LISTEN && !self->watched && !self->paused) {
        if (now_ns < self->retry_ns)
            return self->retry_ns;
        listen_again (self);
        return INT64_MAX;
    }
    if (self->kind != SOURCE_CONNECT || self->ended || self->connect_state != CONNECT_WAITING ||
        self->stopped)
        return INT64_MAX;
    if (now_ns < self->retry_ns)
        return self->retry_ns;
    self->connect_state = CONNECT_RESOLVING;
    if (posts_send (&lane_of (self)->posts, POST_RESOLVE, self->flow->index, self->index | 0x80000000u, 0,
                    NULL, 0))
        return INT64_MAX;
    retry_later (self);
    return self->retry_ns;
}

int64_t source_connect_tick (source_t *self, int64_t now_ns) {
    int64_t next_ns = connect_tick (self, now_ns), watch_ns = watch_again (self, now_ns);
    return next_ns < watch_ns ? next_ns : watch_ns;
}

void source_pause (source_t *self, bool paused) {
    if (self->paused == paused || self->stopped)
        return;
    self->paused = paused;
    capture_t *capture = capture_of (self->flow);
    if (unlikely (capture))
        capture_switch (capture, CAPTURED_PAUSE, self->index, paused);
    if (self->kind == SOURCE_LISTEN || self->kind == SOURCE_CONNECT || self->watched)
        watch_all (self, !paused);
    if (!paused) {
        source_unpaused (self, lane_of (self)->now_ns);
        listen_again (self);
        lane_of (self)->more = true; /* files and chunks that wait are looked at in the next turn, at once */
    }
}

void source_stop (source_t *self) {
    if (self->stopped)
        return;
    source_pause (self, true);
    self->stopped = true;
    if (self->kind == SOURCE_LISTEN || self->kind == SOURCE_CONNECT || self->watched)
        watch_all (self, false);
    if (self->fd >= 0) {
        lane_unwatch (lane_of (self), self->fd);
        forks_close (self->fd);
        self->fd = -1;
    }
}
