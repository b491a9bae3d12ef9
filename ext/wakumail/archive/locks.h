/* Codes of locks_in_mdb.h that mdb_env_open may return. */

#ifndef WAKUMAIL_LOCKS_H
#define WAKUMAIL_LOCKS_H

#define LOCKS_NO_MEMORY	(-7)		/* the system gives no shared memory */
#define LOCKS_APART	(-8)		/* those that have the archive open share no memory with us */

#endif
