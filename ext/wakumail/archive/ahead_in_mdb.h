/* Part of the copy of mdb.c that setup.py makes: see ahead.h. Included at its end. */

#include "ahead.h"

#define AHEAD_GAP	1	/* pages between two runs that are cheaper to read than to leave out */

static void
ahead_run(const MDB_env *env, pgno_t pgno, size_t count)
{
	size_t psize = env->me_psize;
	if (pgno + count > env->me_mapsize / psize)
		return;
	/* An error takes nothing away: the pages are then read when they are touched. */
	madvise(env->me_map + pgno * psize, count * psize, MADV_WILLNEED);
}

static int
ahead_order(const void *one, const void *other)
{
	size_t a = *(const size_t *) one, b = *(const size_t *) other;
	return (a > b) - (a < b);
}

void
ahead_ask(MDB_cursor *mc, ahead_list *list)
{
	const MDB_env *env = mc->mc_txn->mt_env;
	size_t first, behind, i = 0;
	qsort(list->runs, list->count, sizeof(list->runs[0]), ahead_order);
	while (i < list->count) {
		first = list->runs[i].first;
		behind = list->runs[i].behind;
		while (++i < list->count && list->runs[i].first <= behind + AHEAD_GAP)
			if (list->runs[i].behind > behind)
				behind = list->runs[i].behind;
		ahead_run(env, first, behind - first);
	}
	list->count = 0;
}

static void
ahead_note(MDB_cursor *mc, pgno_t pgno, size_t count, ahead_list *list)
{
	if (list->count == AHEAD_RUNS)
		ahead_ask(mc, list);
	list->runs[list->count].first = pgno;
	list->runs[list->count].behind = pgno + count;
	list->count++;
}

/* Note the page on the way to `key` that lies `level` pages below the root. `next` becomes the key
that ends it; its data is NULL if that is not known. */
static void
ahead_note_page(MDB_cursor *mc, MDB_val *key, unsigned level, MDB_val *next, ahead_list *list)
{
	MDB_page *mp;
	MDB_node *node;
	unsigned at, failed = mc->mc_txn->mt_flags & MDB_TXN_ERROR;
	int exact;
	next->mv_data = NULL;
	mc->mc_flags &= ~C_INITIALIZED;
	if (mdb_page_search(mc, NULL, MDB_PS_ROOTONLY))
		goto unread;
	for (;;) {
		mp = mc->mc_pg[mc->mc_top];
		if (!IS_BRANCH(mp))
			goto unread;
		node = mdb_node_search(mc, key, &exact);
		at = node == NULL ? NUMKEYS(mp) - 1 : mc->mc_ki[mc->mc_top] - !exact;
		node = NODEPTR(mp, at);
		if (mc->mc_snum == level)
			break;
		mc->mc_ki[mc->mc_top] = at;
		if (checks_tree_page(mc, NODEPGNO(node), &mp, NULL, NULL) || mdb_cursor_push(mc, mp))
			goto unread;
	}
	ahead_note(mc, NODEPGNO(node), 1, list);
	if (at + 1 < NUMKEYS(mp)) {
		node = NODEPTR(mp, at + 1);
		next->mv_size = NODEKSZ(node);
		next->mv_data = NODEKEY(node);
	}
	return;

unread:
	mc->mc_txn->mt_flags = (mc->mc_txn->mt_flags & ~MDB_TXN_ERROR) | failed;
}

void
ahead_keys(MDB_cursor *mc, const void *keys, size_t count, size_t size)
{
	ahead_list list;
	MDB_val key, before = { 0, NULL }, next;
	unsigned level;
	size_t i;
	list.count = 0;
	for (level = 1; level < mc->mc_db->md_depth; level++) {
		next.mv_data = NULL;
		for (i = 0; i < count; i++, before = key) {
			key.mv_size = size;
			key.mv_data = (char *) keys + i * size;
			/* A key between the one before and the end of its page is on the same page. */
			if (next.mv_data == NULL || mc->mc_dbx->md_cmp(&key, &before) < 0
				|| mc->mc_dbx->md_cmp(&key, &next) >= 0)
				ahead_note_page(mc, &key, level, &next, &list);
		}
		ahead_ask(mc, &list);
	}
}

/* True if child `i` of a branch page may have keys between the two. */
static int
ahead_leads_between(MDB_cursor *mc, MDB_page *mp, unsigned i, MDB_val *from, MDB_val *to)
{
	MDB_val key;
	MDB_node *node = NODEPTR(mp, i);
	key.mv_size = NODEKSZ(node);
	key.mv_data = NODEKEY(node);
	if (i && mc->mc_dbx->md_cmp(&key, to) >= 0)
		return 0;
	if (i + 1 == NUMKEYS(mp))
		return 1;
	node = NODEPTR(mp, i + 1);
	key.mv_size = NODEKSZ(node);
	key.mv_data = NODEKEY(node);
	return mc->mc_dbx->md_cmp(&key, from) > 0;
}

