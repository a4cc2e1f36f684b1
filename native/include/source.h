/* source.h: where events come from: partitions with a receive buffer each, framed and decoded in place. */
#ifndef BETTONG_SOURCE_H
#define BETTONG_SOURCE_H

#include "decode.h"
#include "file_identity.h"
#include "frame.h"

struct flow;

/* What a row goes on to: operators, by index. */
typedef struct branches {
    uint16_t *ops;
    uint32_t count;
} branches_t;

enum source_kind {
    SOURCE_LISTEN,
    SOURCE_CONNECT,
    SOURCE_DATAGRAM,
    SOURCE_FILES,
    SOURCE_STREAM,
    SOURCE_CHUNKS
};

/* READ_MIN is read when idle; the buffer doubles while reads come back full. */
enum { READ_MIN = 4096, READ_MAX = 262144, PARTITIONS_MAX = 10000, DATAGRAMS_PER_TURN = 64 };

/* A place in a replayable source. The name points into the program. */
typedef struct aside {
    const char *partition;
    uint32_t partition_size;
    uint64_t position;
} aside_t;

/* What a partition that is a file has beside the others (files.h). */
typedef struct file {
    file_identity_t identity;
    uint64_t device, inode; /* as they are now */
    int watch;              /* inotify's, -1: none */
    bool waits;             /* until the file that had its name before has been read to its end */
    int64_t unnamed_ns;     /* since when its name means another file or none; 0: it has its name */
    int64_t look_ns;        /* when it is read again although nothing tells of a change; INT64_MAX: never */
} file_t;

/* A folder in which a followed file may appear. */
typedef struct folder {
    char *path; /* with a slash at its end, or empty: joined with a name it is a file's path */
    int watch;
    bool inner; /* folders are looked for in it, not files */
} folder_t;

typedef struct partition {
    struct partition *next; /* of its source */
    struct source *source;
    char *name;
    uint32_t name_size;
    bool name_is_text; /* a file's may be any bytes */
    int fd;
    char *data; /* start … end is unread; DECODE_SLACK readable bytes behind capacity */
    size_t start, end, capacity;
    uint64_t base;  /* the position of data[0], in bytes since the partition began */
    char *position; /* of a source written in Python: as it gave it after the last whole chunk */
    uint32_t position_size, position_capacity;
    uint32_t shard; /* of its records until a key is made: its name's */
    frame_state_t frame;
    format_state_t *format;
    int64_t max_time_us; /* largest event time seen; INT64_MIN: none */
    int64_t watermark_us;
    int64_t heard_ns; /* when it last brought something, or was first asked after not being read */
    bool counted;     /* takes part in the minimum */
    bool idle;
    bool ended;
    bool ready;          /* read in turns: a regular file that has not ended */
    uint32_t read_size;  /* what the next read asks for */
    uint64_t waiting_at; /* where the message begins that has not come whole, … */
    int64_t waiting_ns;  /* … and since when */
    char peer[64];
    uint32_t captured; /* its number in the capture under way */
    file_t file;
} partition_t;

/* Flags of a partition in a cut. */
enum { PARTITION_COUNTED = 1, PARTITION_IDLE = 2, PARTITION_ENDED = 4 };

/* How a source stood when a capture began, and is to stand when it is replayed. */
enum captured_source {
    CAPTURED_ENDED = 1,
    CAPTURED_COUNTS = 2,
    CAPTURED_PAUSED = 4,
    CAPTURED_FORGETS = 8,
    CAPTURED_FILES = 16,
    CAPTURED_PEERS = 32
};
enum captured_sink { CAPTURED_FRAMED = 1, CAPTURED_DROPS = 2, CAPTURED_SPOOL_FULL = 4 };
typedef struct replayed {
    uint8_t flags;
    int64_t watermark_us, left_time_us, look_ns, idle_from_ns, idle_watermark_us;
} replayed_t;

