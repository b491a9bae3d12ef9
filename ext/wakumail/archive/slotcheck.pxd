"""The slots in the order of arrival, kept while an archive is verified: a bit for each."""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset


cdef struct day_slots:
    uint8_t *bits
    size_t size                 # bytes


cdef inline bint has_slot(const day_slots *day, uint32_t slot) noexcept nogil:
    return slot // 8 < day.size and day.bits[slot // 8] >> slot % 8 & 1 != 0


cdef inline int keep_slot(day_slots *day, uint32_t slot) noexcept nogil:
    """Keep a slot; 0 or ENOMEM."""
    cdef size_t size
    cdef void *grown
    if slot // 8 >= day.size:
        size = 2 * (<size_t> slot // 8) + 64
        grown = realloc(day.bits, size)
        if grown == NULL:
            return ENOMEM
        day.bits = <uint8_t *> grown
        memset(day.bits + day.size, 0, size - day.size)
        day.size = size
    day.bits[slot // 8] |= 1 << slot % 8
    return 0


cdef inline void free_slots(day_slots *days, size_t count) noexcept nogil:
    cdef size_t i
    for i in range(count if days != NULL else 0):
        free(days[i].bits)
    free(days)
