cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t
from pillion.protocol.frames cimport DataHeader


@cython.final
@cython.freelist(64)
cdef class FragmentBuffer:
    cdef object owner
    cdef const uint8_t* data
    cdef Py_ssize_t length


@cython.final
@cython.freelist(64)
cdef class Header:
    cdef object owner
    cdef readonly object context
    cdef const DataHeader* frame
    cdef DataHeader own                 # of an assembled message: `frame` points here
    cdef int32_t position_bits
    cdef readonly int32_t initial_term_id
    cdef int32_t end_term_offset        # of an assembled message, else -1
    cdef readonly int32_t fragmented_frame_length
    cdef int _check(self) except -1
    cdef void assemble(self, Header first, const DataHeader* frame, int64_t total, int32_t end_term_offset) noexcept
