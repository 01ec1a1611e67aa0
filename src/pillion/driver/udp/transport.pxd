# The seam to the network: runs of datagrams in, runs of datagrams out. What stands behind it is two function pointers.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "sys/socket.h" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        unsigned short sa_family
    struct iovec:
        void* iov_base
        size_t iov_len
    struct msghdr:
        void* msg_name
        socklen_t msg_namelen
        iovec* msg_iov
        size_t msg_iovlen
        void* msg_control
        size_t msg_controllen
        int msg_flags
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    int recvmmsg(int fd, mmsghdr* messages, unsigned int count, int flags, void* timeout)
    int sendmmsg(int fd, mmsghdr* messages, unsigned int count, int flags)
    ssize_t sendto(int fd, const void* data, size_t length, int flags, const sockaddr* to, socklen_t to_length)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL

cdef enum:
    BATCH = 16                     # datagrams taken in by one call
    MAX_ARRIVALS = 50              # 16 raw ones behind what an interceptor makes of them
    MAX_SEGMENTS = 64              # datagrams handed out by one call; also the most that a kernel splits one send into
    MAX_OFFLOAD = 65000            # bytes of one segmented send, below what a UDP length field holds
    SOL_UDP = 17
    UDP_SEGMENT = 103
    UDP_GRO = 104
    MAX_DATAGRAM = 65536
    BUFFER_STRIDE = 67008          # not a power of two: the buffers' first lines fall into different cache sets
    ADDRESS_LENGTH = 28

cdef struct Control:               # a control message with one number, as the kernel lays it out
    size_t length
    int level
    int type
    int value
    int padding

cdef struct Address:               # a socket address as the kernel has it
    uint8_t bytes[28]
    uint32_t length

cdef struct Run:                   # out: `length` bytes in datagrams of `segment_size`, the last one may be shorter
    const uint8_t* data
    int64_t length
    int32_t segment_size
    const Address* to              # NULL: the peer the transport is connected to

cdef struct Arrival:               # in: `length` bytes that came as datagrams of `segment_size`
    uint8_t* data
    int32_t length
    int32_t segment_size
    Address* source

cdef struct Interceptor:           # loses, repeats and reorders on purpose
    bint armed
    uint64_t state                 # random generator, never 0
    double drop
    double duplicate
    double reorder
    uint32_t mask                  # frame types that may be hit: bit 1 << type
    uint8_t* held                  # one datagram kept back to follow later ones
    int32_t held_length
    Address held_address

cdef struct Batch:                 # an agent's buffers for what comes in
    mmsghdr messages[16]
    iovec vectors[16]
    Address addresses[16]
    Control controls[16]
    uint8_t* buffers
    Arrival arrivals[50]

cdef struct Transport:
    # How many datagrams of the runs were accepted, in order; 0..MAX_SEGMENTS of them are offered.
    int (*send)(Transport* transport, const Run* runs, int count) noexcept nogil
    # How many arrivals of the batch were filled. They are good until the next call.
    int (*receive)(Transport* transport, Batch* batch) noexcept nogil
    void* port                     # of a simulated network
    int fd                         # -1: nothing that the kernel could wait for
    bint connected
    bint coalesced                 # what comes in may be runs
    int32_t error_number           # the last error worth reporting, 0 if none
    int64_t error_count
    int64_t reported_count
    int64_t reported_ns
    Interceptor incoming
    Interceptor outgoing

cdef bint batch_init(Batch* batch) noexcept nogil
cdef void batch_free(Batch* batch) noexcept nogil
cdef double random_unit(uint64_t* state) noexcept nogil
cdef bint send_one(Transport* transport, const void* data, int64_t length, const Address* to) noexcept nogil


cdef class DatagramTransport:
    cdef Transport transport
    cdef readonly tuple local_address


cdef class UdpTransport(DatagramTransport):
    cdef readonly object socket
    cdef readonly bint offload     # whether the kernel splits and joins runs
    cdef readonly int so_sndbuf
    cdef readonly int so_rcvbuf
