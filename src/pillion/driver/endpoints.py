"""What sender and receiver do alike with the transports of their endpoints: readiness, and errors worth reporting."""

import cython
from cython.cimports.libc.stdint import int32_t, int64_t
from cython.cimports.pillion.driver.context import EVENT_SOCKET_ERROR
from cython.cimports.pillion.driver.idling import poll, poll_set_add
from cython.cimports.pillion.driver.queues import Item, queue_claim, queue_publish
from cython.cimports.pillion.driver.udp.transport import Transport

if not cython.compiled:
    raise ImportError("pillion.driver.endpoints must be compiled: run `pip install .`")

# Up to so many sockets it is cheaper to try each than to ask the kernel which have something.
LOOK_ABOVE = cython.declare(int32_t, 5)
REPORT_INTERVAL_NS = cython.declare(int64_t, 1_000_000_000)


def collect_sockets(sockets, endpoints):
    """The file descriptors of the endpoints, in the same order. Both kinds of endpoint begin with their transport."""
    index: int32_t
    transport: cython.pointer(Transport)
    sockets.count = 0
    for index in range(endpoints.count):
        transport = cython.cast(cython.pointer(cython.pointer(Transport)), endpoints.items[index])[0]
        if not poll_set_add(sockets, transport.fd):
            sockets.count = 0                       # no memory: every transport is tried then
            return


def look_at_sockets(sockets):
    """Ask which sockets can be read. False if there are so few that all are to be tried."""
    if sockets.count <= LOOK_ABOVE:
        return False
    return poll(sockets.fds, sockets.count, 0) >= 0


def report_errors(context, endpoint, transport):
    """Tell the conductor of errors that will not go away by themselves, once a second at most."""
    event: cython.pointer(Item)
    if transport.reported_count != 0 and context.now_ns - transport.reported_ns < REPORT_INTERVAL_NS:
        return
    event = queue_claim(cython.address(context.events))
    if event == cython.NULL:
        return
    event.kind = EVENT_SOCKET_ERROR
    event.target = endpoint
    event.numbers[0] = transport.error_number
    event.numbers[1] = transport.error_count - transport.reported_count
    queue_publish(cython.address(context.events))
    transport.reported_count = transport.error_count
    transport.reported_ns = context.now_ns
