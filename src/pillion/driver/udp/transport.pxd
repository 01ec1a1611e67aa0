# The seam to the network: batches of datagrams in, batches of datagrams out.
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
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    int recvmmsg(int fd, mmsghdr* messages, unsigned int count, int flags, void* timeout)
    int sendmmsg(int fd, mmsghdr* messages, unsigned int count, int flags)
    ssize_t sendto(int fd, const void* data, size_t length, int flags, const sockaddr* to, socklen_t to_length)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL

cdef enum:
    BATCH = 16
    MAX_DATAGRAM = 65536
    ADDRESS_LENGTH = 28

cdef struct Address:
    uint8_t bytes[28]
    uint32_t length

cdef struct Datagram:
    uint8_t* data
    int32_t length
    Address* source

cdef struct Loss:
    uint64_t state                 # random generator, never 0 when armed
    double drop
    double duplicate
    double reorder
    uint32_t mask                  # frame types that may be hit: bit 1 << type
    uint8_t* held                  # one datagram kept back to be delivered later
    int32_t held_length
    Address held_source

cdef struct Transport:
    int fd
    bint connected
    bint lossy
    Loss loss

cdef struct Batch:
    mmsghdr messages[16]
    iovec vectors[16]
    Address addresses[16]
    uint8_t* buffers
    Datagram datagrams[34]

cdef bint batch_init(Batch* batch) noexcept nogil
cdef void batch_free(Batch* batch) noexcept nogil
cdef int transport_receive(Transport* transport, Batch* batch, int64_t* bytes_received) noexcept nogil
cdef int transport_send(Transport* transport, mmsghdr* messages, int count) noexcept nogil
cdef bint transport_send_one(Transport* transport, const void* data, size_t length, const Address* to) noexcept nogil


cdef class UdpTransport:
    cdef Transport transport
    cdef readonly object socket
    cdef readonly tuple local_address
    cdef readonly int so_sndbuf
    cdef readonly int so_rcvbuf
