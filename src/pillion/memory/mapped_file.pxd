# Files mapped into memory. A mapping lives exactly as long as its object: whoever points into it holds a reference.
cimport cython
from libc.stdint cimport uint8_t


@cython.final
cdef class MappedFile:
    cdef uint8_t* address
    cdef readonly size_t length
    cdef readonly str path
    cdef readonly bint read_only
    cdef int check_writable(self) except -1
