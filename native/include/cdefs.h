/* cdefs.h: what C and Python both see. Declarations only, no preprocessor lines: the C compiler and cffi read
 * this same text. Order: values, faults, kernels (one section a class), the lane. */

/* ---- values ---- */
enum tag { TAG_MISSING, TAG_NULL, TAG_BOOL, TAG_INT, TAG_FLOAT, TAG_TIME, TAG_STR, TAG_BYTES, TAG_LIST, TAG_MAP };

/* Text and bytes: `p`, `size`. Lists and maps: the msgpack bytes of the whole value (time is ext type 1, int64
 * big-endian microseconds). Times: microseconds since 1970-01-01 UTC. */
typedef struct value {
    union {
        int64_t i;
        double f;
        const char *p;
    };
    uint32_t size;
    uint8_t tag;
} value_t;

/* ---- faults: why one record was set aside ---- */
enum reason {
    REASON_NONE, REASON_FRAME, REASON_DECODE, REASON_SCHEMA, REASON_TIME, REASON_EXPRESSION, REASON_KEY,
    REASON_AGGREGATE, REASON_PYTHON, REASON_ENCODE, REASON_LIMIT, REASON_STUCK, REASON_UNFINISHED, REASON_COUNT
};

typedef struct fault {
    uint32_t reason;
    char message[252];
    char *traceback; /* malloc'ed by a Python step, else NULL; the lane frees it */
} fault_t;

/* ---- text kernels ---- */

/* arena.h: scratch memory of one event. */
typedef struct arena {
    char *base;
    size_t used;
    size_t size;
} arena_t;

/* buffer.h: growable bytes with a bound. */
typedef struct buffer {
    char *data;
    size_t size;
    size_t capacity;
    size_t limit; /* never grows beyond; 0: the default of 256 MiB */
} buffer_t;
void buffer_free(buffer_t *self);

/* number.h: a point of the proleptic Gregorian calendar; weekday 0 is Monday. */
typedef struct civil {
    int64_t year;
    int32_t month, day, hour, minute, second, microsecond, weekday;
} civil_t;

typedef struct fields fields_t;
typedef struct layout layout_t;

bool fault_set(fault_t *fault, enum reason reason, const char *format, ...);
const char *reason_name(uint32_t reason);

const char *number_read(const char *p, value_t *out);
uint32_t number_write_int(char *out, int64_t value);
uint32_t number_write_float(char *out, double value);
bool time_write_rfc3339(char *out, int64_t us, uint32_t *size);
bool time_read_rfc3339(const char *p, uint32_t size, int64_t *us);
civil_t civil_from_us(int64_t us);
int64_t civil_to_us(const civil_t *civil);
bool utf8_valid(const char *p, uint32_t size);
/* "200ms", "1.5 h" in microseconds (duration.c). NULL, or what is wrong with the text, to be said behind it. */
const char *duration_read(const char *p, size_t size, int64_t *us);

const char *pack_read(const char *p, const char *end, value_t *value);
const char *pack_open(const value_t *value, uint32_t *count);
bool pack_write(buffer_t *out, const value_t *value);
bool pack_write_text(buffer_t *out, const char *text, uint32_t size);
bool pack_write_int(buffer_t *out, int64_t value);
bool pack_write_list(buffer_t *out, uint32_t count);
bool pack_write_map(buffer_t *out, uint32_t count);
bool pack_get(const value_t *map, const char *name, uint32_t name_size, value_t *value);
bool pack_unique(value_t *map, arena_t *scratch);

fields_t *fields_new(const value_t *list, uint16_t rest_slot, fault_t *fault);
void fields_destroy(fields_t **self_p);
int fields_find(const fields_t *self, const char *name, uint32_t size, int hint);
bool fields_check(const fields_t *self, value_t *row, fault_t *fault);

layout_t *layout_new(const value_t *map, fault_t *fault);
void layout_destroy(layout_t **self_p);
bool layout_pack(const layout_t *self, const value_t *row, buffer_t *out);

