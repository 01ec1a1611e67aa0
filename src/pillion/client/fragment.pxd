cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t
from pillion.memory.mapped_file cimport MappedFile
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
    cdef int32_t position_bits
    cdef readonly int32_t initial_term_id
    cdef int32_t flags_override
