/* page.h: what a lane tells the supervisor without being asked. Plain words, written by the lane alone, read by
 * another process: each is read on its own, so a stale one does no harm, only shows the turn before. */
#ifndef BETTONG_PAGE_H
#define BETTONG_PAGE_H

#include "value.h"

#define PAGE_MAGIC 0x42544e47u

enum { PAGE_PARTITION_MAX = 184, PAGE_RAW_MAX = 65280 };

typedef struct page {
    uint64_t magic;
    uint64_t ticks;
    uint64_t events;
    uint64_t pending_bytes;
    uint64_t in_python_since_ns; /* 0: not in a user function */
    uint64_t waiting;            /* 1: waits for input or is pushed back */
    uint32_t flow;
    uint32_t source;
    uint64_t position;
    uint32_t raw_size;
    uint32_t partition_size;
    char partition[PAGE_PARTITION_MAX];
    char raw[PAGE_RAW_MAX];
} page_t;

#endif
