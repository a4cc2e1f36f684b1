/* forks.h: processes that user code forks. Such a child must not touch what is the lane's: it lets go of the lane's
 * descriptors at once, so that it keeps no client's connection and no port alive, and it ends where it would come back
 * into the lane. */
#ifndef BETTONG_FORKS_H
#define BETTONG_FORKS_H

#include <stdbool.h>

/* Descriptors above are let go only when the child ends. */
enum { FORKS_DESCRIPTORS_MAX = 65536 };

/* From now on children are told apart; once is enough. */
void forks_watch (void);
/* Whether this process is a child that user code forked. */
bool forks_is_child (void);
/* This descriptor is the lane's, until `forks_close`. */
void forks_own (int fd);
/* Close a descriptor of the lane's; a negative one is none. */
void forks_close (int fd);

#endif
