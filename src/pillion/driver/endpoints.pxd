# What sender and receiver do alike with the transports of their endpoints.
from libc.stdint cimport int32_t
from pillion.driver.context cimport AgentContext
from pillion.driver.idling cimport PollSet
from pillion.driver.positions cimport PointerList
from pillion.driver.udp.transport cimport Transport

cdef void collect_sockets(PollSet* sockets, PointerList* endpoints) noexcept nogil
cdef bint look_at_sockets(PollSet* sockets) noexcept nogil
cdef void report_errors(AgentContext* context, void* endpoint, Transport* transport) noexcept nogil

cdef inline bint is_readable(PollSet* sockets, int32_t index) noexcept nogil:
    # A transport without a file descriptor is always worth a look.
    return sockets.fds[index].fd < 0 or sockets.fds[index].revents != 0