bool json_decode(const fields_t *fields, char *text, uint32_t size, value_t *row, arena_t *scratch,
                 fault_t *fault);
enum decoded { DECODED_ROW, DECODED_NOTHING, DECODED_FAULT };
enum decoded json_decode_line(const fields_t *fields, char *text, const char *end, uint32_t *size, value_t *row,
                              arena_t *scratch, fault_t *fault);
bool json_write_record(const layout_t *layout, const value_t *row, buffer_t *out, uint64_t *nans);
bool json_write_value(const value_t *value, uint8_t unit, buffer_t *out, uint64_t *nans);
bool json_write_text(const char *text, uint32_t size, buffer_t *out);

/* ---- formats and frames ---- */

/* frame.h: finding messages in a stream of bytes. */
enum frame_kind { FRAME_LINES, FRAME_U32, FRAME_DELIMITER, FRAME_WHOLE };
enum framed { FRAMED_MESSAGE, FRAMED_MORE, FRAMED_FAULT, FRAMED_BROKEN };

typedef struct framer {
    uint8_t kind; /* enum frame_kind */
    uint8_t delimiter_size;
    char delimiter[16];
    uint32_t max_bytes; /* of one message, without its delimiter or length */
} framer_t;

/* One per partition; zeroed at first. */
typedef struct frame_state {
    size_t scanned;   /* bytes from *start that hold no delimiter; of u32: bytes still to be skipped */
    bool skipping;    /* inside a message that is too long, or was given up */
    uint64_t skipped; /* bytes of such messages so far */
} frame_state_t;

bool framer_init(framer_t *self, const value_t *map, fault_t *fault);
/* framer_next as a call. */
enum framed framer_take(const framer_t *self, frame_state_t *state, char *data, size_t *start, size_t end,
                        char **text, uint32_t *size, fault_t *fault);
enum framed framer_end(const framer_t *self, frame_state_t *state, char *data, size_t *start, size_t end,
                       char **text, uint32_t *size, fault_t *fault);

/* file_identity.h: which file it was that has been read so far. */
/* The device is left out: its number may change from one boot to the next. The inode is 0 on file systems that make it
 * up anew at each mount (vfat, exfat, FUSE): there the head decides alone. */
typedef struct file_identity {
    uint64_t inode;
    uint64_t head;      /* hash of the first bytes, as they were when they were read */
    uint32_t head_size; /* how many: as many as have been read, FILE_HEAD_MAX at most */
} file_identity_t;

/* SAME: go on where it was left. REPLACED: another file. TRUNCATED: this file, but written anew from its start.
 * UNREADABLE: errno says why. */
enum file_match { FILE_SAME, FILE_REPLACED, FILE_TRUNCATED, FILE_UNREADABLE };

/* Nothing of it has been read. False: errno says why. */
bool file_identity_open(file_identity_t *self, int fd);
/* The next bytes of it have been read. */
void file_identity_read(file_identity_t *self, const char *bytes, size_t size);
/* What there is behind `fd`, of a file of which `position` bytes have been read. */
enum file_match file_match(const file_identity_t *self, int fd, uint64_t position);

/* 20 bytes, little-endian: inode (u64), head (u64), head_size (u32). */
void file_identity_pack(const file_identity_t *self, char out[20]);
bool file_identity_unpack(file_identity_t *self, const char *bytes, size_t size);

/* decode.h: messages to rows. */
typedef struct format format_t;
typedef struct format_state format_state_t;

format_t *format_new(const value_t *map, const fields_t *fields, fault_t *fault);
void format_destroy(format_t **self_p);
format_state_t *format_open(const format_t *self);
void format_close(const format_t *self, format_state_t **state_p);
enum decoded format_decode(const format_t *self, format_state_t *state, char *text, uint32_t size, value_t *row,
                           arena_t *scratch, fault_t *fault);
bool msgpack_decode(const fields_t *fields, const char *text, uint32_t size, value_t *row, arena_t *scratch,
                    fault_t *fault);

/* encode.h: rows to the bytes of a sink. */
typedef struct encoder encoder_t;

