/* run.c: the operators. A row runs depth first through all that stands behind it before the next row is looked at;
 * every step has slots of its own, so a branch never spoils what another still needs. */
#include <stdlib.h>

#include "lane.h"

void flow_run (flow_t *self, const branches_t *next) {
    arena_t *scratch = &self->lane->scratch;
    uint32_t shard = self->shard;
    for (uint32_t i = 0; i < next->count; i++) {
        size_t mark = arena_mark (scratch);
        op_t *op = &self->ops[next->ops[i]];
        op->run (self, op);
        arena_release (scratch, mark);
        self->shard = shard;
    }
}

static bool refuse (flow_t *self, const op_t *op) {
    flow_error (self, op->step == SLOT_NONE ? NULL : &self->steps[op->step], op->layout);
    return false;
}

static bool run_where (flow_t *self, const op_t *op) {
    int truth = value_truth (&self->row[op->result]);
    if (likely (truth == 1))
        return true;
    if (unlikely (truth == -2)) {
        fault_set (&self->fault, REASON_EXPRESSION, "a condition must be true, false or null");
        return refuse (self, op);
    }
    return false;
}

static bool run_key (flow_t *self, const op_t *op) {
    if (unlikely (!key_make (self->row, op->slots, op->slot_count, op->null_key, &self->key_bytes[op->key],
                             &self->keys[op->key], &self->fault)))
        return refuse (self, op);
    self->shard = key_shard (self->keys[op->key].hash);
    return true;
}

/* What a window's results need to know while they run. */
typedef struct emission {
    flow_t *flow;
    op_t *op;
} emission_t;

static void run_result (void *context, const bkey_t *key, int64_t start_us, int64_t end_us) {
    (void) start_us;
    emission_t *emission = context;
    flow_t *self = emission->flow;
    op_t *op = emission->op;
    int64_t time_us = self->time_us;
    self->keys[op->key_out] = *key;
    self->shard = key_shard (key->hash);
    if (!op->instant)
        self->time_us = end_us - 1;
    ++*op->left;
    flow_run (self, &op->next);
    self->time_us = time_us;
}

static void note_due (flow_t *self, op_t *op, int64_t due) {
    op->due = due;
    /* A timer may be set for a time that the step has left behind, whatever the record's own source says: at once. */
    if (due <= op->watermark && !op->arrival)
        self->due = INT64_MIN;
    else if (due < self->due)
        self->due = due;
}

static void run_window (flow_t *self, op_t *op) {
    emission_t emission = {self, op};
    /* An input left out as idle may be behind the step: then the step's own watermark decides (S15). */
    int64_t lateness = self->lateness_us > op->watermark ? self->lateness_us : op->watermark;
    enum window_added added =
        window_add (op->window, &self->keys[op->key], self->row, self->time_us, lateness,
                    &self->lane->scratch, run_result, &emission, &self->fault);
    if (likely (added == WINDOW_ADDED)) {
        int64_t due = window_due (op->window);
        if (due != op->due)
            note_due (self, op, due);
    } else if (added == WINDOW_LATE) {
        self->steps[op->step].late++;
        flow_run (self, &op->late);
    } else {
        refuse (self, op);
    }
}

/* One call of a user's function, or of all timers that are due. */
typedef struct user_call {
    emission_t emission;
    pystep_call_t call;
    uint64_t since_ns; /* of the call around it, whose function waits for this one */
} user_call_t;

/* A result of a timer has the timer's own time and key, not those of a record. */
static void run_item (void *context) {
    user_call_t *user = context;
    flow_t *self = user->emission.flow;
    op_t *op = user->emission.op;
    int64_t time_us = self->time_us;
    lane_after_python();
    self->time_us = user->call.time_us;
    if (user->call.key && user->call.key != &self->keys[op->key])
        self->keys[op->key] = *user->call.key;
    if (user->call.key)
        self->shard = key_shard (user->call.key->hash);
    ++*op->left;
    flow_run (self, &op->next);
    self->time_us = time_us;
}

/* A timer raised: there is no record at hand, only the step. */
static void run_refused (void *context) {
    const user_call_t *user = context;
    const emission_t *emission = &user->emission;
    if (user->call.key)
        emission->flow->shard = key_shard (user->call.key->hash);
    flow_error (emission->flow, &emission->flow->steps[emission->op->step], NULL);
}

