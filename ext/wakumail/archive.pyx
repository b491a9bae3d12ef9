# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The archive: envelopes on disk, in the order (creation time, hash) and in the order of arrival.

The one module that opens LMDB. Its parts are layout.pxd (the rows), environment.pxd (one
environment for all threads), writer.pxd (a commit), planner.pxd, merger.pxd and scanner.pxd (a
slice of a query), follower.pxd (the order of arrival) and totals.pxd.
All methods may be called from several threads at once; none holds the GIL while it waits, reads or
writes, and no read transaction outlives the call that began it.
"""

import os
from enum import IntEnum
from typing import NamedTuple

from cpython.bytes cimport PyBytes_AS_STRING
from libc.errno cimport EDQUOT, EFBIG, EIO, ENOSPC
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from wakumail.bloom import BLOOM_SIZE, FULL_BLOOM
from wakumail.errors import ArchiveError, ArchiveFull

from wakumail.envelope cimport Batch
from wakumail.environment cimport *
from wakumail.follower cimport arrivals_run, run_arrivals
from wakumail.keccak cimport keccak256
from wakumail.layout cimport *
from wakumail.lmdb cimport *
from wakumail.planner cimport run_scan
from wakumail.pruner cimport prune_slice, pruning
from wakumail.scanner cimport BLOOM, PAUSED, TOPICS, close_cursors, join_hits, query_terms, scan
from wakumail.totals cimport archive_totals, read_totals
from wakumail.writer cimport batch_part, commit, entry, gather, sort_entries, write_commit

MAP_SIZE = 256 << 20
"""Bytes of address space for a new archive; doubled whenever they do not suffice."""

BUDGET = 50_000
"""Index entries that one slice of a query looks at: one or two milliseconds."""

POSITION_SIZE = 36
"""Bytes of a position: creation time u32 big-endian, then the hash."""

MAX_UINT32 = 2**32 - 1

PROBE_SIZE = 65536
"""Bytes asked of the file system to learn whether it is full."""

MAX_UNWRITTEN = 16 << 20
"""Bytes that an intact file may lack at its end: free pages that no commit has written yet."""

_FULL = (ENOSPC, EDQUOT, EFBIG)
_open_directories = set()


class Appended(NamedTuple):
    """What one commit did."""

    stored: int
    duplicates: int
    bytes: int
    next_sequence: int


class Pruned(NamedTuple):
    """What one slice of a retention did.

    envelopes: that are gone; bytes: of chunks that are gone; more: whether there is more to prune.
    """

    envelopes: int
    bytes: int
    more: bool


class PageState(IntEnum):
    """Why a page ends: nothing remains, a further hit is certain, or the budget ran out."""

    EXHAUSTED = 0
    MORE = 1
    PAUSED = 2


class Page(NamedTuple):
    """One slice of an answer.

    packet: an RLP list of the envelopes; count: how many; last_hash: of the last one, 32 bytes,
    empty without any; position: where to go on, 36 bytes, or what was given if nothing was passed.
    """

    packet: bytes
    count: int
    last_hash: bytes
    position: bytes
    state: PageState


class Stat(NamedTuple):
    """The archive as a whole.

    bytes: of the envelopes' RLP; file_bytes: of the pages in use; oldest and newest: creation
    times in Unix seconds, None when there are no envelopes.
    """

    envelopes: int
    bytes: int
    file_bytes: int
    oldest: int | None
    newest: int | None
    next_sequence: int


class Day(NamedTuple):
    """One day of creation times that has envelopes; start: Unix seconds; topics: distinct ones."""

    start: int
    envelopes: int
    bytes: int
    topics: int


cdef class Query:
    """Which envelopes, in which order; made once and good for any number of pages.

    lower, upper: creation times in Unix seconds, both inclusive. topics: of four bytes each; they
    win over the bloom, and none at all match nothing. bloom: 64 bytes, covers the topics whose Go
    form it covers (see bloom.pxd). With neither, or a full bloom: everything.
    ValueError for a time outside 32 bits and for topics or a bloom of another size.
    """

    cdef query_terms terms

    def __cinit__(self, lower, upper, *, topics=None, bytes bloom=None, bint newest_first=True):
        if not (0 <= lower <= MAX_UINT32 and 0 <= upper <= MAX_UINT32):
            raise ValueError("a creation time has 32 bits")
        self.terms.lower, self.terms.upper = lower, upper
        self.terms.newest_first = newest_first
        if topics is not None:
            self._take_topics(set(topics))
        elif bloom is not None and bloom != FULL_BLOOM:
            if len(bloom) != BLOOM_SIZE:
                raise ValueError(f"a bloom has {BLOOM_SIZE} bytes")
            self.terms.kind = BLOOM
            memcpy(self.terms.bloom, PyBytes_AS_STRING(bloom), sizeof(self.terms.bloom))

    def __dealloc__(self):
        free(self.terms.topics)

    cdef int _take_topics(self, set topics) except -1:
        if any(len(topic) != 4 for topic in topics):
            raise ValueError("a topic has four bytes")
        self.terms.kind = TOPICS
        self.terms.topics = <uint32_t *> malloc((len(topics) + 1) * sizeof(uint32_t))
        if self.terms.topics == NULL:
            raise MemoryError
        for topic in sorted(topics):
            self.terms.topics[self.terms.topic_count] = int.from_bytes(topic, "big")
            self.terms.topic_count += 1
        return 0


cdef object make_page(const scan *s, bytes position):
    """The page of a slice that began at `position`, while its transaction is open."""
    cdef uint8_t place[36]
    cdef uint8_t digest[32]
    cdef bytes last_hash = b""
    cdef bytes packet = join_hits(s.hits, s.count, s.payload, True)
    if s.count:
        with nogil:
            keccak256(s.hits[s.count - 1].data, s.hits[s.count - 1].size, digest)
        last_hash = digest[:32]
    if s.count and (s.at_hit or s.state != PAUSED):
        put32(place, s.last_created)
        position = place[:4] + last_hash
    elif s.moved:
        memcpy(place, s.bound, TIME_KEY)
        memset(place + TIME_KEY, 0, sizeof(place) - TIME_KEY)
        position = place[:36]
    return Page(packet, s.count, last_hash, position, PageState(s.state))


cdef class Archive:
    """An archive directory with data.mdb and lock.mdb, mode 0600, created if need be.

    sync=False leaves syncing to close(): for archives that a crash of the system may cost whole.
    ArchiveError, with a text that says why: for a file that is no archive, of another format or
    torn, for a directory that this process has open already, and for whatever the system refuses.
    """

    cdef environment env
    cdef readonly str path
    cdef bint unsynced
    cdef object identity

    def __cinit__(self, *args, **kwargs):
        if gate_init(&self.env.gate) or pthread_mutex_init(&self.env.idle_lock, NULL):
            raise MemoryError

    def __init__(self, path, *, bint readonly=False, bint sync=True, size_t map_size=MAP_SIZE):
        if self.env.env != NULL:
            raise ArchiveError(f"{self.path} is open")
        self.path = os.fsdecode(path)
        try:
            if not readonly:
                os.makedirs(self.path, mode=0o700, exist_ok=True)
            status = os.stat(self.path)
        except OSError as error:
            raise ArchiveError(f"{self.path}: {error.strerror}") from error
        identity = (os.getpid(), status.st_dev, status.st_ino)
        if identity in _open_directories:
            raise ArchiveError(f"{self.path} is open in this process already")
        _open_directories.add(identity)
        self.identity = identity
        self.unsynced = not sync and not readonly
        try:
            self._open(readonly, map_size)
        except BaseException:
            self._close()
            raise

    def __del__(self):
        self.close()

    def __dealloc__(self):
        pthread_rwlock_destroy(&self.env.gate)
        pthread_mutex_destroy(&self.env.idle_lock)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def append(self, batches):
        """Store the accepted envelopes of all batches in one commit; on disk when it returns.

        What is there already, or comes twice, counts as a duplicate and changes nothing.
        ArchiveFull when the disk is full, ArchiveError when it fails otherwise: then nothing of
        the call is stored, and the archive can be used as before.
        """
        cdef list held = list(batches)      # alive while the GIL is not held
        cdef Batch batch
        cdef commit c
        cdef size_t accepted = 0
        cdef size_t i = 0
        cdef batch_part *parts = <batch_part *> malloc((len(held) + 1) * sizeof(batch_part))
        cdef int rc
        memset(&c, 0, sizeof(c))
        try:
            if parts == NULL:
                raise MemoryError
            for item in held:
                batch = <Batch?> item
                parts[i] = batch_part(batch.records, batch.count, batch.data)
                accepted += batch.accepted
                i += 1
            c.env = &self.env
            c.entries = <entry *> malloc((accepted + 1) * sizeof(entry))
            c.rows = <entry **> malloc((accepted + 1) * sizeof(entry *))
            if c.entries == NULL or c.rows == NULL:
                raise MemoryError
            with nogil:
                gather(parts, i, &c)
                c.count = sort_entries(c.entries, c.count)
                rc = write_commit(&c)
            if rc:
                raise self._failure(rc)
            return Appended(c.stored, accepted - c.stored, c.bytes, c.next)
        finally:
            free(parts)
            free(c.entries)
            free(c.rows)

    def prune(self, before, *, limit):
        """Delete envelopes created before `before` (Unix seconds), the oldest first.

        One slice, in one commit that is on disk when it returns: `limit` envelopes at most. Their
        pages are free for later commits. ArchiveFull and ArchiveError as with append.
        """
        cdef pruning p
        cdef int rc
        if before < 0 or limit < 1:
            raise ValueError("before and limit are positive")
        memset(&p, 0, sizeof(p))
        p.env = &self.env
        p.before = min(before, MAX_UINT32 + 1)
        p.limit = limit
        with nogil:
            rc = prune_slice(&p)
        if rc:
            raise self._failure(rc)
        return Pruned(p.envelopes, p.bytes, p.more)

    def page(self, Query query not None, bytes position not None=b"", *, limit, max_bytes,
             int64_t budget=BUDGET):
        """The next slice of an answer, strictly behind `position` (empty: from the beginning).

        A position is a place in the order: valid whether or not its envelope is still there, and
        clamped to the times of the query. limit: envelopes; with 0 the page only says whether
        there is a further one. max_bytes: of the packet; a larger envelope comes alone.
        budget: index entries to look at; a slice always gets on, if only by one.
        ValueError for a position that has not 36 bytes and for numbers out of range.
        """
        cdef const uint8_t *start = NULL
        cdef scan s
        cdef int rc
        memset(&s, 0, sizeof(s))
        if limit < 0 or max_bytes < 1 or budget < 1:
            raise ValueError("limit, max_bytes and budget are positive")
        if position:
            if len(position) != POSITION_SIZE:
                raise ValueError(f"a position has {POSITION_SIZE} bytes")
            start = <const uint8_t *> PyBytes_AS_STRING(position)
        s.terms = &query.terms
        s.limit = min(limit, MAX_UINT32)
        s.max_bytes = min(max_bytes, MAX_UINT32)
        s.budget = budget
        s.env = &self.env
        s.txn = self._begin_read()
        try:
            with nogil:
                rc = run_scan(&s, start)
            if rc:
                raise self._failure(rc)
            return make_page(&s, position)
        finally:
            close_cursors(&s)
            free(s.hits)
            end_read(s.env, s.txn)

    def follow(self, sequence, *, size_t max_bytes):
        """Envelopes in the order of arrival: (their RLPs joined, the sequence to go on with).

        From `sequence` on, or from the next one that is still there; about max_bytes, at least
        one envelope. Nothing and `sequence` itself when no more has arrived.
        """
        cdef arrivals_run run
        cdef int rc
        if not 0 <= sequence < 2**48:
            raise ValueError("a sequence has 48 bits")
        memset(&run, 0, sizeof(run))
        run.next, run.max_bytes = sequence, max_bytes
        cdef MDB_txn *txn = self._begin_read()
        try:
            with nogil:
                rc = run_arrivals(&run, &self.env, txn)
            if rc:
                raise self._failure(rc)
            return join_hits(run.pieces, run.count, run.size, False), run.next
        finally:
            free(run.pieces)
            end_read(&self.env, txn)

    def contains(self, created, bytes hash not None):
        """Whether the envelope of that creation time and hash (32 bytes) is stored."""
        cdef uint8_t key_bytes[TIME_KEY]
        cdef MDB_val key = value_of(key_bytes, TIME_KEY)
        cdef MDB_val value
        cdef int rc
        if not 0 <= created <= MAX_UINT32 or len(hash) != 32:
            raise ValueError("a creation time has 32 bits, a hash 32 bytes")
        put32(key_bytes, created)
        memcpy(key_bytes + 4, PyBytes_AS_STRING(hash), HASH_SIZE)
        cdef MDB_txn *txn = self._begin_read()
        with nogil:
            rc = mdb_get(txn, self.env.times, &key, &value)
            end_read(&self.env, txn)
        if rc and rc != MDB_NOTFOUND:
            raise self._failure(rc)
        return rc == 0

    def days(self):
        """The totals of each day that has envelopes, oldest first."""
        cdef MDB_cursor *cursor = NULL
        cdef MDB_val key, value
        cdef day_totals totals
        cdef list days = []
        cdef MDB_txn *txn = self._begin_read()
        cdef int rc = mdb_cursor_open(txn, self.env.days, &cursor)
        while not rc:
            rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)
            if not rc:
                rc = read_day(&value, &totals)
            if not rc:
                start = get16(<const uint8_t *> key.mv_data) * DAY
                days.append(Day(start, totals.envelopes, totals.bytes, totals.topics))
        if cursor != NULL:
            mdb_cursor_close(cursor)
        end_read(&self.env, txn)
        if rc != MDB_NOTFOUND:
            raise self._failure(rc)
        return days

    def stat(self):
        """The archive as a whole; costs as much as it has days."""
        cdef archive_totals t
        cdef int rc
        memset(&t, 0, sizeof(t))
        cdef MDB_txn *txn = self._begin_read()
        with nogil:
            rc = read_totals(&self.env, txn, &t)
            end_read(&self.env, txn)
        if rc:
            raise self._failure(rc)
        ends = (t.oldest, t.newest) if t.envelopes else (None, None)
        return Stat(t.envelopes, t.bytes, t.file_bytes, *ends, t.next)

    def close(self):
        """Wait for the calls that other threads have running, then close; twice is fine."""
        cdef int rc = 0
        if self.unsynced:
            self.unsynced = False
            with nogil:
                rc = enter(&self.env)
                if not rc:
                    rc = mdb_env_sync(self.env.env, 1)
                    leave(&self.env)
        self._close()
        if rc and rc != FORKED:
            raise self._failure(rc)

    cdef int _open(self, bint readonly, size_t map_size) except -1:
        cdef bytes path = os.fsencode(self.path)
        cdef const char *c_path = path
        cdef unsigned int flags = MDB_RDONLY if readonly else 0
        cdef int rc
        if self.unsynced:
            flags |= MDB_NOSYNC
        with nogil:
            rc = open_environment(&self.env, c_path, flags, map_size)
        if not rc:
            self._check_length()
            with nogil:
                rc = open_tables(&self.env, readonly)
        if rc:
            raise self._failure(rc)
        if not readonly and not self.unsynced:
            self._sync_directory()
        return 0

    cdef int _sync_directory(self) except -1:
        """Make the names of new files durable: LMDB syncs only what is in them."""
        try:
            for directory in (self.path, os.path.dirname(os.path.abspath(self.path))):
                fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
        except OSError as error:
            raise ArchiveError(f"{self.path}: {error.strerror}") from error
        return 0

    cdef int _check_length(self) except -1:
        """Refuse a file without the pages that are in use: to read there would end the process.

        LMDB does not write a page that it frees in the commit that took it, so an intact file may
        lack some at its end, all of them free. To find out they must be there.
        """
        cdef MDB_envinfo info
        cdef MDB_stat stat
        cdef size_t first, free_pages
        cdef int rc = mdb_env_info(self.env.env, &info)
        if not rc:
            rc = mdb_env_stat(self.env.env, &stat)
        if rc:
            raise self._failure(rc)
        file = os.path.join(self.path, "data.mdb")
        try:
            size = os.stat(file).st_size
            missing = (info.me_last_pgno + 1) * stat.ms_psize - size
            if missing <= 0:
                return 0
            if missing <= MAX_UNWRITTEN:
                with open(file, "r+b") as data:
                    os.posix_fallocate(data.fileno(), size, missing)
                first = size // stat.ms_psize
                rc = count_free_pages(&self.env, first, info.me_last_pgno, &free_pages)
                if rc == 0 and free_pages == info.me_last_pgno + 1 - first:
                    return 0
                os.truncate(file, size)
        except OSError as error:
            raise ArchiveError(f"{file}: {error.strerror}") from error
        raise ArchiveError(f"{file} is torn: {missing} bytes are missing; restore a backup")

    cdef MDB_txn *_begin_read(self) except NULL:
        cdef MDB_txn *txn
        cdef int rc
        with nogil:
            rc = begin(&self.env, False, &txn)
        if rc:
            raise self._failure(rc)
        return txn

    cdef int _close(self) except -1:
        with nogil:
            close_environment(&self.env)
        _open_directories.discard(self.identity)
        self.identity = None
        return 0

    cdef bint _disk_is_full(self) except -1:
        """Whether the file cannot grow: LMDB reports a write that came out short as EIO."""
        cdef int fd, rc
        with nogil:
            rc = enter(&self.env)
        if rc:
            return False
        try:
            mdb_env_get_fd(self.env.env, &fd)
            os.posix_fallocate(fd, os.fstat(fd).st_size, PROBE_SIZE)
        except OSError as error:
            return error.errno in _FULL
        finally:
            leave(&self.env)
        return False

    cdef object _failure(self, int rc):
        """The exception for a code as in environment.pxd."""
        if rc in _FULL or rc == EIO and self._disk_is_full():
            return ArchiveFull(f"{self.path}: the disk is full")
        if rc == CLOSED:
            return ArchiveError(f"{self.path} is closed")
        if rc == FORKED:
            return ArchiveError(f"{self.path} was opened before a fork; open it in each process")
        if rc in (FOREIGN, MDB_INVALID, MDB_VERSION_MISMATCH):
            return ArchiveError(f"{self.path}/data.mdb is not an archive of wakumail")
        if rc == UNKNOWN_FORMAT:
            return ArchiveError(f"{self.path} has a format that this version does not know")
        if rc in (MDB_CORRUPTED, MDB_PAGE_NOTFOUND):
            return ArchiveError(f"{self.path} is damaged; restore a backup")
        if rc == MDB_PANIC:
            return ArchiveError(f"{self.path}: a write failed half-way; start again")
        return ArchiveError(f"{self.path}: {mdb_strerror(rc).decode()}")
