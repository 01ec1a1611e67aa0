from libc.stdint cimport int32_t, int64_t, uint8_t
from pillion.memory.mapped_file cimport MappedFile
from pillion.protocol.layouts cimport RingTrailer


cdef class ManyToOneRingBuffer:
    cdef readonly MappedFile owner
    cdef uint8_t* buffer
    cdef RingTrailer* trailer
    cdef readonly int64_t capacity
    cdef readonly int64_t max_message_length
    cdef bint has_work(self) noexcept nogil
    cdef int64_t _claim(self, int64_t need) noexcept nogil
