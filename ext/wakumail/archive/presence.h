/* Reading without waiting: work on the map that gives up at the first page that is not in memory.

A page that is only on disk holds the thread that touches it. A thread that may not be held asks the
system (mincore) for each page before it touches it. What was seen in memory is taken to be there
for the next seconds: the system takes pages away that were not used for long. If one is gone even
so, the thread waits for this one page. */

#ifndef WAKUMAIL_PRESENCE_H
#define WAKUMAIL_PRESENCE_H

#include <stddef.h>

#include "lmdb.h"

/* The code of a page that is not in memory, or one too many. */
#define PRESENCE_ABSENT	(-10)

/* From now on this thread uses only pages that are in memory, and up to `uses` times one: calls of
LMDB that would do more return PRESENCE_ABSENT. For read transactions; one thread at a time. */
void presence_begin(MDB_env *env, size_t uses);

/* 0 if this thread may touch these bytes of the map, else PRESENCE_ABSENT. LMDB touches the first
page of a value only. */
int presence_of(MDB_env *env, const void *at, size_t size);

/* This thread may wait for the disk again. */
void presence_end(void);

#endif