/* Read the `levels` of branch pages below this one. The table has no more of them than its record
says: where damage leads in circles, that ends it. */
static void
ahead_branches_below(MDB_cursor *mc, MDB_page *mp, unsigned levels, MDB_val *from, MDB_val *to,
	size_t *pages)
{
	ahead_list list;
	MDB_page *child;
	unsigned i;
	if (!levels || !IS_BRANCH(mp))
		return;
	list.count = 0;
	for (i = 0; i < NUMKEYS(mp); i++)
		if (ahead_leads_between(mc, mp, i, from, to))
			ahead_note(mc, NODEPGNO(NODEPTR(mp, i)), 1, &list);
	ahead_ask(mc, &list);
	for (i = 0; i < NUMKEYS(mp) && *pages < mc->mc_db->md_branch_pages; i++) {
		if (!ahead_leads_between(mc, mp, i, from, to)
				|| checks_tree_page(mc, NODEPGNO(NODEPTR(mp, i)), &child, NULL, NULL))
			continue;
		++*pages;
		ahead_branches_below(mc, child, levels - 1, from, to, pages);
	}
}

size_t
ahead_branches(MDB_cursor *mc, MDB_val *from, MDB_val *to)
{
	unsigned failed = mc->mc_txn->mt_flags & MDB_TXN_ERROR;
	size_t pages = 0;
	mc->mc_flags &= ~C_INITIALIZED;
	if (!mdb_page_search(mc, NULL, MDB_PS_ROOTONLY) && mc->mc_db->md_depth > 2)
		ahead_branches_below(mc, mc->mc_pg[0], mc->mc_db->md_depth - 2, from, to, &pages);
	mc->mc_txn->mt_flags = (mc->mc_txn->mt_flags & ~MDB_TXN_ERROR) | failed;
	return pages;
}

void
ahead_leaves(MDB_cursor *mc, size_t *asked)
{
	const MDB_page *mp;
	unsigned i;
	if (!mc->mc_top)
		return;
	mp = mc->mc_pg[mc->mc_top - 1];
	if (*asked == mp->mp_pgno)
		return;
	*asked = mp->mp_pgno;
	for (i = mc->mc_ki[mc->mc_top - 1] + 1; i < NUMKEYS(mp); i++)
		ahead_run(mc->mc_txn->mt_env, NODEPGNO(NODEPTR(mp, i)), 1);
}

/* The number of pages that a value has of its own, and the first of them. */
static size_t
ahead_value_pages(const MDB_env *env, MDB_node *leaf, pgno_t *first)
{
	if (!F_ISSET(leaf->mn_flags, F_BIGDATA))
		return 0;
	memcpy(first, NODEDATA(leaf), sizeof(*first));
	return OVPAGES(NODEDSZ(leaf), env->me_psize);
}

int
ahead_value(MDB_cursor *mc, ahead_list *list)
{
	MDB_node *leaf = NODEPTR(mc->mc_pg[mc->mc_top], mc->mc_ki[mc->mc_top]);
	pgno_t pgno;
	size_t count = ahead_value_pages(mc->mc_txn->mt_env, leaf, &pgno);
	if (count)
		ahead_note(mc, pgno, count, list);
	return count != 0;
}

/* Ask for the pages of a value at once, at most the first `most` of them. */
static void
ahead_node(const MDB_env *env, MDB_node *leaf, size_t most)
{
	pgno_t pgno;
	size_t count = ahead_value_pages(env, leaf, &pgno);
	if (count)
		ahead_run(env, pgno, count < most ? count : most);
}

void
ahead_heads(MDB_cursor *mc, size_t *asked)
{
	MDB_page *mp = mc->mc_pg[mc->mc_top];
	unsigned i;
	if (*asked == mp->mp_pgno)
		return;
	*asked = mp->mp_pgno;
	for (i = mc->mc_ki[mc->mc_top]; i < NUMKEYS(mp); i++)
		ahead_node(mc->mc_txn->mt_env, NODEPTR(mp, i), 1);
}

void
ahead_copy(MDB_cursor *mc)
{
	MDB_page *mp = mc->mc_pg[mc->mc_top];
	size_t asked = 0;
	unsigned i;
	if (mc->mc_top && !mc->mc_ki[mc->mc_top - 1])
		ahead_leaves(mc, &asked);
	for (i = 0; i < NUMKEYS(mp); i++)
		ahead_node(mc->mc_txn->mt_env, NODEPTR(mp, i), SIZE_MAX);
}
