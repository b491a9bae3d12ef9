/* Our own checks of pages before LMDB uses them, and a guard for damage that no check can see.

LMDB trusts every page: a damaged one makes it read or write beyond the page, or abort. The copy of
mdb.c that setup.py makes calls checks_in_mdb.h for each page that it takes from the file. Some
damage cannot be seen before: a file that is cut while it is mapped, or a sector that cannot be
read, raises SIGBUS or SIGSEGV at an address within the map, and an impossible state fails an
assertion of LMDB. checks_guard turns all of these into errors. */

#ifndef WAKUMAIL_CHECKS_H
#define WAKUMAIL_CHECKS_H

#include "lmdb.h"

/* mdb_env_open may return it: the meta pages do not fit each other or their places. */
#define CHECKS_METAS	(-12)

/* The same: data.mdb or lock.mdb is not a regular file. */
#define CHECKS_IRREGULAR	(-13)

/* The same, for a reader: data.mdb is empty, as it is before LMDB writes its meta pages. */
#define CHECKS_EMPTY	(-14)

/* Call after mdb_env_open, and after each mdb_env_set_mapsize while no transaction is open. */
int checks_attach(MDB_env *env);

/* Call before mdb_env_close. A second call does nothing. */
void checks_detach(MDB_env *env);

/* Do work that touches the map. Returns its result, or CHECKS_LEAPT if damage ended it: then its
stack frames are gone, so it must not hold a lock, and its transaction can only be ended. */
#define CHECKS_LEAPT	(-6)
typedef int (*checks_work)(void *context);
int checks_guard(MDB_env *env, checks_work work, void *context);

/* Abort a write transaction in which checks_guard may have ended a change half-way. */
void checks_abandon(MDB_txn *txn);

#endif
