/* sink.c: see sink.h. Nothing here blocks: what does not fit now waits, and pushes back. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "forks.h"
#include "lane.h"
#include "pack.h"

static lane_t *lane_of (const sink_t *self) { return self->flow->lane; }
static size_t waiting (const sink_t *self) { return self->out.size - self->sent; }

static void complain (sink_t *self, uint32_t level, const char *what, int error) {
    lane_log (lane_of (self), level, "sink %.*s: %s: %s", (int) self->name_size, self->name, what,
              strerror (error));
}

void sink_start (sink_t *self) {
    struct stat status;
    self->regular = self->fd >= 0 && fstat (self->fd, &status) == 0 && S_ISREG (status.st_mode);
}

/* ---- writing results ---- */

static bool encode (sink_t *self, const layout_t *layout, fault_t *fault) {
    if (!self->framed)
        return encoder_write (self->encoder, layout, self->flow->row, &self->started, &self->out, &self->nans,
                              fault);
    self->record.size = 0;
    if (!encoder_write (self->encoder, layout, self->flow->row, &self->started, &self->record, &self->nans,
                        fault))
        return false;
    value_t whole = {.p = self->record.data, .size = (uint32_t) self->record.size, .tag = TAG_BYTES};
    return pack_write (&self->out, &whole) || fault_set (fault, REASON_LIMIT, "the sink's queue is full");
}

static bool keeps_sizes (const sink_t *self) {
    return self->kind == SINK_CONNECT || self->kind == SINK_STREAM;
}

static bool is_full (const sink_t *self) { return self->spool_full || self->out.size > SINK_HELD_HIGH_BYTES; }

static void push_back (sink_t *self) {
    if (self->kind == SINK_SPOOL) {
        if (self->out.size > SINK_HELD_CUT_BYTES)
            lane_of (self)->cut_wanted = true;
        self->full = !self->drop_newest && is_full (self);
        return;
    }
    size_t bytes = waiting (self);
    size_t cut = self->frozen > self->released ? self->frozen : self->released;
    if (!self->immediate && self->out.size - cut > SINK_HELD_CUT_BYTES)
        lane_of (self)->cut_wanted = true;
    self->full = bytes > (self->immediate ? SINK_HIGH_BYTES : SINK_HELD_HIGH_BYTES);
}

/* Where a record ends, for a new connection, or the next run, to begin with a whole one; or its shard. */
static bool note_record (sink_t *self, size_t before) {
    uint32_t size = (uint32_t) (self->out.size - before);
    bool good = self->kind == SINK_SPOOL
                    ? !self->numbered || buffer_put_byte (&self->shards, (char) self->flow->shard)
                    : buffer_put (&self->sizes, &size, sizeof size);
    if (likely (good)) {
        self->held++;
        return true;
    }
    self->out.size = before;
    self->errors++;
    fault_set (&self->flow->fault, REASON_LIMIT, "the sink's queue is full");
    flow_error (self->flow, NULL, NULL);
    return false;
}

void sink_write (sink_t *self, const layout_t *layout) {
    size_t before = self->out.size;
    if (unlikely (self->drop_newest) && is_full (self)) {
        self->refused++;
        return;
    }
    if (unlikely (!encode (self, layout, &self->flow->fault))) {
        self->errors++;
        flow_error (self->flow, NULL, layout);
        return;
    }
    if ((self->kind == SINK_SPOOL || keeps_sizes (self)) && unlikely (!note_record (self, before)))
        return;
    self->records++;
    self->bytes += self->out.size - before;
    self->dirty = true;
    if (self->immediate)
        self->released = self->out.size;
}

/* How much is sent of which nothing will be sent again: a new connection gets the whole of a record cut in two, and
 * what a sink written in Python has not taken may come back to us. */
size_t sink_gone (sink_t *self) {
    if (self->kind == SINK_RECORDS)
        return self->taken;
    if (!keeps_sizes (self))
        return self->sent;
    uint32_t size;
    while (self->whole < self->sent) {
        memcpy (&size, self->sizes.data + self->sizes_next, sizeof size);
        if (self->whole + size > self->sent)
            break;
        self->whole += size;
        self->sizes_next += sizeof size;
    }
    return self->whole;
}

static void drop_front (buffer_t *buffer, size_t count) {
    memmove (buffer->data, buffer->data + count, buffer->size - count);
    buffer->size -= count;
}

/* Sent bytes are let go; all of them when nothing waits, else when they are the larger half. */
static void compact (sink_t *self) {
    size_t count = sink_gone (self);
    if (!count || (count < self->out.size && count * 2 < self->out.size))
        return;
    drop_front (&self->out, count);
    self->sent -= count;
    self->released -= count;
    self->frozen = self->frozen > count ? self->frozen - count : 0;
    self->taken -= self->kind == SINK_RECORDS ? count : 0;
    if (keeps_sizes (self)) {
        drop_front (&self->sizes, self->sizes_next);
        self->whole = self->sizes_next = 0;
    }
}

