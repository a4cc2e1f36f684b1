/* file_identity.h: which file it was that has been read so far, so that after a restart the same one is read on, under
 * whichever name, and no other one from its middle. */
#ifndef BETTONG_FILE_IDENTITY_H
#define BETTONG_FILE_IDENTITY_H

#include "value.h"

enum { FILE_HEAD_MAX = 4096, FILE_IDENTITY_BYTES = 20 };

#endif
