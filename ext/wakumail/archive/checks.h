/* Checks of our own before LMDB follows what it finds in the file, and what catches the rest.

LMDB trusts every page: a damaged one makes it read, or write, beyond the page, or abort. The copy
of mdb.c that setup.py makes asks checks_in_mdb.h about each page that it takes from the file.
What cannot be seen beforehand (a file cut while it is mapped, a sector that cannot be read) raises
SIGBUS or SIGSEGV at an address within the map, and what LMDB finds to be impossible fails an
assertion: checks_guard makes errors of all of these. */

#ifndef WAKUMAIL_CHECKS_H
#define WAKUMAIL_CHECKS_H

#include <stdint.h>

#include "lmdb.h"

/* After mdb_env_open, and after each mdb_env_set_mapsize while no transaction is open. */
int checks_attach(MDB_env *env);

/* Before mdb_env_close; a second time does nothing. */
void checks_detach(MDB_env *env);

/* Check all pages again when they are next used: those that were mapped are given back. */
void checks_forget(MDB_env *env);

/* How often something damaged was met, by any thread. */
uint64_t checks_damaged(MDB_env *env);

/* Do work that touches the map; answers what it does, or CHECKS_LEAPT when damage ended it. Then its
frames are gone: it may hold no lock, and its transaction can only be ended. */
#define CHECKS_LEAPT	(-6)
typedef int (*checks_work)(void *context);
int checks_guard(MDB_env *env, checks_work work, void *context);

/* Abort a write transaction that checks_guard may have ended in the middle of a change. */
void checks_abandon(MDB_txn *txn);

#endif
