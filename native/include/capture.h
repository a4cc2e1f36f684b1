/* capture.h: everything that the decisions of a lane depend on, written down in its order, for one flow. What is done
 * with it, and its form, stands in docs/formats/capture.md. A lane that is not captured pays one branch a read. */
#ifndef BETTONG_CAPTURE_H
#define BETTONG_CAPTURE_H

#include "flow.h"

enum captured {
    CAPTURED_START = 1,
    CAPTURED_TICK,
    CAPTURED_BEGIN,
    CAPTURED_RESUME,
    CAPTURED_BYTES,
    CAPTURED_PLACE,
    CAPTURED_RENAME,
    CAPTURED_PARTITION_END,
    CAPTURED_SOURCE_END,
    CAPTURED_PAUSE,
    CAPTURED_SPOOL,
    CAPTURED_CUT,
    CAPTURED_TIMERS,
    CAPTURED_RESULTS,
    CAPTURED_END,
    CAPTURED_UNFINISHED
};

enum {
    CAPTURE_POST_BYTES = 64 << 10,
    CAPTURE_WAITING_MAX = 32 << 20, /* posted and not written yet: a disk that is slower ends the capture */
    CAPTURE_POST_NS = 100000000
};

typedef struct capture {
    flow_t *flow;
    buffer_t out;
    uint8_t ends;   /* enum capture_end: why, when it is to end at the next cut */
    uint8_t broken; /* the same, when it cannot even wait for that */
    uint32_t next_id;
    int64_t posted_ns;
    uint64_t written, limit;       /* bytes */
    uint64_t seen[FLOW_SINKS_MAX]; /* bytes of each sink's results that are written down */
} capture_t;

/* The capture that a flow is in; NULL: none. */
#define capture_of(flow_)                                                                                    \
    (unlikely ((flow_)->lane->capture != NULL) && (flow_)->lane->capture->flow == (flow_)                    \
         ? (flow_)->lane->capture                                                                            \
         : NULL)

/* A capture of a replay, whose only entries are results. False: no memory. */
bool capture_results (struct lane *lane);
/* By mail: begin at the next cut; end at the next. */
void capture_ask (struct lane *lane, uint32_t flow, uint64_t limit);
/* A cut freezes, a cut is frozen: where captures begin and end. */
void capture_before_cut (struct lane *lane);
void capture_after_cut (struct lane *lane);
/* The end of a turn: what is written down goes to the thread that has a disk. The lane has ended. */
void capture_turn (struct lane *lane);
void capture_lane_ended (struct lane *lane);
void capture_free (struct lane *lane);

/* The entries. */
void capture_tick (struct lane *lane);
void capture_timers (struct lane *lane);
void capture_sinks (struct lane *lane);
void capture_begin (capture_t *self, partition_t *partition);
void capture_bytes (capture_t *self, const partition_t *partition, size_t count, bool whole);
void capture_partition (capture_t *self, enum captured kind, const partition_t *partition);
void capture_place (capture_t *self, const partition_t *partition, bool anew);
void capture_unfinished (capture_t *self, const partition_t *partition, bool again);
void capture_rename (capture_t *self, const partition_t *partition);
void capture_switch (capture_t *self, enum captured kind, uint32_t index, bool on);

#endif
