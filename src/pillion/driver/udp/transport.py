"""UDP sockets: batched system calls, segmentation offload, and the interceptor that loses, repeats and reorders.

`Transport` is what an agent sees of any network: two function pointers and a place for errors. A transport belongs to
one agent once it was handed over. Opening one may take a while and is done off the cycles.
"""

from __future__ import annotations

import socket as sockets
import struct

import cython
from cython.cimports.libc.errno import EAGAIN, ECONNREFUSED, EINTR, EINVAL, EIO, EMSGSIZE, EOPNOTSUPP, errno
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t, uint16_t, uint64_t
from cython.cimports.libc.stdlib import calloc, free, malloc
from cython.cimports.libc.string import memcpy

if not cython.compiled:
    raise ImportError("pillion.driver.udp.transport must be compiled: run `pip install .`")

DROP = cython.declare(cython.int, 0)
PASS = cython.declare(cython.int, 1)
REPEAT = cython.declare(cython.int, 2)
HOLD = cython.declare(cython.int, 3)
# Bytes of a control message up to the end of its number.
CONTROL_USED = cython.declare(cython.size_t, cython.sizeof(cython.size_t) + 3 * cython.sizeof(cython.int))
CONTROL_SEGMENT = cython.declare(cython.size_t, cython.sizeof(cython.size_t) + 2 * cython.sizeof(cython.int) + 2)


def batch_init(batch):
    index: cython.int
    batch.buffers = cython.cast(cython.pointer(uint8_t), malloc(BATCH * BUFFER_STRIDE))
    if batch.buffers == cython.NULL:
        return False
    for index in range(BATCH):
        batch.vectors[index].iov_base = batch.buffers + index * BUFFER_STRIDE
        batch.vectors[index].iov_len = MAX_DATAGRAM
        batch.messages[index].msg_hdr.msg_iov = cython.address(batch.vectors[index])
        batch.messages[index].msg_hdr.msg_iovlen = 1
        batch.messages[index].msg_hdr.msg_name = cython.address(batch.addresses[index])
    return True


def batch_free(batch):
    free(batch.buffers)
    batch.buffers = cython.NULL


