"""A range of envelopes: its fold, its parts, and its envelopes.

Functions that return int return 0 or a code as in environment.pxd.
"""

from libc.stdint cimport UINT64_MAX, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from wakumail.archive.layout cimport *
from wakumail.archive.next_sequence cimport read_next_sequence
from wakumail.archive.range_walk cimport *
from wakumail.archive.scanner cimport STOP
from wakumail.archive.sums cimport fold, fold_add
from wakumail.waku.envelope cimport HASH_BLOCK


cdef inline int take_into_fold(range_walk *w, const uint8_t *at, const fold *cell) noexcept nogil:
    fold_add(<fold *> w.taker, cell)
    return 0


cdef struct folding:            # the question and the answer
    range_walk *walk
    fold total


cdef inline int fold_range(void *context) noexcept nogil:
    """Fold the range of the walk."""
    cdef folding *f = <folding *> context
    memset(&f.total, 0, sizeof(f.total))
    f.walk.most_of_day = f.walk.most_of_minute = UINT64_MAX
    f.walk.together = HASH_BLOCK
    f.walk.take, f.walk.taker = take_into_fold, &f.total
    return walk_range(f.walk)


cdef struct part:               # of a range
    fold total
    uint8_t item[ITEM_SIZE]     # the bound behind it, but for the last part
    size_t size                 # bytes of the item that tell it from all before


cdef struct splitting:
    range_walk *walk
    part *parts                 # room for `wanted`
    size_t wanted
    size_t count                # of parts that are begun
    uint64_t total              # envelopes
    uint64_t passed             # of them, in the cells before
    uint64_t due                # the part ends when so many have passed
    uint8_t before[ITEM_SIZE]   # where the cell before begins


cdef inline size_t separate(const uint8_t *before, const uint8_t *at) noexcept nogil:
    """Count the first bytes of an item that suffice to tell it from one before it."""
    cdef size_t size = 4
    if memcmp(before, at, 4) != 0:
        return size
    while size < ITEM_SIZE and before[size] == at[size]:
        size += 1
    return size + 1 if size < ITEM_SIZE else size


cdef inline uint64_t next_due(const splitting *s) noexcept nogil:
    """The next multiple, rounded up, of an even share: uneven parts do not move those behind."""
    cdef uint64_t shares = s.passed * s.wanted // s.total + 1
    return (shares * s.total + s.wanted - 1) // s.wanted


cdef inline int take_into_part(range_walk *w, const uint8_t *at, const fold *cell) noexcept nogil:
    cdef splitting *s = <splitting *> w.taker
    cdef part *current = &s.parts[s.count - 1]
    if s.passed >= s.due and s.count < s.wanted:
        memcpy(current.item, at, ITEM_SIZE)
        current.size = separate(s.before, at)
        s.due = next_due(s)
        current = &s.parts[s.count]
        memset(current, 0, sizeof(current[0]))
        s.count += 1
    fold_add(&current.total, cell)
    s.passed += cell.count
    memcpy(s.before, at, ITEM_SIZE)
    return 0


cdef inline int split_range(void *context) noexcept nogil:
    """Split the range of the walk into parts of about as many envelopes.

    To cut a minute its envelopes are hashed. So one is cut only if the rest of the range, without
    it, would not make a part.
    """
    cdef splitting *s = <splitting *> context
    cdef folding whole
    cdef int rc
    whole.walk = s.walk
    rc = fold_range(&whole)
    if rc:
        return rc
    memset(s.parts, 0, sizeof(s.parts[0]))
    s.count, s.passed, s.total = 1, 0, whole.total.count
    if s.wanted == 1 or s.total == 0:
        s.parts[0].total = whole.total
        return 0
    s.due = s.walk.most_of_day = next_due(s)
    s.walk.most_of_minute = max(s.due, s.total - s.due)
    s.walk.take, s.walk.taker = take_into_part, s
    return walk_range(s.walk)


cdef struct listing:
    range_walk *walk
    uint8_t *items              # room for `limit`
    size_t limit
    size_t count


cdef inline int take_into_list(range_walk *w, const uint8_t *at, const fold *cell) noexcept nogil:
    cdef listing *l = <listing *> w.taker
    memcpy(l.items + l.count * ITEM_SIZE, at, ITEM_SIZE)
    l.count += 1
    return STOP if l.count == l.limit else 0


cdef inline int list_range(void *context) noexcept nogil:
    """List the first envelopes of the range of the walk; the limit is at least 1."""
    cdef listing *l = <listing *> context
    cdef fold unused
    cdef int rc
    memset(&unused, 0, sizeof(unused))
    l.count = 0
    l.walk.together = l.limit if l.limit < HASH_BLOCK else HASH_BLOCK
    l.walk.take, l.walk.taker = take_into_list, l
    forget_chunk(&l.walk.recent)
    rc = walk_items(l.walk, &l.walk.lower, &l.walk.upper, &unused)
    return 0 if rc == STOP else rc


cdef struct ending:             # where the order of arrival ends
    range_walk *walk
    uint64_t next               # sequence


cdef inline int find_ending(void *context) noexcept nogil:
    """Find the sequence of the next envelope; the range does not count."""
    cdef ending *e = <ending *> context
    return read_next_sequence(e.walk.txn, e.walk.env.meta, &e.next)
