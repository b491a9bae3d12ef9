# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The archive: envelopes on disk, in the order (creation time, hash) and in the order of arrival.

The one module that opens LMDB. Its parts, in the order of reading:

layout          the rows, byte by byte
environment     one LMDB environment, which all threads share
failure         the codes of what can fail, and a text for each
datafile        the file: its length, room to grow, copies of it
resident        the mapped pages, given back before they are too many
clock           the time, for work that is bounded by it

next_sequence   the place in the order of arrival that the next envelope gets
horizon         the time before which pruning has deleted all
log_place       the place in the log of a cluster up to which the archive has everything
bookmark        the day that is being sorted, and where that goes on
sums            the rows of `sums`
totals          the totals of days, topics and all

change          a write transaction, committed as a whole or not at all
writer          a commit: the new ones of a set of envelopes
pruner          a slice of pruning
pruned_day      a day that is deleted whole
pruned_minute   a minute that loses its oldest envelopes, and its sum
sorter          a slice of the sorting of a day

page            a slice of a query, copied out of the map
planner         the days of a query, each read in the cheaper of two ways
days_ahead      the next days of a query, asked of the disk before the scan reaches them
sieves          hold back topics that a day does not have
scanner         the hits of a slice, and the walk over all times
merger          the postings of several topics, merged
chunks          envelopes found by their places
branches        the branch pages of a day's indexes, read before requests need them
disk_waits      tells when a thread has waited for the disk, so that it asks for pages ahead

arrivals        envelopes in the order of arrival
lead            asks the disk for their chunks before they are read
named           envelopes found by their items
whole_hashes    hashes of which rows hold only the half
range_walk      a range of envelopes, walked in days, minutes and envelopes
ranges          its sum, its parts, its items

verifier        checks all rows in steps
rowcheck        checks those of the indexes
chunkcheck      checks chunks, and each envelope in them
stairs          tell what may be pruned
sumcheck        compares the sums with the envelopes that were found
slotcheck       the slots that were found
problem         what is wrong, and where

lmdb            declares LMDB, and what the following add to the copy of it that setup.py makes
checks          check pages before LMDB uses them, and guard against damage that no check can see
presence        work that gives up at the first page that is not in memory
ahead           asks the disk for pages before they are used
leaf            the rows of a leaf page, read or deleted together
locks           LMDB's locks in shared memory

The parts are .pxd files with function bodies, not modules of their own. Cython compiles a body in a
.pxd into each module that cimports it, so all parts become one C file and one extension, and the C
compiler inlines across them: a scan takes 13 to 25 ns an entry. Between two extensions each call
would go through a function pointer. A change in a .pxd therefore rebuilds this module.

