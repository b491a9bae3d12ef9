/* Part of the copy of mdb.c that setup.py makes: see checks.h. Included after the declaration of
mdb_page_get, the only function with which LMDB gets a page. */

#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "presence_in_mdb.h"

typedef struct checks {
	size_t pages;			/* in the map */
	size_t words;			/* of `sound` */
	uint64_t *sound;		/* a bit for each page of nodes: it was checked since the file was opened */
	presence presence;
} checks;

#define CHECKS(env)	((checks *) (env)->me_userctx)

typedef struct guard {
	sigjmp_buf begin;
	MDB_env *env;
	struct guard *outer;
} guard;

static __thread guard *checks_current;

/* -- files ------------------------------------------------------------------------------------- */

/* Open a regular file; else errno is CHECKS_IRREGULAR. Opening a FIFO waits for its other end. */
static int
checks_open(const char *name, int flags, mode_t mode)
{
	struct stat status;
	int fd = open(name, flags | O_NONBLOCK, mode);
	if (fd < 0) {
		if (errno == EISDIR || errno == ENXIO)		/* a socket */
			errno = CHECKS_IRREGULAR;
	} else if (fstat(fd, &status) || !S_ISREG(status.st_mode)) {
		close(fd);
		fd = -1;
		errno = CHECKS_IRREGULAR;
	}
	return fd;
}

/* -- pages ------------------------------------------------------------------------------------- */

static int
checks_is_pgno(const MDB_txn *txn, pgno_t first, size_t count)
{
	return first >= NUM_METAS && count <= txn->mt_next_pgno && first <= txn->mt_next_pgno - count;
}

/* The record of a database: depth and root fit together, and no flags, for we use none. */
static int
checks_is_db(const MDB_db *db, unsigned flags, pgno_t next)
{
	if (db->md_flags != flags || db->md_depth >= CURSOR_STACK)
		return 0;
	if (db->md_root == P_INVALID)
		return 1;
	return db->md_depth && db->md_root >= NUM_METAS && db->md_root < next;
}

/* A list of free pages: their count, then their numbers, descending. */
static int
checks_is_idl(const MDB_txn *txn, const void *data, size_t size)
{
	const char *at = data;
	MDB_ID count, id, before = txn->mt_next_pgno;
	if (size < sizeof(MDB_ID) || size % sizeof(MDB_ID))
		return 0;
	memcpy(&count, at, sizeof(count));
	if (count > size / sizeof(MDB_ID) - 1)
		return 0;
	while (count--) {
		at += sizeof(MDB_ID);
		memcpy(&id, at, sizeof(id));
		if (id >= before || id < NUM_METAS)
			return 0;
		before = id;
	}
	return 1;
}

/* The size of a node that has `room` bytes, rounded up as LMDB does; 0 for one that is damaged. */
static size_t
checks_node_size(const MDB_txn *txn, const MDB_node *node, size_t room, int is_leaf, int is_free)
{
	size_t size = NODESIZE + node->mn_ksize, data;
	pgno_t pgno;
	MDB_db db;
	if (size > room)
		return 0;
	if (is_free && node->mn_ksize != sizeof(txnid_t) && (is_leaf || node->mn_ksize))
		return 0;
	if (!is_leaf)
		return checks_is_pgno(txn, NODEPGNO(node), 1) ? EVEN(size) : 0;
	if (!node->mn_ksize || node->mn_ksize > MDB_MAXKEYSIZE)
		return 0;
	data = NODEDSZ(node);
	if (node->mn_flags == F_BIGDATA) {
		if (size + sizeof(pgno) > room)
			return 0;
		memcpy(&pgno, NODEDATA(node), sizeof(pgno));
		if (!checks_is_pgno(txn, pgno, OVPAGES(data, txn->mt_env->me_psize)))
			return 0;
		return EVEN(size + sizeof(pgno));
	}
	if (size + data > room)
		return 0;
	if (node->mn_flags == F_SUBDATA) {
		if (data != sizeof(db))
			return 0;
		memcpy(&db, NODEDATA(node), sizeof(db));
		return checks_is_db(&db, 0, txn->mt_next_pgno) ? EVEN(size + data) : 0;
	}
	if (node->mn_flags || (is_free && !checks_is_idl(txn, NODEDATA(node), data)))
		return 0;
	return EVEN(size + data);
}

