"""Checks in steps, in one read transaction, that all rows are sound and agree.

Each table is walked once in the order of its keys. The rows of `sums` are kept, and compared with
the envelopes of their minutes when all envelopes have been seen. With `arrivals`, each chunk is
read and each of its envelopes looked up in `times` and `postings`. If these have more rows than
envelopes, they are walked again, and each row is traced back to its envelope. The chunks of sorted
days are read with `chunks`. Problems are noted and the walk goes on. But LMDB ends a transaction
that meets a damaged page, and that ends the walk.
Functions that return int return 0 or a code as in environment.pxd.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport UINT64_MAX, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from wakumail.archive.bookmark cimport bookmark, read_bookmark
from wakumail.archive.chunkcheck cimport take_arrival, take_chunk
from wakumail.archive.disk_waits cimport look_for_waits
from wakumail.archive.environment cimport (
    CLOSED, bound_resident, enter, environment, leave, pin_read, unpin)
from wakumail.archive.failure cimport is_damage
from wakumail.archive.layout cimport *
from wakumail.archive.lead cimport begin_lead
from wakumail.archive.lmdb cimport *
from wakumail.archive.problem cimport NOWHERE, compare, note, text
from wakumail.base.pthread cimport pthread_mutex_lock, pthread_mutex_unlock
from wakumail.archive.resident cimport MAX_RESIDENT_READING
from wakumail.archive.rowcheck cimport *
from wakumail.archive.slotcheck cimport day_slots, free_slots
from wakumail.archive.sumcheck cimport compare_sums
from wakumail.archive.totals cimport archive_totals, read_totals

cdef enum:
    STEP_BYTES = 256 << 10      # bytes of rows that one step checks: some milliseconds

    TIMES_PHASE = 0
    SUMS_PHASE = 1
    ARRIVALS_PHASE = 2
    CHUNKS_PHASE = 3
    STRAY_TIMES_PHASE = 4
    POSTINGS_PHASE = 5
    STRAY_POSTINGS_PHASE = 6
    TOPICS_PHASE = 7
    DAYS_PHASE = 8
    FINISHED = 9


ctypedef int (*taking)(verifier *v, const MDB_val *key, const MDB_val *value) noexcept nogil


cdef struct phase:
    MDB_dbi table               # that is walked
    taking take                 # checks a row
    text unordered              # says that rows are out of order


cdef inline phase current_phase(const verifier *v) noexcept nogil:
    cdef environment *e = v.env
    cdef phase[FINISHED] phases = [
        phase(e.times, take_time,
              b"the rows of `times` are out of order: the rest was not checked"),
        phase(e.sums, take_sum,
              b"the rows of `sums` are out of order: the rest was not checked"),
        phase(e.arrivals, take_arrival,
              b"the rows of `arrivals` are out of order: the rest was not checked"),
        phase(e.chunks, take_chunk,
              b"the rows of `chunks` are out of order: the rest was not checked"),
        phase(e.times, trace_time,
              b"the rows of `times` are out of order: the rest was not checked"),
        phase(e.postings, take_posting,
              b"the rows of `postings` are out of order: the rest was not checked"),
        phase(e.postings, trace_posting,
              b"the rows of `postings` are out of order: the rest was not checked"),
        phase(e.topics, take_topic,
              b"the rows of `topics` are out of order: the rest was not checked"),
        phase(e.days, take_day,
              b"the rows of `days` are out of order: the rest was not checked"),
    ]
    return phases[v.phase]


cdef inline int next_phase(verifier *v) noexcept nogil:
    """End a phase at the end of its table, and begin the next one that is needed."""
    cdef day_totals none
    cdef size_t day
    cdef int rc = 0
    if v.phase == POSTINGS_PHASE:
        rc = end_topic(v)
    elif v.phase == CHUNKS_PHASE:
        compare_sums(&v.sums, &v.problems)
    elif v.phase == DAYS_PHASE:
        memset(&none, 0, sizeof(none))
        for day in range(DAY_COUNT):
            compare_day(v, <uint32_t> day, &none)
        compare(&v.problems, b"rows of `times` and envelopes differ in number", NOWHERE,
                v.time_rows, v.envelopes)
        compare(&v.problems, b"rows of `postings` and envelopes differ in number", NOWHERE,
                v.posting_rows, v.posted)
        compare(&v.problems, b"rows of `postings` and copies differ in number", NOWHERE,
                v.copied_postings, v.copies)
    v.bound_size = 0
    v.phase += 1
    if v.phase == STRAY_TIMES_PHASE and v.time_rows == v.envelopes:
        v.phase += 1
    if v.phase == STRAY_POSTINGS_PHASE and v.posting_rows == v.posted:
        v.phase += 1
    return rc


cdef inline bint comes_behind(const MDB_val *key, const uint8_t *bound, size_t size) noexcept nogil:
    """True if a key comes behind another one in the order of bytes."""
    cdef size_t common = size if size < key.mv_size else key.mv_size
    cdef int order = memcmp(key.mv_data, bound, common)
    return order > 0 or order == 0 and key.mv_size > size


cdef inline int walk_rows(verifier *v, const phase *current) noexcept nogil:
    """Check the rows behind the bound; MDB_NOTFOUND at the end of the table."""
    cdef MDB_val value = value_of(NULL, 0)
    cdef MDB_val *read = &value if v.phase != CHUNKS_PHASE else NULL    # those were read before
    cdef MDB_val key = value_of(v.bound, v.bound_size)
    cdef int rc
    if v.bound_size:
        rc = mdb_cursor_get(v.walked, &key, read, MDB_SET_RANGE)
        if not rc and key.mv_size == v.bound_size and not memcmp(key.mv_data, v.bound, key.mv_size):
            rc = mdb_cursor_get(v.walked, &key, read, MDB_NEXT)
    else:
        rc = mdb_cursor_get(v.walked, &key, read, MDB_FIRST)
    while not rc:
        if key.mv_size > MAX_KEY or not comes_behind(&key, v.bound, v.bound_size):
            note_row(v, current.unordered, &key)
            return MDB_NOTFOUND
        memcpy(v.bound, key.mv_data, key.mv_size)
        v.bound_size = key.mv_size
        v.checked += key.mv_size + value.mv_size
        if v.ahead.waits.met:
            ahead_leaves(v.walked, &v.branch)
        rc = current.take(v, &key, &value)
        if rc or v.checked >= STEP_BYTES:
            return rc
        rc = mdb_cursor_get(v.walked, &key, read, MDB_NEXT)
    return rc


cdef inline int open_step_cursors(verifier *v, MDB_dbi walked) noexcept nogil:
    cdef environment *e = v.env
    cdef MDB_txn *txn = v.held.txn
    cdef int rc = mdb_cursor_open(txn, walked, &v.walked)
    if not rc:
        rc = mdb_cursor_open(txn, e.times, &v.times)
    if not rc:
        rc = mdb_cursor_open(txn, e.postings, &v.postings)
    if not rc:
        rc = mdb_cursor_open(txn, e.chunks, &v.chunks)
    if not rc:
        rc = mdb_cursor_open(txn, e.arrivals, &v.arrivals)
    if not rc:
        rc = mdb_cursor_open(txn, e.topics, &v.topics)
    return rc


cdef inline void close_one(MDB_cursor **cursor) noexcept nogil:
    if cursor[0] != NULL:
        mdb_cursor_close(cursor[0])
        cursor[0] = NULL


cdef inline void close_step_cursors(verifier *v) noexcept nogil:
    close_one(&v.walked)
    close_one(&v.times)
    close_one(&v.postings)
    close_one(&v.chunks)
    close_one(&v.arrivals)
    close_one(&v.topics)


cdef inline int take_rows(void *context) noexcept nogil:
    """Do the work of a step, within the gate; the cursors stay open."""
    cdef verifier *v = <verifier *> context
    cdef phase current = current_phase(v)
    cdef int rc = open_step_cursors(v, current.table)
    if not v.ahead.waits.met:
        begin_lead(&v.ahead, v.env.always_ahead)
    if not rc:
        rc = walk_rows(v, &current)
    look_for_waits(&v.ahead.waits)
    return next_phase(v) if rc == MDB_NOTFOUND else rc


cdef inline int take_step(verifier *v) noexcept nogil:
    """Do a step. Damage ends the whole verification."""
    cdef int rc = checks_guard(v.env.env, &take_rows, v)
    close_step_cursors(v)
    if is_damage(rc):
        note(&v.problems, b"LMDB met a damaged page: the rest was not checked", NOWHERE, NOWHERE)
        v.phase = FINISHED
        rc = 0
    return rc


cdef inline int verify_step(verifier *v, bint *finished, uint64_t *checked) noexcept nogil:
    """Check some more rows, unless finished."""
    cdef int rc
    pthread_mutex_lock(&v.lock)
    v.checked = 0
    rc = enter(v.env)
    if not rc:
        if v.held.txn == NULL:
            rc = CLOSED
        elif v.phase < FINISHED:
            bound_resident(v.env, MAX_RESIDENT_READING)
            rc = take_step(v)
        leave(v.env)
    finished[0] = v.phase == FINISHED and v.checked == 0
    checked[0] = v.checked
    pthread_mutex_unlock(&v.lock)
    return rc


cdef inline int read_next(verifier *v) noexcept nogil:
    """Read the next sequence from `meta`."""
    cdef MDB_val value
    cdef MDB_val key = value_of(b"next", 4)
    cdef int rc = mdb_get(v.held.txn, v.env.meta, &key, &value)
    v.next = UINT64_MAX
    if rc == 0 and value.mv_size == SEQUENCE_SIZE:
        v.next = get48(<const uint8_t *> value.mv_data)
    elif rc == 0 or rc == MDB_NOTFOUND:
        note(&v.problems, b"`meta` does not say the next sequence", NOWHERE, NOWHERE)
    return 0 if rc == MDB_NOTFOUND else rc


cdef inline int read_pruned(verifier *v) noexcept nogil:
    """Read the horizon from `meta`."""
    cdef MDB_val value
    cdef MDB_val key = value_of(b"pruned", 6)
    cdef int rc = mdb_get(v.held.txn, v.env.meta, &key, &value)
    if rc == MDB_NOTFOUND or rc == 0 and value.mv_size != HORIZON_SIZE:
        note(&v.problems, b"`meta` does not say what was pruned", NOWHERE, NOWHERE)
        return 0
    if rc == 0:
        v.pruned = get32(<const uint8_t *> value.mv_data)
    return rc


cdef inline int foresee(verifier *v) noexcept nogil:
    """Estimate the bytes of all rows, from the totals of the archive."""
    cdef environment *e = v.env
    cdef archive_totals totals
    cdef MDB_dbi[7] tables = [e.times, e.sums, e.arrivals, e.chunks, e.postings, e.topics, e.days]
    cdef size_t[7] sizes = [TIME_KEY + TIME_VALUE, SUM_KEY + SUM_VALUE, CHUNK_KEY, CHUNK_KEY,
                            POSTING_KEY + SEQUENCE_SIZE, TOPIC_KEY + 4, DAY_KEY + DAY_VALUE]
    cdef MDB_stat stat
    cdef size_t i
    cdef int rc = 0
    memset(&totals, 0, sizeof(totals))
    totals.env, totals.txn = e, v.held.txn
    read_totals(&totals)                    # the walk meets its errors too
    v.total = totals.bytes + totals.copied
    for i in range(7):
        if not rc:
            rc = mdb_stat(v.held.txn, tables[i], &stat)
            v.total += stat.ms_entries * sizes[i]
    return rc


cdef inline int look_ahead(void *context) noexcept nogil:
    """Read the next sequence and the estimate, before the first step."""
    cdef verifier *v = <verifier *> context
    cdef bookmark mark
    cdef int rc = read_next(v)
    if not rc:
        rc = read_pruned(v)
    if not rc and read_bookmark(v.held.txn, v.env.meta, &mark) == MDB_CORRUPTED:
        note(&v.problems, b"`meta` does not say where the sorting goes on", NOWHERE, NOWHERE)
    return rc if rc else foresee(v)


cdef inline int begin_verifying(verifier *v) noexcept nogil:
    """Begin to hold the current state. Call end_verifying in the end, also after an error."""
    cdef int rc
    v.days = <day_totals *> calloc(DAY_COUNT, sizeof(day_totals))
    v.slots = <day_slots *> calloc(DAY_COUNT, sizeof(day_slots))
    if v.days == NULL or v.slots == NULL:
        return ENOMEM
    rc = pin_read(v.env, &v.held)
    if not rc:
        rc = enter(v.env)
    if rc:
        return rc
    if v.held.txn == NULL:
        rc = CLOSED
    if not rc:
        rc = checks_guard(v.env.env, &look_ahead, v)
    leave(v.env)
    return 0 if is_damage(rc) else rc


cdef inline void end_verifying(verifier *v) noexcept nogil:
    """Release the state and the memory. A second call does nothing."""
    pthread_mutex_lock(&v.lock)
    unpin(v.env, &v.held)
    free(v.days)
    free_slots(v.slots, DAY_COUNT)
    free(v.stairs.steps)
    free(v.sums.minutes)
    v.days, v.slots, v.stairs.steps, v.sums.minutes = NULL, NULL, NULL, NULL
    pthread_mutex_unlock(&v.lock)