All methods may be called from several threads at once. None but page_at_once, which waits for
nothing, holds the GIL while it works. Only the read transactions of Items and Verification outlive
the call that began them.
"""

import os

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.errno cimport EIO
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from wakumail.archive.results import (
    Appended, Bound, Day, Fetched, Fold, LogPlace, Page, PageState, Pruned, Sorted, Stat)
from wakumail.waku.bloom import BLOOM_SIZE, FULL_BLOOM
from wakumail.errors import ArchiveDamaged, ArchiveError, ArchiveFull

from wakumail.archive.datafile cimport (
    cannot_grow, check_length, copy_file, is_full, sync_names)
from wakumail.waku.envelope cimport Batch
from wakumail.archive.bookmark cimport bookmark_lookup, look_up_bookmark
from wakumail.archive.branches cimport branches, close_branches, read_branches
from wakumail.archive.environment cimport *
from wakumail.archive.failure cimport explain, is_damage
from wakumail.archive.arrivals cimport (
    arrival_start, arrivals_run, close_items, copy_arrivals, find_arrival_start,
    item_run, run_arrivals, run_items)
from wakumail.base.jobs cimport Job
from wakumail.waku.judgements cimport Judgements
from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *
from wakumail.archive.named cimport (
    MAX_FINDING_ROWS as max_finding_rows, close_finding, close_naming, copy_found, find_absent,
    find_envelopes, find_hashes, finding, naming)
from wakumail.archive.page cimport (
    AT_ONCE_BYTES as at_once_bytes, AT_ONCE_ENTRIES, position_behind, read_page, read_page_at_once,
    reading)
from wakumail.archive.problem cimport MAX_KEPT, describe
from wakumail.archive.pruned_day cimport day_reading, pruning
from wakumail.archive.pruner cimport prune_slice
from wakumail.base.pthread cimport *
from wakumail.archive.range_walk cimport bound, close_walk, range_walk
from wakumail.archive.ranges cimport (
    ending, find_ending, fold_range, folding, list_range, listing, part, split_range, splitting)
from wakumail.archive.resident cimport MAX_RESIDENT_WRITING as max_resident_writing
from wakumail.archive.rowcheck cimport verifier
from wakumail.archive.sorter cimport sort_slice, sorting
from wakumail.archive.sums cimport fold
from wakumail.base.sum256 cimport sum256_write
from wakumail.archive.scanner cimport (
    AT_ONCE_HITS as at_once_hits, MORE, PAUSED, TOPIC_BLOOM, TOPIC_SET, query_terms, scan,
    sort_topics)
from wakumail.archive.totals cimport (
    archive_totals, days_reading, read_days, read_topics, read_totals, topics_reading)
from wakumail.archive.log_place cimport place_reading, read_place
from wakumail.archive.verifier cimport begin_verifying, end_verifying, verify_step
from wakumail.archive.writer cimport (
    RESIDENT_CHECK_ROWS as resident_check_rows, batch_part, commit, entry, gather, note_judgements,
    sort_entries, write_commit)

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject **string, Py_ssize_t size) except -1

ctypedef void (*closing)(void *question) noexcept nogil

MAP_SIZE = 256 << 20
"""Bytes of address space for a new archive. They are doubled whenever the archive outgrows them."""

BUDGET = 50_000
"""Index entries that one slice of a query looks at: one or two milliseconds."""

POSITION_SIZE = ITEM_SIZE
"""Bytes of a position or an item: creation time u32 big-endian, then the hash."""

AT_ONCE_HITS = at_once_hits
AT_ONCE_BYTES = at_once_bytes
MAX_FINDING_ROWS = max_finding_rows
MAX_PARTS = 1 << 16

MAX_SEQUENCE = 2**47
"""All sequences are below it."""

MAX_RESIDENT_WRITING = max_resident_writing
RESIDENT_CHECK_ROWS = resident_check_rows

cdef enum:
    MAX_ROOM = 8 << 20      # bytes that a page has for its packet at first; more is copied twice

cdef tuple STATES = tuple(PageState)     # by number: PageState(n) would cost a call

_MAX_UINT32 = 2**32 - 1
_open_directories = set()


cdef tuple identify_directory(path, bint make):
    """Identify a directory within this process; with `make` it is made first."""
    try:
        if make:
            os.makedirs(path, mode=0o700, exist_ok=True)
        status = os.stat(path)
    except OSError as error:
        raise ArchiveError(f"{os.fsdecode(path)}: {error.strerror}") from error
    return os.getpid(), status.st_dev, status.st_ino


cdef bytes pack_place(log):
    """The value of "log" for a LogPlace."""
    return log.sequence.to_bytes(8, "big") + log.made.to_bytes(8, "big") + log.name.encode()


cdef class Query:
    """Selects envelopes, and their order. A query may be used for any number of pages.

    lower, upper: creation times in Unix seconds, both inclusive. topics: four bytes each; if given,
    the bloom is ignored, and an empty collection matches nothing. bloom: 64 bytes; it matches the
    topics whose Go form it covers (see bloom.pxd). Without both, or with a full bloom, all topics
    match. ValueError for a time outside 32 bits and for topics or a bloom of another size.
    """

    cdef query_terms terms

    def __cinit__(self, lower, upper, *, topics=None, bytes bloom=None, bint newest_first=True):
        if not (0 <= lower <= _MAX_UINT32 and 0 <= upper <= _MAX_UINT32):
            raise ValueError("a creation time has 32 bits")
        self.terms.lower, self.terms.upper = lower, upper
        self.terms.newest_first = newest_first
        if topics is not None:
            self._take_topics(tuple(topics))
        elif bloom is not None and bloom != FULL_BLOOM:
            if len(bloom) != BLOOM_SIZE:
                raise ValueError(f"a bloom has {BLOOM_SIZE} bytes")
            self.terms.kind = TOPIC_BLOOM
            memcpy(self.terms.bloom, PyBytes_AS_STRING(bloom), sizeof(self.terms.bloom))

    def __dealloc__(self):
        free(self.terms.topics)

    cdef int _take_topics(self, tuple topics) except -1:
        cdef bytes topic
        self.terms.kind = TOPIC_SET
        self.terms.topics = <uint32_t *> malloc((len(topics) + 1) * sizeof(uint32_t))
        if self.terms.topics == NULL:
            raise MemoryError
        for topic in topics:
            if len(topic) != 4:
                raise ValueError("a topic has four bytes")
            self.terms.topics[self.terms.topic_count] = get32(<uint8_t *> PyBytes_AS_STRING(topic))
            self.terms.topic_count += 1
        sort_topics(&self.terms)
        return 0


cdef class Archive:
    """An archive directory with data.mdb and lock.mdb, mode 0600. Unless readonly, it is created.

    sync=False: only close() syncs, so that a crash of the system may lose the whole archive.
    judgements: `append` notes the hash and PoW of stored envelopes there; None: nowhere.
    ArchiveError, with the reason as its text: for a file that is no archive, of another format or
    torn, for a directory that this process has open already, or others with which it can share no
    memory (another IPC namespace, another program), and for errors of the system.
    """

    cdef environment env
    cdef pthread_mutex_t prune_lock     # one slice at a time
    cdef day_reading reading            # of the slices of pruning
    cdef readonly str path
    cdef public Judgements judgements
    cdef bint unsynced
    cdef object identity

    def __cinit__(self, *args, **kwargs):
        if (gate_init(&self.env.gate) or pthread_mutex_init(&self.env.idle_lock, NULL)
                or pthread_mutex_init(&self.env.resident_lock, NULL)
                or pthread_mutex_init(&self.env.sieves.lock, NULL)
                or pthread_mutex_init(&self.prune_lock, NULL)):
            raise MemoryError

    def __init__(self, path, *, bint readonly=False, bint sync=True, size_t map_size=MAP_SIZE):
        if self.env.env != NULL:
            raise ArchiveError(f"{self.path} is open")
        self.path = os.fsdecode(path)
        identity = identify_directory(self.path, not readonly)
        if identity in _open_directories:
            raise ArchiveError(f"{self.path} is open in this process already")
        _open_directories.add(identity)
        self.identity = identity
        self.unsynced = not sync and not readonly
        try:
            self._open(readonly, map_size)
        except BaseException:
            self.unsynced = False
            self._close()
            raise

    def __del__(self):
        self.close()

    def __dealloc__(self):
        pthread_rwlock_destroy(&self.env.gate)
        pthread_mutex_destroy(&self.env.idle_lock)
        pthread_mutex_destroy(&self.env.resident_lock)
        pthread_mutex_destroy(&self.env.sieves.lock)
        pthread_mutex_destroy(&self.prune_lock)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def _read_ahead_always(self, bint always):
        """Read ahead as if no page were in memory, and prune in the smallest slices: for tests."""
        self.env.always_ahead = always

    def append(self, batches, log=None):
        """Store the accepted envelopes of all batches in one commit, which is synced on return.

        An envelope that is stored already, or comes twice, counts as a duplicate and changes
        nothing. log: a LogPlace to store with them, see `log_place`. ArchiveFull if the disk is
        full, ArchiveError if it fails otherwise: then no envelope of the call is stored, and the
        archive can be used as before.
        """
        cdef list held = list(batches)      # keeps them alive without the GIL
        cdef bytes place = b"" if log is None else pack_place(log)
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
            c.log = value_of(PyBytes_AS_STRING(place), len(place))
            c.entries = <entry *> malloc((accepted + 1) * sizeof(entry))
            c.rows = <entry **> malloc((accepted + 1) * sizeof(entry *))
            if c.entries == NULL or c.rows == NULL:
                raise MemoryError
            with nogil:
                gather(parts, i, &c)
                c.count = sort_entries(c.entries, c.count)
                rc = write_commit(&c)
                if not rc and self.judgements is not None:
                    note_judgements(&c, self.judgements)
            if rc:
                raise self._failure(rc)
            return Appended(c.stored, accepted - c.stored, c.bytes, c.next)
        finally:
            free(parts)
            free(c.entries)
            free(c.rows)

    def prune(self, before, *, limit):
        """Delete envelopes created before `before` (Unix seconds), the oldest first.

        This is one slice: at most `limit` envelopes in one commit, which is synced on return. A day
        that is within the limit goes whole, at a fraction of the cost of each envelope. If it is a
        large one, slices before read the pages that this needs, and delete nothing; slices after it
        delete the bytes of its envelopes. Call it until there are no `more`. Freed pages are for
        later commits. ArchiveFull and ArchiveError as with append.
        """
        cdef pruning p
        cdef int rc
        if before < 0 or limit < 1:
            raise ValueError("before and limit are positive")
        memset(&p, 0, sizeof(p))
        p.env, p.reading = &self.env, &self.reading
        p.before = min(before, _MAX_UINT32 + 1)
        p.limit = limit
        with nogil:
            pthread_mutex_lock(&self.prune_lock)
            rc = prune_slice(&p)
            pthread_mutex_unlock(&self.prune_lock)
        if rc:
            raise self._failure(rc)
        return Pruned(p.envelopes, p.bytes, p.more)

    def sort(self, start, *, max_bytes, max_seconds):
        """Sort a slice of the day that begins at `start` (Unix seconds): see sorter.pxd.

        If another day was begun, the slice is one of that: a day is sorted to its end. Call it
        until there are no `more`, once nothing of the day is expected to arrive. The slice has
        about max_bytes of envelopes or, if that is less, what about max_seconds suffice for. It is
        one commit, synced on return. ArchiveFull and ArchiveError as with append.
        """
        cdef sorting s
        cdef int rc
        if not 0 <= start <= _MAX_UINT32 or max_bytes < 1 or max_seconds < 0:
            raise ValueError("a time has 32 bits, max_bytes and max_seconds are positive")
        memset(&s, 0, sizeof(s))
        s.env, s.day = &self.env, start // DAY
        s.max_bytes, s.max_ns = max_bytes, <int64_t> (max_seconds * 1e9)
        with nogil:
            rc = sort_slice(&s)
        if rc:
            raise self._failure(rc)
        return Sorted(s.mark.day * DAY, s.moved, s.more)

    def sorting(self):
        """The start (Unix seconds) of the day that is being sorted; None if no day is."""
        cdef bookmark_lookup lookup
        lookup.env = &self.env
        self._read(&look_up_bookmark, &lookup, &lookup.txn)
        return lookup.mark.day * DAY if lookup.found else None

    def page_job(self, Query query not None, bytes position not None=b"", *, limit, max_bytes,
                 int64_t budget=BUDGET, bint lenient=False):
        """The job that reads the next page of an answer, strictly behind `position`.

        Its result is a Page. JobThreads do it in another thread; `do` does it here. position: 36
        bytes, or empty for the beginning. It is a place in the order, valid even if its envelope is
        gone, and clamped to the times of the query. limit: envelopes; with 0 the page only tells
        whether there is one. max_bytes: of the packet; a larger envelope comes alone. budget: index
        entries to look at; a page always looks at one or more. lenient: damaged envelopes are left
        out (see PageJob.damaged), and each is hashed to find them. ValueError for a position of
        another size and for numbers out of range.
        """
        if limit < 0 or max_bytes < 1 or budget < 1:
            raise ValueError("limit, max_bytes and budget are positive")
        if position and len(position) != POSITION_SIZE:
            raise ValueError(f"a position has {POSITION_SIZE} bytes")
        return PageJob(self, query, position, min(limit, _MAX_UINT32),
                       min(max_bytes, _MAX_UINT32), budget, lenient)

    def page_at_once(self, Query query not None, bytes position not None=b"", *, limit, max_bytes):
        """The page that page_job would read, if it is small and all of it is in memory; else None.

        It does not wait for a disk, and takes less than a millisecond. It keeps the GIL. Small: up
        to AT_ONCE_HITS envelopes and AT_ONCE_BYTES.
        """
        cdef PageJob job = self.page_job(query, position, limit=limit, budget=AT_ONCE_ENTRIES,
                                         max_bytes=min(max_bytes, at_once_bytes))
        cdef const scan *s = &job.reading.scan
        job.reading.scan.at_once = True
        read_page_at_once(&job.reading)
        if job.reading.rc == PRESENCE_ABSENT:
            return None
        if not job.reading.rc and s.count < limit and (
                s.state == PAUSED or s.state == MORE and max_bytes > at_once_bytes):
            return None
        return job.finish()

    def follow(self, sequence, *, size_t max_bytes, until=MAX_SEQUENCE):
        """Envelopes in the order of arrival: (their RLPs joined, the sequence that follows).

        The first is that of `sequence`, or if it is gone the next one. They end before `until`,
        before the next gap, or after about max_bytes, but there is at least one. If no more came,
        the answer is (b"", sequence).
        """
        cdef arrivals_run run
        cdef int rc
        if not (0 <= sequence < MAX_SEQUENCE and 0 <= until <= MAX_SEQUENCE):
            raise ValueError("a sequence has 47 bits")
        memset(&run, 0, sizeof(run))
        run.next, run.until, run.max_bytes = sequence, until, max_bytes
        run.env, run.txn = &self.env, self._begin_read()
        try:
            with nogil:
                rc = checks_guard(self.env.env, &run_arrivals, &run)
            if rc:
                raise self._failure(rc)
            joined = PyBytes_FromStringAndSize(NULL, run.size)
            run.out = <uint8_t *> PyBytes_AS_STRING(joined)
            with nogil:
                rc = checks_guard(self.env.env, &copy_arrivals, &run)
            if rc:
                raise self._failure(rc)
            return joined, run.next
        finally:
            free(run.pieces)
            end_read(&self.env, run.txn)

    def first_arrival(self, sequence):
        """The first sequence from this one on that was not pruned; its envelope may be damaged.

        A chunk that does not say how many it has is taken to have one. ArchiveDamaged if no chunk
        is found.
        """
        cdef arrival_start start
        if not 0 <= sequence < MAX_SEQUENCE:
            raise ValueError("a sequence has 47 bits")
        start.env, start.sequence = &self.env, sequence
        self._read(&find_arrival_start, &start, &start.txn)
        return start.sequence

    def arrived(self, sequence, *, limit):
        """The envelopes committed since, in the order of arrival: (items, the following sequence).

        Begins with the envelope of `sequence`. Looks at `limit` envelopes or, at the end, less;
        those that are pruned are left out. So there may be no items and yet more to come, until the
        sequence stays the same. Items are joined, 36 bytes each (POSITION_SIZE).
        """
        cdef item_run run
        cdef bytes items
        if not 0 <= sequence < MAX_SEQUENCE or limit < 1:
            raise ValueError("a sequence has 47 bits, a limit is positive")
        memset(&run, 0, sizeof(run))
        run.env, run.next, run.limit = &self.env, sequence, min(limit, _MAX_UINT32)
        items = PyBytes_FromStringAndSize(NULL, run.limit * ITEM_SIZE)
        run.items = <uint8_t *> PyBytes_AS_STRING(items)
        self._read(&run_items, &run, &run.txn, &close_items)
        return items[:run.count * ITEM_SIZE], run.next

    def missing(self, bytes items not None):
        """Those of the items (joined, 36 bytes each) that are not stored, in their order."""
        cdef naming n
        cdef bytes absent = self._name(&n, items)
        self._read(&find_absent, &n, &n.txn, &close_naming)
        return absent[:n.absent_count * ITEM_SIZE]

    def find(self, first, last, bytes hashes not None):
        """The items of hashes (joined, 32 bytes each) created from `first` to `last`, inclusive.

        Those that are not stored then are left out. They come in the order of the archive. At most
        MAX_FINDING_ROWS envelopes are looked at, the oldest of the range; returns the items, and
        the number looked at.
        """
        cdef finding f
        cdef bytes items
        cdef bytearray sorted_hashes = bytearray(hashes)
        if not (0 <= first <= _MAX_UINT32 and 0 <= last <= _MAX_UINT32):
            raise ValueError("a creation time has 32 bits")
        if len(hashes) % 32:
            raise ValueError("a hash has 32 bytes")
        memset(&f, 0, sizeof(f))
        f.env, f.first, f.last, f.count = &self.env, first, last, len(hashes) // 32
        f.hashes = <uint8_t *> PyByteArray_AS_STRING(sorted_hashes)
        items = PyBytes_FromStringAndSize(NULL, f.count * ITEM_SIZE)
        f.items = <uint8_t *> PyBytes_AS_STRING(items)
        self._read(&find_hashes, &f, &f.txn, &close_finding)
        return items[:f.found * ITEM_SIZE], f.rows

    def envelopes(self, bytes items not None, *, size_t max_bytes):
        """The envelopes of items (joined, 36 bytes each), in their order: see Fetched.

        They end before they exceed max_bytes, but an envelope that is larger comes alone.
        """
        cdef naming n
        cdef bytes absent = self._name(&n, items)
        cdef int rc
        n.txn, n.max_bytes = self._begin_read(), max_bytes
        try:
            with nogil:
                rc = checks_guard(self.env.env, &find_envelopes, &n)
            if rc:
                raise self._failure(rc)
            joined = PyBytes_FromStringAndSize(NULL, n.size)
            n.out = <uint8_t *> PyBytes_AS_STRING(joined)
            with nogil:
                rc = checks_guard(self.env.env, &copy_found, &n)
            if rc:
                raise self._failure(rc)
            return Fetched(joined, n.taken, absent[:n.absent_count * ITEM_SIZE])
        finally:
            free(n.found)
            close_naming(&n)
            end_read(&self.env, n.txn)

    def items(self):
        """The items of all envelopes, as they are committed now: see Items."""
        return Items(self)

    def contains(self, created, bytes hash not None):
        """True if the envelope of this creation time (Unix seconds) and 32-byte hash is stored."""
        if not 0 <= created <= _MAX_UINT32 or len(hash) != 32:
            raise ValueError("a creation time has 32 bits, a hash 32 bytes")
        return not self.missing(created.to_bytes(4, "big") + hash)

    def days(self):
        """The totals of each day that has envelopes, oldest first."""
        cdef days_reading reading
        cdef day_totals *totals
        cdef list days = []
        cdef size_t i
        memset(&reading, 0, sizeof(reading))
        reading.env = &self.env
        try:
            self._read(&read_days, &reading, &reading.txn)
            for i in range(reading.count):
                totals = &reading.days[i].totals
                days.append(Day(reading.days[i].day * DAY, totals.envelopes, totals.bytes,
                                totals.topics, totals.unsorted))
            return days
        finally:
            free(reading.days)

    def read_branches(self, start):
        """Read the branch pages of the indexes of the day that begins at `start`, Unix seconds.

        Requests find them in memory then. The number of their bytes. A damaged page is left to who
        needs it.
        """
        cdef branches b
        if not 0 <= start <= _MAX_UINT32:
            raise ValueError("a time has 32 bits")
        memset(&b, 0, sizeof(b))
        b.env, b.day = &self.env, start // DAY
        self._read(&read_branches, &b, &b.txn, &close_branches)
        return b.bytes

    def topics(self, start, size_t limit):
        """The topics of the day that begins at `start`, Unix seconds: [(topic, envelopes)].

        Those with the most envelopes first, at most `limit`. A topic costs some 100 ns.
        """
        cdef topics_reading reading
        cdef size_t i
        if not 0 <= start <= _MAX_UINT32:
            raise ValueError("a creation time has 32 bits")
        memset(&reading, 0, sizeof(reading))
        reading.env, reading.day = &self.env, start // DAY
        try:
            self._read(&read_topics, &reading, &reading.txn)
            return [(reading.topics[i].topic.to_bytes(4, "big"), reading.topics[i].envelopes)
                    for i in range(min(limit, reading.count))]
        finally:
            free(reading.topics)

    def stat(self):
        """The totals of the archive. The cost grows with the number of its days."""
        cdef archive_totals t
        memset(&t, 0, sizeof(t))
        t.env = &self.env
        self._read(&read_totals, &t, &t.txn)
        ends = (t.oldest, t.newest) if t.envelopes else (None, None)
        return Stat(t.envelopes, t.bytes, t.file_bytes, t.free_bytes, *ends, t.next, t.sums,
                    t.pruned, t.copied)

    def log_place(self):
        """The LogPlace up to which all messages of a cluster's log are stored; None without one."""
        cdef place_reading reading
        memset(&reading, 0, sizeof(reading))
        reading.env = &self.env
        try:
            self._read(&read_place, &reading, &reading.txn)
            if reading.place == NULL:
                return None
            name = reading.place[LOG_PLACE_SIZE:reading.size].decode()
            return LogPlace(name, get64(reading.place + 8), get64(reading.place))
        finally:
            free(reading.place)

    def verify(self):
        """Begin to check everything that is committed now: see Verification."""
        return Verification(self)

    def copy(self, directory):
        """Copy what is committed now to data.mdb in `directory`; the copy is synced on return.

        The copy is an archive without free pages, mode 0600. The directory is made if missing, mode
        0700, and refused if it has a data.mdb. ArchiveFull and ArchiveError leave nothing behind
        there; only a killed process leaves a file `unfinished.*`.
        Writers go on. But if the map of this process has to grow, that waits for the copy, and all
        other calls wait for the map: copy a busy archive from another process.
        """
        cdef bytes path = os.fsencode(directory)
        cdef const char *c_path = path
        cdef int rc
        identify_directory(path, True)
        with nogil:
            rc = copy_file(&self.env, c_path)
        if rc > 0:
            error = ArchiveFull if is_full(rc) else ArchiveError
            raise error(f"{os.fsdecode(path)}/data.mdb: {os.strerror(rc)}")
        if rc:
            raise self._failure(rc)

    def close(self):
        """Wait for running calls of other threads, then close. A second call does nothing."""
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
                rc = check_length(&self.env, c_path)
            if not rc:
                rc = open_tables(&self.env, readonly)
            if not rc and flags == 0:
                rc = sync_names(c_path)
        if rc:
            raise self._failure(rc)
        return 0

    cdef bytes _name(self, naming *n, bytes items):
        """Ask for the envelopes of items; returns the room for those that are absent."""
        cdef bytes absent
        if len(items) % ITEM_SIZE:
            raise ValueError(f"an item has {ITEM_SIZE} bytes")
        memset(n, 0, sizeof(n[0]))
        n.env, n.items = &self.env, <const uint8_t *> PyBytes_AS_STRING(items)
        n.count = len(items) // ITEM_SIZE
        absent = PyBytes_FromStringAndSize(NULL, len(items))
        n.absent = <uint8_t *> PyBytes_AS_STRING(absent)
        return absent

    cdef int _read(self, checks_work work, void *question, MDB_txn **txn,
                   closing close=NULL) except -1:
        """Answer a question in a read transaction of its own, then `close` its cursors.

        `txn` is the member of the question that holds the transaction meanwhile.
        """
        cdef int rc
        with nogil:
            rc = begin(&self.env, False, txn)
            if not rc:
                rc = checks_guard(self.env.env, work, question)
                if close != NULL:
                    close(question)
                end_read(&self.env, txn[0])
        if rc:
            raise self._failure(rc)
        return 0

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

    cdef object _failure(self, int rc):
        """The exception for a code as in environment.pxd."""
        if is_damage(rc):
            return ArchiveDamaged(explain(rc, self.path, self.env.format))
        if is_full(rc) or rc == EIO and cannot_grow(&self.env):
            return ArchiveFull(f"{self.path}: the disk is full")
        return ArchiveError(explain(rc, self.path, self.env.format))


