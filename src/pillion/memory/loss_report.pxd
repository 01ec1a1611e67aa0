from libc.stdint cimport int64_t
from pillion.memory.mapped_file cimport MappedFile
from pillion.protocol.layouts cimport LossEntry

cdef void loss_observe(LossEntry* entry, int64_t bytes_lost, int64_t now_ms) noexcept nogil


cdef class LossReportEntry:
    cdef MappedFile owner
    cdef LossEntry* entry


cdef class LossReport:
    cdef readonly MappedFile owner
    cdef int64_t next_offset
