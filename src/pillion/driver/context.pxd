# What every agent gets: the system counters, its queues, the clock of the cycle.
from libc.stdint cimport int32_t, int64_t
from pillion.driver.queues cimport Item, Queue
from pillion.memory.atomics cimport xadd_i64
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

    # ids of the system counters the agents write
    BYTES_SENT = 0
    BYTES_RECEIVED = 1
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

cdef inline void count(AgentContext* context, int32_t counter_id, int64_t by) noexcept nogil:
    xadd_i64(&context.system[counter_id].value, by)
