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

static void
ahead_pages(const MDB_env *env, pgno_t pgno, size_t count, size_t *asked)
{
	if (*asked == pgno)
		return;
	*asked = pgno;
	ahead_run(env, pgno, count);
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
	list->next.mv_data = NULL;
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

int
ahead_page(MDB_cursor *mc, MDB_val *key, unsigned level, ahead_list *list)
{
	MDB_page *mp;
	MDB_node *node;
	unsigned at, failed = mc->mc_txn->mt_flags & MDB_TXN_ERROR;
	int exact;
	if (list->next.mv_data != NULL && mc->mc_dbx->md_cmp(key, &list->next) < 0)
		return 1;
	list->next.mv_data = NULL;
	mc->mc_flags &= ~C_INITIALIZED;
	if (mdb_page_search(mc, NULL, MDB_PS_ROOTONLY))
		goto unread;
	if (level >= mc->mc_db->md_depth)
		return 0;
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
		list->next.mv_size = NODEKSZ(node);
		list->next.mv_data = NODEKEY(node);
	}
	return 1;

unread:
	mc->mc_txn->mt_flags = (mc->mc_txn->mt_flags & ~MDB_TXN_ERROR) | failed;
	return level < mc->mc_db->md_depth;
}

int
ahead_leaf(MDB_cursor *mc, MDB_val *key, size_t *asked)
{
	MDB_page *mp;
	MDB_node *node;
	unsigned level, at;
	int exact, rc;
	mc->mc_flags &= ~C_INITIALIZED;
	rc = mdb_page_search(mc, NULL, MDB_PS_ROOTONLY);
	if (rc)
		return rc;
	for (level = 1; level < mc->mc_db->md_depth; level++) {
		mp = mc->mc_pg[mc->mc_top];
		if (!IS_BRANCH(mp))
			return checks_failed(mc->mc_txn);
		node = mdb_node_search(mc, key, &exact);
		at = node == NULL ? NUMKEYS(mp) - 1 : mc->mc_ki[mc->mc_top] - !exact;
		node = NODEPTR(mp, at);
		if (level + 1 == mc->mc_db->md_depth) {
			ahead_pages(mc->mc_txn->mt_env, NODEPGNO(node), 1, asked);
			return MDB_SUCCESS;
		}
		rc = checks_tree_page(mc, NODEPGNO(node), &mp, NULL, NULL);
		if (rc)
			return rc;
		mc->mc_ki[mc->mc_top] = at;
		rc = mdb_cursor_push(mc, mp);
		if (rc)
			return rc;
	}
	return MDB_SUCCESS;
}

void
ahead_leaves(MDB_cursor *mc, size_t *asked)
{
	const MDB_page *mp;
	size_t leaf = 0;
	unsigned i;
	if (!mc->mc_top)
		return;
	mp = mc->mc_pg[mc->mc_top - 1];
	if (*asked == mp->mp_pgno)
		return;
	*asked = mp->mp_pgno;
	for (i = mc->mc_ki[mc->mc_top - 1] + 1; i < NUMKEYS(mp); i++)
		ahead_pages(mc->mc_txn->mt_env, NODEPGNO(NODEPTR(mp, i)), 1, &leaf);
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

/* `most`: pages of a value that are asked for. */
static void
ahead_node(const MDB_env *env, MDB_node *leaf, size_t most, size_t *asked)
{
	pgno_t pgno;
	size_t count = ahead_value_pages(env, leaf, &pgno);
	if (count)
		ahead_pages(env, pgno, count < most ? count : most, asked);
}

void
ahead_pages_of_value(MDB_cursor *mc, ahead_list *list)
{
	MDB_node *leaf = NODEPTR(mc->mc_pg[mc->mc_top], mc->mc_ki[mc->mc_top]);
	pgno_t pgno;
	size_t count = ahead_value_pages(mc->mc_txn->mt_env, leaf, &pgno);
	if (count)
		ahead_note(mc, pgno, count, list);
}

int
ahead_value(MDB_cursor *mc, size_t *asked)
{
	MDB_node *leaf = NODEPTR(mc->mc_pg[mc->mc_top], mc->mc_ki[mc->mc_top]);
	ahead_node(mc->mc_txn->mt_env, leaf, SIZE_MAX, asked);
	return F_ISSET(leaf->mn_flags, F_BIGDATA);
}

void
ahead_heads(MDB_cursor *mc, size_t *asked)
{
	MDB_page *mp = mc->mc_pg[mc->mc_top];
	size_t head = 0;
	unsigned i;
	if (*asked == mp->mp_pgno)
		return;
	*asked = mp->mp_pgno;
	for (i = mc->mc_ki[mc->mc_top]; i < NUMKEYS(mp); i++)
		ahead_node(mc->mc_txn->mt_env, NODEPTR(mp, i), 1, &head);
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
		ahead_node(mc->mc_txn->mt_env, NODEPTR(mp, i), SIZE_MAX, &asked);
}
