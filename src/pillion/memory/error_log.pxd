from libc.stdint cimport int64_t, uint8_t
from pillion.memory.mapped_file cimport MappedFile


cdef class DistinctErrorLog:
    cdef readonly MappedFile owner
    cdef uint8_t* buffer
    cdef int64_t capacity
    cdef int64_t next_offset
    cdef dict offsets
    cdef dict shapes
    cdef object epoch_ms
