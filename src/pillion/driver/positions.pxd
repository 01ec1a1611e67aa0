# Growable lists of pointers, and the subscriber positions an agent follows.
from libc.stdint cimport int32_t, int64_t

cdef struct PointerList:
    void** items
    int32_t count
    int32_t capacity

cdef bint list_add(PointerList* list, void* item) noexcept nogil
cdef bint list_remove(PointerList* list, void* item) noexcept nogil
cdef void list_free(PointerList* list) noexcept nogil
cdef bint positions_range(const PointerList* positions, int64_t low, int64_t high, int64_t* smallest, int64_t* largest) noexcept nogil