cdef class PageJob(Job):
    """Reads a page: see Archive.page_job."""

    cdef reading reading
    cdef Archive archive
    cdef Query query
    cdef bytes position
    cdef bytes room         # for the packet; no one else has it yet, so it may be shrunk

    def __cinit__(self, Archive archive not None, Query query not None,
                  bytes position not None, size_t limit, size_t max_bytes, int64_t budget,
                  bint lenient):
        cdef scan *s = &self.reading.scan
        self.archive, self.query, self.position = archive, query, position
        self.room = PyBytes_FromStringAndSize(NULL, min(max_bytes, MAX_ROOM))
        s.env, s.terms = &archive.env, &query.terms
        s.limit, s.max_bytes, s.budget, s.lenient = limit, max_bytes, budget, lenient
        if position:
            self.reading.position = <const uint8_t *> PyBytes_AS_STRING(position)
        self.reading.room = <uint8_t *> PyBytes_AS_STRING(self.room)
        self.reading.room_size = len(self.room)
        self.job.run, self.job.context = read_page, &self.reading

    def __dealloc__(self):
        free(self.reading.scan.hits)
        free(self.reading.large)

    @property
    def damaged(self):
        """The number of envelopes that the page leaves out, once it is read."""
        return self.reading.scan.damaged

    cdef object finish(self):
        cdef const scan *s = &self.reading.scan
        if self.reading.rc:
            raise self.archive._failure(self.reading.rc)
        return Page(self._packet(), s.count, s.last_hash[:32] if s.count else b"",
                    position_behind(&self.reading, self.position), STATES[s.state])

    cdef bytes _packet(self):
        cdef PyObject *packet
        if self.reading.large != NULL:
            return self.reading.large[:self.reading.size]
        Py_INCREF(self.room)
        packet, self.room = <PyObject *> self.room, None
        _PyBytes_Resize(&packet, self.reading.size)
        shrunk = <bytes> packet
        Py_DECREF(shrunk)
        return shrunk