encoder_t *encoder_new(const value_t *map, fault_t *fault);
void encoder_destroy(encoder_t **self_p);
bool encoder_write(const encoder_t *self, const layout_t *layout, const value_t *row, bool *started,
                   buffer_t *out, uint64_t *nans, fault_t *fault);

/* ---- the expression machine (machine.h) ---- */
typedef struct instruction {
    uint8_t op;     /* enum opcode, see the machine's section */
    uint8_t count;  /* arguments of a call: slots a, a + 1, … */
    uint16_t to;    /* the slot written; for jumps: the target's index */
    uint16_t a;
    uint16_t b;
} instruction_t;

/* ---- machine opcodes ---- */
/* Slots `a` and `b` are read, `to` is written. A call has `count` arguments: two at most in `a` and `b`, three or
 * more in the slots from `a` on. Jumps go forward, to the instruction with index `to`. */
enum opcode {
    /* Control: a copy (missing becomes null), and jumps by the truth of `a` (`count`: enum jump_word). */
    OP_MOVE, OP_JUMP, OP_JUMP_FALSE, OP_JUMP_TRUE, OP_JUMP_UNLESS, OP_JUMP_KNOWN,
    OP_AND, OP_OR, OP_NOT, OP_IS_NULL,
    OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE,
    OP_ADD, OP_SUBTRACT, OP_MULTIPLY, OP_DIVIDE,
    /* Calls, all handled alike: operators … */
    OP_FLOOR_DIVIDE, OP_MODULO, OP_POW, OP_NEGATE, OP_PLUS, OP_IN, OP_NOT_IN, OP_GET,
    OP_SLICE, /* value, start, stop; `b`: 1 when there is a start, 2 a stop */
    OP_LIST, OP_MAP, /* items; keys and values in turn */
    /* … and functions of the library. */
    OP_ABS, OP_ROUND, OP_FLOOR, OP_CEIL, OP_SQRT, OP_LOG, OP_EXP, OP_MIN, OP_MAX, OP_CLAMP, OP_SIGN,
    OP_LEN, OP_LOWER, OP_UPPER, OP_STRIP, OP_SPLIT, OP_JOIN, OP_REPLACE, OP_STARTSWITH, OP_ENDSWITH, OP_FORMAT,
    OP_INT, OP_FLOAT, OP_STR, OP_BOOL,
    OP_NOW, OP_TO_TIME, OP_FORMAT_TIME, OP_YEAR, OP_MONTH, OP_DAY, OP_HOUR, OP_MINUTE, OP_SECOND, OP_WEEKDAY,
    OP_TRUNCATE_TIME,
    OP_HAS, OP_KEYS, OP_HASH, OP_CRC32,
    OP_COUNT
};
enum jump_word { WORD_AND, WORD_OR, WORD_IF };

/* For tests and `check`: run code over a row of `slots` given as a packed list [slot, value, slot, value, …], and
 * pack the value of `result` into `out`. The bytes written, or -1 with a fault. Allocates. */
int64_t machine_try(const char *code, size_t code_size, const char *row, size_t row_size, uint32_t slots,
                    uint32_t result, int64_t now_us, char *out, size_t capacity, fault_t *fault);

/* For tests: what condition.h says of the same, CONDITION_NONE when the code is no condition. */
enum { CONDITION_NONE = -2 };
int condition_try(const char *code, size_t code_size, const char *row, size_t row_size, uint32_t slots,
                  uint32_t result, fault_t *fault);

/* ---- aggregates ---- */
enum aggregate_kind {
    AGG_COUNT, AGG_SUM, AGG_MEAN, AGG_MIN, AGG_MAX, AGG_FIRST, AGG_LAST, AGG_VARIANCE, AGG_VARIANCE_POP,
    AGG_STDDEV, AGG_STDDEV_POP, AGG_ANY, AGG_ALL, AGG_MIN_BY, AGG_MAX_BY, AGG_EMA, AGG_DELTA, AGG_RATE, AGG_LAG,
    AGG_CHANGED, AGG_KINDS
};

/* ---- python steps ---- */
/* Append the class of events to a Python list, given by its address. */
void event_class(uintptr_t list);

