from libc.stdint cimport int32_t, int64_t
from pillion.driver.context cimport AgentContext
from pillion.driver.streams cimport IpcStruct, Positions
from pillion.protocol.layouts cimport RingTrailer

cdef enum:
    MAX_IPC_STREAMS = 1024

cdef struct StreamConductor:
    AgentContext context
    IpcStruct* streams[1024]
    int32_t count
    RingTrailer* ring
    int64_t heartbeat_interval_ns
    int64_t last_heartbeat_ns

cdef int stream_conductor_do_work(StreamConductor* agent) noexcept nogil
cdef void positions_add(Positions* positions, int64_t* address) noexcept nogil
cdef void positions_remove(Positions* positions, int64_t* address) noexcept nogil
cdef bint positions_min(Positions* positions, int64_t* smallest, int64_t* largest) noexcept nogil
