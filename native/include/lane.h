/* lane.h: one native thread: its loop over sockets, files, timers and mail, and all that it owns. */
#ifndef BETTONG_LANE_H
#define BETTONG_LANE_H

#include <pthread.h>

#include "capture.h"
#include "clock.h"
#include "flow.h"
#include "histogram.h"
#include "mail.h"
#include "page.h"

enum {
    LANE_FLOWS_MAX = 64,
    LANE_EVENTS_MAX = 256,
    LANE_SCRATCH_BYTES = 16 << 20,
    GIL_HOLD_NS = 200000,
    PYTHON_ENCODE_SLICE = 256,
    TURN_WAIT_MS_MAX = 1000,
    STAMP_EVERY = 8
};
#define MEASURE_EVERY_NS 500000000
#define CLOCK_KNOWN_EVERY_NS 1000000000
#define STOP_WAIT_NS 10000000000
#define CUT_RETRY_NS 1000000000

typedef struct lane {
    flow_t *flows[LANE_FLOWS_MAX];
    uint32_t flow_count;
    arena_t scratch;
    int epoll_fd;
    mail_t mail;
    posts_t posts;
    page_t *page;
    page_t own_page;

    /* The tick. */
    bool clock_given; /* a test owns the clock */
    int64_t now_ns;   /* monotonic */
    int64_t now_us;   /* wall, as it was at the start plus the time that has run: never jumps (S6) */
    int64_t wall_us;  /* wall, as it is: for now() and max_ahead */
    bool clock_known; /* else nothing is too far ahead of it (S8); looked at now and then */
    int64_t known_at_ns;
    int64_t wall_start_us, mono_start_ns;
    int64_t ahead_us;  /* `now_us` never goes back behind the cut the lane was restored from */
    uint64_t turned;   /* clock_ticks when the clock was read */
    uint64_t received; /* clock_ticks when the bytes at hand were read */

    /* Python. */
    bool gil_held;
    int gil_state;
    uint64_t gil_since;    /* ticks */
    uint64_t gil_since_ns; /* monotonic: exact enough to say since when a user function runs */

    /* The cut. */
    uint64_t cut;
    uint64_t end_before_cut; /* for tests; 0: never */
    bool cut_in_flight;
    bool cut_encoding; /* frozen, the Python states not all encoded yet */
    bool cut_wanted;   /* results ask for one before its time */
    bool is_short;     /* of memory, for what was given to it: it takes nothing more, and ends */
    bool cut_failed;   /* the last try had not the memory: said once */
    int64_t cut_at_ns, cut_retry_ns;
    int64_t commit_every_ns;
    buffer_t blocks;
    size_t blocks_size; /* of the last cut: the next is about as large */
    section_t section;  /* the rows of one step while they are frozen */

    /* A capture under way, or asked for (a limit above 0); bytes posted and not written yet: atomic. */
    capture_t *capture;
    uint32_t capture_flow;
    uint64_t capture_limit;
    uint64_t capture_waiting;
    bool replaying; /* does what a capture says, and decides nothing else */

    /* Ending. */
    bool once;
    bool stopping;
    bool closes; /* and what is open is closed first */
    int64_t stop_by_ns;
    bool aborted;
    bool started;
    bool more;       /* a file has more to read at once */
    int64_t next_ns; /* the next timer */

    int64_t measure_ns; /* when the states are measured next */
    uint64_t events, pauses;
    histogram_t *latency, *closing, *pause;
} lane_t;

/* The GIL: taken at the first row that meets Python, kept to the end of the turn or GIL_HOLD_NS. */
void lane_gil_take (lane_t *self);
void lane_gil_drop (lane_t *self);
/* Between events: give it back when it has been held for long. */
static inline void lane_gil_rest (lane_t *self, uint64_t ticks) {
    if (unlikely (self->gil_held) && clock_ns (ticks - self->gil_since) > GIL_HOLD_NS)
        lane_gil_drop (self);
}

/* A clock has been read, or given; the end of a turn. */
void lane_arrive (lane_t *self);
void lane_timers (lane_t *self);

/* Called when a user function has returned: a process that it forked ends here. */
void lane_after_python (void);

/* epoll: `owner` is a partition, a source or a sink, told apart by `tag`. */
enum watch_tag { WATCH_MAIL, WATCH_LISTENER, WATCH_PARTITION, WATCH_SINK, WATCH_FOLLOW };
bool lane_watch (lane_t *self, int fd, void *owner, enum watch_tag tag, uint32_t events);
void lane_unwatch (lane_t *self, int fd);

void lane_log (lane_t *self, uint32_t level, const char *format, ...) __attribute__ ((format (printf, 3, 4)));

/* At the end of every buffer: results to the sinks, counters published; the GIL back when it was held for long. */
void lane_flush (lane_t *self);

/* restore.c: at the start, the clock read: flows that were restored are as the cut had them. */
bool lane_resume (lane_t *self);
/* cut.c */
bool lane_cut_freeze (lane_t *self);
void lane_cut_encode (lane_t *self);
void lane_cut_committed (lane_t *self, uint64_t cut);

/* sources (source_read.c) */
bool source_start (source_t *self);
void source_accept (source_t *self);
void source_complain (source_t *self, const char *what, const char *name, int error);
/* So many bytes have come to stand behind `end`; nothing more will come (`error`, or 0). */
void partition_got (partition_t *self, size_t count);
/* The same for what is whole, such as a datagram: its last message needs no end. The caller flushes. */
void partition_got_whole (partition_t *self, size_t count);
void partition_failed (partition_t *self, int error);
/* files and redirected streams (source_files.c) */
bool source_start_files (source_t *self);
bool source_turn (source_t *self); /* read a buffer of each; true when there may be more */
void source_changed (source_t *self);
/* Files that are to be looked at without a change; the next moment to do so. */
int64_t source_files_tick (source_t *self, int64_t now_ns);
void source_free_files (source_t *self);
/* A partition that is a file goes. */
void source_file_left (partition_t *self);
static inline bool source_is_read_in_turns (const source_t *self) {
    return self->kind == SOURCE_FILES || (self->kind == SOURCE_STREAM && !self->watched);
}
void partition_read (partition_t *self);
void source_pause (source_t *self, bool paused);
void source_stop (source_t *self);
int64_t source_connect_tick (source_t *self, int64_t now_ns);
void source_address (source_t *self, const char *address, size_t size);
void source_chunk (source_t *self, const letter_t *letter);
void source_end (source_t *self);
void source_end_chunks (source_t *self);

#endif
