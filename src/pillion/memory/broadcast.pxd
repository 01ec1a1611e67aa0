from libc.stdint cimport int32_t, int64_t, uint8_t
from pillion.memory.mapped_file cimport MappedFile
from pillion.protocol.layouts cimport BroadcastTrailer


cdef class BroadcastTransmitter:
    cdef readonly MappedFile owner
    cdef uint8_t* buffer
    cdef BroadcastTrailer* trailer
    cdef readonly int64_t capacity
    cdef readonly int64_t max_message_length


cdef class BroadcastReceiver:
    cdef readonly MappedFile owner
    cdef uint8_t* buffer
    cdef BroadcastTrailer* trailer
    cdef readonly int64_t capacity
    cdef int64_t cursor
    cdef int64_t next_record
    cdef readonly int64_t lapped_count
    cdef bint has_work(self) noexcept nogil
