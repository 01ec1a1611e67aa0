# What the agents work on: one struct a stream and an endpoint, each with one owning agent. The classes own the memory.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from pillion.driver.udp.transport cimport Address, Transport, UdpTransport
from pillion.memory.counters cimport CountersReader
from pillion.memory.log_buffer cimport Log, LogBuffer
from pillion.memory.loss_report cimport LossReportEntry
from pillion.protocol.layouts cimport LossEntry

cdef enum:
    MAX_SUBSCRIBERS = 64           # positions an agent follows on one stream
    MAX_RECEIVERS = 16             # receivers one unicast publication remembers
    MAX_INTERESTS = 256            # subscriptions of one receive endpoint
    MAX_IMAGES = 256               # images of one receive endpoint
    MAX_PENDING = 64               # sessions that were asked for a set-up or cool down

cdef struct Positions:
    int64_t* addresses[64]
    int32_t count

cdef struct IpcStruct:             # owner: stream conductor
    Log* log
    int64_t* pub_pos
    int64_t* pub_lmt
    int64_t window
    int64_t trip_limit
    int64_t consumer_position      # read by the conductor (atomic)
    int64_t clean_position
    Positions subscribers

cdef struct SendEndpointStruct:    # owner: sender
    Transport* transport
    void* publications[256]
    int32_t count

cdef struct Receiver_:
    int64_t receiver_id
    int64_t last_ns

cdef struct NetworkStruct:         # owner: sender
    Log* log
    SendEndpointStruct* endpoint
    int64_t* pub_pos
    int64_t* pub_lmt
    int64_t* snd_pos
    int64_t* snd_lmt
    int64_t* snd_bpe
    int64_t* snd_naks
    int64_t window
    int64_t clean_position
    int64_t connection_timeout_ns
    int64_t last_send_ns           # data or heartbeat
    int64_t last_setup_ns
    int32_t session_id
    int32_t stream_id
    int32_t max_resend
    bint has_initial_connection
    bint setup_elicited
    bint was_limited
    bint spies_simulate
    bint signal_eos
    Receiver_ receivers[16]
    int32_t receiver_count
    # unicast keeps one retransmission active
    int32_t resend_term_id
    int32_t resend_offset
    int32_t resend_length
    int64_t resend_until_ns
    Positions spies
    # conductor -> sender: 0 open, 1 end of stream, 2 revoked; sender -> conductor: live receivers, end confirmed
    int32_t end_state
    int32_t live_receivers
    int32_t eos_confirmed

cdef struct Interest:
    int32_t stream_id
    int32_t session_id
    bint any_session
    int32_t references

cdef struct Pending:
    int32_t stream_id
    int32_t session_id
    int64_t deadline_ns            # 0: an image is being made; -1: cools down for good; else when to ask again

cdef struct ReceiveEndpointStruct: # owner: receiver
    Transport* transport
    int64_t receiver_id
    bint has_group_tag
    int64_t group_tag
    Interest interests[256]
    int32_t interest_count
    void* images[256]
    int32_t image_count
    Pending pending[64]
    int32_t pending_count

cdef struct ImageStruct:           # owner: receiver
    Log* log
    ReceiveEndpointStruct* endpoint
    int64_t* rcv_hwm
    int64_t* rcv_pos
    int64_t* rcv_naks
    int32_t session_id
    int32_t stream_id
    bint reliable
    int64_t nak_delay_ns
    int64_t nak_retry_ns
    int64_t sm_timeout_ns
    int32_t window
    int64_t rebuild_position
    int64_t hwm_position
    int64_t clean_position
    int64_t next_sm_position       # last scheduled, which is also the last one sent
    int64_t last_sm_ns
    bint sm_due
    int64_t gap_position
    int32_t gap_length
    int64_t gap_deadline_ns
    int64_t reported_gap
    Address source
    Positions subscribers
    LossEntry* loss_entry
    int64_t unreported_loss
    # receiver -> conductor
    int64_t last_packet_ns
    int32_t eos_state              # 0 no, 1 end of stream, 2 revoked
    int64_t eos_position
    # conductor -> receiver: 0 active, 1 draining (SMs carry EOS), 2 silent
    int32_t mode
    int32_t rejected               # drop packets, send the error text
    int64_t last_error_ns
    int32_t error_length
    uint8_t error_text[1024]


cdef class IpcPublication:
    cdef IpcStruct* stream
    cdef readonly LogBuffer log_buffer
    cdef readonly CountersReader counters


cdef class SendEndpoint:
    cdef SendEndpointStruct* endpoint
    cdef readonly UdpTransport transport


cdef class NetworkPublication:
    cdef NetworkStruct* stream
    cdef readonly LogBuffer log_buffer
    cdef readonly CountersReader counters
    cdef readonly SendEndpoint endpoint


cdef class ReceiveEndpoint:
    cdef ReceiveEndpointStruct* endpoint
    cdef readonly UdpTransport transport


cdef class PublicationImage:
    cdef ImageStruct* stream
    cdef readonly LogBuffer log_buffer
    cdef readonly CountersReader counters
    cdef readonly ReceiveEndpoint endpoint
    cdef LossReportEntry loss_reference
