/* lane.c: the loop. Everything but events is mail or a timer, looked at once a turn, on one clock reading. */
#include "lane.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "forks.h"
#include "gil.h"

/* ---- processes that user code forks ---- */

void lane_after_python (void) {
    /* The child came back from the user function into a copy of the lane: it has nothing to do here. */
    if (unlikely (forks_is_child()))
        _exit (0);
}

/* ---- making and unmaking ---- */

static page_t *map_page (lane_t *self, int fd) {
    if (fd < 0)
        return &self->own_page;
    void *page = mmap (NULL, sizeof (page_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return page == MAP_FAILED ? NULL : page;
}

lane_t *lane_new (int page_fd) {
    lane_t *self = calloc (1, sizeof *self);
    if (!self)
        return NULL;
    clock_start();
    forks_watch();
    self->epoll_fd = epoll_create1 (EPOLL_CLOEXEC);
    forks_own (self->epoll_fd);
    self->page = map_page (self, page_fd);
    self->scratch = (arena_t){.base = malloc (LANE_SCRATCH_BYTES), .size = LANE_SCRATCH_BYTES};
    self->latency = histogram_new();
    self->closing = histogram_new();
    self->pause = histogram_new();
    bool good = mail_open (&self->mail);
    good = posts_open (&self->posts) && good;
    if (!good || self->epoll_fd < 0 || !self->page || !self->scratch.base || !self->latency ||
        !self->closing || !self->pause || !lane_watch (self, self->mail.fd, NULL, WATCH_MAIL, EPOLLIN)) {
        lane_destroy (&self);
        return NULL;
    }
    self->page->magic = PAGE_MAGIC;
    self->commit_every_ns = INT64_MAX;
    self->now_ns = self->mono_start_ns = clock_monotonic_ns();
    self->now_us = self->wall_us = self->wall_start_us = clock_wall_us();
    self->clock_known = clock_is_known (self->wall_us);
    return self;
}

void lane_destroy (lane_t **self_p) {
    lane_t *self = *self_p;
    if (!self)
        return;
    gil_t gil = gil_take();
    for (uint32_t i = 0; i < self->flow_count; i++)
        flow_destroy (&self->flows[i]);
    gil_drop (gil);
    if (self->page && self->page != &self->own_page)
        munmap (self->page, sizeof (page_t));
    mail_close (&self->mail);
    posts_close (&self->posts);
    forks_close (self->epoll_fd);
    histogram_destroy (&self->latency);
    histogram_destroy (&self->closing);
    histogram_destroy (&self->pause);
    capture_free (self);
    buffer_free (&self->blocks);
    buffer_free (&self->section.rows);
    free (self->scratch.base);
    free (self);
    *self_p = NULL;
}

int lane_load (lane_t *self, const char *program, size_t size, uintptr_t functions, bool once, char *message,
               size_t message_size) {
    fault_t fault = {0};
    if (self->flow_count == LANE_FLOWS_MAX) {
        snprintf (message, message_size, "more than %d flows in one worker", LANE_FLOWS_MAX);
        return -1;
    }
    gil_t gil = gil_take();
    flow_t *flow = flow_new (self, self->flow_count, program, size, (void *) functions, &fault);
    gil_drop (gil);
    if (!flow) {
        snprintf (message, message_size, "%s", fault.message);
        return -1;
    }
    self->once = once;
    if (flow->commit_every_us * 1000 < self->commit_every_ns)
        self->commit_every_ns = flow->commit_every_us * 1000;
    self->flows[self->flow_count] = flow;
    return (int) self->flow_count++;
}

/* ---- small services ---- */

void lane_log (lane_t *self, uint32_t level, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start (arguments, format);
    int size = vsnprintf (text, sizeof text, format, arguments);
    va_end (arguments);
    size = size < (int) sizeof text ? size : (int) sizeof text - 1;
    char *copy = strndup (text, (size_t) size);
    if (copy)
        posts_send (&self->posts, POST_LOG, 0, level, 0, copy, (size_t) size);
}

/* The owner is a pointer aligned to at least eight bytes: its low bits carry the tag. */
bool lane_watch (lane_t *self, int fd, void *owner, enum watch_tag tag, uint32_t events) {
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t) (uintptr_t) owner | tag};
    if (epoll_ctl (self->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0)
        return true;
    return errno == EEXIST && epoll_ctl (self->epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0;
}

void lane_unwatch (lane_t *self, int fd) { epoll_ctl (self->epoll_fd, EPOLL_CTL_DEL, fd, NULL); }

void lane_gil_take (lane_t *self) {
    self->gil_state = gil_take();
    self->gil_held = true;
    self->gil_since = clock_ticks();
    self->gil_since_ns = (uint64_t) self->now_ns + clock_ns (self->gil_since - self->turned);
}

void lane_gil_drop (lane_t *self) {
    self->gil_held = false;
    gil_drop (self->gil_state);
}

static void push_back (flow_t *flow) {
    uint64_t full = flow->memory_waits ? UINT64_MAX : 0;
    if (unlikely (flow->lane->replaying))
        return; /* its sources are paused when they were */
    for (uint32_t i = 0; i < flow->sink_count; i++)
        if (flow->sinks[i].full)
            full |= flow->sinks[i].sources;
    for (uint32_t i = 0; i < flow->source_count; i++)
        source_pause (&flow->sources[i], full >> i & 1);
}

void lane_flush (lane_t *self) {
    if (self->gil_held)
        lane_gil_rest (self, clock_ticks());
    if (unlikely (self->capture != NULL) && !self->replaying)
        capture_sinks (self);
    for (uint32_t f = 0; f < self->flow_count; f++) {
        flow_t *flow = self->flows[f];
        bool flushed = false;
        for (uint32_t i = 0; i < flow->sink_count; i++)
            if (flow->sinks[i].dirty) {
                sink_flush (&flow->sinks[i]);
                flushed = true;
            }
        bool waited = flow->memory_waits;
        if (unlikely (flow_is_unmeasured (flow)))
            flow_measure (flow);
        if (flushed || waited != flow->memory_waits)
            push_back (flow);
    }
    if (self->cut_encoding)
        lane_cut_encode (self);
    __atomic_store_n (&self->page->events, self->events, __ATOMIC_RELAXED);
}

/* ---- mail ---- */

static void read_letter (lane_t *self, const letter_t *letter) {
    if (letter->kind == LETTER_STOP) {
        self->stopping = true;
        self->closes |= letter->number != 0;
        return;
    }
    if (letter->kind == LETTER_ABORT) {
        self->aborted = true;
        return;
    }
    if (letter->kind == LETTER_CAPTURE) {
        capture_ask (self, letter->flow, letter->number);
        return;
    }
    if (letter->kind == LETTER_COMMITTED) {
        lane_cut_committed (self, letter->number);
        return;
    }
    if (letter->flow >= self->flow_count)
        return;
    flow_t *flow = self->flows[letter->flow];
    uint32_t index = letter->index & 0x7fffffffu;
    bool of_source = letter->kind == LETTER_CHUNK || letter->kind == LETTER_END || letter->index >> 31;
    if (index >= (of_source ? flow->source_count : flow->sink_count))
        return;
    if (letter->kind == LETTER_CHUNK)
        source_chunk (&flow->sources[index], letter);
    else if (letter->kind == LETTER_END)
        source_end_chunks (&flow->sources[index]);
    else if (letter->kind == LETTER_TAKEN)
        sink_taken (&flow->sinks[index]);
    else if (letter->kind == LETTER_SPOOL)
        sink_spool (&flow->sinks[index], letter->number != 0);
    else if (letter->kind == LETTER_ADDRESS && of_source)
        source_address (&flow->sources[index], letter->bytes, letter->size);
    else if (letter->kind == LETTER_ADDRESS)
        sink_address (&flow->sinks[index], letter->bytes, letter->size);
}

/* Chunks of a source that is pushed back stay in the box, which fills and pushes its thread back in turn. The end
 * must not overtake them. */
static bool waits (void *context, const letter_t *letter) {
    const lane_t *self = context;
    if ((letter->kind != LETTER_CHUNK && letter->kind != LETTER_END) || self->stopping ||
        letter->flow >= self->flow_count)
        return false;
    const flow_t *flow = self->flows[letter->flow];
    return letter->index < flow->source_count && flow->sources[letter->index].paused;
}

static void read_mail (lane_t *self) {
    if (!__atomic_load_n (&self->mail.waiting, __ATOMIC_ACQUIRE))
        return;
    letter_t *letter = mail_take (&self->mail, waits, self);
    if (unlikely (__atomic_load_n (&self->mail.lost, __ATOMIC_RELAXED)))
        self->is_short = true;
    while (letter) {
        letter_t *next = letter->next;
        read_letter (self, letter);
        free (letter);
        letter = next;
    }
}

/* ---- the tick ---- */

/* Now and then, whether the box knows the time: a boot in 1970 makes nobody's records come from the future. */
static void look_at_clock (lane_t *self) {
    if (self->now_ns < self->known_at_ns)
        return;
    self->known_at_ns = self->now_ns + CLOCK_KNOWN_EVERY_NS;
    bool known = clock_is_known (self->wall_us);
    if (known != self->clock_known)
        lane_log (self, 20,
                  known ? "the clock is set" : "the clock is not set: no record is too far ahead of it");
    self->clock_known = known;
}

static void update_clock (lane_t *self) {
    if (self->clock_given)
        return;
    self->now_ns = clock_monotonic_ns();
    self->wall_us = clock_wall_us();
    self->now_us = self->wall_start_us + self->ahead_us + (self->now_ns - self->mono_start_ns) / 1000;
    look_at_clock (self);
}

static void read_clock (lane_t *self) {
    update_clock (self);
    self->received = self->turned = clock_ticks();
    __atomic_store_n (&self->page->ticks, self->page->ticks + 1, __ATOMIC_RELAXED);
    histogram_turn (self->latency, self->now_ns);
    histogram_turn (self->closing, self->now_ns);
    histogram_turn (self->pause, self->now_ns);
}

void lane_set_clock (lane_t *self, int64_t monotonic_ns, int64_t wall_us) {
    self->clock_given = self->clock_known = true;
    self->now_ns = monotonic_ns;
    self->wall_us = wall_us;
    self->now_us = wall_us + self->ahead_us;
}

static int64_t earlier (int64_t a, int64_t b) { return a < b ? a : b; }

/* Time of arrival has come to now before what arrives now is looked at (S16). */
static void advance_arrival (lane_t *self) {
    for (uint32_t f = 0; f < self->flow_count; f++) {
        flow_t *flow = self->flows[f];
        for (uint32_t i = 0; i < flow->source_count; i++) {
            source_t *source = &flow->sources[i];
            if (!source->arrival)
                continue;
            source_tick (source, self->now_ns, self->now_us);
            if (source->watermark_us >= flow->due)
                flow_advance (flow);
        }
        flow_advance_arrival (flow, self->now_us);
    }
}

static void forget_ids (flow_t *flow, int64_t now_us) {
    for (uint32_t i = 0; i < flow->op_count; i++)
        if (flow->ops[i].seen && seen_forget (flow->ops[i].seen, now_us, SEEN_FORGET_TURN))
            flow->dirty = true;
}

static int64_t tick_flow (lane_t *self, flow_t *flow) {
    int64_t next = INT64_MAX;
    for (uint32_t i = 0; i < flow->source_count; i++) {
        int64_t before = flow->sources[i].watermark_us;
        bool counted = flow->sources[i].counts;
        next = earlier (next, source_tick (&flow->sources[i], self->now_ns, self->now_us));
        if (!self->stopping)
            next = earlier (next, source_connect_tick (&flow->sources[i], self->now_ns));
        next = earlier (next, source_files_tick (&flow->sources[i], self->now_ns));
        /* One that is left out as idle may have been the last to hold the others back. */
        if (flow->sources[i].counts != counted ||
            (flow->sources[i].watermark_us > before && flow->sources[i].watermark_us >= flow->due))
            flow_advance (flow);
    }
    if (flow->remembers)
        forget_ids (flow, self->now_us);
    int64_t arrival = flow_advance_arrival (flow, self->now_us);
    if (arrival != INT64_MAX)
        next = earlier (next, arrival > self->now_us ? moment_after (self->now_ns, self->now_us, arrival)
                                                     : self->now_ns);
    for (uint32_t i = 0; i < flow->source_count; i++)
        next = earlier (next, source_due (&flow->sources[i], self->now_ns));
    for (uint32_t i = 0; i < flow->sink_count; i++)
        next = earlier (next, sink_tick (&flow->sinks[i], self->now_ns));
    push_back (flow);
    return next;
}

static bool is_dirty (const lane_t *self) {
    for (uint32_t f = 0; f < self->flow_count; f++)
        if (self->flows[f]->dirty)
            return true;
    return false;
}

static int64_t tick_cut (lane_t *self) {
    if (self->cut_in_flight || self->replaying || (!is_dirty (self) && !self->cut_wanted))
        return INT64_MAX;
    if (self->cut_wanted || self->now_ns >= self->cut_at_ns) {
        if (!lane_cut_freeze (self))
            return self->cut_retry_ns;
        self->cut_at_ns = self->now_ns + self->commit_every_ns;
        return INT64_MAX;
    }
    return self->cut_at_ns;
}

static void measure (lane_t *self) {
    for (uint32_t f = 0; f < self->flow_count; f++)
        flow_measure (self->flows[f]);
    self->measure_ns = self->now_ns + MEASURE_EVERY_NS;
}

static bool is_waiting (const lane_t *self) {
    for (uint32_t f = 0; f < self->flow_count; f++)
        if (self->flows[f]->memory_waits)
            return true;
    return false;
}

/* Timers; the next moment at which one is due. */
static int64_t tick (lane_t *self) {
    int64_t next = INT64_MAX;
    if (self->clock_given || self->now_ns >= self->measure_ns || is_waiting (self))
        measure (self);
    if (unlikely (self->capture != NULL))
        capture_timers (self);
    for (uint32_t f = 0; f < self->flow_count; f++)
        next = earlier (next, tick_flow (self, self->flows[f]));
    next = earlier (next, tick_cut (self));
    lane_flush (self);
    return next;
}

void lane_arrive (lane_t *self) {
    if (unlikely (self->capture != NULL))
        capture_tick (self);
    advance_arrival (self);
}

void lane_timers (lane_t *self) { tick (self); }

/* ---- ending ---- */

static bool has_ended (const lane_t *self) {
    for (uint32_t f = 0; f < self->flow_count; f++)
        for (uint32_t i = 0; i < self->flows[f]->source_count; i++)
            if (!self->flows[f]->sources[i].ended)
                return false;
    return true;
}

static bool has_stopped (const lane_t *self) {
    for (uint32_t f = 0; f < self->flow_count; f++)
        if (self->flows[f]->stopped)
            return true;
    return false;
}

static bool is_delivered (const lane_t *self) {
    for (uint32_t f = 0; f < self->flow_count; f++)
        for (uint32_t i = 0; i < self->flows[f]->sink_count; i++)
            if (!sink_idle (&self->flows[f]->sinks[i]))
                return false;
    return true;
}

/* Everything open is closed, as at the end of a bounded input. */
static void close_sources (lane_t *self) {
    self->closes = false;
    for (uint32_t f = 0; f < self->flow_count; f++)
        for (uint32_t i = 0; i < self->flows[f]->source_count; i++)
            source_end_chunks (&self->flows[f]->sources[i]);
    lane_flush (self);
}

static void stop_sources (lane_t *self) {
    for (uint32_t f = 0; f < self->flow_count; f++)
        for (uint32_t i = 0; i < self->flows[f]->source_count; i++)
            source_stop (&self->flows[f]->sources[i]);
    if (self->closes)
        close_sources (self);
    if (!self->stop_by_ns)
        self->stop_by_ns = self->now_ns + STOP_WAIT_NS;
}

/* The last cut says that a sink has not taken everything. */
static bool has_pended (const lane_t *self) {
    for (uint32_t f = 0; f < self->flow_count; f++)
        for (uint32_t i = 0; i < self->flows[f]->sink_count; i++)
            if (self->flows[f]->sinks[i].pended)
                return true;
    return false;
}

/* A last cut, then wait until everything is delivered; one more says so, or the next run would send it again. */
static bool is_finished (lane_t *self) {
    if (self->cut_in_flight)
        return false;
    if (is_dirty (self) || self->cut_wanted) {
        lane_cut_freeze (self);
        return false;
    }
    if (!is_delivered (self))
        return false;
    if (!has_pended (self))
        return true;
    lane_cut_freeze (self);
    return false;
}

static enum lane_end ending (lane_t *self) {
    bool failed = has_stopped (self);
    if (self->aborted)
        return LANE_STOPPED;
    if (self->is_short)
        return LANE_SHORT;
    if (self->stopping || failed) {
        stop_sources (self);
        /* Without a store nothing keeps what a sink does not take: wait, but not for ever. */
        if (is_finished (self) || self->now_ns >= self->stop_by_ns)
            return failed ? LANE_FAILED : LANE_STOPPED;
        return LANE_RUNNING;
    }
    return self->once && has_ended (self) && is_finished (self) ? LANE_ENDED : LANE_RUNNING;
}

/* ---- the turn ---- */

static void handle (lane_t *self, const struct epoll_event *event) {
    enum watch_tag tag = (enum watch_tag) (event->data.u64 & 7);
    void *owner = (void *) (uintptr_t) (event->data.u64 & ~(uint64_t) 7);
    (void) self;
    switch (tag) {
    case WATCH_LISTENER: source_accept (owner); break;
    case WATCH_PARTITION: partition_read (owner); break;
    case WATCH_FOLLOW: source_changed (owner); break;
    case WATCH_SINK: sink_ready (owner, event->events); break;
    default: break; /* mail: read at the start of each turn */
    }
}

static bool read_files (lane_t *self) {
    bool more = false;
    for (uint32_t f = 0; f < self->flow_count; f++)
        for (uint32_t i = 0; i < self->flows[f]->source_count; i++)
            more = source_turn (&self->flows[f]->sources[i]) || more;
    return more;
}

static int timeout_ms (const lane_t *self, int64_t next_ns, bool more) {
    if (more || self->clock_given)
        return 0;
    if (next_ns == INT64_MAX)
        return TURN_WAIT_MS_MAX;
    int64_t wait_ns = next_ns - clock_monotonic_ns();
    if (wait_ns <= 0)
        return 0;
    int64_t wait_ms = (wait_ns + 999999) / 1000000;
    return wait_ms < TURN_WAIT_MS_MAX ? (int) wait_ms : TURN_WAIT_MS_MAX;
}

int lane_turn (lane_t *self) {
    struct epoll_event events[LANE_EVENTS_MAX];
    int timeout = timeout_ms (self, self->next_ns, self->more || self->cut_encoding);
    __atomic_store_n (&self->page->waiting, timeout != 0, __ATOMIC_RELAXED);
    int count = epoll_wait (self->epoll_fd, events, LANE_EVENTS_MAX, timeout);
    __atomic_store_n (&self->page->waiting, 0, __ATOMIC_RELAXED);
    read_clock (self);
    self->more = false;
    lane_arrive (self);
    read_mail (self);
    for (int i = 0; i < count; i++)
        handle (self, &events[i]);
    self->more = read_files (self) || self->more; /* or a source has just been let on */
    self->next_ns = tick (self);
    if (self->gil_held)
        lane_gil_drop (self); /* before it waits */
    enum lane_end end = ending (self);
    if (unlikely (self->capture != NULL) && end != LANE_RUNNING)
        capture_lane_ended (self);
    else if (unlikely (self->capture != NULL))
        capture_turn (self);
    return end;
}

/* Events that a user function did not come back from, of sources that will not bring them again. */
static void put_aside (lane_t *self) {
    for (uint32_t f = 0; f < self->flow_count; f++) {
        flow_t *flow = self->flows[f];
        for (uint32_t i = 0; i < flow->lost_count; i++) {
            flow->raw = (char *) (uintptr_t) flow->lost[i].raw.p;
            flow->raw_size = flow->lost[i].raw.size;
            flow->lost[i].source->errors++;
            flow_put_aside (flow);
        }
        flow->raw = NULL;
    }
}

static bool start_sources (lane_t *self) {
    update_clock (self);
    if (!lane_resume (self))
        return false;
    for (uint32_t f = 0; f < self->flow_count; f++) {
        flow_t *flow = self->flows[f];
        for (uint32_t i = 0; i < flow->sink_count; i++)
            sink_start (&flow->sinks[i]);
        for (uint32_t i = 0; i < flow->source_count; i++)
            if (!source_start (&flow->sources[i])) {
                lane_log (self, 40, "source %.*s cannot be started", (int) flow->sources[i].name_size,
                          flow->sources[i].name);
                return false;
            }
    }
    put_aside (self);
    self->started = true;
    self->cut_at_ns = self->now_ns + self->commit_every_ns;
    return true;
}

bool lane_start (lane_t *self) { return self->started || start_sources (self); }

int lane_run (lane_t *self) {
    sigset_t all;
    sigfillset (&all);
    pthread_sigmask (SIG_BLOCK, &all, NULL);
    enum lane_end end = lane_start (self) ? LANE_RUNNING : LANE_FAILED;
    while (end == LANE_RUNNING)
        end = (enum lane_end) lane_turn (self);
    measure (self);
    /* No more ticks: what is left to do waits for the world outside. */
    __atomic_store_n (&self->page->waiting, 1, __ATOMIC_RELAXED);
    posts_send (&self->posts, POST_ENDED, 0, (uint32_t) end, 0, NULL, 0);
    return (int) end;
}
