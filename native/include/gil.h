/* gil.h: taking and giving back Python's lock without the rest of the lane seeing Python's headers. */
#ifndef BETTONG_GIL_H
#define BETTONG_GIL_H

typedef int gil_t;

gil_t gil_take (void);
void gil_drop (gil_t gil);

#endif
