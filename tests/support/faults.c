/* Makes calls of the system fail, and the clock wrong, as tests tell it: preloaded (LD_PRELOAD), see
faults.py.

FAULTS names a file that tests and all processes map. It has a rule for each call; a rule counts the
calls on files whose path ends with FAULTS_FILE, lets some pass and then fails as many as it says.
Behind the rules are the seconds that the clock is ahead. The monotonic clock is left alone. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { FDATASYNC, PAGES, META, FALLOCATE, MAP, CALLS };

enum { META_SIZE = 8192 };	/* bytes of the two pages of LMDB that make a commit valid */

struct rule {
	int32_t error;		/* errno; 0 with `shorten`: that many bytes less are written */
	int32_t shorten;
	int64_t pass;		/* calls that are let pass first */
	int64_t fail;		/* calls that fail then; -1: all */
	int64_t seen;
	int64_t failed;
};

struct control {
	struct rule rules[CALLS];
	int64_t ahead;		/* seconds */
};

static struct control *control;
static const char *suffix;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("FAULTS");
	void *map;
	int fd;
	suffix = getenv("FAULTS_FILE");
	if (path == NULL || suffix == NULL || (fd = open(path, O_RDWR | O_CLOEXEC)) < 0)
		return;
	map = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map != MAP_FAILED)
		control = map;
}

static int concerns(int fd)
{
	char name[32], path[4096];
	ssize_t size;
	size_t end = suffix == NULL ? 0 : strlen(suffix);
	int saved = errno;
	if (control == NULL)
		return 0;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	size = readlink(name, path, sizeof(path));
	errno = saved;
	return size >= (ssize_t) end && !memcmp(path + size - end, suffix, end);
}

/* The rule if this call shall fail, else NULL. */
static const struct rule *due(int call, int fd)
{
	struct rule *rule;
	int64_t number;
	if (!concerns(fd))
		return NULL;
	rule = &control->rules[call];
	number = __atomic_fetch_add(&rule->seen, 1, __ATOMIC_SEQ_CST);
	if ((!rule->error && !rule->shorten) || number < rule->pass
		|| (rule->fail >= 0 && number >= rule->pass + rule->fail))
		return NULL;
	__atomic_fetch_add(&rule->failed, 1, __ATOMIC_SEQ_CST);
	return rule;
}

#define REAL(name)	((__typeof__(&name)) dlsym(RTLD_NEXT, #name))

int fdatasync(int fd)
{
	const struct rule *rule = due(FDATASYNC, fd);
	if (rule == NULL)
		return REAL(fdatasync)(fd);
	errno = rule->error;
	return -1;
}

#define PWRITE_(name, offset_type) \
ssize_t name(int fd, const void *data, size_t size, offset_type offset) \
{ \
	const struct rule *rule = due(offset < META_SIZE ? META : PAGES, fd); \
	if (rule != NULL && rule->error) { \
		errno = rule->error; \
		return -1; \
	} \
	if (rule != NULL && size > (size_t) rule->shorten) \
		size -= rule->shorten; \
	return REAL(name)(fd, data, size, offset); \
}

PWRITE_(pwrite, off_t)
PWRITE_(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	const struct rule *rule = due(PAGES, fd);
	if (rule != NULL && rule->error) {
		errno = rule->error;
		return -1;
	}
	if (rule != NULL && count > 1)
		count--;
	return REAL(writev)(fd, parts, count);
}

#define PWRITEV_(name, offset_type) \
ssize_t name(int fd, const struct iovec *parts, int count, offset_type offset) \
{ \
	const struct rule *rule = due(PAGES, fd); \
	if (rule != NULL && rule->error) { \
		errno = rule->error; \
		return -1; \
	} \
	if (rule != NULL && count > 1) \
		count--; \
	return REAL(name)(fd, parts, count, offset); \
}

PWRITEV_(pwritev, off_t)
PWRITEV_(pwritev64, off64_t)

#define FALLOCATE_(name, offset_type) \
int name(int fd, int mode, offset_type offset, offset_type size) \
{ \
	const struct rule *rule = due(FALLOCATE, fd); \
	if (rule == NULL) \
		return REAL(name)(fd, mode, offset, size); \
	errno = rule->error; \
	return -1; \
}

FALLOCATE_(fallocate, off_t)
FALLOCATE_(fallocate64, off64_t)

#define POSIX_FALLOCATE_(name, offset_type) \
int name(int fd, offset_type offset, offset_type size) \
{ \
	const struct rule *rule = due(FALLOCATE, fd); \
	return rule == NULL ? REAL(name)(fd, offset, size) : rule->error; \
}

POSIX_FALLOCATE_(posix_fallocate, off_t)
POSIX_FALLOCATE_(posix_fallocate64, off64_t)

#define MMAP_(name, offset_type) \
void *name(void *at, size_t size, int access, int flags, int fd, offset_type offset) \
{ \
	const struct rule *rule = fd < 0 ? NULL : due(MAP, fd); \
	if (rule == NULL) \
		return REAL(name)(at, size, access, flags, fd, offset); \
	errno = rule->error; \
	return MAP_FAILED; \
}

MMAP_(mmap, off_t)
MMAP_(mmap64, off64_t)

int clock_gettime(clockid_t clock, struct timespec *now)
{
	long rc = syscall(SYS_clock_gettime, clock, now);
	if (!rc && control != NULL && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		now->tv_sec += control->ahead;
	return rc;
}

time_t time(time_t *seconds)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (seconds != NULL)
		*seconds = now.tv_sec;
	return now.tv_sec;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
	struct timespec now;
	(void) zone;
	clock_gettime(CLOCK_REALTIME, &now);
	time->tv_sec = now.tv_sec;
	time->tv_usec = now.tv_nsec / 1000;
	return 0;
}
