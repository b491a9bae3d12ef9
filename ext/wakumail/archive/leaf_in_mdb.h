/* Part of the copy of mdb.c that setup.py makes: see leaf.h. Included at its end. */

#include "leaf.h"

_Static_assert(PAGEBASE == 0 && offsetof(MDB_node, mn_data) == LEAF_KEY_AT
	&& offsetof(MDB_node, mn_ksize) == 6 && offsetof(MDB_node, mn_flags) == 4
	&& sizeof(indx_t) == 2, "rows lie in a page as leaf.h reads them");

static void
leaf_at(const MDB_page *mp, unsigned at, leaf *out)
{
	out->page = (const uint8_t *) mp;
	out->places = mp->mp_ptrs;
	out->at = at;
	out->count = NUMKEYS(mp);
}

void
leaf_of(MDB_cursor *mc, leaf *out)
{
	leaf_at(mc->mc_pg[mc->mc_top], mc->mc_ki[mc->mc_top], out);
}

void
leaf_end(MDB_cursor *mc)
{
	mc->mc_ki[mc->mc_top] = NUMKEYS(mc->mc_pg[mc->mc_top]) - 1;
}

/* Look if the cursor's leaf is the first of its branch page, and the last one, too, has such rows
alone. Then all of that page's leaves have. */
static int
leaf_look_at_all(MDB_cursor *mc, const leaf_rows *rows, int *are_all)
{
	MDB_page *branch = mc->mc_pg[mc->mc_top - 1], *mp;
	leaf l;
	int rc;
	*are_all = 0;
	if (mc->mc_top < 2 || mc->mc_ki[mc->mc_top - 1])
		return MDB_SUCCESS;
	rc = checks_tree_page(mc, NODEPGNO(NODEPTR(branch, NUMKEYS(branch) - 1)), &mp, NULL, NULL);
	if (rc)
		return rc;
	leaf_at(mp, 0, &l);
	*are_all = IS_LEAF(mp) && leaf_is_of(&l, rows);
	return MDB_SUCCESS;
}

/* Take the cursor's page from its parent, as mdb_page_merge does. */
static int
leaf_unlink(MDB_cursor *mc)
{
	MDB_page *mp = mc->mc_pg[mc->mc_top];
	MDB_val none = { 0, NULL };
	int rc = MDB_SUCCESS;
	mdb_cursor_pop(mc);
	mdb_node_del(mc, 0);
	if (mc->mc_ki[mc->mc_top] == 0)
		rc = mdb_update_key(mc, &none);
	else if (mc->mc_ki[mc->mc_top] == NUMKEYS(mc->mc_pg[mc->mc_top]))
		mc->mc_ki[mc->mc_top]--;
	if (!rc)
		rc = mdb_page_loose(mc, mp);
	return rc ? rc : mdb_rebalance(mc);
}

/* Free the leaves that the cursor's branch page names, unread, as mdb_drop0 does. That page is for
the caller to free, and counted as freed. */
static int
leaf_free_all(MDB_cursor *mc)
{
	MDB_txn *txn = mc->mc_txn;
	MDB_page *branch = mc->mc_pg[mc->mc_top];
	unsigned i, n = NUMKEYS(branch);
	int rc = mdb_midl_need(&txn->mt_free_pgs, n);
	if (rc)
		return rc;
	for (i = 0; i < n; i++)
		mdb_midl_xappend(txn->mt_free_pgs, NODEPGNO(NODEPTR(branch, i)));
	mc->mc_db->md_leaf_pages -= n;
	mc->mc_db->md_branch_pages--;
	return MDB_SUCCESS;
}

int
leaf_drop(MDB_cursor *mc, const leaf_rows *rows, int unread)
{
	MDB_cursor *other;
	int all = 0, rc = MDB_SUCCESS;
	leaf l;
	leaf_of(mc, &l);
	if (!mc->mc_top || !leaf_is_of(&l, rows))
		return LEAF_STAYS;
	if (unread)
		rc = leaf_look_at_all(mc, rows, &all);
	if (!rc)
		rc = mdb_page_spill(mc, NULL, NULL);
	if (!rc && all)
		mdb_cursor_pop(mc);
	if (!rc)
		rc = mdb_cursor_touch(mc);
	for (other = mc->mc_txn->mt_cursors[mc->mc_dbi]; other; other = other->mc_next)
		if (other != mc)
			other->mc_flags &= ~C_INITIALIZED;
	if (!rc && all)
		rc = leaf_free_all(mc);
	else if (!rc) {
		mc->mc_db->md_entries -= l.count;
		mc->mc_db->md_leaf_pages--;
	}
	if (!rc)
		rc = leaf_unlink(mc);
	mc->mc_flags &= ~(C_INITIALIZED|C_EOF);
	if (rc)
		mc->mc_txn->mt_flags |= MDB_TXN_ERROR;
	return rc;
}

void
leaf_count(MDB_cursor *mc, size_t rows)
{
	mc->mc_db->md_entries = rows;
}