cdef int take_bound(where, bound *out) except -1:
    """Read a Bound. ValueError for what is none."""
    cdef bytes prefix
    time, prefix = where
    if time < 0 or len(prefix) > 32:
        raise ValueError("a bound has a time, and up to 32 bytes of a hash")
    out.behind_all = time > _MAX_UINT32
    if not out.behind_all:
        memset(out.item, 0, ITEM_SIZE)
        put32(out.item, time)
        memcpy(out.item + 4, PyBytes_AS_STRING(prefix), len(prefix))
    return 0


cdef object make_fold(const fold *f):
    cdef uint8_t[32] total
    sum256_write(&f.sum, total)
    return Fold(f.count, PyBytes_FromStringAndSize(<char *> total, 32))


cdef class Items:
    """The items of an archive, as they are committed now: (created, hash), 36 bytes each.

    Ranges have their lower Bound, not their upper one. They cost milliseconds at most, however many
    envelopes they have: whole days and minutes have sums, and only the envelopes of other minutes
    are hashed. ArchiveDamaged where sums and envelopes are seen to differ, ArchiveError if the
    archive is closed meanwhile.
    It keeps its state of the archive until it is closed, as a Verification does: close it soon.
    """

    cdef Archive archive
    cdef pin held
    cdef pthread_mutex_t lock       # one call at a time
    cdef range_walk walk

    def __cinit__(self, Archive archive not None):
        cdef int rc
        if pthread_mutex_init(&self.lock, NULL):
            raise MemoryError
        self.archive = archive
        self.walk.env = &archive.env
        with nogil:
            rc = pin_read(&archive.env, &self.held)
        if rc:
            raise archive._failure(rc)

    def __dealloc__(self):
        if self.archive is not None:
            self.close()
            pthread_mutex_destroy(&self.lock)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    @property
    def hashed(self):
        """Bytes of envelopes that were hashed for the answers so far."""
        return self.walk.hashed

    @property
    def next_sequence(self):
        """The sequence of the first envelope that is not among them: see Archive.arrived."""
        cdef ending e
        e.walk = &self.walk
        self._ask((0, b""), (0, b""), &find_ending, &e)
        return e.next

    def fold(self, lower, upper):
        """The Fold of a range."""
        cdef folding f
        f.walk = &self.walk
        self._ask(lower, upper, &fold_range, &f)
        return make_fold(&f.total)

    def split(self, lower, upper, size_t parts):
        """A range in up to `parts` parts of about as many envelopes: [(Bound, Fold)].

        Each has the bound behind it; the last one's is `upper`. No part is empty, unless the range
        is: then it is the only one. A range with twice as many envelopes as `parts` is cut. Bounds
        lie between days or minutes, and between envelopes in a minute that has nearly all of them.
        """
        cdef splitting s
        cdef part *one
        cdef list answer = []
        cdef size_t i
        if not 1 <= parts <= MAX_PARTS:
            raise ValueError(f"a range has 1 to {MAX_PARTS} parts")
        s.walk, s.wanted = &self.walk, parts
        s.parts = <part *> malloc(parts * sizeof(part))
        if s.parts == NULL:
            raise MemoryError
        try:
            self._ask(lower, upper, &split_range, &s)
            for i in range(s.count):
                one = &s.parts[i]
                behind = upper
                if i + 1 < s.count:
                    prefix = PyBytes_FromStringAndSize(<char *> one.item + 4, one.size - 4)
                    behind = Bound(get32(one.item), prefix)
                answer.append((behind, make_fold(&one.total)))
            return answer
        finally:
            free(s.parts)

    def ids(self, lower, upper, limit):
        """The first `limit` items of a range, in order, joined."""
        cdef listing l
        cdef bytes items
        if limit < 1:
            raise ValueError("a limit is positive")
        l.walk, l.limit = &self.walk, min(limit, _MAX_UINT32)
        items = PyBytes_FromStringAndSize(NULL, l.limit * ITEM_SIZE)
        l.items = <uint8_t *> PyBytes_AS_STRING(items)
        self._ask(lower, upper, &list_range, &l)
        return items[:l.count * ITEM_SIZE]

    def close(self):
        """Release the state of the archive. A second call does nothing."""
        with nogil:
            pthread_mutex_lock(&self.lock)
            unpin(&self.archive.env, &self.held)
            pthread_mutex_unlock(&self.lock)

    cdef int _ask(self, lower, upper, checks_work work, void *question) except -1:
        """Do the work with the range of these bounds."""
        cdef bound first, last
        cdef int rc
        take_bound(lower, &first)
        take_bound(upper, &last)
        with nogil:
            pthread_mutex_lock(&self.lock)
            rc = enter(&self.archive.env)
            if not rc:
                if self.held.txn == NULL:
                    rc = CLOSED
                else:
                    self.walk.txn = self.held.txn
                    self.walk.lower, self.walk.upper = first, last
                    rc = checks_guard(self.archive.env.env, work, question)
                    close_walk(&self.walk)
                leave(&self.archive.env)
            pthread_mutex_unlock(&self.lock)
        if rc:
            raise self.archive._failure(rc)
        return 0


