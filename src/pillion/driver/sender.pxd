from libc.stdint cimport int32_t, int64_t
from pillion.driver.context cimport AgentContext
from pillion.driver.positions cimport PointerList
from pillion.driver.streams cimport NetworkStruct, Resend
from pillion.driver.udp.transport cimport Batch, Run

cdef struct Outgoing:              # what one send step hands to the transport
    Run runs[64]
    int32_t run_count
    int32_t count                  # datagrams
    int64_t ends[64]               # stream position after each
    int32_t sizes[64]              # bytes of each
    bint limited                   # a whole frame is there but does not fit what may be sent

cdef struct Sender:
    AgentContext context
    PointerList streams            # NetworkStruct*
    PointerList endpoints          # SendEndpointStruct*
    int32_t cursor
    int32_t poll_ratio
    int32_t sends_since_poll
    int64_t poll_interval_ns
    int64_t poll_deadline_ns
    bint fell_short                # a send of this cycle did not go out whole
    bint control_due               # time to listen for what receivers say
    Outgoing outgoing
    Batch batch

cdef int sender_do_work(Sender* agent) noexcept nogil
cdef bint publication_at_end(NetworkStruct* pub) noexcept nogil
cdef bint publication_has_subscribers(NetworkStruct* pub) noexcept nogil
cdef void publication_set_connected(NetworkStruct* pub, bint connected) noexcept nogil
cdef int publication_update_limit(NetworkStruct* pub) noexcept nogil
cdef void publication_resend(Sender* agent, NetworkStruct* pub, int32_t term_id, int32_t term_offset, int32_t length) noexcept nogil
cdef int64_t resend_window(NetworkStruct* pub) noexcept nogil
