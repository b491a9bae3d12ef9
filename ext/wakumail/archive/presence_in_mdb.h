/* Part of the copy of mdb.c that setup.py makes: see presence.h. Included before the checks of
checks_in_mdb.h, which ask for each page. */

#include <time.h>

#include "presence.h"

#define PRESENCE_SECONDS	5	/* for which a page that was seen is taken to be in memory */

typedef struct presence {
	size_t words;			/* of `seen` */
	uint64_t *seen;			/* a bit for each page of the map */
	time_t since;
} presence;

static __thread size_t presence_uses;	/* those that are left, and one; 0: the thread may wait */

/* True if a page is in memory. Where the system does not tell, it may not be. */
static int
presence_ask(const MDB_env *env, pgno_t pgno)
{
	unsigned char there[MAX_PAGESIZE / 4096];
	size_t size = env->me_psize, unit = env->me_os_psize;
	size_t first = pgno * size / unit, end = ((pgno + 1) * size - 1) / unit + 1, i;
	if (mincore(env->me_map + first * unit, (end - first) * unit, there))
		return 0;
	for (i = 0; i < end - first; i++)
		if (!(there[i] & 1))
			return 0;
	return 1;
}

/* 0 if this thread may touch a page. */
static int
presence_check(const MDB_env *env, presence *p, pgno_t pgno)
{
	uint64_t bit = (uint64_t) 1 << (pgno & 63);
	if (!presence_uses)
		return MDB_SUCCESS;
	if (presence_uses == 1 || pgno >> 6 >= p->words)
		return PRESENCE_ABSENT;
	presence_uses--;
	if (p->seen[pgno >> 6] & bit)
		return MDB_SUCCESS;
	if (!presence_ask(env, pgno))
		return PRESENCE_ABSENT;
	p->seen[pgno >> 6] |= bit;
	return MDB_SUCCESS;
}
