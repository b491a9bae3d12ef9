/* Reading ahead: pages that are about to be used are asked of the system before they are touched.

A page that is touched while it is only on disk holds its thread until it has come. A page of many
envelopes would wait for one after the other; asked for together they come together. */

#ifndef WAKUMAIL_AHEAD_H
#define WAKUMAIL_AHEAD_H

#include <stddef.h>

#include "lmdb.h"

#define AHEAD_RUNS	256

/* Pages to ask for together: each of them once, and those that lie together in one call. Asking costs
the thread some microseconds a call, and the disk more. It begins as all zeros. */
typedef struct ahead_list {
	size_t count;
	struct {
		size_t first, behind;	/* numbers of pages */
	} runs[AHEAD_RUNS];
	MDB_val next;			/* the key that ends the page noted last; none if its data is NULL */
} ahead_list;

/* Note the page on the way to `key` that lies `level` pages below the root. The pages above it are
read. Call it with ascending keys. Returns 0 if the tree has no such level. A damaged page is not
noted: its reader meets it. The cursor has no place afterwards. */
int ahead_page(MDB_cursor *cursor, MDB_val *key, unsigned level, ahead_list *list);

/* Note the pages of the value at the cursor's place, if it has pages of its own. */
void ahead_pages_of_value(MDB_cursor *cursor, ahead_list *list);

/* Ask for the pages of a list, which is empty afterwards. */
void ahead_ask(MDB_cursor *cursor, ahead_list *list);

/* Ask for the leaf page where the first row at or behind `key` lies. The pages above it are read.
The cursor has no place afterwards. `asked` is the number of the page that was asked for last: it is
not asked for again. Returns 0 or a code of LMDB. */
int ahead_leaf(MDB_cursor *cursor, MDB_val *key, size_t *asked);

/* Ask for the leaf pages behind the cursor's that the same branch page names. `asked` is the number
of the branch page for which that was done last: it is not done again. */
void ahead_leaves(MDB_cursor *cursor, size_t *asked);

/* Ask for the pages of the value at the cursor's place, if it has pages of its own. Returns 0 if it
has none: then it lies on the leaf page. */
int ahead_value(MDB_cursor *cursor, size_t *asked);

/* Ask for the first page of each value that has pages of its own, of the cursor's row and those behind
it on its leaf page. `asked` is the number of that leaf page: it is not done again. */
void ahead_heads(MDB_cursor *cursor, size_t *asked);

/* At a leaf page of a copy: ask for all values that have pages of their own, and at the first leaf of
a branch page for the other ones. */
void ahead_copy(MDB_cursor *cursor);

#endif
