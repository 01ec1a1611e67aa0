from libc.stdint cimport int32_t, int64_t
from pillion.driver.context cimport AgentContext
from pillion.driver.positions cimport PointerList
from pillion.driver.udp.transport cimport Batch

cdef struct Receiver:
    AgentContext context
    PointerList images             # ImageStruct*, also those that data is no longer dispatched to
    PointerList endpoints          # ReceiveEndpointStruct*
    Batch batch

cdef int receiver_do_work(Receiver* agent) noexcept nogil
