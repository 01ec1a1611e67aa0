"""UDP sockets: batched system calls, and the interceptor that loses, repeats and reorders on purpose.

A transport belongs to one agent once it was handed over. Opening one may take a while and is done off the cycles.
"""

from __future__ import annotations

import socket as sockets

import cython
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t, uint16_t, uint64_t
from cython.cimports.libc.stdlib import calloc, free, malloc
from cython.cimports.libc.string import memcpy

if not cython.compiled:
    raise ImportError("pillion.driver.udp.transport must be compiled: run `pip install .`")


def batch_init(batch):
    index: cython.int
    batch.buffers = cython.cast(cython.pointer(uint8_t), malloc(BATCH * MAX_DATAGRAM))
    if batch.buffers == cython.NULL:
        return False
    for index in range(BATCH):
        batch.vectors[index].iov_base = batch.buffers + index * MAX_DATAGRAM
        batch.vectors[index].iov_len = MAX_DATAGRAM
        batch.messages[index].msg_hdr.msg_iov = cython.address(batch.vectors[index])
        batch.messages[index].msg_hdr.msg_iovlen = 1
        batch.messages[index].msg_hdr.msg_name = cython.address(batch.addresses[index])
    return True


def batch_free(batch):
    free(batch.buffers)
    batch.buffers = cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _random(loss: cython.pointer(Loss)) -> cython.double:
    # xorshift64*: seeded, so that a run can be repeated.
    x: uint64_t = loss.state
    x ^= x >> 12
    x ^= x << 25
    x ^= x >> 27
    loss.state = x
    return ((x * cython.cast(uint64_t, 2685821657736338717)) >> 11) * (1.0 / 9007199254740992.0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _intercept(loss: cython.pointer(Loss), batch: cython.pointer(Batch), received: cython.int) -> cython.int:
    """What is left of a batch after loss: dropped, repeated, and one at a time kept back until the next batch."""
    count: cython.int = 0
    index: cython.int
    release: cython.bint = loss.held_length > 0
    kind: uint16_t
    datagram: Datagram
    for index in range(received):
        datagram.data = batch.buffers + index * MAX_DATAGRAM
        datagram.length = cython.cast(int32_t, batch.messages[index].msg_len)
        datagram.source = cython.address(batch.addresses[index])
        kind = cython.cast(cython.pointer(uint16_t), datagram.data + 6)[0] if datagram.length >= 8 else 0
        if kind < 32 and (loss.mask >> kind) & 1:
            if _random(loss) < loss.drop:
                continue
            if _random(loss) < loss.reorder and loss.held_length == 0 and not release:
                memcpy(loss.held, datagram.data, datagram.length)
                loss.held_length = datagram.length
                loss.held_source = datagram.source[0]
                continue
            if _random(loss) < loss.duplicate:
                batch.datagrams[count] = datagram
                count += 1
        batch.datagrams[count] = datagram
        count += 1
    if release:
        # After everything that arrived later. Its buffer is free again once this batch was handled.
        batch.datagrams[count].data = loss.held
        batch.datagrams[count].length = loss.held_length
        batch.datagrams[count].source = cython.address(loss.held_source)
        loss.held_length = 0
        count += 1
    return count


def transport_receive(transport, batch, bytes_received):
    index: cython.int
    for index in range(BATCH):
        batch.messages[index].msg_hdr.msg_namelen = ADDRESS_LENGTH
    received: cython.int = recvmmsg(transport.fd, batch.messages, BATCH, MSG_DONTWAIT, cython.NULL)
    if received < 0:
        received = 0
    for index in range(received):
        batch.addresses[index].length = batch.messages[index].msg_hdr.msg_namelen
        bytes_received[0] += batch.messages[index].msg_len
    if transport.lossy:
        return _intercept(cython.address(transport.loss), batch, received)
    for index in range(received):
        batch.datagrams[index].data = batch.buffers + index * MAX_DATAGRAM
        batch.datagrams[index].length = cython.cast(int32_t, batch.messages[index].msg_len)
        batch.datagrams[index].source = cython.address(batch.addresses[index])
    return received


def transport_send(transport, messages, count):
    return sendmmsg(transport.fd, messages, count, MSG_DONTWAIT | MSG_NOSIGNAL)


def transport_send_one(transport, data, length, to):
    if transport.connected:
        return sendto(transport.fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL, cython.NULL, 0) == cython.cast(cython.Py_ssize_t, length)
    return sendto(transport.fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL,
                  cython.cast(cython.pointer(cython.const[sockaddr]), cython.address(to.bytes)), to.length) == (
        cython.cast(cython.Py_ssize_t, length))


class UdpTransport:
    """An open UDP socket. Raises `OSError` naming the address when it cannot be bound or connected."""

    def __init__(self, *, bind: tuple | None = None, connect: tuple | None = None, so_sndbuf: int = 0, so_rcvbuf: int = 0):
        address = connect or bind
        family = sockets.AF_INET6 if ":" in address[0] else sockets.AF_INET
        sock = sockets.socket(family, sockets.SOCK_DGRAM | sockets.SOCK_NONBLOCK | sockets.SOCK_CLOEXEC)
        try:
            if so_sndbuf:
                sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, so_sndbuf)
            if so_rcvbuf:
                sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, so_rcvbuf)
            if bind is not None:
                sock.bind(bind)
            if connect is not None:
                sock.connect(connect)
        except OSError as error:
            sock.close()
            action = "bind to" if bind is not None and connect is None else "connect to"
            raise OSError(error.errno, f"cannot {action} {address[0]}:{address[1]}: {error.strerror}") from error
        self.socket = sock
        self.local_address = sock.getsockname()[:2]
        # The kernel reports twice what was asked for.
        self.so_sndbuf = sock.getsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF)
        self.so_rcvbuf = sock.getsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF)
        self.transport.fd = sock.fileno()
        self.transport.connected = connect is not None

    def set_loss(self, *, drop: float = 0.0, duplicate: float = 0.0, reorder: float = 0.0, seed: int = 1, mask: int = 0xFFFF):
        """Arm the interceptor for what this socket receives; rates in 0..1. Before the transport is handed over."""
        loss: cython.pointer(Loss) = cython.address(self.transport.loss)
        loss.state = (seed * 0x9E3779B97F4A7C15 + 1) & 0xFFFFFFFFFFFFFFFF or 1
        loss.drop = drop
        loss.duplicate = duplicate
        loss.reorder = reorder
        loss.mask = mask
        if loss.held == cython.NULL:
            loss.held = cython.cast(cython.pointer(uint8_t), calloc(1, MAX_DATAGRAM))
            if loss.held == cython.NULL:
                raise MemoryError
        self.transport.lossy = True

    def close(self) -> None:
        """Close the socket. Only when no agent has it any more."""
        self.transport.fd = -1
        self.socket.close()

    def __dealloc__(self):
        free(self.transport.loss.held)


def format_address(host: str, port: int) -> str:
    """`host:port`, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