/* The keys of a page are in order, each once; otherwise what a cursor finds is not what a write to
the same key changes. The first key of a branch page has no meaning. */
static int
checks_are_in_order(const MDB_page *mp, size_t count, int is_leaf, int is_free)
{
	size_t i;
	for (i = is_leaf ? 1 : 2; i < count; i++) {
		const MDB_node *before = NODEPTR(mp, i - 1), *node = NODEPTR(mp, i);
		MDB_ID id_before, id;
		int order;
		if (is_free) {
			memcpy(&id_before, NODEKEY(before), sizeof(id));
			memcpy(&id, NODEKEY(node), sizeof(id));
			if (id_before >= id)
				return 0;
			continue;
		}
		order = memcmp(NODEKEY(before), NODEKEY(node),
			before->mn_ksize < node->mn_ksize ? before->mn_ksize : node->mn_ksize);
		if (order > 0 || (!order && before->mn_ksize >= node->mn_ksize))
			return 0;
	}
	return 1;
}

/* The nodes of a page lie one after another from `upper` to its end, each with one pointer. */
static int
checks_are_nodes(const MDB_txn *txn, const MDB_page *mp, int is_free)
{
	uint64_t starts[MAX_PAGESIZE / 2 / 64];
	size_t psize = txn->mt_env->me_psize;
	size_t lower = mp->mp_lower, upper = mp->mp_upper, at, count, i, size;
	int is_leaf = mp->mp_flags == P_LEAF;
	if (lower < PAGEHDRSZ || lower > upper || upper > psize || (lower & 1) || (upper & 1))
		return 0;
	count = (lower - PAGEHDRSZ) / 2;
	if (count < (size_t) (is_leaf || is_free ? 1 : 2))
		return 0;
	memset(starts, 0, psize / 16);
	for (i = 0; i < count; i++) {
		at = mp->mp_ptrs[i];
		if (at < upper || (at & 1) || at >= psize)
			return 0;
		starts[at >> 7] |= (uint64_t) 1 << (at >> 1 & 63);
	}
	for (at = upper, i = 0; at < psize; at += size, i++) {
		if (!(starts[at >> 7] >> (at >> 1 & 63) & 1) || psize - at < NODESIZE)
			return 0;
		size = checks_node_size(txn, (const MDB_node *) ((const char *) mp + at), psize - at,
			is_leaf, is_free);
		if (!size)
			return 0;
	}
	return at == psize && i == count && checks_are_in_order(mp, count, is_leaf, is_free);
}

static int
checks_failed(MDB_txn *txn)
{
	txn->mt_flags |= MDB_TXN_ERROR;
	return MDB_CORRUPTED;
}

