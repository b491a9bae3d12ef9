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
