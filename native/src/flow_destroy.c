/* flow_destroy.c: a flow given back, whole or as far as it was loaded. */
#include <stdlib.h>

#include "lane.h"

static void free_op (op_t *op) {
    free (op->code);
    free (op->slots);
    free (op->tests);
    free (op->next.ops);
    free (op->late.ops);
    if (op->section)
        buffer_free (&op->section->rows);
    free (op->section);
    window_destroy (&op->window);
    running_destroy (&op->running);
    seen_destroy (&op->seen);
    if (op->python)
        pystep_destroy (&op->python);
    fields_destroy (&op->fields);
}

static void free_source (source_t *source) {
    source_stop (source);
    while (source->partitions)
        partition_drop (source->partitions);
    source_forget (source);
    source_free_files (source);
    free (source->asides);
    format_destroy (&source->format);
    format_destroy (&source->whole);
    fields_destroy (&source->fields);
    fields_destroy (&source->whole_fields);
    free (source->next.ops);
    free (source->late.ops);
}

void flow_destroy (flow_t **self_p) {
    flow_t *self = *self_p;
    if (!self)
        return;
    for (uint32_t i = 0; self->ops && i < self->op_count; i++)
        free_op (&self->ops[i]);
    for (uint32_t i = 0; i < self->source_count; i++)
        free_source (&self->sources[i]);
    for (uint32_t i = 0; i < self->sink_count; i++)
        sink_close (&self->sinks[i]);
    for (uint32_t i = 0; i < self->layout_count; i++)
        layout_destroy (&self->layouts[i]);
    for (uint32_t i = 0; i < self->key_count && self->key_bytes; i++)
        buffer_free (&self->key_bytes[i]);
    for (uint32_t i = 0; i < ERRORS_KEPT_MAX; i++)
        buffer_free (&self->kept[i]);
    buffer_free (&self->error_event);
    buffer_free (&self->pack);
    free (self->errors_next.ops);
    free (self->lost);
    pthread_mutex_destroy (&self->kept_lock);
    free (self->timed);
    free (self->layouts);
    free (self->steps);
    free (self->sources);
    free (self->sinks);
    free (self->ops);
    free (self->keys);
    free (self->key_bytes);
    free (self->row);
    free (self->program);
    free (self);
    *self_p = NULL;
}
