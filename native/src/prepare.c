/* prepare.c: a lane that has waited finds its memory far away: others had the caches meanwhile. What the first record
 * of a buffer will need, whatever it says, is fetched side by side while the kernel copies its bytes, instead of line
 * by line when each is met. What only its key tells is fetched as soon as that is known (docs/decisions/0025). */
#include "fetch.h"
#include "lane.h"

static void prepare_lane (const lane_t *self) {
    fetch (&self->scratch, sizeof self->scratch);
    fetch_between (&self->clock_given, &self->gil_since_ns);
    fetch_between (&self->measure_ns, self + 1); /* its counters */
}

static void prepare_fields (const fields_t *self) {
    fetch (self, sizeof *self);
    fetch (self->items, (self->count + 1 + self->passed->count) * sizeof *self->items);
    fetch (self->slots, self->count * sizeof *self->slots);
    fetch (self->names, FIELD_SPELLED_MAX);
}

static void prepare_op (const flow_t *self, const op_t *op) {
    fetch (op, sizeof *op);
    fetch (op->tests, op->test_count * sizeof *op->tests);
    fetch (op->slots, op->slot_count * sizeof *op->slots);
    if (op->kind == OP_KIND_KEY) {
        fetch (&self->keys[op->key], sizeof (bkey_t));
        fetch (&self->key_bytes[op->key], sizeof (buffer_t));
        fetch (self->key_bytes[op->key].data, 1);
    }
    if (op->window)
        window_prepare (op->window);
}

static void prepare_flow (const flow_t *self, const op_t *first) {
    fetch_between (self, self->error_slots);
    fetch (self->row, self->slot_count * sizeof *self->row);
    fetch (self->steps, self->step_count * sizeof *self->steps);
    uint32_t count = 0;
    for (const op_t *op = first; op != NULL && count < PREPARE_OPS_MAX; op = op->then, count++)
        prepare_op (self, op);
}

void partition_prepare (const partition_t *self) {
    const source_t *source = self->source;
    const flow_t *flow = source->flow;
    fetch_between (self, self->peer);
    fetch (self->data + self->end, PREPARE_BYTES);
    fetch (source, sizeof *source);
    prepare_fields (source->fields);
    prepare_lane (flow->lane);
    prepare_flow (flow, source->next.count ? &flow->ops[source->next.ops[0]] : NULL);
}
