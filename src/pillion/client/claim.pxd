cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t
from pillion.memory.log_buffer cimport LogBuffer


@cython.no_gc_clear
cdef class BufferClaim:
    cdef LogBuffer owner
    cdef uint8_t* frame
    cdef int32_t length
    cdef readonly int64_t position
    cdef bint done
    cdef int generation
    cdef int _check(self) except -1


cdef BufferClaim new_claim(LogBuffer owner, uint8_t* frame, int32_t length, int64_t position)
