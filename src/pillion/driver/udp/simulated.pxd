# A network in memory, on a clock of its own: what was sent, on its way, until its time has come.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from pillion.driver.udp.transport cimport Address, DatagramTransport

cdef enum:
    MAX_RULES = 16

cdef struct Rule:                  # what happens to the frame types of the mask that a port sends
    uint32_t mask
    double drop
    double duplicate
    double reorder
    int64_t delay_ns
    int64_t jitter_ns
    int64_t reorder_ns             # by how much a reordered one comes later

cdef struct Packet:
    int64_t due_ns
    int64_t sequence
    Address source
    int32_t length
    int32_t padding                # a datagram begins at a multiple of eight, as in a kernel socket's buffers
    uint8_t data[1]                # as long as the datagram

cdef struct Trace:
    int64_t time_ns
    int32_t source_port
    int32_t target_port
    int32_t type
    int32_t length
    int64_t due_ns                 # -1: lost

cdef struct Port:
    Network* network
    Address local
    Address peer
    bint connected
    Rule rules[16]
    int32_t rule_count
    Packet** heap                  # by (due_ns, sequence)
    int32_t count
    int32_t capacity
    Packet* taken[16]              # what the last receive handed out

cdef struct Network:
    int64_t now_ns
    uint64_t random
    int64_t sequence
    uint64_t digest
    int64_t sent
    int64_t lost
    int64_t repeated
    int64_t delivered
    int64_t unreachable
    Port** ports
    int32_t count
    int32_t capacity
    Trace* trace
    int64_t trace_count
    int64_t trace_capacity
    bint recording


cdef class SimulatedNetwork:
    cdef Network network
    cdef int next_port
    cdef list transports


cdef class SimulatedTransport(DatagramTransport):
    cdef Port port
    cdef readonly SimulatedNetwork network
    cdef readonly int so_sndbuf
    cdef readonly int so_rcvbuf