cdef class Verification:
    """Checks a whole archive, as it is committed now, for damage.

    Iterate it to the end. Each step checks some rows, which takes milliseconds, and returns their
    bytes. Together they are about `total`, or more if something is wrong. Each envelope is read,
    hashed and looked up in the indexes; indexes and totals must hold nothing else. ArchiveError if
    the archive is closed meanwhile.
    A damaged page inside LMDB ends the check early; page_check.check_pages checks all pages.
    It keeps its state of the archive until it is closed: meanwhile no page of deleted or changed
    rows becomes free, and the file of a busy server grows.
    """

    cdef Archive archive
    cdef verifier v

    def __cinit__(self, Archive archive not None):
        cdef int rc
        self.archive = archive
        self.v.env = &archive.env
        if pthread_mutex_init(&self.v.lock, NULL):
            raise MemoryError
        with nogil:
            rc = begin_verifying(&self.v)
        if rc:
            raise archive._failure(rc)

    def __dealloc__(self):
        if self.v.env != NULL:
            with nogil:
                end_verifying(&self.v)
                pthread_mutex_destroy(&self.v.lock)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def __iter__(self):
        return self

    def __next__(self):
        cdef bint finished
        cdef uint64_t checked
        cdef int rc
        with nogil:
            rc = verify_step(&self.v, &finished, &checked)
        if rc:
            raise self.archive._failure(rc)
        if finished:
            raise StopIteration
        return checked

    @property
    def total(self):
        """Bytes of all rows, according to the archive's own totals."""
        return self.v.total

    @property
    def envelopes(self):
        """The number of envelopes found so far, in their chunks and in the indexes."""
        return self.v.envelopes

    @property
    def problems(self):
        """The number of problems found so far."""
        return self.v.problems.count

    def describe(self):
        """Texts of the first hundred problems so far. Each says what is wrong, and where."""
        return [describe(&self.v.problems.kept[i]) for i in range(min(self.problems, MAX_KEPT))]

    def close(self):
        """Release the state of the archive. A second call does nothing."""
        with nogil:
            end_verifying(&self.v)
