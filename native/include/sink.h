/* sink.h: where results go.
 *
 * A sink sends natively what it is given: one sequence of bytes with four marks: what was sent, what may be sent, what
 * the cut in flight has frozen, what there is.
 *
 *     0 ── sent ── released ── frozen ── size
 *
 * `immediate`: released is always size; a cut holds what the sink has not taken yet. Otherwise a cut sets frozen =
 * size, and its commit sets released = frozen: nothing leaves before the cut that holds it.
 *
 * A spooled sink (SINK_SPOOL) only collects: a cut takes all there is, and what becomes of it is the spool's. */
#ifndef BETTONG_SINK_H
#define BETTONG_SINK_H

#include <sys/socket.h>

#include "encode.h"

struct flow;

enum sink_kind {
    SINK_FILE,
    SINK_STREAM,
    SINK_CONNECT,
    SINK_DATAGRAM,
    SINK_BLACKHOLE,
    SINK_RECORDS,
    SINK_MEMORY,
    SINK_SPOOL
};
enum connect_state { CONNECT_IDLE, CONNECT_RESOLVING, CONNECT_WAITING, CONNECT_OPENING, CONNECT_OPEN };

/* Above HIGH the sources that feed the sink are not read, below LOW they are again. Results that wait for a cut ask
 * for one at CUT. */
enum {
    SINK_HIGH_BYTES = 1 << 20,
    SINK_LOW_BYTES = 1 << 19,
    SINK_HELD_HIGH_BYTES = 2 << 20,
    SINK_HELD_CUT_BYTES = 512 << 10,
    SINK_RETRY_FIRST_MS = 100,
    SINK_RETRY_MAX_MS = 10000,
    SINK_POSTED_MAX = 1 << 20,
    SINK_POST_MAX = 262144,
    SINK_POSTS_MAX = 64
};

typedef struct sink {
    struct flow *flow;
    uint32_t index;
    const char *name;
    uint32_t name_size;
    uint8_t kind; /* enum sink_kind */
    bool immediate;
    bool framed;   /* each record kept as a packed bin: datagrams, sinks written in Python, spools that ask */
    bool numbered; /* spooled: the shard of each record is kept */
    bool drop_newest; /* spooled: when it is full, new results are refused instead of sources paused */
    bool spool_full;  /* as the spool has said */
    bool pended;      /* the last cut holds what it had not taken yet */
    bool started;     /* the encoder's */
    bool dirty;       /* something to flush at the end of the buffer */
    bool full;        /* pushes back */
    bool failed;      /* its file or stream refused; nothing more is written */
    uint64_t sources; /* a set: which sources of its flow feed it */
    encoder_t *encoder;
    buffer_t out;
    buffer_t record; /* one record being encoded, when framed */
    buffer_t shards; /* a byte a record in `out`, when numbered */
    uint64_t held;   /* records in `out`, when spooled */
    size_t sent, released, frozen;
    size_t taken; /* sinks written in Python: taken … sent is on its way */
    /* Of a connection or a stream: the size of each record in `out`, where the next of them stands that is not wholly
     * sent, and where that record begins in `out`. */
    buffer_t sizes;
    size_t sizes_next, whole;
    int fd;
    uint64_t offset; /* of the next byte in the file */
    bool regular;    /* fd is a regular file: writes do not block */
    uint8_t state;   /* enum connect_state */
    bool watching;   /* waits for the socket to become writable */
    struct sockaddr_storage address;
    uint32_t address_size;
    int64_t retry_ns;
    uint32_t retry_count;
    uint64_t posted; /* bytes handed to Python and not taken yet; the posts they went in, oldest first */
    uint64_t taken_sizes[SINK_POSTS_MAX];
    uint32_t taken_first, taken_last;
    uint64_t records, bytes, errors, nans, refused, connects;
} sink_t;

void sink_start (sink_t *self);
/* Append one result. */
void sink_write (sink_t *self, const layout_t *layout);
/* Send what may leave; never blocks. */
void sink_flush (sink_t *self);
/* How much of `out` will not be sent again, whatever happens to the receiver. */
size_t sink_gone (sink_t *self);
/* What a cut stores of it, appended to `out` (docs/formats/cut.md): its results as they are, and what its document says
 * of them; false when there is no memory. */
bool sink_put_block (sink_t *self, buffer_t *out);
bool sink_pack (sink_t *self, buffer_t *out);
/* A cut froze what there is; a cut was committed. */
void sink_freeze (sink_t *self);
void sink_release (sink_t *self);
/* What an earlier run had not sent yet. False: not in the form of this sink. */
bool sink_restore (sink_t *self, const value_t *pending);
/* The spool has no more room, or has room again. */
void sink_spool (sink_t *self, bool full);
/* A turn: connecting, retries; the next moment to look again, monotonic ns. */
int64_t sink_tick (sink_t *self, int64_t now_ns);
void sink_ready (sink_t *self, uint32_t events);
void sink_address (sink_t *self, const char *address, size_t size);
void sink_taken (sink_t *self);
/* Nothing left to deliver. */
bool sink_idle (const sink_t *self);
void sink_close (sink_t *self);

#endif