/* One step by itself, without a lane (pystep_trial.c): packed records in; results as packed [time, record],
 * faults as packed [reason, message, traceback | nil], rows of a cut as in docs/formats/python-state.md, one after
 * the other. The take functions return the bytes there are, and give and forget them if they fit. */
typedef struct step_trial step_trial_t;
step_trial_t *step_trial_new(const char *program, size_t size, uintptr_t functions, char *message,
                            size_t message_size);
void step_trial_destroy(step_trial_t **self_p);
bool step_trial_run(step_trial_t *self, const char *event, size_t size, int64_t time_us);
/* The same event `count` times, results thrown away: how often it went well. */
uint64_t step_trial_repeat(step_trial_t *self, const char *event, size_t size, uint32_t count);
void step_trial_advance(step_trial_t *self, int64_t now_us, bool arrival);
int64_t step_trial_due(step_trial_t *self, bool arrival);
uint64_t step_trial_keys(step_trial_t *self);
uint64_t step_trial_bytes(step_trial_t *self);
uint64_t step_trial_unsaved(step_trial_t *self, const char **message);
bool step_trial_interrupted(step_trial_t *self);
bool step_trial_freeze(step_trial_t *self, uint64_t *rows);
bool step_trial_encode(step_trial_t *self, uint32_t count);
size_t step_trial_take(step_trial_t *self, char *out, size_t capacity);
size_t step_trial_take_rows(step_trial_t *self, char *out, size_t capacity);
size_t step_trial_take_faults(step_trial_t *self, char *out, size_t capacity);

/* ---- records of a link ---- */
typedef enum { NUMBERS_NEXT, NUMBERS_EARLIER, NUMBERS_LATER, NUMBERS_GARBLED } numbers_t;
int64_t bins_count(const char *packed, size_t size);
uint32_t bins_fit(const char *packed, size_t size, uint32_t most, size_t room, size_t *taken, size_t *framed);
int64_t frames_count(const char *framed, size_t size);
bool shards_count(const char *shards, uint32_t count, uint32_t *counts);
size_t data_pack(const char *head, const char *shards, uint32_t count, const char *packed, uint64_t *next, char *out);
numbers_t records_check(const char *vector, size_t size, const char *shards, uint32_t count, const uint64_t *next,
                        uint64_t most, uint64_t *after);
size_t vector_pack(const uint64_t *next, char *out);

/* ---- rows of the store ---- */
/* `items` a row, the first `identity` of which tell rows apart; the one at `mortal` is nil in a tombstone. `out` has
 * room for `size`. The bytes written, or what is wrong: ROWS_MALFORMED, ROWS_NO_MEMORY (rows.h). */
int64_t rows_merge(const char *data, uint64_t size, uint32_t items, uint32_t identity, uint32_t mortal, char *out);

/* ---- keyed state ---- */
uint64_t hash_bytes(const char *bytes, size_t size);
uint32_t crc32_bytes(const char *bytes, size_t size);
uint64_t xxh64_bytes(const char *bytes, size_t size);

/* The bytes of a key: its values in msgpack. The hash has full avalanche; the shard is its top six bits. */
typedef struct key {
    const char *bytes;
    uint32_t size;
    uint64_t hash;
} bkey_t;

bool key_make(const value_t *row, const uint16_t *slots, uint32_t count, bool null_allowed, buffer_t *out,
              bkey_t *key, fault_t *fault);
void key_read(const bkey_t *key, value_t *row, const uint16_t *slots, uint32_t count);

/* Keyed rows (table.h). */
typedef struct table table_t;
typedef struct table_row {
    bkey_t key;
    void *payload;
    uint32_t index;
} table_row_t;
typedef bool table_visit_fn(void *context, const table_row_t *row, bool removed);

