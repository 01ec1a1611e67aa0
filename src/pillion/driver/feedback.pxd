from libc.stdint cimport int32_t, uint8_t
from pillion.driver.receiver cimport Receiver
from pillion.driver.streams cimport ImageStruct, ReceiveEndpointStruct
from pillion.driver.udp.transport cimport Address

cdef bint send_status(Receiver* agent, ReceiveEndpointStruct* endpoint, int32_t session_id, int32_t stream_id, int32_t term_id, int32_t term_offset, int32_t window, uint8_t flags, const Address* to) noexcept nogil
cdef void send_nak(Receiver* agent, ImageStruct* image) noexcept nogil
cdef void send_rejection(Receiver* agent, ImageStruct* image) noexcept nogil
cdef void send_rtt_reply(Receiver* agent, ReceiveEndpointStruct* endpoint, void* frame, const Address* to) noexcept nogil