static void fill_call (flow_t *self, op_t *op, user_call_t *user) {
    user->emission = (emission_t){self, op};
    user->call = (pystep_call_t){.row = self->row,
                                 .scratch = &self->lane->scratch,
                                 .time_us = self->time_us,
                                 .key = op->key == SLOT_NONE ? NULL : &self->keys[op->key],
                                 .key_slots = op->slots,
                                 .key_count = op->slot_count,
                                 .emit = run_item,
                                 .refuse = run_refused,
                                 .context = user,
                                 .fault = &self->fault};
}

/* The event in the user's hands stands in the page: if the function never comes back, the supervisor knows which
 * event to set aside. */
static void enter_python (flow_t *self, op_t *op, user_call_t *user) {
    page_t *page = self->lane->page;
    if (!self->lane->gil_held)
        lane_gil_take (self->lane);
    fill_call (self, op, user);
    user->since_ns = page->in_python_since_ns;
    const partition_t *partition = self->partition;
    page->flow = self->index;
    page->position = self->position;
    page->source = partition ? partition->source->index : UINT32_MAX;
    page->partition_size = 0;
    page->raw_size = 0;
    if (partition) {
        uint32_t size = partition->name_size < PAGE_PARTITION_MAX ? partition->name_size : PAGE_PARTITION_MAX;
        memcpy (page->partition, partition->name, size);
        page->partition_size = size;
        if (!partition->source->replayable) {
            size = self->raw_size < PAGE_RAW_MAX ? self->raw_size : PAGE_RAW_MAX;
            memcpy (page->raw, self->raw, size);
            page->raw_size = size;
        }
    }
    __atomic_store_n (&page->in_python_since_ns, self->lane->gil_since_ns, __ATOMIC_RELEASE);
}

static void leave_python (flow_t *self, const user_call_t *user, bool interrupted) {
    lane_after_python();
    __atomic_store_n (&self->lane->page->in_python_since_ns, user->since_ns, __ATOMIC_RELEASE);
    if (unlikely (interrupted))
        self->stopped = true;
}

static void run_python (flow_t *self, op_t *op) {
    user_call_t user;
    bool interrupted = false;
    enter_python (self, op, &user);
    bool good = pystep_run (op->python, &user.call, &interrupted);
    leave_python (self, &user, interrupted);
    if (unlikely (!good))
        refuse (self, op);
    if (op->timed) {
        int64_t due = pystep_due (op->python, op->arrival);
        if (due != op->due)
            note_due (self, op, due);
    }
}

static void run_moves (flow_t *self, const op_t *op) {
    for (uint32_t i = 0; i < op->slot_count; i += 2)
        self->row[op->slots[i + 1]] = self->row[op->slots[i]];
}

/* A record of a closed layout as a packed map, where records of different shapes merge. */
static bool run_pack (flow_t *self, const op_t *op) {
    buffer_t *packed = &self->pack;
    packed->size = 0;
    if (layout_pack (op->layout, self->row, packed)) {
        char *copy = arena_take (&self->lane->scratch, packed->size);
        if (copy) {
            memcpy (copy, packed->data, packed->size);
            self->row[op->result] = (value_t){.p = copy, .size = (uint32_t) packed->size, .tag = TAG_MAP};
            return true;
        }
    }
    fault_set (&self->fault, REASON_LIMIT, "the record is too large to be merged");
    return refuse (self, op);
}

/* One record per element of a list; null or missing gives none. */
static void run_each (flow_t *self, op_t *op) {
    value_t list = self->row[op->result];
    uint32_t count;
    if (value_is_null (&list))
        return;
    if (list.tag != TAG_LIST) {
        fault_set (&self->fault, REASON_EXPRESSION, "`each` needs a list");
        refuse (self, op);
        return;
    }
    const char *end = list.p + list.size;
    const char *p = pack_open (&list, &count);
    for (uint32_t i = 0; i < count && p; i++) {
        p = pack_read (p, end, &self->row[op->to]);
        ++*op->left;
        flow_run (self, &op->next);
    }
}

static bool run_running (flow_t *self, const op_t *op) {
    if (likely (running_add (op->running, &self->keys[op->key], self->row, self->time_us,
                             &self->lane->scratch, &self->fault)))
        return true;
    return refuse (self, op);
}

