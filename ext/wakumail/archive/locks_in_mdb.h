/* Part of the copy of mdb.c that setup.py makes: where LMDB's mutexes and its table of readers lie.

LMDB keeps them in lock.mdb, which it maps. On a copy-on-write file system (btrfs, ZFS, bcachefs) a
write to a mapped page needs a new block, even where one was allocated before; when the disk is full
there is none, and the write ends the process (SIGBUS). So they lie in a System V shared memory
segment, and lock.mdb stays empty. It only carries locks of fcntl:

	byte		held by
	0		all that have the archive open; exclusively by who makes the segment (LMDB)
	a process id	the process, once it has read (LMDB)
	2^62 and more	all that have attached a segment: the byte tells its id

These locks need no disk, are the same in all containers, and end with their process. The segment is
marked for removal at once: the system frees it when its last process detaches or dies. */

#include <limits.h>
#include <stdint.h>
#include <sys/random.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <time.h>

#include "locks.h"

#define LOCKS_FIRST	((off_t) 1 << 62)
#define LOCKS_ID_SHIFT	31
#define LOCKS_SIZE(env)	(((env)->me_maxreaders - 1) * sizeof(MDB_reader) + sizeof(MDB_txninfo))

enum {
	LOCKS_TRIES = 200,
	LOCKS_REST = 20000000	/* nanoseconds between two tries, at most */
};

/* The byte of lock.mdb that stands for a segment, chosen so that it differs from one in another
namespace with the same id. The segment ends with the same number. */
typedef off_t locks_place;

static int
locks_hold(MDB_env *env, short kind, off_t byte)
{
	struct flock lock;
	int rc;
	memset(&lock, 0, sizeof(lock));
	lock.l_type = kind;
	lock.l_whence = SEEK_SET;
	lock.l_start = byte;
	lock.l_len = 1;
	while ((rc = fcntl(env->me_lfd, F_SETLK, &lock)) && (rc = errno) == EINTR) ;
	return rc;
}

/* Make the segment, with byte 0 held exclusively: nobody else has the archive open. */
static int
locks_make(MDB_env *env)
{
	size_t size = LOCKS_SIZE(env);
	struct shmid_ds segment;
	struct stat file, directory;
	locks_place place = 0;
	void *m;
	int id = shmget(IPC_PRIVATE, size + sizeof(place), IPC_CREAT | 0600);
	if (id < 0)
		return LOCKS_NO_MEMORY;
	m = shmat(id, NULL, 0);
	/* What root makes must be open to the owner of the archive. */
	if (!geteuid() && !stat(env->me_path, &directory) && directory.st_uid
		&& !fstat(env->me_lfd, &file) && !file.st_uid && file.st_nlink == 1)
		(void) !fchown(env->me_lfd, directory.st_uid, directory.st_gid);
	if (!fstat(env->me_lfd, &file) && file.st_uid != geteuid() && !shmctl(id, IPC_STAT, &segment)) {
		segment.shm_perm.uid = file.st_uid;
		segment.shm_perm.gid = file.st_gid;
		(void) shmctl(id, IPC_SET, &segment);
	}
	(void) shmctl(id, IPC_RMID, NULL);
	if (m == (void *) -1)
		return LOCKS_NO_MEMORY;
	env->me_txns = m;
	memset(m, 0, size);			/* takes the memory now, not at a write later */
	if (getrandom(&place, sizeof(place), 0) != sizeof(place))
		return errno;
	place = LOCKS_FIRST | (off_t) id << LOCKS_ID_SHIFT | (place & INT_MAX);
	memcpy((char *) m + size, &place, sizeof(place));
	/* Another program's table; it would take it for current while we have the archive open. */
	if (!fstat(env->me_lfd, &file) && file.st_size)
		(void) !ftruncate(env->me_lfd, 0);
	return locks_hold(env, F_RDLCK, place);
}

/* Attach the segment that the others have, with byte 0 held shared. */
static int
locks_join(MDB_env *env)
{
	struct flock holder;
	struct shmid_ds segment;
	locks_place told;
	size_t size;
	char *m;
	int id;
	memset(&holder, 0, sizeof(holder));
	holder.l_type = F_WRLCK;
	holder.l_whence = SEEK_SET;
	holder.l_start = LOCKS_FIRST;		/* l_len 0: to the end */
	if (fcntl(env->me_lfd, F_GETLK, &holder))
		return errno;
	if (holder.l_type == F_UNLCK || holder.l_start < LOCKS_FIRST)
		return LOCKS_APART;
	id = (holder.l_start - LOCKS_FIRST) >> LOCKS_ID_SHIFT;
	m = shmat(id, NULL, 0);
	if (m == (void *) -1)
		return errno == ENOMEM ? ENOMEM : LOCKS_APART;
	if (!shmctl(id, IPC_STAT, &segment)
		&& segment.shm_segsz >= sizeof(MDB_txninfo) + sizeof(told)) {
		size = segment.shm_segsz - sizeof(told);
		memcpy(&told, m + size, sizeof(told));
		if (told == holder.l_start) {
			env->me_txns = (MDB_txninfo *) m;
			env->me_maxreaders = (size - sizeof(MDB_txninfo)) / sizeof(MDB_reader) + 1;
			return locks_hold(env, F_RDLCK, told);
		}
	}
	shmdt(m);
	return LOCKS_APART;
}

/* Get byte 0 and the segment. Tries again: those that had it may end or be about to make it. */
static int
locks_begin(MDB_env *env, int *excl)
{
	struct timespec rest = { 0, 0 };
	int rc = LOCKS_APART, tries;
	unsigned chance;
	for (tries = 0; tries < LOCKS_TRIES; tries++) {
		*excl = -1;
		rc = mdb_env_excl_lock(env, excl);
		if (!rc)
			rc = *excl > 0 ? locks_make(env) : locks_join(env);
		if (rc != LOCKS_APART)
			break;
		locks_hold(env, F_UNLCK, 0);
		if (getrandom(&chance, sizeof(chance), 0) != sizeof(chance))
			chance = tries;
		rest.tv_nsec = chance % LOCKS_REST;
		nanosleep(&rest, NULL);
	}
	errno = 0;				/* LMDB looks at it */
	return rc;
}
