"""Problems of an archive and their places. All are counted, and the first of them kept."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from wakumail.archive.layout cimport is_sorted

cdef enum:
    MAX_KEPT = 100
    KEY_SHOWN = 32          # bytes
    NOWHERE = -1            # an unknown day or place


ctypedef const char *text    # a literal


cdef struct problem:
    text what
    int64_t day
    int64_t place
    text label              # the kind of the key; NULL without a key
    uint8_t[KEY_SHOWN] key
    size_t key_size
    bint counted            # True if stored and found are set
    uint64_t stored
    uint64_t found


cdef struct problem_list:
    uint64_t count
    problem[MAX_KEPT + 1] kept      # those that are not kept overwrite the last one


cdef inline problem *note(problem_list *problems, text what, int64_t day,
                          int64_t place) noexcept nogil:
    """Count a problem. The caller may add to the result what it knows of it."""
    cdef uint64_t index = problems.count if problems.count < MAX_KEPT else MAX_KEPT
    cdef problem *p = &problems.kept[index]
    problems.count += 1
    p.what, p.day, p.place = what, day, place
    p.label, p.key_size, p.counted = NULL, 0, False
    return p


cdef inline void name_key(problem *p, text label, const void *key,
                          size_t size) noexcept nogil:
    p.label = label
    p.key_size = size if size < KEY_SHOWN else KEY_SHOWN
    memcpy(p.key, key, p.key_size)


cdef inline void compare(problem_list *problems, text what, int64_t day, uint64_t stored,
                         uint64_t found) noexcept nogil:
    """Note a problem if a stored number differs from the one that was found."""
    cdef problem *p
    if stored != found:
        p = note(problems, what, day, NOWHERE)
        p.counted, p.stored, p.found = True, stored, found


cdef inline str describe(const problem *p):
    """A problem and its place in plain words."""
    cdef str words = p.what.decode()
    cdef list places = []
    if p.counted:
        words = f"{words}: {p.stored} stored, {p.found} found"
    if p.day != NOWHERE:
        places.append(f"day {p.day}")
    if p.place != NOWHERE:
        places.append(f"slot {<uint32_t> p.place}" if is_sorted(p.place) else f"sequence {p.place}")
    if p.label != NULL:
        places.append(f"{p.label.decode()} {p.key[:p.key_size].hex()}")
    return f"{words} ({', '.join(places)})" if places else words