table_t *table_new(uint32_t payload_size);
void table_destroy(table_t **self_p);
bool table_put(table_t *self, const bkey_t *key, table_row_t *row, bool *is_new);
void table_undo(table_t *self, uint32_t index);
bool table_find(const table_t *self, const bkey_t *key, table_row_t *row);
bool table_remove(table_t *self, const bkey_t *key);
bool table_at(const table_t *self, uint32_t index, table_row_t *row);
uint32_t table_end(const table_t *self);
uint32_t table_count(const table_t *self);
uint64_t table_bytes(const table_t *self);
void table_clear(table_t *self);
void table_mark(table_t *self, uint32_t index);
bool table_stored(const table_t *self, uint32_t index);
bool table_visit_dirty(table_t *self, table_visit_fn *visit, void *context);
bool table_take_dirty(table_t *self, table_visit_fn *visit, void *context);

/* One keyed step by itself (keyed.h): records in, results and state rows out, all packed. */
typedef struct keyed keyed_t;

keyed_t *keyed_new(const char *program, size_t size, fault_t *fault);
void keyed_destroy(keyed_t **self_p);
int keyed_add(keyed_t *self, const char *record, size_t size, int64_t time_us, int64_t watermark_us,
              fault_t *fault);
int64_t keyed_due(const keyed_t *self);
void keyed_advance(keyed_t *self, int64_t watermark_us);
bool keyed_freeze(keyed_t *self, uint64_t *rows);
bool keyed_restore(keyed_t *self, const char *accumulators, size_t size, fault_t *fault);
bool keyed_merge(keyed_t *self, const char *accumulators, size_t size, fault_t *fault);
uint64_t keyed_bytes(const keyed_t *self);
uint64_t keyed_keys(const keyed_t *self);
const char *keyed_take(keyed_t *self, size_t *size);

/* Latency histograms (histogram.h). */
typedef struct histogram histogram_t;

histogram_t *histogram_new(void);
void histogram_destroy(histogram_t **self_p);
void histogram_record_all(histogram_t *self, const uint64_t *ns, size_t count);
void histogram_turn(histogram_t *self, int64_t monotonic_ns);
size_t histogram_copy(const histogram_t *self, char *out, size_t capacity);
uint64_t histogram_quantile(const histogram_t *self, double q, bool all);
uint64_t histogram_count(const histogram_t *self, bool all);
uint64_t histogram_bucket_ns(uint32_t bucket);

/* The clocks (clock.h). */
void clock_start(void);
int64_t clock_monotonic_ns(void);
int64_t clock_wall_us(void);
uint64_t clock_spin(int64_t ns, int64_t *monotonic_ns);

/* ---- the lane (lane.h): called from Python ---- */
typedef struct lane lane_t;

/* LANE_SHORT: there was no memory for what was given to it, which only the last cut can bring again. */
enum lane_end { LANE_RUNNING, LANE_ENDED, LANE_STOPPED, LANE_FAILED, LANE_SHORT };
enum post_kind { POST_LOG, POST_CUT, POST_RECORDS, POST_RESOLVE, POST_ENDED, POST_DRAIN, POST_CAPTURE };
/* What a post of a capture is, and why a capture has ended. */
enum capture_mark { CAPTURE_GOES_ON, CAPTURE_BEGINS, CAPTURE_ENDS };
enum capture_end { CAPTURE_ASKED = 1, CAPTURE_FULL, CAPTURE_STOPPED, CAPTURE_SLOW, CAPTURE_MEMORY };

/* Something the lane hands to the worker's Python threads. */
typedef struct post {
    uint32_t kind;   /* enum post_kind */
    uint32_t flow;   /* index of the flow */
    uint32_t index;  /* sink of POST_RECORDS and POST_RESOLVE; level of POST_LOG (10, 20, 30, 40 as in logging);
                      * enum capture_mark of POST_CAPTURE */
    uint64_t number; /* the cut's number; the count of records */
    char *data;      /* POST_LOG: text; POST_CUT: packed blocks; POST_RECORDS: packed list of records (bin);
                      * POST_CAPTURE: entries (capture.h) */
    size_t size;
} post_t;

lane_t *lane_new(int page_fd);
void lane_destroy(lane_t **self_p);
/* Load one flow's program; its index, or -1 with a message. `functions`: id of a Python list, 0 for none. */
int lane_load(lane_t *self, const char *program, size_t size, uintptr_t functions, bool once,
              char *message,
              size_t message_size);
