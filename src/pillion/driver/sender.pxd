from libc.stdint cimport int32_t, int64_t
from pillion.driver.context cimport AgentContext
from pillion.driver.streams cimport NetworkStruct, SendEndpointStruct
from pillion.driver.udp.transport cimport Batch

cdef enum:
    MAX_NETWORK_STREAMS = 1024
    MAX_SEND_ENDPOINTS = 1024
    SEND_BATCH = 32

cdef struct Sender:
    AgentContext context
    NetworkStruct* streams[1024]
    int32_t count
    SendEndpointStruct* endpoints[1024]
    int32_t endpoint_count
    int32_t cursor
    Batch batch

cdef int sender_do_work(Sender* agent) noexcept nogil
