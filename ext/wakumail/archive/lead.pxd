"""The lead: chunks in the order of arrival, asked of the disk before their reader comes to them."""

from libc.stdint cimport UINT64_MAX, uint8_t, uint64_t
from libc.string cimport memcpy, memset

from wakumail.archive.layout cimport *
from wakumail.archive.lmdb cimport *
from wakumail.archive.chunks cimport AHEAD, read_ahead, wanted_row
from wakumail.archive.disk_waits cimport disk_waits, look_for_waits, watch_for_waits


cdef struct lead:
    disk_waits waits        # the lead is on once any is met
    uint64_t turn           # the sequence at which to ask for more
    uint64_t asked          # the sequence behind all chunks that were asked for
    size_t branch           # the page whose leaves of `arrivals` were asked for last


cdef inline void begin_lead(lead *l, bint on) noexcept nogil:
    memset(l, 0, sizeof(l[0]))
    watch_for_waits(&l.waits, on)


cdef inline int ask_moved(MDB_cursor *chunks, const moved_chunk *moved) noexcept nogil:
    """Ask for the chunks to which envelopes were moved, up to AHEAD."""
    cdef wanted_row[AHEAD] wanted
    cdef uint64_t sequence
    cdef uint32_t slot
    cdef size_t count = 0
    cdef int rc
    for sequence in range(moved.first, moved.last + 1):
        slot = slot_of(moved, sequence)
        if slot != NO_SLOT and count < AHEAD:
            wanted[count].created, wanted[count].place = moved.day * DAY, sorted_place(slot)
            count += 1
    rc = read_ahead(chunks, wanted, count)
    return 0 if rc == MDB_CORRUPTED else rc     # their reader meets it


cdef inline int ask_chunks(lead *l, MDB_cursor *arrivals, MDB_cursor *chunks) noexcept nogil:
    """Ask for the next chunks. Rows that are damaged are left for their reader to meet."""
    cdef uint8_t[AHEAD][CHUNK_KEY] keys
    cdef uint8_t[SEQUENCE_SIZE] bound
    cdef MDB_val key, value
    cdef moved_chunk moved
    cdef ahead_list pages
    cdef size_t count = 0
    cdef size_t i
    cdef int rc
    put48(bound, l.asked)
    key = value_of(bound, SEQUENCE_SIZE)
    rc = mdb_cursor_get(arrivals, &key, &value, MDB_SET_RANGE)
    while not rc and count < AHEAD:
        if key.mv_size == SEQUENCE_SIZE and value.mv_size == DAY_KEY:
            memcpy(keys[count], value.mv_data, DAY_KEY)
            memcpy(keys[count] + DAY_KEY, key.mv_data, SEQUENCE_SIZE)
            l.asked = get48(<const uint8_t *> key.mv_data) + 1
            count += 1
        ahead_leaves(arrivals, &l.branch)
        rc = mdb_cursor_get(arrivals, &key, &value, MDB_NEXT)
    if rc == MDB_NOTFOUND:
        l.asked = UINT64_MAX
    elif rc:
        return rc
    ahead_keys(chunks, keys, count, CHUNK_KEY)
    pages.count = 0
    for i in range(count):
        key = value_of(keys[i], CHUNK_KEY)
        rc = mdb_cursor_get(chunks, &key, NULL, MDB_SET_RANGE)
        if rc == 0 and not ahead_value(chunks, &pages):
            rc = mdb_cursor_get(chunks, &key, &value, MDB_SET_RANGE)
            if rc == 0 and not read_moved(&key, &value, &moved):
                rc = ask_moved(chunks, &moved)
        if rc and rc != MDB_NOTFOUND:
            return rc
    ahead_ask(chunks, &pages)
    return 0


cdef inline int keep_lead(lead *l, MDB_cursor *arrivals, MDB_cursor *chunks,
                          uint64_t sequence) noexcept nogil:
    """Ask for more if it is time, before the chunk of a sequence is read. Moves the cursors.

    What is asked for is read while the chunks before it are worked on, so more is asked for as soon
    as the first of it is wanted.
    """
    look_for_waits(&l.waits)
    if not l.waits.met or sequence < l.turn:
        return 0
    if l.asked < sequence:
        l.asked = sequence
    l.turn = l.asked
    return ask_chunks(l, arrivals, chunks)
