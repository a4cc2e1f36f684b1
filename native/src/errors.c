/* errors.c: records set aside (S3): counted always, and given to what reads `errors`, or kept for `status`. */
#include <stdlib.h>

#include "lane.h"

static void set (flow_t *self, enum error_slot which, value_t value) {
    self->row[self->error_slots[which]] = value;
}

static void set_text (flow_t *self, enum error_slot which, const char *text, uint32_t size) {
    set (self, which, value_text (text, size));
}

/* The whole source record, decoded again with all its fields, for an event of which the flow decoded only a few. */
static void decode_whole (flow_t *self, const layout_t *layout) {
    source_t *source = self->partition ? self->partition->source : NULL;
    if (!source || !source->whole || !self->raw || layout->rest_slot != source->whole_slot)
        return;
    self->row[source->whole_slot] = value_missing();
    if (format_decode (source->whole, self->partition->format, self->raw, self->raw_size, self->row,
                       &self->lane->scratch, &self->fault) != DECODED_ROW)
        self->row[source->whole_slot] = value_missing();
}

static void fill_event (flow_t *self, const layout_t *layout) {
    decode_whole (self, layout);
    self->error_event.size = 0;
    if (layout_pack (layout, self->row, &self->error_event))
        set (self, ERROR_EVENT,
             (value_t){
                 .p = self->error_event.data, .size = (uint32_t) self->error_event.size, .tag = TAG_MAP});
    else
        self->error_failures++;
}

static void fill_raw (flow_t *self) {
    uint32_t size = self->raw_size < ERROR_RAW_MAX ? self->raw_size : ERROR_RAW_MAX;
    set (self, ERROR_RAW, (value_t){.p = self->raw, .size = size, .tag = TAG_BYTES});
    set (self, ERROR_RAW_TRUNCATED, value_bool (size < self->raw_size || self->raw_cut));
}

static void fill (flow_t *self, const step_t *step, const layout_t *layout, const fault_t *fault) {
    for (int i = 0; i < ERROR_SLOTS; i++)
        self->row[self->error_slots[i]] = value_missing();
    set (self, ERROR_TIME, value_time (self->lane->wall_us));
    set_text (self, ERROR_FLOW, self->name, self->name_size);
    if (step)
        set_text (self, ERROR_STEP, step->name, step->name_size);
    if (self->partition) {
        const source_t *source = self->partition->source;
        set_text (self, ERROR_SOURCE, source->name, source->name_size);
        set_text (self, ERROR_PARTITION, self->partition->name, self->partition->name_size);
        set (self, ERROR_POSITION, value_int ((int64_t) self->position));
    }
    const char *reason = reason_name (fault->reason);
    set_text (self, ERROR_REASON, reason, (uint32_t) strlen (reason));
    set_text (self, ERROR_MESSAGE, fault->message, (uint32_t) strlen (fault->message));
    if (layout)
        fill_event (self, layout);
    else if (self->raw)
        fill_raw (self);
    if (fault->traceback)
        set_text (self, ERROR_TRACEBACK, fault->traceback, (uint32_t) strlen (fault->traceback));
}

/* Nothing reads `errors`: keep the last ones, each within its bound (a record too large keeps its place empty). */
static void keep_locked (flow_t *self) {
    buffer_t *kept = &self->kept[self->kept_next];
    kept->limit = ERROR_KEPT_BYTES_MAX;
    kept->size = 0;
    self->kept_next = (self->kept_next + 1) % ERRORS_KEPT_MAX;
    if (layout_pack (self->error_layout, self->row, kept))
        return;
    kept->size = 0;
    set (self, ERROR_EVENT, value_missing());
    set (self, ERROR_TRACEBACK, value_missing());
    set (self, ERROR_RAW_TRUNCATED, value_bool (true));
    if (!layout_pack (self->error_layout, self->row, kept)) {
        kept->size = 0;
        self->error_failures++;
    }
}

static void keep (flow_t *self) {
    pthread_mutex_lock (&self->kept_lock);
    keep_locked (self);
    pthread_mutex_unlock (&self->kept_lock);
}

/* The fault is moved out of the flow, for what reads `errors` may fail in its turn. */
static void put_out (flow_t *self, const step_t *step, const layout_t *layout) {
    fault_t fault = self->fault;
    size_t mark = arena_mark (&self->lane->scratch);
    self->in_error = true;
    self->fault.traceback = NULL;
    fill (self, step, layout, &fault);
    if (self->errors_next.count)
        flow_run (self, &self->errors_next);
    else
        keep (self);
    self->in_error = false;
    arena_release (&self->lane->scratch, mark);
    free (fault.traceback);
}

void flow_error (flow_t *self, const step_t *step, const layout_t *layout) {
    uint32_t reason = self->fault.reason;
    self->reasons[reason < REASON_COUNT ? reason : REASON_NONE]++;
    self->error_count++;
    self->dirty = true;
    if (step)
        self->steps[step - self->steps].errors++;
    if (self->stop_on_error && !self->stopped) {
        self->stopped = true;
        const source_t *source = self->partition ? self->partition->source : NULL;
        lane_log (self->lane, 40,
                  "flow %.*s stops at its first error (on_error = \"stop\"): %s%.*s%s%.*s at %llu: %s",
                  (int) self->name_size, self->name, step ? "step " : "", step ? (int) step->name_size : 0,
                  step ? step->name : "", source ? ", source " : "", source ? (int) source->name_size : 0,
                  source ? source->name : "", (unsigned long long) self->position, self->fault.message);
    }
    if (self->in_error)
        self->error_failures++;
    else
        put_out (self, step, layout);
    free (self->fault.traceback);
    self->fault.traceback = NULL;
    self->fault.reason = REASON_NONE;
}

void flow_put_aside (flow_t *self) {
    fault_set (&self->fault, REASON_STUCK,
               "the worker was lost in a user function that had this event: it hung, exited or crashed");
    flow_error (self, NULL, NULL);
}

bool flow_kept_errors (flow_t *self, buffer_t *out) {
    bool good = true;
    pthread_mutex_lock (&self->kept_lock);
    for (uint32_t i = 0; i < ERRORS_KEPT_MAX && good; i++) {
        const buffer_t *kept = &self->kept[(self->kept_next + i) % ERRORS_KEPT_MAX];
        good = buffer_put (out, kept->data, kept->size);
    }
    pthread_mutex_unlock (&self->kept_lock);
    return good;
}