/* Go on from a cut (docs/formats/cut.md, "Going on"): after lane_load and before the lane starts, first the flow's
 * positions, then its state rows, any number of times an operator. False with a message: it is not this flow's; the
 * lane is then of no more use. */
bool lane_restore(lane_t *self, uint32_t flow, const char *document, size_t size, char *message,
                  size_t message_size);
bool lane_restore_rows(lane_t *self, uint32_t flow, uint32_t op, const char *rows, size_t size, char *message,
                       size_t message_size);
/* Run until the lane ends. Called on a threading.Thread, without the GIL. Returns enum lane_end. */
int lane_run(lane_t *self);
/* For tests: end for good, as with a power cut, just before this cut is frozen; the first is 1. */
void lane_end_before_cut(lane_t *self, uint64_t number);
/* For tests: give the clock and take one turn; never blocks. */
void lane_set_clock(lane_t *self, int64_t monotonic_ns, int64_t wall_us);
bool lane_start(lane_t *self);
int lane_turn(lane_t *self);

/* Mail, from any thread. */
bool lane_mail_chunk(lane_t *self, uint32_t flow, uint32_t source, const char *partition, size_t partition_size,
                     const char *position, size_t position_size, const char *data, size_t size);
void lane_mail_end(lane_t *self, uint32_t flow, uint32_t source);
void lane_mail_committed(lane_t *self, uint64_t cut);
/* The oldest POST_RECORDS of a sink has been written. */
void lane_mail_taken(lane_t *self, uint32_t flow, uint32_t sink);
/* The spool of a sink has no more room, or has room again. */
void lane_mail_spool(lane_t *self, uint32_t flow, uint32_t sink, bool full);
void lane_mail_address(lane_t *self, uint32_t flow, uint32_t sink, const char *address, size_t size);
/* Stop reading, finish what is read; `close`: as if all sources had ended. */
void lane_mail_stop(lane_t *self, bool close);
void lane_mail_abort(lane_t *self);

/* Write down what one flow of the lane does, from its next cut on, into POST_CAPTURE (docs/formats/capture.md); with
 * limit 0: until its next cut. What has been written must be reported, or the capture ends. */
void lane_mail_capture(lane_t *self, uint32_t flow, uint64_t limit);
void lane_capture_written(lane_t *self, size_t size);

/* Do it again: after lane_restore and lane_restore_rows, instead of lane_start, with the members of the first entry;
 * then entry by entry. False: it does not fit this flow, and the lane is of no more use. */
bool lane_replay_begin(lane_t *self, const char *members, size_t size);
bool lane_replay(lane_t *self, uint32_t kind, const char *members, size_t size);
/* How far this partition has been read, in bytes since it began; -1: it is not there, or is not called so. The name may
 * be the end of a path, or empty: any. */
int64_t lane_replay_position(lane_t *self, uint32_t source, uint32_t number, const char *name, size_t size);
/* Entries with the results since the last call; the bytes needed. Taken when they fit. */
size_t lane_replay_results(lane_t *self, char *out, size_t capacity);
/* A last cut: POST_CUT has the rows that have changed. */
bool lane_replay_end(lane_t *self);
uint64_t lane_events(const lane_t *self);

/* Posts. The descriptor is readable while any wait. */
int lane_post_fd(lane_t *self);
bool lane_take_post(lane_t *self, post_t *post);
void lane_release_post(post_t *post);

/* All counters and histograms as one packed map into `out`; the bytes needed. From any thread, at any time. */
size_t lane_metrics(lane_t *self, char *out, size_t capacity);
/* For tests: what a memory sink holds and may leave; the bytes needed. Taken when they fit. */
size_t lane_take_memory(lane_t *self, uint32_t flow, uint32_t sink, char *out, size_t capacity);
/* The last error records (S3), one packed map after the other. From any thread, at any time. */
size_t lane_last_errors(lane_t *self, char *out, size_t capacity);