typedef struct source {
    struct flow *flow;
    uint32_t index;
    const char *name;
    uint32_t name_size;
    uint8_t kind; /* enum source_kind */
    bool bounded, replayable, live;
    bool ended;
    bool paused;  /* pushed back by a sink */
    bool stopped; /* reads nothing more */
    bool follow;
    int fd;       /* listener, datagram or stream */
    bool watched; /* its fd, or its partition's, is in epoll's set */
    framer_t framer;
    format_t *format;
    format_t *whole; /* decodes only the rest: the whole record for an error, when `fields` has no rest */
    uint16_t whole_slot;
    fields_t *fields, *whole_fields;
    const layout_t *layout;
    branches_t next, late; /* late: future records (S8) */
    struct op *expects;    /* the key of its records, a text, and behind it a tumbling window; or NULL */
    bool has_meta;
    uint16_t meta_source, meta_partition, meta_position, meta_arrival, meta_peer, meta_path;
    bool lined;      /* JSON lines of which only some fields are wanted: framed and decoded in one go */
    bool skip_empty; /* empty messages are no records: json and csv lines */

    /* event time */
    bool arrival;
    uint16_t time_slot;
    uint8_t time_unit;
    int64_t late_us, idle_us, ahead_us; /* idle < 0: never; ahead < 0: no check */
    bool hold;
    int64_t watermark_us; /* minimum over its partitions, never going back */
    int64_t idle_from_ns; /* all partitions idle since, 0: not */
    int64_t idle_watermark_us;
    bool counts;                   /* some partition takes part in the minimum */
    int64_t look_ns;               /* nobody becomes idle before */
    int64_t left_time_us;          /* largest event time of the partitions that have gone; INT64_MIN: none */
    partition_t *lowest;           /* the partition that holds the minimum, when known */
    bool resumed;                  /* goes on from a cut … */
    bool resumed_idle;             /* … in which all its partitions were idle */
    bool forgets, is_files, peers; /* replayed: as it was what it is not now, a source that the lane reads */
    replayed_t replayed;

    partition_t *partitions;
    partition_t **known_last; /* while a cut is restored */
    partition_t
        *known; /* not read now: what a cut has of those that may come back, and those that have ended */
    uint32_t known_count;
    uint32_t partition_count;
    uint32_t counted_count;

    /* files */
    char **paths;
    uint32_t path_count;
    char *pattern; /* followed: files that match it are read when they appear; NULL: only `paths` */
    folder_t *folders;
    uint32_t folder_count;
    bool begun;                    /* the paths that were there at the start have been opened */
    int64_t known_until_ns;        /* when followed files that have not come after a restart are given up */
    bool folders_full, files_full; /* said once that there are too many */
    bool is_short;                 /* said that there is no memory to read into */
    partition_t *turn;             /* where the next turn begins, when a full sink ended the last one */
    int64_t files_look_ns;         /* the earliest `look_ns` of them */
    int64_t scan_ns;               /* when files and folders are looked for again; INT64_MAX: never */
    uint64_t lost_files;           /* files whose rest could not be found */
    /* connect */
    uint8_t connect_state;
    int64_t retry_ns;
    uint32_t retry_count;
    int64_t
        watch_ns; /* when connections that epoll did not take are offered to it again; INT64_MAX: there is none */

    /* records to set aside because a user function did not come back from them */
    aside_t *asides;
    uint32_t aside_count;

    uint64_t records, bytes, errors, future, accepted, refused, unread; /* unread: files */
    uint64_t repeated;                                                  /* records whose id was seen before */
    uint64_t unfinished,
        put_back;  /* messages set aside, files read again: there was no room to wait for the rest */
    uint64_t lost; /* bytes of unfinished messages whose partitions did not come back after a restart */
} source_t;

/* Bytes are about to be read (prepare.c): what their first record will need is fetched. */
enum { PREPARE_OPS_MAX = 8, PREPARE_BYTES = 128 };
void partition_prepare (const partition_t *self);
/* Process all whole messages in the partition's buffer; `last` when nothing will follow. */
void partition_process (partition_t *self, bool last);
/* Room for at least `more` bytes behind `end` (moves the unread to the front, grows up to the frame's limit). */
bool partition_room (partition_t *self, size_t more);
/* Gives back what its buffer does not need now. */
void partition_spare (partition_t *self);
partition_t *partition_new (source_t *source, const char *name, uint32_t name_size, int fd);
/* False: there is no memory for it, and it keeps the name it has. */
bool partition_rename (partition_t *self, const char *name);
bool partition_name (partition_t *self, const char *name, uint32_t name_size);
/* It begins anew, as a file that was truncated. */
void partition_anew (partition_t *self);
partition_t *partition_find (source_t *source, const char *name, uint32_t name_size);
void partition_end (partition_t *self);
void partition_drop (partition_t *self);
/* Its descriptor closed, and out of its source's list. */
void partition_leave (partition_t *self);
/* Not in any list. */
partition_t *partition_make (source_t *source, const char *name, uint32_t name_size);
void partition_free (partition_t *self);

/* What has not come whole (unfinished.c): its bytes, where that is bounded; since when; given up, with an error; to be
 * read again. */
uint64_t partition_unfinished (const partition_t *self);
void partition_waits (partition_t *self);
void partition_give_up (partition_t *self);
void partition_put_back (partition_t *self);

/* Known partitions (partition_known.c): where a cut or the end of a partition has left them. */
void partition_retire (partition_t *self);
/* The one of this name of a source written in Python, gone on with; NULL: none is known. */
partition_t *partition_resume (source_t *source, const char *name, uint32_t name_size);
/* This one is gone on with, from this descriptor; it is not needed any more. */
void partition_take (partition_t *known, int fd);
void partition_forget (partition_t *known);
/* One that had ended before the restart brings something again. */
void source_revive (source_t *self);
/* At the start: partitions of a source written in Python are there at once; what cannot come back is let go. */
void source_resume (source_t *self);
void source_forget (source_t *self);

/* Watermarks (watermark.c). */
void source_saw (partition_t *self, int64_t time_us);
void source_returned (partition_t *self);
void source_refresh (source_t *self);
int64_t source_before_late (const source_t *self, int64_t time_us);
/* Idle partitions and moving on when all are idle; the next moment to look again, monotonic ns. */
int64_t source_tick (source_t *self, int64_t now_ns, int64_t now_us);
/* When the watermark, as it moves with the clock, will have reached the next that is due. What is due already waits
 * for another source: there is nothing to look at before that one speaks. */
int64_t source_due (const source_t *self, int64_t now_ns);
void source_unpaused (source_t *self, int64_t now_ns);

#endif