/* Get a page of nodes and check it; it must be of the kind of `like`, unless that is NULL. */
static int
checks_tree_page(MDB_cursor *mc, pgno_t pgno, MDB_page **ret, int *lvl, const MDB_page *like)
{
	MDB_txn *txn = mc->mc_txn;
	checks *c = CHECKS(txn->mt_env);
	const MDB_page *mp;
	uint64_t bit = (uint64_t) 1 << (pgno & 63);
	unsigned kind;
	int rc, level;
	if (c == NULL)
		return mdb_page_get(mc, pgno, ret, lvl);
	if (pgno < NUM_METAS || pgno >= c->pages)
		goto damaged;
	rc = presence_check(txn->mt_env, &c->presence, pgno);
	if (rc) {
		*ret = NULL;
		return rc;
	}
	rc = mdb_page_get(mc, pgno, ret, &level);
	if (lvl)
		*lvl = level;
	if (rc)
		goto damaged;
	mp = *ret;
	kind = mp->mp_flags & (P_BRANCH|P_LEAF);
	if ((kind != P_BRANCH && kind != P_LEAF) || mp->mp_pgno != pgno || mp->mp_flags & P_LOOSE)
		goto damaged;		/* a loose page is not in use any more */
	if (like != NULL && (like->mp_flags & (P_BRANCH|P_LEAF)) != kind)
		goto damaged;
	if (level || __atomic_load_n(&c->sound[pgno >> 6], __ATOMIC_RELAXED) & bit)
		return MDB_SUCCESS;
	if (mp->mp_flags != kind
		|| !checks_are_nodes(txn, mp, mc->mc_db != NULL && mc->mc_dbi == FREE_DBI))
		goto damaged;
	__atomic_fetch_or(&c->sound[pgno >> 6], bit, __ATOMIC_RELAXED);
	return MDB_SUCCESS;

damaged:
	*ret = NULL;			/* else LMDB would take it for the root that it knows */
	return checks_failed(txn);
}

/* The pages that hold a value of `size` bytes. */
static int
checks_value_pages(MDB_cursor *mc, pgno_t pgno, MDB_page **ret, int *lvl, size_t size)
{
	MDB_txn *txn = mc->mc_txn;
	checks *c = CHECKS(txn->mt_env);
	size_t needed = OVPAGES(size, txn->mt_env->me_psize);
	const MDB_page *mp;
	int rc;
	if (c == NULL)
		return mdb_page_get(mc, pgno, ret, lvl);
	if (pgno < NUM_METAS || pgno >= c->pages)
		return checks_failed(txn);
	rc = presence_check(txn->mt_env, &c->presence, pgno);
	if (rc)
		return rc;
	rc = mdb_page_get(mc, pgno, ret, lvl);
	if (rc)
		return rc == MDB_PAGE_NOTFOUND ? checks_failed(txn) : rc;
	mp = *ret;
	if ((mp->mp_flags & ~P_DIRTY) != P_OVERFLOW || mp->mp_pgno != pgno || mp->mp_pages < needed
		|| !checks_is_pgno(txn, pgno, mp->mp_pages))
		return checks_failed(txn);
	return MDB_SUCCESS;
}

/* A record of the table of free pages, before it is merged into the list. */
static int
checks_free_record(MDB_txn *txn, const MDB_val *data)
{
	if (CHECKS(txn->mt_env) == NULL || checks_is_idl(txn, data->mv_data, data->mv_size))
		return MDB_SUCCESS;
	return checks_failed(txn);
}

/* The list after that: no page is free twice. Looks at what the merge has moved. */
static int
checks_free_list(MDB_txn *txn, const MDB_ID *list, const MDB_ID *merged)
{
	size_t i;
	if (!merged[0])
		return MDB_SUCCESS;
	for (i = list[0]; i > 1 && list[i] <= merged[1]; i--)
		if (list[i - 1] <= list[i])
			return checks_failed(txn);
	return MDB_SUCCESS;
}

/* True if a meta page has a size of pages that LMDB can have. */
static int
checks_is_psize(const MDB_meta *m)
{
	size_t psize = m->mm_psize;
	return psize >= 512 && psize <= MAX_PAGESIZE && !(psize & (psize - 1));
}

/* The newer meta page, before it is used. In the other one a commit may have failed half-way. */
static int
checks_is_meta(const MDB_meta *m)
{
	if (m->mm_last_pg < NUM_METAS - 1 || m->mm_last_pg >= ((size_t) 1 << 46) / m->mm_psize)
		return 0;
	return checks_is_db(&m->mm_dbs[FREE_DBI], MDB_INTEGERKEY, m->mm_last_pg + 1)
		&& checks_is_db(&m->mm_dbs[MAIN_DBI], 0, m->mm_last_pg + 1);
}

