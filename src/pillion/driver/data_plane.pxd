from libc.stdint cimport int32_t, int64_t
from pillion.driver.context cimport AgentContext
from pillion.driver.idling cimport Idler
from pillion.driver.receiver cimport Receiver
from pillion.driver.sender cimport Sender
from pillion.driver.stream_conductor cimport StreamConductor
from pillion.memory.counters cimport CountersReader
from pillion.memory.ring_buffer cimport ManyToOneRingBuffer


cdef class AgentThread:
    cdef DataPlane plane
    cdef readonly int agents
    cdef readonly str name
    cdef Idler idler
    cdef int doorbell
    cdef object thread
    cdef void _ring(self) noexcept
    cdef void _watch(self) noexcept nogil
    cdef int64_t _longest_park(self) noexcept nogil


cdef class DataPlane:
    cdef StreamConductor* streams
    cdef Sender* sender
    cdef Receiver* receiver
    cdef CountersReader counters
    cdef ManyToOneRingBuffer ring
    cdef readonly str threading_mode
    cdef dict owned
    cdef set leaving
    cdef object backlog
    cdef dict idle
    cdef list threads
    cdef int32_t stopping
    cdef int32_t woken
    cdef int bell                  # an eventfd: the conductor waits for it
    cdef int32_t waiting           # and this says that it does
    cdef int64_t now_ns            # of the last step
    cdef int64_t now_ms
    cdef void _cycle(self, int agents, int64_t now_ns, int64_t now_ms, int* work) noexcept nogil
    cdef bint _has_events(self) noexcept nogil
    cdef bint _has_work(self) noexcept nogil
    cdef bint _has_traffic(self, int agents) noexcept nogil
    cdef AgentContext* _context(self, int agent) noexcept
