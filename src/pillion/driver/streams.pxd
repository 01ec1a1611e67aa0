# What the agents work on: one struct a stream and an endpoint, each with one owning agent. The classes own the memory.
#
# Counters and log metadata lie in memory that a client can write. So an agent keeps its own copy of every number it
# computes with, and what it publishes there is never read back.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from pillion.driver.positions cimport PointerList
from pillion.driver.publisher_limit cimport PublisherLimit
from pillion.driver.udp.transport cimport Address, DatagramTransport, Transport
from pillion.memory.counters cimport CountersReader
from pillion.memory.log_buffer cimport Log, LogBuffer
from pillion.memory.loss_report cimport LossReportEntry
from pillion.protocol.layouts cimport LossEntry

cdef enum:
    MAX_RECEIVERS = 16             # receivers one unicast publication remembers; the oldest makes room
    MAX_ELICITED = 256             # sessions of one endpoint that were asked for a set-up; the oldest makes room
    MAX_CREATING = 64              # sessions of one endpoint whose images are being made

cdef struct IpcStruct:             # owner: stream conductor
    Log* log
    PublisherLimit limit
    int64_t trip_limit             # where the next move of the limit is worth it
    PointerList subscribers
    int32_t end_applied
    # agent -> conductor, atomics
    int64_t consumer_position      # the furthest consumer's
    int64_t slowest_position       # the slowest consumer's, max int64 if there is none
    int32_t subscriber_count
    # conductor -> agent
    int32_t end_state

cdef struct SendEndpointStruct:    # owner: sender
    Transport* transport
    Address destination            # where an unconnected transport sends to
    const Address* to              # that, or NULL: to the peer it is connected to
    PointerList publications

cdef struct LiveReceiver:
    int64_t receiver_id
    int64_t last_ns

cdef enum:
    RESEND_IDLE = 0
    RESEND_DELAYED = 1
    RESEND_LINGERING = 2

cdef struct Resend:
    int32_t state
    int32_t term_id
    int32_t offset
    int32_t length
    int64_t deadline_ns

cdef struct NetworkStruct:         # owner: sender
    Log* log
    SendEndpointStruct* endpoint
    PublisherLimit limit
    int64_t* snd_pos
    int64_t* snd_lmt
    int64_t* snd_bpe
    int64_t* snd_naks
    int64_t sender_limit           # what snd_lmt says
    int32_t receiver_window        # of the last status message
    int64_t max_spy_position
    int64_t connection_timeout_ns
    int64_t last_send_ns           # data or heartbeat
    int64_t last_setup_ns
    int64_t resend_delay_ns
    int64_t resend_linger_ns
    int32_t session_id
    int32_t stream_id
    bint has_initial_connection
    bint setup_elicited
    bint track_limits
    bint spies_simulate
    bint signal_eos
    bint is_connected              # what the log's metadata say
    LiveReceiver receivers[16]
    int32_t receiver_count
    Resend resend                  # unicast keeps one retransmission active
    int64_t resend_budget          # bytes that may be resent until then
    int64_t resend_budget_ns
    PointerList spies
    int32_t end_applied
    # agent -> conductor, atomics
    int64_t sender_position        # what snd_pos says
    int64_t slowest_spy            # max int64 if there is none
    int32_t live_receivers
    int32_t spy_count
    int32_t end_confirmed
    # conductor -> agent
    int32_t end_state

cdef struct Interest:
    int32_t stream_id
    int32_t session_id
    bint any_session
    int32_t references

cdef enum:
    SESSION_ELICITED = 1           # asked for a set-up, until the deadline
    SESSION_CREATING = 2           # its image is being made
    SESSION_COOL_DOWN = 3          # not wanted again until the subscriptions change

cdef struct Session:
    int32_t stream_id
    int32_t session_id
    int32_t state
    int64_t deadline_ns

cdef struct ReceiveEndpointStruct: # owner: receiver
    Transport* transport
    int64_t receiver_id
    bint has_group_tag
    int64_t group_tag
    Interest* interests
    int32_t interest_count
    int32_t interest_capacity
    PointerList images             # those that data is dispatched to
    int32_t last_image             # where the last datagram's image was found
    Session* sessions
    int32_t session_count
    int32_t session_capacity
    int32_t elicited_count
    int32_t creating_count

cdef enum:
    MODE_ACTIVE = 0
    MODE_DRAINING = 1              # status messages carry the end-of-stream flag
    MODE_SILENT = 2

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
    int64_t liveness_timeout_ns
    int32_t window
    int64_t clean_position
    int64_t next_sm_position       # last scheduled, which is also the last one sent
    int64_t last_sm_ns
    bint sm_due
    bint superseded                # another image of the session took over: no more status messages
    int32_t sent_mode              # of the last status message
    int64_t gap_position
    int32_t gap_length
    int64_t gap_deadline_ns
    int64_t reported_gap
    int64_t unreported_loss
    bint asked_for_entry
    int32_t transport_count        # what the log's metadata say
    Address source
    PointerList subscribers
    int64_t activity_ns            # any frame of this image, set-ups too
    # agent -> conductor, atomics
    int64_t rebuild_position       # what rcv_pos says
    int64_t hwm_position           # what rcv_hwm says
    int64_t slowest_subscriber     # max int64 if there is none
    int32_t subscriber_count
    int64_t last_packet_ns
    int32_t eos_state              # 0 open, 1 end of stream, 2 revoked
    # conductor -> agent, atomics
    LossEntry* loss_entry
    int32_t mode
    int32_t rejected               # drop packets, send the error text
    int32_t error_length
    uint8_t error_text[1024]


cdef class IpcPublication:
    cdef IpcStruct* stream
    cdef readonly LogBuffer log_buffer
    cdef readonly CountersReader counters
    cdef bint handed_over


cdef class SendEndpoint:
    cdef SendEndpointStruct* endpoint
    cdef readonly DatagramTransport transport


cdef class NetworkPublication:
    cdef NetworkStruct* stream
    cdef readonly LogBuffer log_buffer
    cdef readonly CountersReader counters
    cdef readonly SendEndpoint endpoint
    cdef bint handed_over


cdef class ReceiveEndpoint:
    cdef ReceiveEndpointStruct* endpoint
    cdef readonly DatagramTransport transport


cdef class PublicationImage:
    cdef ImageStruct* stream
    cdef readonly LogBuffer log_buffer
    cdef readonly CountersReader counters
    cdef readonly ReceiveEndpoint endpoint
    cdef LossReportEntry loss_reference
    cdef bint handed_over
