"""One commit to the archive: writes the new ones of a set of envelopes in one transaction.

Each table is written in the order of its keys, so that an insert finds its page where the one
before left the cursor. Functions that return int return 0 or a code as in environment.pxd.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcmp, memcpy, memset

from wakumail.waku.envelope cimport ACCEPTED, envelope_record
from wakumail.archive.change cimport write
from wakumail.archive.environment cimport bound_resident, environment
from wakumail.waku.judgements cimport Judgements
from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *
from wakumail.archive.log_place cimport write_place
from wakumail.archive.next_sequence cimport read_next_sequence, write_next_sequence
from wakumail.archive.resident cimport MAX_RESIDENT_WRITING
from wakumail.archive.sums cimport add_to_minute, fold, fold_hash
from wakumail.base.sum256 cimport sum256, sum256_add, sum256_read

cdef enum:
    RESIDENT_CHECK_ROWS = 512       # index rows between two checks of what is resident

    LMDB_PAGE_HEADER = 16           # bytes
    # A chunk holds at most two pages; a larger envelope gets a chunk of its own. LMDB needs the
    # pages of a row side by side. Under retention, chunks of 16 pages leave a tenth of the file in
    # gaps that are too small for them, chunks of two pages a fiftieth. One page would be badly
    # filled.
    CHUNK_SIZE = 2 * 4096 - LMDB_PAGE_HEADER


cdef struct entry:                  # one envelope of the commit
    const envelope_record *record
    const uint8_t *data
    uint64_t sequence
    uint32_t size
    uint32_t created
    uint32_t topic
    uint8_t hash[HASH_PREFIX]       # all of it is in the record


cdef struct commit:
    environment *env
    entry *entries                  # ordered by sort_entries
    size_t count
    entry **rows                    # the new entries; room for `count`
    size_t stored                   # number of rows
    uint64_t bytes                  # of their envelopes
    uint64_t next                   # sequence behind them
    MDB_txn *txn
    MDB_val log                     # the place in a log that it reaches; empty for none


cdef struct batch_part:             # the records of one batch
    const envelope_record *records
    Py_ssize_t count
    const uint8_t *data             # the records' offsets are in here


cdef inline void gather(const batch_part *parts, size_t count, commit *c) noexcept nogil:
    """Make an entry of each accepted envelope; the caller has made room for all."""
    cdef const envelope_record *record
    cdef entry *e
    cdef size_t i
    cdef Py_ssize_t j
    for i in range(count):
        for j in range(parts[i].count):
            record = &parts[i].records[j]
            if record.verdict != ACCEPTED:
                continue
            e = &c.entries[c.count]
            c.count += 1
            e.record = record
            e.data = parts[i].data + record.offset
            e.size = record.size
            e.created = record.created
            e.topic = record.topic
            memcpy(e.hash, record.hash, HASH_PREFIX)


cdef inline int entry_order(const void *one, const void *other) noexcept nogil:
    cdef const entry *a = <const entry *> one
    cdef const entry *b = <const entry *> other
    if a.created != b.created:
        return -1 if a.created < b.created else 1
    return memcmp(a.hash, b.hash, HASH_PREFIX)


cdef inline int row_order(const void *one, const void *other) noexcept nogil:
    """The order of postings. Within one commit, sequences are in the order of time."""
    cdef const entry *a = (<entry **> one)[0]
    cdef const entry *b = (<entry **> other)[0]
    cdef uint32_t a_day = a.created // DAY
    cdef uint32_t b_day = b.created // DAY
    if a_day != b_day:
        return -1 if a_day < b_day else 1
    if a.topic != b.topic:
        return -1 if a.topic < b.topic else 1
    return -1 if a.sequence < b.sequence else 1


cdef inline size_t sort_entries(entry *entries, size_t count) noexcept nogil:
    """Sort entries by (created, hash) and drop duplicates; returns the number that is left."""
    cdef size_t i
    cdef size_t kept = 0
    qsort(entries, count, sizeof(entry), &entry_order)
    for i in range(count):
        if kept == 0 or entry_order(&entries[kept - 1], &entries[i]) != 0:
            entries[kept] = entries[i]
            kept += 1
    return kept


cdef inline void count_rows(environment *e, size_t count) noexcept nogil:
    """Bound the resident pages, also within a commit: each row may map 16 more."""
    e.written += count
    if e.written >= RESIDENT_CHECK_ROWS:
        e.written = 0
        bound_resident(e, MAX_RESIDENT_WRITING)


cdef inline int write_times(commit *c) noexcept nogil:
    """Insert into `times`. An entry that is not there yet is new and gets the next sequence."""
    cdef uint8_t key_bytes[TIME_KEY]
    cdef uint8_t value_bytes[TIME_VALUE]
    cdef MDB_val key, value
    cdef MDB_cursor *times
    cdef entry *e
    cdef size_t i
    cdef int rc = mdb_cursor_open(c.txn, c.env.times, &times)
    if rc:
        return rc
    for i in range(c.count):
        e = &c.entries[i]
        count_rows(c.env, 1)
        put_time_key(key_bytes, e.created, e.hash)
        put32(value_bytes, e.topic)
        put48(value_bytes + 4, c.next)
        key, value = value_of(key_bytes, TIME_KEY), value_of(value_bytes, TIME_VALUE)
        rc = mdb_cursor_put(times, &key, &value, MDB_NOOVERWRITE)
        if rc == MDB_KEYEXIST:
            continue
        if rc:
            return rc
        e.sequence = c.next
        c.next += 1
        c.bytes += e.size
        c.rows[c.stored] = e
        c.stored += 1
    return 0


cdef inline int write_sums(commit *c) noexcept nogil:
    """Add to `sums`; the rows are in the order of time."""
    cdef MDB_cursor *sums
    cdef fold added
    cdef uint32_t minute
    cdef size_t i = 0
    cdef int rc = mdb_cursor_open(c.txn, c.env.sums, &sums)
    while not rc and i < c.stored:
        minute = c.rows[i].created // MINUTE
        memset(&added, 0, sizeof(added))
        while i < c.stored and c.rows[i].created // MINUTE == minute:
            fold_hash(&added, c.rows[i].record.hash)
            i += 1
        count_rows(c.env, 1)
        rc = add_to_minute(sums, minute, &added)
    return rc


cdef inline bint has_room(size_t size, size_t page_size) noexcept nogil:
    """True if a chunk of `size` bytes leaves more than 1/32 of its pages empty."""
    cdef size_t pages = (size + LMDB_PAGE_HEADER + page_size - 1) // page_size
    return size < CHUNK_SIZE and (pages * page_size - size) * 32 > size


cdef inline int take_unfinished(commit *c, MDB_cursor *chunks, MDB_cursor *arrivals,
                                MDB_val *taken) noexcept nogil:
    """Remove the chunk before the first row if that row fits into it; `taken` gets a copy.

    The copy begins the next chunk, so that many small commits fill pages as well as a large one.
    """
    cdef uint8_t key_bytes[CHUNK_KEY]
    cdef MDB_stat stat
    cdef MDB_val key, value
    cdef void *copy
    cdef uint64_t before = c.rows[0].sequence - 1
    cdef uint32_t day = c.rows[0].created // DAY
    cdef int rc = mdb_cursor_get(arrivals, &key, &value, MDB_LAST)
    if rc:
        return 0 if rc == MDB_NOTFOUND else rc
    if key.mv_size != SEQUENCE_SIZE or value.mv_size != DAY_KEY:
        return MDB_CORRUPTED
    if (get48(<const uint8_t *> key.mv_data) != before
            or get16(<const uint8_t *> value.mv_data) != day):
        return 0
    put_chunk_key(key_bytes, day, before)
    key = value_of(key_bytes, CHUNK_KEY)
    rc = mdb_cursor_get(chunks, &key, &value, MDB_SET_KEY)
    if rc == 0:
        rc = mdb_stat(c.txn, c.env.chunks, &stat)
    if rc:
        return MDB_CORRUPTED if rc == MDB_NOTFOUND else rc
    if (is_moved(&value) or not has_room(value.mv_size, stat.ms_psize)
            or value.mv_size + 4 + c.rows[0].size > CHUNK_SIZE):
        return 0
    copy = malloc(value.mv_size)
    if copy == NULL:
        return ENOMEM
    memcpy(copy, value.mv_data, value.mv_size)
    taken[0] = value_of(copy, value.mv_size)
    rc = mdb_cursor_del(chunks, 0)
    if rc:
        return rc
    return mdb_cursor_del(arrivals, 0)


cdef inline int write_chunk(MDB_cursor *chunks, MDB_cursor *arrivals, const MDB_val *taken,
                            entry **rows, size_t count) noexcept nogil:
    """Write one chunk: the envelopes of `taken` if it is not empty, then those of the rows."""
    cdef uint8_t key_bytes[CHUNK_KEY]
    cdef uint8_t day_bytes[DAY_KEY]
    cdef MDB_val key, value
    cdef uint8_t *ends
    cdef uint8_t *data
    cdef chunk old
    cdef uint32_t end = 0
    cdef uint32_t old_count = 0
    cdef size_t size = 0
    cdef size_t i
    cdef uint32_t day = rows[0].created // DAY
    cdef uint64_t last = rows[count - 1].sequence
    cdef int rc
    for i in range(count):
        size += rows[i].size
    if taken.mv_size:
        put_chunk_key(key_bytes, day, rows[0].sequence - 1)
        key = value_of(key_bytes, CHUNK_KEY)
        rc = read_chunk(&key, taken, &old)
        if rc:
            return rc
        old_count = <uint32_t> (old.last + 1 - old.first)
        end = <uint32_t> old.size
    put_chunk_key(key_bytes, day, last)
    key = value_of(key_bytes, CHUNK_KEY)
    value = value_of(NULL, 4 + 4 * (old_count + count) + end + size)
    rc = mdb_cursor_put(chunks, &key, &value, MDB_NOOVERWRITE | MDB_RESERVE)
    if rc:
        return MDB_CORRUPTED if rc == MDB_KEYEXIST else rc
    ends = <uint8_t *> value.mv_data
    put32(ends, <uint32_t> (old_count + count))
    ends += 4
    data = ends + 4 * (old_count + count)
    if old_count:
        memcpy(ends, old.ends, 4 * old_count)
        memcpy(data, old.envelopes, end)
    for i in range(count):
        memcpy(data + end, rows[i].data, rows[i].size)
        end += rows[i].size
        put32(ends + 4 * (old_count + i), end)
    put16(day_bytes, day)
    key, value = value_of(key_bytes + DAY_KEY, SEQUENCE_SIZE), value_of(day_bytes, DAY_KEY)
    rc = mdb_cursor_put(arrivals, &key, &value, MDB_NOOVERWRITE)
    return MDB_CORRUPTED if rc == MDB_KEYEXIST else rc


cdef inline size_t chunk_rows(const commit *c, size_t start, size_t size) noexcept nogil:
    """Count the rows from `start` that fit into a chunk of already `size` bytes; at least one."""
    cdef size_t i = start
    while i < c.stored and c.rows[i].created // DAY == c.rows[start].created // DAY:
        size += 4 + c.rows[i].size
        if size > CHUNK_SIZE and i > start:
            break
        i += 1
    return i - start


cdef inline int write_chunks(commit *c) noexcept nogil:
    cdef MDB_cursor *chunks
    cdef MDB_cursor *arrivals
    cdef MDB_val taken = value_of(NULL, 0)
    cdef size_t start = 0
    cdef size_t count
    cdef int rc = mdb_cursor_open(c.txn, c.env.chunks, &chunks)
    if not rc:
        rc = mdb_cursor_open(c.txn, c.env.arrivals, &arrivals)
    if not rc:
        rc = take_unfinished(c, chunks, arrivals, &taken)
    while not rc and start < c.stored:
        count = chunk_rows(c, start, taken.mv_size if taken.mv_size else 4)
        rc = write_chunk(chunks, arrivals, &taken, &c.rows[start], count)
        start += count
        free(taken.mv_data)
        taken = value_of(NULL, 0)
    free(taken.mv_data)
    return rc


cdef inline int add_topic(MDB_cursor *topics, uint8_t *topic_key, uint32_t count,
                          bint *is_new) noexcept nogil:
    """Add `count` envelopes to a topic and day; `is_new` if it had none."""
    cdef uint8_t number[4]
    cdef MDB_val key = value_of(topic_key, TOPIC_KEY)
    cdef MDB_val value = value_of(number, 4)
    cdef int rc
    put32(number, count)
    rc = mdb_cursor_put(topics, &key, &value, MDB_NOOVERWRITE)
    is_new[0] = rc == 0
    if rc != MDB_KEYEXIST:
        return rc
    if value.mv_size != 4:
        return MDB_CORRUPTED
    put32(number, count + get32(<const uint8_t *> value.mv_data))
    value = value_of(number, 4)
    return mdb_cursor_put(topics, &key, &value, 0)


cdef inline int add_day(commit *c, uint32_t day, day_totals *added) noexcept nogil:
    """Add the stored totals of a day to `added`, and store the sum."""
    cdef uint8_t key_bytes[DAY_KEY]
    cdef uint8_t value_bytes[DAY_VALUE]
    cdef MDB_val value
    cdef MDB_val key = value_of(key_bytes, DAY_KEY)
    cdef day_totals old
    cdef int rc
    put16(key_bytes, day)
    rc = mdb_get(c.txn, c.env.days, &key, &value)
    if rc == 0:
        rc = read_day(&value, &old)
        if rc:
            return rc
        added.envelopes += old.envelopes
        added.bytes += old.bytes
        added.topics += old.topics
        added.unsorted += old.unsorted
        sum256_add(&added.sum, &old.sum)
    elif rc != MDB_NOTFOUND:
        return rc
    put_day(value_bytes, added)
    value = value_of(value_bytes, DAY_VALUE)
    return mdb_put(c.txn, c.env.days, &key, &value, 0)


cdef inline int write_topic(MDB_cursor *postings, entry **rows, size_t count,
                            uint8_t *topic_key, day_totals *added) noexcept nogil:
    """Insert the postings of rows of one day and topic; writes its key to `topic_key`."""
    cdef sum256 number
    cdef uint8_t key_bytes[POSTING_KEY]
    cdef uint8_t sequence[SEQUENCE_SIZE]
    cdef MDB_val key, value
    cdef size_t i
    cdef int rc
    put16(topic_key, rows[0].created // DAY)
    put32(topic_key + 2, rows[0].topic)
    memcpy(key_bytes, topic_key, TOPIC_KEY)
    for i in range(count):
        put24(key_bytes + TOPIC_KEY, rows[i].created % DAY)
        memcpy(key_bytes + TOPIC_KEY + 3, rows[i].hash, HASH_PREFIX)
        put48(sequence, rows[i].sequence)
        key, value = value_of(key_bytes, POSTING_KEY), value_of(sequence, SEQUENCE_SIZE)
        rc = mdb_cursor_put(postings, &key, &value, MDB_NOOVERWRITE)
        if rc:
            return MDB_CORRUPTED if rc == MDB_KEYEXIST else rc
        added.bytes += rows[i].size
        sum256_read(&number, rows[i].record.hash)
        sum256_add(&added.sum, &number)
    return 0


cdef inline int write_postings(commit *c) noexcept nogil:
    """Insert into `postings`, `topics` and `days`; reorders the rows."""
    cdef MDB_cursor *postings
    cdef MDB_cursor *topics
    cdef uint8_t topic_key[TOPIC_KEY]
    cdef day_totals added
    cdef bint is_new
    cdef uint32_t day
    cdef size_t end
    cdef size_t start = 0
    cdef int rc = mdb_cursor_open(c.txn, c.env.postings, &postings)
    if not rc:
        rc = mdb_cursor_open(c.txn, c.env.topics, &topics)
    if rc:
        return rc
    qsort(c.rows, c.stored, sizeof(entry *), &row_order)
    while start < c.stored:
        day = c.rows[start].created // DAY
        memset(&added, 0, sizeof(added))
        while start < c.stored and c.rows[start].created // DAY == day:
            end = start + 1
            while (end < c.stored and c.rows[end].topic == c.rows[start].topic
                    and c.rows[end].created // DAY == day):
                end += 1
            rc = write_topic(postings, &c.rows[start], end - start, topic_key, &added)
            if not rc:
                rc = add_topic(topics, topic_key, <uint32_t> (end - start), &is_new)
            if rc:
                return rc
            added.topics += is_new
            added.envelopes += end - start
            added.unsorted += end - start
            count_rows(c.env, end - start)
            start = end
        rc = add_day(c, day, &added)
        if rc:
            return rc
    return 0


cdef inline int fill(void *work, MDB_txn *txn, bint *changed) noexcept nogil:
    """Make all changes of the transaction; without a new envelope, only that of the log's place."""
    cdef commit *c = <commit *> work
    cdef int rc = read_next_sequence(txn, c.env.meta, &c.next)
    if rc:
        return rc
    c.txn = txn
    c.stored = c.bytes = 0
    rc = write_times(c)
    if rc == 0 and c.log.mv_size:
        changed[0] = True
        rc = write_place(txn, c.env.meta, &c.log)
    if rc or c.stored == 0:
        return rc
    changed[0] = True
    rc = write_chunks(c)
    if not rc:
        rc = write_sums(c)
    if not rc:
        rc = write_postings(c)
    return rc if rc else write_next_sequence(txn, c.env.meta, c.next)


cdef inline int write_commit(commit *c) noexcept nogil:
    """Write and commit the new entries."""
    return write(c.env, &fill, c)


cdef inline void note_judgements(const commit *c, Judgements judgements) noexcept nogil:
    """Note the judgements of the new envelopes, for other processes."""
    cdef size_t i
    for i in range(c.stored):
        judgements.put(c.rows[i].sequence, c.rows[i].record)