def random_unit(state):
    """Uniform in 0..1. xorshift64*: seeded, so that a run can be repeated."""
    x: uint64_t = state[0]
    x ^= x >> 12
    x ^= x << 25
    x ^= x >> 27
    state[0] = x
    return ((x * cython.cast(uint64_t, 2685821657736338717)) >> 11) * (1.0 / 9007199254740992.0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _fate(loss: cython.pointer(Interceptor), data: cython.pointer(cython.const[uint8_t]),
          length: int64_t) -> cython.int:
    kind: uint16_t = 0
    if length >= 8:
        memcpy(cython.address(kind), data + 6, 2)
    if kind >= 32 or not (loss.mask >> kind) & 1:
        return PASS
    if random_unit(cython.address(loss.state)) < loss.drop:
        return DROP
    if random_unit(cython.address(loss.state)) < loss.reorder and loss.held_length == 0:
        return HOLD
    return REPEAT if random_unit(cython.address(loss.state)) < loss.duplicate else PASS


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _failed(transport: cython.pointer(Transport)) -> cython.int:
    """After a call that returned an error: only what a retry does not cure is kept for the conductor."""
    number: cython.int = errno
    if number != EAGAIN and number != EINTR and number != ECONNREFUSED:
        transport.error_number = number
        transport.error_count += 1
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _intercept_arrivals(loss: cython.pointer(Interceptor), batch: cython.pointer(Batch),
                        received: cython.int) -> cython.int:
    """What is left of a batch after loss: dropped, repeated, and one at a time kept back until the next batch."""
    count: cython.int = 0
    index: cython.int
    fate: cython.int
    release: cython.bint = loss.held_length > 0
    arrival: Arrival
    for index in range(received):
        arrival = batch.arrivals[BATCH + index]
        fate = _fate(loss, arrival.data, arrival.length)
        if fate == HOLD:
            memcpy(loss.held, arrival.data, arrival.length)
            loss.held_length = arrival.length
            loss.held_address = arrival.source[0]
        if fate in (DROP, HOLD):
            continue
        if fate == REPEAT:
            batch.arrivals[count] = arrival
            count += 1
        batch.arrivals[count] = arrival
        count += 1
    if release:
        # After everything that arrived later. Nothing is held while one is, so the buffer is not written before it is
        # read.
        batch.arrivals[count].data = loss.held
        batch.arrivals[count].length = loss.held_length
        batch.arrivals[count].segment_size = loss.held_length
        batch.arrivals[count].source = cython.address(loss.held_address)
        loss.held_length = 0
        count += 1
    return count


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _receive(transport: cython.pointer(Transport), batch: cython.pointer(Batch)) -> cython.int:
    index: cython.int
    at: cython.int
    first: cython.int = 0
    received: cython.int
    for index in range(BATCH):
        batch.messages[index].msg_hdr.msg_namelen = ADDRESS_LENGTH
        batch.messages[index].msg_hdr.msg_control = cython.address(batch.controls[index])
        batch.messages[index].msg_hdr.msg_controllen = cython.sizeof(Control) if transport.coalesced else 0
    received = recvmmsg(transport.fd, batch.messages, BATCH, MSG_DONTWAIT, cython.NULL)
    if received < 0:
        received = _failed(transport)
    if transport.incoming.armed:
        first = BATCH
    for index in range(received):
        at = first + index
        batch.addresses[index].length = batch.messages[index].msg_hdr.msg_namelen
        batch.arrivals[at].data = batch.buffers + index * BUFFER_STRIDE
        batch.arrivals[at].length = cython.cast(int32_t, batch.messages[index].msg_len)
        batch.arrivals[at].segment_size = batch.arrivals[at].length
        batch.arrivals[at].source = cython.address(batch.addresses[index])
        if batch.messages[index].msg_hdr.msg_controllen >= CONTROL_USED and (
            batch.controls[index].level == SOL_UDP and batch.controls[index].type == UDP_GRO
            and batch.controls[index].value > 0
        ):
            batch.arrivals[at].segment_size = batch.controls[index].value
    if transport.incoming.armed:
        # The raw ones stand in the upper half, so that repeats do not run over them.
        return _intercept_arrivals(cython.address(transport.incoming), batch, received)
    return received


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _send_datagram(transport: cython.pointer(Transport), data: cython.pointer(cython.const[uint8_t]), length: int64_t,
                   to: cython.pointer(cython.const[Address])) -> cython.bint:
    name: cython.pointer(cython.const[sockaddr]) = cython.NULL
    name_length: cython.uint = 0
    if not transport.connected and to != cython.NULL:
        name = cython.cast(cython.pointer(cython.const[sockaddr]), cython.address(to.bytes[0]))
        name_length = to.length
    if sendto(transport.fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL, name, name_length) == length:
        return True
    _failed(transport)
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _send_intercepted(transport: cython.pointer(Transport), data: cython.pointer(cython.const[uint8_t]),
                      length: int64_t,
                      to: cython.pointer(cython.const[Address])) -> cython.bint:
    loss: cython.pointer(Interceptor) = cython.address(transport.outgoing)
    fate: cython.int = _fate(loss, data, length)
    release: cython.bint = loss.held_length > 0
    if fate == HOLD:
        memcpy(loss.held, data, length)
        loss.held_length = cython.cast(int32_t, length)
        if to != cython.NULL:
            loss.held_address = to[0]
        return True
    if fate != DROP:
        if not _send_datagram(transport, data, length, to):
            return False
        if fate == REPEAT:
            _send_datagram(transport, data, length, to)
    if release:
        _send_datagram(transport, loss.held, loss.held_length, cython.address(loss.held_address))
        loss.held_length = 0
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _send_each_intercepted(transport: cython.pointer(Transport), runs: cython.pointer(cython.const[Run]),
                           count: cython.int) -> cython.int:
    run: cython.int
    sent: cython.int = 0
    at: int64_t
    size: int64_t
    for run in range(count):
        at = 0
        while at < runs[run].length and sent < MAX_SEGMENTS:
            size = min(runs[run].segment_size, runs[run].length - at)
            if not _send_intercepted(transport, runs[run].data + at, size, runs[run].to):
                return sent
            sent += 1
            at += size
    return sent


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _fill(transport: cython.pointer(Transport), header: cython.pointer(msghdr), vector: cython.pointer(iovec),
          run: cython.pointer(cython.const[Run]), at: int64_t, length: int64_t) -> cython.void:
    """A message of `length` bytes of a run, without ancillary data."""
    vector.iov_base = cython.cast(cython.p_void, run.data + at)
    vector.iov_len = length
    header.msg_name = cython.NULL
    header.msg_namelen = 0
    if not transport.connected and run.to != cython.NULL:
        header.msg_name = cython.cast(cython.p_void, cython.address(run.to.bytes[0]))
        header.msg_namelen = run.to.length
    header.msg_iov = vector
    header.msg_iovlen = 1
    header.msg_control = cython.NULL
    header.msg_controllen = 0
    header.msg_flags = 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _send(transport: cython.pointer(Transport), runs: cython.pointer(cython.const[Run]),
          count: cython.int) -> cython.int:
    messages: mmsghdr[64]
    vectors: iovec[64]
    run: cython.int
    used: cython.int = 0
    sent: cython.int
    at: int64_t
    size: int64_t
    if transport.outgoing.armed:
        return _send_each_intercepted(transport, runs, count)
    for run in range(count):
        at = 0
        while at < runs[run].length and used < MAX_SEGMENTS:
            size = min(runs[run].segment_size, runs[run].length - at)
            _fill(transport, cython.address(messages[used].msg_hdr), cython.address(vectors[used]),
                  cython.address(runs[run]), at, size)
            used += 1
            at += size
    sent = sendmmsg(transport.fd, messages, used, MSG_DONTWAIT | MSG_NOSIGNAL)
    return sent if sent >= 0 else _failed(transport)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _send_segmented(transport: cython.pointer(Transport), runs: cython.pointer(cython.const[Run]),
                    count: cython.int) -> cython.int:
    """As `_send`, with one message for many datagrams: the kernel splits it as late as it can.

    What the kernel or a device on the way does not take that way is sent the plain way, from then on.
    """
    messages: mmsghdr[64]
    vectors: iovec[64]
    controls: Control[64]
    segments: cython.int[64]
    run: cython.int
    used: cython.int = 0
    total: cython.int = 0
    sent: cython.int
    index: cython.int
    number: cython.int
    at: int64_t
    size: int64_t
    length: int64_t
    for run in range(count):
        at = 0
        size = runs[run].segment_size
        while at < runs[run].length and used < MAX_SEGMENTS:
            length = min(runs[run].length - at, size * max(MAX_OFFLOAD // size, 1))
            _fill(transport, cython.address(messages[used].msg_hdr), cython.address(vectors[used]),
                  cython.address(runs[run]), at, length)
            segments[used] = cython.cast(cython.int, (length + size - 1) // size)
            if segments[used] > 1:
                controls[used].length = CONTROL_SEGMENT
                controls[used].level = SOL_UDP
                controls[used].type = UDP_SEGMENT
                # A 16-bit number, at the beginning of the field whatever the byte order.
                cython.cast(cython.pointer(uint16_t), cython.address(controls[used].value))[0] = (
                    cython.cast(uint16_t, size))
                messages[used].msg_hdr.msg_control = cython.address(controls[used])
                messages[used].msg_hdr.msg_controllen = cython.sizeof(Control)
            at += length
            used += 1
    sent = sendmmsg(transport.fd, messages, used, MSG_DONTWAIT | MSG_NOSIGNAL)
    if sent < 0:
        number = errno
        if number in (EINVAL, EIO, EOPNOTSUPP, EMSGSIZE):
            transport.send = _send
            _failed(transport)
            return _send(transport, runs, count)
        return _failed(transport)
    for index in range(sent):
        total += segments[index]
    return total


def send_one(transport, data, length, to):
    run: Run
    run.data = cython.cast(cython.pointer(uint8_t), data)
    run.length = length
    run.segment_size = cython.cast(int32_t, length)
    run.to = to
    return transport.send(transport, cython.address(run), 1) == 1


def encode_address(host: str, port: int) -> bytes:
    """The socket address of a literal IPv4 or IPv6 host, as the kernel has it."""
    if ":" in host:
        return struct.pack("=H", sockets.AF_INET6) + struct.pack("!HI", port, 0) + sockets.inet_pton(
            sockets.AF_INET6, host) + bytes(4)
    return struct.pack("=H", sockets.AF_INET) + struct.pack("!H", port) + sockets.inet_pton(
        sockets.AF_INET, host) + bytes(8)


def format_address(host: str, port: int) -> str:
    """`host:port`, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class DatagramTransport:
    """What an endpoint sends and receives through: a kernel socket or a simulated network."""

    def reconnect(self, address: tuple) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def __dealloc__(self):
        free(self.transport.incoming.held)
        free(self.transport.outgoing.held)


class UdpTransport(DatagramTransport):
    """An open UDP socket. Raises `OSError` naming the address when it cannot be bound or connected."""

    def __init__(self, *, bind: tuple | None = None, connect: tuple | None = None, so_sndbuf: int = 0,
                 so_rcvbuf: int = 0, offload: bool = False):
        address = connect or bind
        if address is None:
            raise ValueError("a transport needs an address to bind to, to connect to, or both")
        family = sockets.AF_INET6 if ":" in address[0] else sockets.AF_INET
        sock = sockets.socket(family, sockets.SOCK_DGRAM | sockets.SOCK_NONBLOCK | sockets.SOCK_CLOEXEC)
        try:
            if so_sndbuf:
                sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, so_sndbuf)
            if so_rcvbuf:
                sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, so_rcvbuf)
            if bind is not None:
                address = bind
                sock.bind(bind)
            if connect is not None:
                address = connect
                sock.connect(connect)
        except OSError as error:
            sock.close()
            action = "bind to" if address is bind else "connect to"
            raise OSError(error.errno,
                          f"cannot {action} {format_address(address[0], address[1])}: {error.strerror}") from error
        self.socket = sock
        self.local_address = sock.getsockname()[:2]
        # The kernel reports twice what was asked for.
        self.so_sndbuf = sock.getsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF)
        self.so_rcvbuf = sock.getsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF)
        self.transport.fd = sock.fileno()
        self.transport.connected = connect is not None
        self.transport.send = _send
        self.transport.receive = _receive
        self.offload = offload and _has_offload(sock)
        if self.offload:
            self.transport.send = _send_segmented
            self.transport.coalesced = True

    def set_loss(self, *, drop: float = 0.0, duplicate: float = 0.0, reorder: float = 0.0, seed: int = 1,
                 mask: int = 0xFFFF, direction: str = "both") -> None:
        """Arm the interceptor, before the transport is handed over.

        Rates in 0..1; `mask` has a bit for each frame type that may be hit (`1 << type`); `direction` is what this
        socket "receive"s, "send"s, or "both". The same seed makes the same choices for the same sequence of datagrams.
        """
        if direction not in ("receive", "send", "both"):
            raise ValueError(f"direction={direction!r} must be receive, send or both")
        if self.offload:
            # The interceptor hits single datagrams.
            self.socket.setsockopt(SOL_UDP, UDP_GRO, 0)
            self.transport.send = _send
            self.transport.coalesced = False
            self.offload = False
        if direction != "send":
            _arm(cython.address(self.transport.incoming), drop, duplicate, reorder, seed, mask)
        if direction != "receive":
            _arm(cython.address(self.transport.outgoing), drop, duplicate, reorder, seed + 1, mask)

    def reconnect(self, address: tuple) -> None:
        """Change the peer; the kernel does it at once, also while an agent uses the socket."""
        self.socket.connect(address)

    def close(self) -> None:
        """Close the socket. Only when no agent has it any more."""
        self.transport.fd = -1
        self.socket.close()


def _has_offload(sock) -> bool:
    """Whether the kernel splits what is sent (Linux 4.18) and joins what arrives (5.0); turns the joining on."""
    try:
        sock.setsockopt(SOL_UDP, UDP_SEGMENT, 1400)
        sock.setsockopt(SOL_UDP, UDP_SEGMENT, 0)    # each send says its own size
        sock.setsockopt(SOL_UDP, UDP_GRO, 1)
    except OSError:
        return False
    return True


@cython.cfunc
def _arm(loss: cython.pointer(Interceptor), drop: cython.double, duplicate: cython.double, reorder: cython.double, seed,
         mask):
    loss.state = (seed * 0x9E3779B97F4A7C15 + 1) & 0xFFFFFFFFFFFFFFFF or 1
    loss.drop = drop
    loss.duplicate = duplicate
    loss.reorder = reorder
    loss.mask = mask & 0xFFFFFFFF
    if loss.held == cython.NULL:
        loss.held = cython.cast(cython.pointer(uint8_t), calloc(1, MAX_DATAGRAM))
        if loss.held == cython.NULL:
            raise MemoryError
    loss.armed = True
