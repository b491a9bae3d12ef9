/* The rows of a leaf page, read or deleted without a call of LMDB for each. Small rows only: a
value that has pages of its own is not reached this way. Pages are checked before (checks.h), so
every row lies within its page; its sizes are for the caller to check. */

#ifndef WAKUMAIL_LEAF_H
#define WAKUMAIL_LEAF_H

#include <stdint.h>
#include <string.h>

#include "lmdb.h"

typedef struct leaf {
	const uint8_t *page;
	const uint16_t *places;		/* of the rows, in bytes from the page */
	unsigned at;			/* the row of the cursor */
	unsigned count;
} leaf;

/* The leaf at the cursor's place. It must have one: the last call of LMDB on it found a row. */
void leaf_of(MDB_cursor *cursor, leaf *out);

/* Set the cursor's place to the last row of its leaf: MDB_NEXT goes to the next leaf. */
void leaf_end(MDB_cursor *cursor);

#define LEAF_KEY_AT	8

static inline const uint8_t *
leaf_key(const leaf *l, unsigned i)
{
	return l->page + l->places[i] + LEAF_KEY_AT;
}

/* True if row `i` has a key of this size and, within its page, a value of that one. */
static inline int
leaf_has(const leaf *l, unsigned i, uint16_t key_size, uint16_t value_size)
{
	/* A row begins with the two halves of its value's size, flags and its key's size. One half is 0
	for a small value; which one depends on the order of bytes. */
	uint16_t head[4];
	memcpy(head, l->page + l->places[i], sizeof(head));
	return head[0] + head[1] == value_size && !head[2] && head[3] == key_size;
}

static inline const uint8_t *
leaf_value(const leaf *l, unsigned i, uint16_t key_size)
{
	return leaf_key(l, i) + key_size;
}

/* Rows that lie together in a table, with keys and values of one size each. */
typedef struct leaf_rows {
	uint16_t key_size;
	uint16_t value_size;
	uint16_t prefix;		/* bytes of the two below, with which keys begin */
	uint8_t first[4];		/* the least that begins a key of theirs */
	uint8_t behind[4];		/* the least that begins a key behind them */
} leaf_rows;

/* True if a leaf has such rows alone: the first and the last are, so those between them are. */
static inline int
leaf_is_of(const leaf *l, const leaf_rows *rows)
{
	unsigned last = l->count - 1;
	return leaf_has(l, 0, rows->key_size, rows->value_size)
		&& leaf_has(l, last, rows->key_size, rows->value_size)
		&& memcmp(leaf_key(l, 0), rows->first, rows->prefix) >= 0
		&& memcmp(leaf_key(l, last), rows->behind, rows->prefix) < 0;
}

/* Delete the rows of the cursor's leaf, if it has such rows alone. LMDB's own deletion moves those
that are left, each time.

`unread`: if it is the first leaf of a branch page, and the last one has such rows alone too, all
leaves of that page go, and those between them are not read. So the caller has read all of them
before, and sets the number of rows afterwards, with leaf_count.

Returns 0 or a code of LMDB; LEAF_STAYS, and nothing is done, if the leaf has other rows too, or
the table has no other page. After 0 no cursor of the table has a place. */
#define LEAF_STAYS	(-11)
int leaf_drop(MDB_cursor *cursor, const leaf_rows *rows, int unread);

/* Set the number of rows that the cursor's table has. */
void leaf_count(MDB_cursor *cursor, size_t rows);

#endif