/* The shard stays that of the partition: an id is no key. */
static bool run_seen (flow_t *self, const op_t *op) {
    enum seen_found found = SEEN_FAULT;
    source_t *source = self->partition->source; /* it stands right behind its source */
    if (likely (key_make (self->row, op->slots, 1, false, &self->key_bytes[op->key], &self->keys[op->key],
                          &self->fault)))
        found = seen_add (op->seen, &self->keys[op->key], self->lane->now_us, &self->fault);
    source->repeated += found == SEEN_BEFORE;
    if (unlikely (found == SEEN_FAULT)) {
        source->errors++;
        refuse (self, op);
    }
    return found == SEEN_NEW;
}

static bool run_code (flow_t *self, const op_t *op) {
    if (likely (machine_run (op->code, op->code_count, self->row, &self->lane->scratch, self->lane->wall_us,
                             &self->fault)))
        return true;
    return refuse (self, op);
}

/* True: the row goes on to what is next. */
static bool run_act (flow_t *self, op_t *op) {
    switch (op->kind) {
    case OP_KIND_COMPUTE: return true;
    case OP_KIND_WHERE: return run_where (self, op);
    case OP_KIND_KEY: return run_key (self, op);
    case OP_KIND_WINDOW: run_window (self, op); return false;
    case OP_KIND_RUNNING: return run_running (self, op);
    case OP_KIND_PYTHON: run_python (self, op); return false;
    case OP_KIND_MOVE: run_moves (self, op); return true;
    case OP_KIND_PACK: return run_pack (self, op);
    case OP_KIND_EACH: run_each (self, op); return false;
    case OP_KIND_EMIT: sink_write (op->sink, op->layout); return false;
    case OP_KIND_SEEN: return run_seen (self, op);
    default: return false;
    }
}

/* Each operator calls the next: a call at the end of a function is a jump, and each such place learns by itself where
 * it mostly leads. */
static inline void pass_on (flow_t *self, op_t *op) {
    ++*op->left;
    if (likely (op->then != NULL))
        op->then->run (self, op->then);
    else
        flow_run (self, &op->next);
}

static void run_any (flow_t *self, op_t *op) {
    ++*op->entered;
    if (op->code_count && !run_code (self, op))
        return;
    if (run_act (self, op))
        pass_on (self, op);
}

static void run_tests (flow_t *self, op_t *op) {
    int truth = condition_holds (op->tests, op->test_count, self->row);
    if (unlikely (truth < 0)) {
        run_any (self, op);
        return;
    }
    ++*op->entered;
    if (truth)
        pass_on (self, op);
}

static void run_text_key (flow_t *self, op_t *op) {
    const value_t *value = &self->row[op->slots[0]];
    if (unlikely (!key_make_text (value, &self->key_bytes[op->key], &self->keys[op->key]))) {
        run_any (self, op);
        return;
    }
    ++*op->entered;
    pass_on (self, op);
}

static void run_tumbling (flow_t *self, op_t *op) {
    int64_t lateness = self->lateness_us > op->watermark ? self->lateness_us : op->watermark;
    if (likely (window_add_again (op->window, &self->keys[op->key], self->row, self->time_us, lateness)))
        ++*op->entered;
    else
        run_any (self, op);
}

static bool link_where (op_t *op) {
    op->tests = calloc (op->code_count + 1u, sizeof *op->tests);
    if (op->tests == NULL)
        return false;
    op->test_count = condition_read (op->code, op->code_count, op->result, op->tests);
    if (op->test_count)
        op->run = run_tests;
    return true;
}

void flow_expect (flow_t *self, const op_t *key) {
    if (key_make_text (&self->row[key->slots[0]], &self->key_bytes[key->key], &self->keys[key->key]))
        window_expect (key->then->window, &self->keys[key->key]);
}

static bool is_field (const source_t *self, uint16_t slot) {
    for (uint32_t i = 0; i < self->fields->count; i++)
        if (self->fields->slots[i] == slot)
            return true;
    return false;
}

/* Behind nothing but filters, so that the key is as it was decoded. */
static void link_source (flow_t *self, source_t *source) {
    op_t *op = source->next.count == 1 ? &self->ops[source->next.ops[0]] : NULL;
    while (op && op->kind == OP_KIND_WHERE)
        op = op->then;
    if (op && op->run == run_text_key && op->then && op->then->run == run_tumbling &&
        is_field (source, op->slots[0]))
        source->expects = op;
}