/* ---- the ways out ---- */

static void fail (sink_t *self, int error) {
    if (self->failed)
        return;
    self->failed = true;
    complain (self, 40, "cannot write any more, its results are dropped", error);
}

static void send_file (sink_t *self) {
    while (self->sent < self->released) {
        ssize_t count =
            pwrite (self->fd, self->out.data + self->sent, self->released - self->sent, (off_t) self->offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0) {
            /* A full disk is a state, not an end: the results wait, the sources are pushed back, we try again. */
            if (!self->failed)
                complain (self, 40, "cannot write, trying again", errno);
            self->failed = true;
            self->retry_ns = lane_of (self)->now_ns + 1000000000;
            return;
        }
        if (self->failed)
            lane_log (lane_of (self), 20, "sink %.*s: writes again", (int) self->name_size, self->name);
        self->failed = false;
        self->sent += (size_t) count;
        self->offset += (uint64_t) count;
    }
}

static void want_writable (sink_t *self, bool on) {
    if (self->watching == on)
        return;
    self->watching = on;
    if (on)
        lane_watch (lane_of (self), self->fd, self, WATCH_SINK, EPOLLOUT);
    else
        lane_unwatch (lane_of (self), self->fd);
}

/* A descriptor that could not be opened anew is shared, with a shell perhaps, and stays blocking: where poll says
 * writable, a pipe or a terminal takes PIPE_BUF bytes without blocking. */
static size_t stream_room (const sink_t *self) {
    struct pollfd poll_fd = {.fd = self->fd, .events = POLLOUT};
    size_t count = self->released - self->sent;
    if (self->regular)
        return count;
    if (poll (&poll_fd, 1, 0) != 1)
        return 0;
    return count < PIPE_BUF ? count : PIPE_BUF;
}

static void send_stream (sink_t *self) {
    while (self->sent < self->released) {
        size_t count = stream_room (self);
        ssize_t written = count ? write (self->fd, self->out.data + self->sent, count) : -1;
        if (written < 0 && count && errno == EINTR)
            continue;
        if (!count || (written < 0 && errno == EAGAIN)) {
            want_writable (self, true);
            return;
        }
        if (written < 0) {
            fail (self, errno);
            self->sent = self->released; /* a reader that has gone does not come back */
            self->refused++;
            return;
        }
        self->sent += (size_t) written;
    }
    want_writable (self, false);
}

static void reconnect_later (sink_t *self) {
    uint32_t shift = self->retry_count < 7 ? self->retry_count : 7;
    int64_t wait_ms = (int64_t) SINK_RETRY_FIRST_MS << shift;
    if (wait_ms > SINK_RETRY_MAX_MS)
        wait_ms = SINK_RETRY_MAX_MS;
    wait_ms += (int64_t) (clock_ticks() % (uint64_t) (wait_ms / 4 + 1)); /* jitter */
    self->retry_count++;
    self->state = CONNECT_WAITING;
    self->retry_ns = lane_of (self)->now_ns + wait_ms * 1000000;
}

static void disconnect (sink_t *self, int error) {
    if (self->fd >= 0) {
        want_writable (self, false);
        forks_close (self->fd);
        self->fd = -1;
    }
    self->sent = sink_gone (self);
    if (!self->failed)
        complain (self, 30, "no connection, trying again", error);
    self->failed = true;
    reconnect_later (self);
}

static void send_socket (sink_t *self) {
    if (self->state != CONNECT_OPEN)
        return;
    while (self->sent < self->released) {
        ssize_t count = send (self->fd, self->out.data + self->sent, self->released - self->sent,
                              MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno == EAGAIN) {
            want_writable (self, true);
            return;
        }
        if (count < 0) {
            disconnect (self, errno);
            return;
        }
        self->sent += (size_t) count;
    }
    want_writable (self, false);
}

/* The next record kept as a packed bin; its end, or NULL. */
static const char *next_record (const sink_t *self, size_t from, value_t *record) {
    return from < self->released ? pack_read (self->out.data + from, self->out.data + self->released, record)
                                 : NULL;
}

static void send_datagrams (sink_t *self) {
    value_t record;
    const char *end;
    while ((end = next_record (self, self->sent, &record))) {
        ssize_t count = send (self->fd, record.p, record.size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
            self->retry_ns = lane_of (self)->now_ns + 1000000;
            return;
        }
        /* Nobody listens, or it is too large: a datagram is not sent twice. */
        self->refused += count < 0;
        self->sent = (size_t) (end - self->out.data);
    }
}

