from libc.stdint cimport int32_t, int64_t
from pillion.driver.context cimport AgentContext
from pillion.driver.positions cimport PointerList
from pillion.driver.streams cimport IpcStruct
from pillion.protocol.layouts cimport RingTrailer

cdef struct StreamConductor:
    AgentContext context
    PointerList streams            # IpcStruct*
    RingTrailer* ring
    int64_t heartbeat_interval_ns
    int64_t last_heartbeat_ns

cdef int stream_conductor_do_work(StreamConductor* agent) noexcept nogil
