from libc.stdint cimport int32_t, int64_t, uint8_t
from pillion.driver.receiver cimport Receiver
from pillion.driver.streams cimport ImageStruct, ReceiveEndpointStruct
from pillion.driver.udp.transport cimport Address

cdef void dispatch(Receiver* agent, ReceiveEndpointStruct* endpoint, uint8_t* data, int64_t length, const Address* source) noexcept nogil
cdef bint change_interest(ReceiveEndpointStruct* endpoint, int32_t stream_id, int32_t session_id, bint any_session, int32_t by) noexcept nogil
cdef bint set_session(Receiver* agent, ReceiveEndpointStruct* endpoint, int32_t session_id, int32_t stream_id, int32_t state) noexcept nogil
cdef void forget_session(ReceiveEndpointStruct* endpoint, int32_t session_id, int32_t stream_id) noexcept nogil