/* Read a meta page. */
static int
checks_read_meta(const MDB_env *env, MDB_metabuf *page, off_t at)
{
	ssize_t size = pread(env->me_fd, page, sizeof(*page), at);
	if (size < 0)
		return errno;
	return size == sizeof(*page) ? MDB_SUCCESS : CHECKS_METAS;
}

/* Both meta pages together. A commit writes that of its own parity, so the other one is the commit
before it; only a new file has the number 0 in both. If they do not fit together, LMDB may take an
older state for the last one. */
static int
checks_metas(const MDB_env *env, size_t psize)
{
	MDB_metabuf zero, one, again;
	txnid_t even, odd;
	int rc;
	do {		/* another process may commit between two readings */
		if ((rc = checks_read_meta(env, &zero, 0))
			|| (rc = checks_read_meta(env, &one, psize))
			|| (rc = checks_read_meta(env, &again, 0)))
			return rc;
		even = zero.mb_metabuf.mm_meta.mm_txnid;
		odd = one.mb_metabuf.mm_meta.mm_txnid;
	} while (again.mb_metabuf.mm_meta.mm_txnid != even);
	if (zero.mb_page.mp_pgno != 0 || one.mb_page.mp_pgno != 1
		|| one.mb_metabuf.mm_meta.mm_psize != zero.mb_metabuf.mm_meta.mm_psize)
		return CHECKS_METAS;
	if (!even && !odd)
		return MDB_SUCCESS;
	return !(even & 1) && (even > odd ? even - odd : odd - even) == 1 ? MDB_SUCCESS : CHECKS_METAS;
}

/* -- damage that no check can see -------------------------------------------------------------- */

static struct sigaction checks_before[2];	/* SIGBUS, SIGSEGV */

static void
checks_on_fault(int number, siginfo_t *info, void *context)
{
	guard *g = checks_current;
	const char *at = info->si_addr;
	struct sigaction *before = &checks_before[number == SIGSEGV];
	if (g != NULL && info->si_code > 0 && g->env->me_map != NULL
		&& at >= g->env->me_map && at < g->env->me_map + g->env->me_mapsize)
		siglongjmp(g->begin, 1);
	if (before->sa_flags & SA_SIGINFO)
		before->sa_sigaction(number, info, context);
	else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN)
		before->sa_handler(number);
	else
		sigaction(number, before, NULL);	/* it happens again, and ends the process */
}

static void
checks_on_assertion(MDB_env *env, const char *text)
{
	(void) env;
	(void) text;
	if (checks_current != NULL)
		siglongjmp(checks_current->begin, 1);
}

static void
checks_install(void)
{
	struct sigaction action;
	memset(&action, 0, sizeof(action));
	action.sa_sigaction = checks_on_fault;
	action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
	sigaction(SIGBUS, &action, &checks_before[0]);
	sigaction(SIGSEGV, &action, &checks_before[1]);
}

int
checks_guard(MDB_env *env, checks_work work, void *context)
{
	guard g;
	int rc;
	g.env = env;
	g.outer = checks_current;
	if (sigsetjmp(g.begin, 0)) {
		checks_current = g.outer;
		return CHECKS_LEAPT;
	}
	checks_current = &g;
	rc = work(context);
	checks_current = g.outer;
	return rc;
}

/* -- copying ----------------------------------------------------------------------------------- */

/* LMDB copies with a thread that writes what another reads. A guard around both would leave the
writer behind, with a stack frame that is gone; so there is one for each part that reads the map. */

struct mdb_copy;
static int mdb_env_cwalk(struct mdb_copy *my, pgno_t *pg, int flags);
static void mdb_cursor_init(MDB_cursor *mc, MDB_txn *txn, MDB_dbi dbi, MDB_xcursor *mx);

