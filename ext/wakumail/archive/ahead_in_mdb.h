/* Part of the copy of mdb.c that setup.py makes: see ahead.h. Included at its end. */

#include "ahead.h"

static void
ahead_pages(const MDB_env *env, pgno_t pgno, size_t count, size_t *asked)
{
	size_t psize = env->me_psize;
	if (*asked == pgno || pgno + count > env->me_mapsize / psize)
		return;
	*asked = pgno;
	/* An error takes nothing away: the pages are then read when they are touched. */
	madvise(env->me_map + pgno * psize, count * psize, MADV_WILLNEED);
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

/* `most`: pages of a value that are asked for. */
static void
ahead_node(const MDB_env *env, MDB_node *leaf, size_t most, size_t *asked)
{
	pgno_t pgno;
	size_t count;
	if (!F_ISSET(leaf->mn_flags, F_BIGDATA))
		return;
	memcpy(&pgno, NODEDATA(leaf), sizeof(pgno));
	count = OVPAGES(NODEDSZ(leaf), env->me_psize);
	ahead_pages(env, pgno, count < most ? count : most, asked);
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