bool flow_link (flow_t *self) {
    for (uint32_t i = 0; i < self->op_count; i++) {
        op_t *op = &self->ops[i];
        op->then = op->next.count == 1 ? &self->ops[op->next.ops[0]] : NULL;
        op->run = run_any;
        if (op->kind == OP_KIND_WHERE && !link_where (op))
            return false;
        if (op->kind == OP_KIND_KEY && op->slot_count == 1 && !op->code_count)
            op->run = run_text_key;
        if (op->kind == OP_KIND_WINDOW && !op->code_count)
            op->run = run_tumbling;
    }
    for (uint32_t i = 0; i < self->source_count; i++)
        link_source (self, &self->sources[i]);
    return true;
}

/* The step's watermark is the minimum over its inputs that count (S7). With all of them idle it is the one that has
 * moved on furthest with the clock; with all of them ended, the end of time. */
static int64_t watermark_of (const flow_t *self, const op_t *op) {
    int64_t lowest = INT64_MAX, furthest = INT64_MIN;
    bool counting = false, waiting = false;
    for (uint32_t i = 0; i < self->source_count; i++) {
        const source_t *source = &self->sources[i];
        if (!(op->sources >> i & 1) || source->ended)
            continue;
        waiting = true;
        if (source->counts) {
            counting = true;
            lowest = source->watermark_us < lowest ? source->watermark_us : lowest;
        } else if (source->watermark_us > furthest) {
            furthest = source->watermark_us;
        }
    }
    return counting ? lowest : waiting ? furthest : INT64_MAX;
}

static void fire_timers (flow_t *self, op_t *op, int64_t now_us) {
    user_call_t user;
    bool interrupted = false;
    enter_python (self, op, &user);
    pystep_advance (op->python, now_us, op->arrival, &user.call, &interrupted);
    leave_python (self, &user, interrupted);
    op->due = pystep_due (op->python, op->arrival);
}

static void advance_op (flow_t *self, op_t *op, int64_t watermark) {
    int64_t before = op->watermark;
    self->lateness_us = before;
    if (op->due <= watermark) {
        uint64_t start = clock_ticks();
        if (op->window) {
            emission_t emission = {self, op};
            window_advance (op->window, watermark, self->row, &self->lane->scratch, run_result, &emission);
            op->due = window_due (op->window);
        } else {
            fire_timers (self, op, watermark);
        }
        histogram_record (self->lane->closing, clock_ns (clock_ticks() - start));
        self->dirty = true;
    }
    op->watermark = watermark;
}

void flow_settle (flow_t *self) {
    for (uint32_t i = 0; i < self->timed_count; i++) {
        op_t *op = &self->ops[self->timed[i]];
        int64_t watermark = watermark_of (self, op);
        if (!op->arrival && watermark > op->watermark && watermark < op->due)
            op->watermark = watermark;
    }
}

void flow_advance (flow_t *self) {
    partition_t *partition = self->partition;
    char *raw = self->raw;
    int64_t lateness_us = self->lateness_us;
    self->partition = NULL; /* a window's result has many partitions behind it, or none */
    self->raw = NULL;
    for (uint32_t i = 0; i < self->timed_count; i++) {
        op_t *op = &self->ops[self->timed[i]];
        int64_t watermark = watermark_of (self, op);
        if (op->watermark == INT64_MAX)
            continue; /* the end of the input has been; nothing comes after it */
        if (watermark < op->watermark)
            watermark = op->watermark; /* it never goes back */
        /* Timers of arrival time are the tick's, but for the end of the input. */
        bool is_due =
            op->arrival ? watermark == INT64_MAX : watermark > op->watermark || op->due <= watermark;
        if (is_due)
            advance_op (self, op, watermark);
    }
    self->due = INT64_MAX;
    for (uint32_t i = 0; i < self->timed_count; i++) {
        op_t *op = &self->ops[self->timed[i]];
        if (!op->arrival && op->watermark < INT64_MAX && op->due < self->due)
            self->due = op->due;
    }
    self->partition = partition;
    self->raw = raw;
    self->lateness_us = lateness_us;
}

int64_t flow_advance_arrival (flow_t *self, int64_t now_us) {
    int64_t next = INT64_MAX;
    for (uint32_t i = 0; i < self->timed_count; i++) {
        op_t *op = &self->ops[self->timed[i]];
        if (!op->arrival || op->watermark == INT64_MAX)
            continue;
        if (op->due <= now_us) {
            self->partition = NULL;
            advance_op (self, op, now_us);
        }
        if (op->due < next)
            next = op->due;
    }
    return next;
}
