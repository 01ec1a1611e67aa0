from libc.stdint cimport int32_t, int64_t
from pillion.driver.context cimport AgentContext
from pillion.driver.streams cimport ImageStruct, ReceiveEndpointStruct
from pillion.driver.udp.transport cimport Batch

cdef enum:
    MAX_RECEIVED_STREAMS = 1024
    MAX_RECEIVE_ENDPOINTS = 1024

cdef struct Receiver:
    AgentContext context
    ImageStruct* images[1024]
    int32_t count
    ReceiveEndpointStruct* endpoints[1024]
    int32_t endpoint_count
    Batch batch

cdef int receiver_do_work(Receiver* agent) noexcept nogil
