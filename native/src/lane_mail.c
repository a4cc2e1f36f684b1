/* lane_mail.c: letters to a lane from Python, and its posts. */
#include <stdlib.h>

#include "lane.h"

bool lane_mail_chunk (lane_t *self, uint32_t flow, uint32_t source, const char *partition,
                      size_t partition_size, const char *position, size_t position_size, const char *data,
                      size_t size) {
    return mail_send (&self->mail, LETTER_CHUNK, flow, source, 0, data, size, partition, partition_size,
                      position, position_size);
}

static void send_plain (lane_t *self, uint32_t kind, uint32_t flow, uint32_t index, uint64_t number) {
    mail_send (&self->mail, kind, flow, index, number, NULL, 0, NULL, 0, NULL, 0);
}

void lane_mail_end (lane_t *self, uint32_t flow, uint32_t source) {
    send_plain (self, LETTER_END, flow, source, 0);
}
void lane_mail_committed (lane_t *self, uint64_t cut) { send_plain (self, LETTER_COMMITTED, 0, 0, cut); }
void lane_mail_taken (lane_t *self, uint32_t flow, uint32_t sink) {
    send_plain (self, LETTER_TAKEN, flow, sink, 0);
}
void lane_mail_spool (lane_t *self, uint32_t flow, uint32_t sink, bool full) {
    send_plain (self, LETTER_SPOOL, flow, sink, full);
}
void lane_mail_stop (lane_t *self, bool close) { send_plain (self, LETTER_STOP, 0, 0, close); }
void lane_mail_abort (lane_t *self) { send_plain (self, LETTER_ABORT, 0, 0, 0); }

void lane_mail_address (lane_t *self, uint32_t flow, uint32_t sink, const char *address, size_t size) {
    mail_send (&self->mail, LETTER_ADDRESS, flow, sink, 0, address, size, NULL, 0, NULL, 0);
}

int lane_post_fd (lane_t *self) { return self->posts.fd; }
bool lane_take_post (lane_t *self, post_t *post) { return posts_take (&self->posts, post); }
void lane_release_post (post_t *post) {
    free (post->data);
    post->data = NULL;
}
