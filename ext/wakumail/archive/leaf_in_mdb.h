/* Part of the copy of mdb.c that setup.py makes: see leaf.h. Included at its end. */

#include "leaf.h"

_Static_assert(PAGEBASE == 0 && offsetof(MDB_node, mn_data) == LEAF_KEY_AT
	&& offsetof(MDB_node, mn_ksize) == 6 && offsetof(MDB_node, mn_flags) == 4
	&& sizeof(indx_t) == 2, "rows lie in a page as leaf.h reads them");

void
leaf_of(MDB_cursor *mc, leaf *out)
{
	const MDB_page *mp = mc->mc_pg[mc->mc_top];
	out->page = (const uint8_t *) mp;
	out->places = mp->mp_ptrs;
	out->at = mc->mc_ki[mc->mc_top];
	out->count = NUMKEYS(mp);
}

void
leaf_end(MDB_cursor *mc)
{
	mc->mc_ki[mc->mc_top] = NUMKEYS(mc->mc_pg[mc->mc_top]) - 1;
}

/* As mdb_page_merge takes a page without rows from its parent. */
static int
leaf_unlink(MDB_cursor *mc)
{
	MDB_page *mp = mc->mc_pg[mc->mc_top];
	MDB_val none = { 0, NULL };
	int rc = MDB_SUCCESS;
	mc->mc_db->md_entries -= NUMKEYS(mp);
	mc->mc_db->md_leaf_pages--;
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

int
leaf_drop(MDB_cursor *mc)
{
	MDB_cursor *other;
	int rc;
	if (!mc->mc_top)
		return LEAF_IS_ROOT;
	rc = mdb_page_spill(mc, NULL, NULL);
	if (!rc)
		rc = mdb_cursor_touch(mc);
	for (other = mc->mc_txn->mt_cursors[mc->mc_dbi]; other; other = other->mc_next)
		if (other != mc)
			other->mc_flags &= ~C_INITIALIZED;
	if (!rc)
		rc = leaf_unlink(mc);
	mc->mc_flags &= ~(C_INITIALIZED|C_EOF);
	if (rc)
		mc->mc_txn->mt_flags |= MDB_TXN_ERROR;
	return rc;
}