typedef struct copy_walk {
	struct mdb_copy *copy;
	pgno_t *root;
} copy_walk;

static int
checks_do_walk(void *context)
{
	copy_walk *walk = context;
	return mdb_env_cwalk(walk->copy, walk->root, 0);
}

/* mdb_env_cwalk of the whole file. */
static int
checks_cwalk(MDB_env *env, struct mdb_copy *copy, pgno_t *root)
{
	copy_walk walk = { copy, root };
	int rc = checks_guard(env, checks_do_walk, &walk);
	return rc == CHECKS_LEAPT ? MDB_CORRUPTED : rc;
}

typedef struct free_count {
	MDB_txn *txn;
	MDB_ID count;
} free_count;

static int
checks_do_count(void *context)
{
	free_count *free_pages = context;
	MDB_cursor mc;
	MDB_val key, data;
	int rc;
	mdb_cursor_init(&mc, free_pages->txn, FREE_DBI, NULL);
	while (!(rc = mdb_cursor_get(&mc, &key, &data, MDB_NEXT))) {
		if (!checks_is_idl(free_pages->txn, data.mv_data, data.mv_size))
			return checks_failed(free_pages->txn);
		free_pages->count += *(MDB_ID *) data.mv_data;
	}
	return rc;
}

/* Count the free pages. MDB_NOTFOUND: at the end. */
static int
checks_count_free(MDB_txn *txn, MDB_ID *count)
{
	free_count free_pages = { txn, 0 };
	int rc = checks_guard(txn->mt_env, checks_do_count, &free_pages);
	*count = free_pages.count;
	return rc == CHECKS_LEAPT ? MDB_CORRUPTED : rc;
}

void
checks_abandon(MDB_txn *txn)
{
	MDB_dbi i;
	/* A cursor may lie in a stack frame that is gone, so all cursors are leaked. */
	for (i = 0; i < txn->mt_numdbs; i++)
		txn->mt_cursors[i] = NULL;
	mdb_txn_abort(txn);
}

int
checks_attach(MDB_env *env)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	checks *c = CHECKS(env);
	pthread_once(&once, checks_install);
	if (c == NULL) {
		c = calloc(1, sizeof(checks));
		if (c == NULL)
			return ENOMEM;
		env->me_userctx = c;
		mdb_env_set_assert(env, checks_on_assertion);
	}
	free(c->sound);
	free(c->presence.seen);
	c->pages = env->me_maxpg;
	c->words = c->presence.words = c->pages / 64 + 1;
	c->sound = calloc(c->words, sizeof(uint64_t));
	c->presence.seen = calloc(c->words, sizeof(uint64_t));
	if (c->sound == NULL || c->presence.seen == NULL) {
		c->pages = c->words = c->presence.words = 0;
		return ENOMEM;
	}
	return 0;
}

void
presence_begin(MDB_env *env, size_t uses)
{
	presence *p = &CHECKS(env)->presence;
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	if (now.tv_sec - p->since >= PRESENCE_SECONDS) {
		memset(p->seen, 0, p->words * sizeof(uint64_t));
		p->since = now.tv_sec;
	}
	presence_uses = uses + 1;
}

int
presence_of(MDB_env *env, const void *at, size_t size)
{
	size_t psize = env->me_psize, first = (const char *) at - env->me_map;
	pgno_t pgno = first / psize, last = (first + size - 1) / psize;
	int rc = MDB_SUCCESS;
	for (; pgno <= last && !rc; pgno++)
		rc = presence_check(env, &CHECKS(env)->presence, pgno);
	return rc;
}

void
presence_end(void)
{
	presence_uses = 0;
}

void
checks_detach(MDB_env *env)
{
	checks *c = CHECKS(env);
	if (c != NULL) {
		env->me_userctx = NULL;
		free(c->sound);
		free(c->presence.seen);
		free(c);
	}
}
