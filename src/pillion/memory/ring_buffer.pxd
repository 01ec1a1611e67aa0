from libc.stdint cimport int32_t, int64_t, uint8_t
from pillion.memory.mapped_file cimport MappedFile
from pillion.protocol.layouts cimport RingTrailer


cdef class ManyToOneRingBuffer:
    cdef readonly MappedFile owner
    cdef uint8_t* buffer
    cdef RingTrailer* trailer
    cdef int64_t mask
    cdef readonly int64_t capacity
    cdef readonly int64_t max_message_length
    cdef bint has_work(self) noexcept nogil
    cdef bint is_claimed(self) noexcept nogil
    cdef int64_t _claim(self, int64_t need) noexcept nogil
    cdef int64_t _next_non_zero(self, int64_t i, int64_t limit) noexcept nogil
    cdef void _pad(self, int64_t index, int64_t length) noexcept nogil
