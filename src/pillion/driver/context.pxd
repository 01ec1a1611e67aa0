# What every agent gets: the system counters, its queues, the clock of the cycle.
from libc.stdint cimport int32_t, int64_t
from pillion.driver.idling cimport PollSet
from pillion.driver.queues cimport CommandHandler, Item, Queue, queue_serve
from pillion.memory.atomics cimport load_plain_i64, store_release_i64, xadd_i64
from pillion.protocol.layouts cimport CounterValue

cdef enum:
    # commands, conductor -> agent
    COMMAND_ADD_STREAM = 1
    COMMAND_REMOVE_STREAM = 2
    COMMAND_ADD_ENDPOINT = 3
    COMMAND_REMOVE_ENDPOINT = 4
    COMMAND_ADD_SUBSCRIBER = 5
    COMMAND_REMOVE_SUBSCRIBER = 6
    COMMAND_ADD_INTEREST = 7
    COMMAND_REMOVE_INTEREST = 8
    COMMAND_SETUP_REFUSED = 9
    # events, agent -> conductor
    EVENT_RELEASED = 1
    EVENT_SETUP = 2
    EVENT_ERROR_FRAME = 3
    EVENT_FIRST_LOSS = 4
    EVENT_SUBSCRIBER_ADDED = 5
    EVENT_SUBSCRIBER_REMOVED = 6
    EVENT_SOCKET_ERROR = 7

    # `end_state` of a stream, conductor -> agent
    END_OPEN = 0
    END_DRAINING = 1
    END_REVOKED = 2

    # ids of the system counters the agents write
    BYTES_SENT = 0
    BYTES_RECEIVED = 1
    RECEIVER_PROXY_FAILS = 2
    SENDER_PROXY_FAILS = 3
    CONDUCTOR_PROXY_FAILS = 4
    NAKS_SENT = 5
    NAKS_RECEIVED = 6
    SMS_SENT = 7
    SMS_RECEIVED = 8
    HEARTBEATS_SENT = 9
    HEARTBEATS_RECEIVED = 10
    RETRANSMITS_SENT = 11
    UNDER_RUNS = 12
    OVER_RUNS = 13
    INVALID_PACKETS = 14
    SHORT_SENDS = 16
    FLOW_CONTROL_LIMITS = 18
    LOSS_GAP_FILLS = 23
    SENDER_MAX_CYCLE = 28
    SENDER_CYCLES_EXCEEDED = 29
    RECEIVER_MAX_CYCLE = 30
    RECEIVER_CYCLES_EXCEEDED = 31
    RETRANSMITTED_BYTES = 36
    ERROR_FRAMES_RECEIVED = 38
    ERROR_FRAMES_SENT = 39
    SMS_REJECTED = 44

cdef struct AgentContext:
    CounterValue* system
    Queue commands
    Queue events
    int64_t now_ns
    int64_t now_ms
    int64_t last_cycle_ns          # 0 before the first
    int64_t cycle_threshold_ns
    bint traffic                   # this cycle moved a stream on; heartbeats and the like do not
    PollSet sockets                # of the agent's endpoints, in the order of its endpoint list

cdef inline void bump(int64_t* counter, int64_t by) noexcept nogil:
    # A counter that one agent writes: a plain sum and a release store, where an atomic add would lock the line.
    store_release_i64(counter, load_plain_i64(counter) + by)

cdef inline void count(AgentContext* context, int32_t counter_id, int64_t by) noexcept nogil:
    bump(&context.system[counter_id].value, by)

cdef inline void count_shared(AgentContext* context, int32_t counter_id, int64_t by) noexcept nogil:
    # Sender and receiver both write this one: INVALID_PACKETS, SHORT_SENDS, CONDUCTOR_PROXY_FAILS.
    xadd_i64(&context.system[counter_id].value, by)

cdef inline void track_cycle(AgentContext* context, int32_t max_id, int32_t exceeded_id) noexcept nogil:
    cdef int64_t cycle_ns = context.now_ns - context.last_cycle_ns
    if context.last_cycle_ns != 0:
        if cycle_ns > load_plain_i64(&context.system[max_id].value):
            store_release_i64(&context.system[max_id].value, cycle_ns)
        if cycle_ns > context.cycle_threshold_ns:
            count(context, exceeded_id, 1)
    context.last_cycle_ns = context.now_ns

cdef inline int take_commands(AgentContext* context, CommandHandler handle, void* agent) noexcept nogil:
    # The beginning of every agent's cycle.
    cdef int taken = queue_serve(&context.commands, &context.events, handle, agent)
    context.traffic = taken > 0
    return taken
