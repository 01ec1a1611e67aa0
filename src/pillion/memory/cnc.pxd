from pillion.memory.mapped_file cimport MappedFile
from pillion.memory.ring_buffer cimport ManyToOneRingBuffer
from pillion.protocol.layouts cimport CncMetadata


cdef class CncFile:
    cdef readonly MappedFile mapped
    cdef readonly ManyToOneRingBuffer to_driver_ring
    cdef CncMetadata metadata
    cdef readonly tuple offsets
