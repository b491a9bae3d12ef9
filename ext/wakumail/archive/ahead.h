/* Reading ahead: pages that are about to be used are asked of the system before they are touched.

A page that is touched while it is only on disk holds its thread until it has come. A page of many
envelopes would wait for one after the other; asked for together they come together. */

#ifndef WAKUMAIL_AHEAD_H
#define WAKUMAIL_AHEAD_H

#include <stddef.h>

#include "lmdb.h"

#define AHEAD_RUNS	256

/* Pages to ask for together: each of them once, and those that lie together in one call. Asking
costs the thread some microseconds a call, and the disk more. It begins with a count of 0. */
typedef struct ahead_list {
	size_t count;
	struct {
		size_t first, behind;	/* numbers of pages */
	} runs[AHEAD_RUNS];
} ahead_list;

/* Ask for the pages on the way to `count` keys of `size` bytes, which lie one after another. One
level of the tree after the other is asked for, for each names the pages of the next. Ascending keys
cost least. A damaged page is left out: its reader meets it. The cursor has no place afterwards. */
void ahead_keys(MDB_cursor *cursor, const void *keys, size_t count, size_t size);

/* Note the pages of the value at the cursor's place. Returns 0 if it has no pages of its own: then
it lies on the leaf page. */
int ahead_value(MDB_cursor *cursor, ahead_list *list);

/* Ask for the pages of a list, which is empty afterwards. */
void ahead_ask(MDB_cursor *cursor, ahead_list *list);

/* Read the branch pages that lead to the rows with keys from `from` to before `to`, those of a page
together. Returns their number, without the root. The cursor has no place afterwards. */
size_t ahead_branches(MDB_cursor *cursor, MDB_val *from, MDB_val *to);

/* Ask for the leaf pages behind the cursor's that the same branch page names. `asked` is the number
of the branch page for which that was done last: it is not done again. */
void ahead_leaves(MDB_cursor *cursor, size_t *asked);

/* Ask for the first page of each value that has pages of its own, of the cursor's row and those
behind it on its leaf page. `asked` is the number of that leaf page: it is not done again. */
void ahead_heads(MDB_cursor *cursor, size_t *asked);

/* At a leaf page of a copy: ask for all values that have pages of their own, and at the first leaf
of a branch page for the other ones. */
void ahead_copy(MDB_cursor *cursor);

#endif
