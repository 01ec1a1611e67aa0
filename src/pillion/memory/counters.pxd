from libc.stdint cimport int32_t, int64_t, uint8_t
from pillion.memory.mapped_file cimport MappedFile
from pillion.protocol.layouts cimport CounterMetadata, CounterValue


cdef class CountersReader:
    cdef MappedFile owner               # not Python's: its buffer is writable
    cdef CounterValue* values
    cdef CounterMetadata* metadata
    cdef readonly int32_t capacity
    cdef int64_t* value_address(self, int32_t counter_id) noexcept nogil


cdef class CountersWriter(CountersReader):
    pass


cdef class CountersManager(CountersWriter):
    cdef int32_t high_water
    cdef object free_list
    cdef readonly int64_t free_to_reuse_ms