/* Records for a sink written in Python: a packed list of bins, within what may be on the way. */
static void post_records (sink_t *self) {
    value_t record;
    const char *end;
    while (self->sent < self->released && self->posted < SINK_POSTED_MAX &&
           self->taken_last - self->taken_first < SINK_POSTS_MAX) {
        size_t to = self->sent;
        uint32_t count = 0;
        while (to - self->sent < SINK_POST_MAX && (end = next_record (self, to, &record))) {
            to = (size_t) (end - self->out.data);
            count++;
        }
        buffer_t list = {0};
        if (!pack_write_list (&list, count) ||
            !buffer_put (&list, self->out.data + self->sent, to - self->sent)) {
            buffer_free (&list);
            return;
        }
        size_t bytes = to - self->sent;
        if (!posts_send (&lane_of (self)->posts, POST_RECORDS, self->flow->index, self->index, count,
                         list.data, list.size))
            return;
        self->posted += bytes;
        self->taken_sizes[self->taken_last++ % SINK_POSTS_MAX] = bytes;
        self->sent = to;
    }
}

void sink_flush (sink_t *self) {
    self->dirty = false;
    switch (self->kind) {
    case SINK_FILE: send_file (self); break;
    case SINK_STREAM: send_stream (self); break;
    case SINK_CONNECT: send_socket (self); break;
    case SINK_DATAGRAM: send_datagrams (self); break;
    case SINK_RECORDS: post_records (self); break;
    case SINK_BLACKHOLE: self->sent = self->released; break;
    case SINK_SPOOL: break;
    default: return; /* memory: a test takes it */
    }
    if (self->sent)
        compact (self);
    push_back (self);
}

/* ---- connecting ---- */

void sink_address (sink_t *self, const char *address, size_t size) {
    if (self->state != CONNECT_RESOLVING)
        return;
    if (!size || size > sizeof self->address) {
        disconnect (self, EHOSTUNREACH);
        return;
    }
    memcpy (&self->address, address, size);
    self->address_size = (uint32_t) size;
    self->fd = socket (self->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    forks_own (self->fd);
    if (self->fd < 0 || (connect (self->fd, (struct sockaddr *) &self->address, self->address_size) &&
                         errno != EINPROGRESS)) {
        disconnect (self, errno);
        return;
    }
    self->state = CONNECT_OPENING;
    want_writable (self, true);
}

void sink_ready (sink_t *self, uint32_t events) {
    if (self->state == CONNECT_OPENING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt (self->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            disconnect (self, error);
            return;
        }
        self->state = CONNECT_OPEN;
        self->retry_count = 0;
        self->connects++;
        if (self->failed)
            lane_log (lane_of (self), 20, "sink %.*s: connected", (int) self->name_size, self->name);
        self->failed = false;
    } else if (self->kind == SINK_CONNECT && events & (EPOLLERR | EPOLLHUP)) {
        disconnect (self, ECONNRESET);
        return;
    }
    sink_flush (self);
}

static int64_t connect_tick (sink_t *self, int64_t now_ns) {
    if (self->state == CONNECT_IDLE || (self->state == CONNECT_WAITING && now_ns >= self->retry_ns)) {
        self->state = CONNECT_RESOLVING;
        if (!posts_send (&lane_of (self)->posts, POST_RESOLVE, self->flow->index, self->index, 0, NULL, 0))
            reconnect_later (self);
    }
    return self->state == CONNECT_WAITING ? self->retry_ns : INT64_MAX;
}

int64_t sink_tick (sink_t *self, int64_t now_ns) {
    if (self->kind == SINK_CONNECT)
        return connect_tick (self, now_ns);
    if (self->sent < self->released && self->retry_ns) {
        if (now_ns < self->retry_ns)
            return self->retry_ns;
        self->retry_ns = 0;
        sink_flush (self);
    }
    return self->sent < self->released && self->retry_ns ? self->retry_ns : INT64_MAX;
}

void sink_taken (sink_t *self) {
    if (self->taken_first != self->taken_last) {
        uint64_t size = self->taken_sizes[self->taken_first++ % SINK_POSTS_MAX];
        self->posted -= size;
        self->taken += size;
    }
    self->dirty = true;
}

void sink_spool (sink_t *self, bool full) {
    capture_t *capture = capture_of (self->flow);
    if (unlikely (capture))
        capture_switch (capture, CAPTURED_SPOOL, self->index, full);
    self->spool_full = full;
    self->dirty = self->kind == SINK_SPOOL;
}

bool sink_idle (const sink_t *self) {
    if (self->kind == SINK_MEMORY)
        return true;
    return self->sent == self->out.size && !self->posted;
}

void sink_close (sink_t *self) {
    if (self->fd >= 0 && self->watching)
        lane_unwatch (lane_of (self), self->fd);
    if (self->fd >= 0)
        forks_close (self->fd);
    self->fd = -1;
    encoder_destroy (&self->encoder);
    buffer_free (&self->out);
    buffer_free (&self->record);
    buffer_free (&self->sizes);
    buffer_free (&self->shards);
}
