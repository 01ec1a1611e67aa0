"""A network in memory: seeded loss, repetition, reordering and delay on a simulated clock.

Everything that shares a network runs in one thread and is stepped by it. The same seed, the same rules and the same
steps give the same datagrams at the same times: `digest` is one number for all of it.
"""

from __future__ import annotations

import cython
from cython.cimports.libc.errno import EBADF
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t, uint16_t, uint64_t
from cython.cimports.libc.stdlib import free, malloc, realloc
from cython.cimports.libc.string import memcmp, memcpy
from cython.cimports.pillion.driver.udp.transport import (
    BATCH,
    Address,
    Batch,
    DatagramTransport,
    Run,
    Transport,
    random_unit,
)

from pillion.driver.events import decode_address
from pillion.driver.udp.transport import encode_address

if not cython.compiled:
    raise ImportError("pillion.driver.udp.simulated must be compiled: run `pip install .`")


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _before(a: cython.pointer(Packet), b: cython.pointer(Packet)) -> cython.bint:
    return a.due_ns < b.due_ns or (a.due_ns == b.due_ns and a.sequence < b.sequence)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _push(port: cython.pointer(Port), packet: cython.pointer(Packet)) -> cython.bint:
    grown: cython.pointer(cython.pointer(Packet))
    at: int32_t = port.count
    parent: int32_t
    if port.count == port.capacity:
        grown = cython.cast(cython.pointer(cython.pointer(Packet)),
                            realloc(port.heap, (port.capacity * 2 + 64) * cython.sizeof(cython.p_void)))
        if grown == cython.NULL:
            return False
        port.heap = grown
        port.capacity = port.capacity * 2 + 64
    port.count += 1
    while at > 0:
        parent = (at - 1) // 2
        if not _before(packet, port.heap[parent]):
            break
        port.heap[at] = port.heap[parent]
        at = parent
    port.heap[at] = packet
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _pop(port: cython.pointer(Port)) -> cython.pointer(Packet):
    first: cython.pointer(Packet) = port.heap[0]
    last: cython.pointer(Packet)
    at: int32_t = 0
    child: int32_t
    port.count -= 1
    last = port.heap[port.count]
    while True:
        child = 2 * at + 1
        if child >= port.count:
            break
        if child + 1 < port.count and _before(port.heap[child + 1], port.heap[child]):
            child += 1
        if not _before(port.heap[child], last):
            break
        port.heap[at] = port.heap[child]
        at = child
    port.heap[at] = last
    return first


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _mix(network: cython.pointer(Network), value: uint64_t) -> cython.void:
    network.digest = (network.digest ^ value) * cython.cast(uint64_t, 1099511628211)
    network.digest ^= network.digest >> 29


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _port_number(address: cython.pointer(cython.const[Address])) -> int32_t:
    return cython.cast(int32_t, address.bytes[2]) << 8 | address.bytes[3]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _record(network: cython.pointer(Network), source: cython.pointer(cython.const[Address]),
            target: cython.pointer(cython.const[Address]), kind: uint16_t, data: cython.pointer(cython.const[uint8_t]),
            length: int64_t, due_ns: int64_t) -> cython.void:
    index: int64_t
    word: uint64_t
    grown: cython.pointer(Trace)
    entry: cython.pointer(Trace)
    _mix(network, network.now_ns)
    _mix(network, due_ns)
    _mix(network, _port_number(source))
    _mix(network, _port_number(target))
    _mix(network, length)
    for index in range(length // 8):
        memcpy(cython.address(word), data + 8 * index, 8)
        _mix(network, word)
    if not network.recording:
        return
    if network.trace_count == network.trace_capacity:
        grown = cython.cast(cython.pointer(Trace),
                            realloc(network.trace, (network.trace_capacity * 2 + 1024) * cython.sizeof(Trace)))
        if grown == cython.NULL:
            network.recording = False
            return
        network.trace = grown
        network.trace_capacity = network.trace_capacity * 2 + 1024
    entry = cython.address(network.trace[network.trace_count])
    network.trace_count += 1
    entry.time_ns = network.now_ns
    entry.source_port = _port_number(source)
    entry.target_port = _port_number(target)
    entry.type = kind
    entry.length = cython.cast(int32_t, length)
    entry.due_ns = due_ns


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _find_port(network: cython.pointer(Network), to: cython.pointer(cython.const[Address])) -> cython.pointer(Port):
    index: int32_t
    for index in range(network.count):
        if network.ports[index].local.length == to.length and (
            memcmp(cython.address(network.ports[index].local.bytes[0]), cython.address(to.bytes[0]), to.length) == 0
        ):
            return network.ports[index]
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _carry(network: cython.pointer(Network), port: cython.pointer(Port), to: cython.pointer(cython.const[Address]),
           kind: uint16_t, data: cython.pointer(cython.const[uint8_t]), length: int64_t,
           due_ns: int64_t) -> cython.void:
    target: cython.pointer(Port) = _find_port(network, to)
    packet: cython.pointer(Packet)
    if target == cython.NULL or (target.connected and (
        target.peer.length != port.local.length
        or memcmp(cython.address(target.peer.bytes[0]), cython.address(port.local.bytes[0]), port.local.length) != 0
    )):
        # Nobody there, or somebody who hears only his peer.
        network.unreachable += 1
        _record(network, cython.address(port.local), to, kind, data, length, -1)
        return
    _record(network, cython.address(port.local), to, kind, data, length, due_ns)
    packet = cython.cast(cython.pointer(Packet), malloc(cython.sizeof(Packet) + length))
    if packet == cython.NULL:
        return
    packet.due_ns = due_ns
    packet.sequence = network.sequence
    network.sequence += 1
    packet.length = cython.cast(int32_t, length)
    packet.source = port.local
    memcpy(cython.address(packet.data[0]), data, length)
    if not _push(target, packet):
        free(packet)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _transmit(port: cython.pointer(Port), data: cython.pointer(cython.const[uint8_t]), length: int64_t,
              to: cython.pointer(cython.const[Address])) -> cython.void:
    network: cython.pointer(Network) = port.network
    rule: cython.pointer(Rule) = cython.NULL
    index: int32_t
    kind: uint16_t = 0
    due_ns: int64_t = network.now_ns
    if length >= 8:
        memcpy(cython.address(kind), data + 6, 2)
    network.sent += 1
    for index in range(port.rule_count):
        if kind < 32 and (port.rules[index].mask >> kind) & 1:
            rule = cython.address(port.rules[index])
            break
    if rule == cython.NULL:
        _carry(network, port, to, kind, data, length, due_ns)
        return
    if random_unit(cython.address(network.random)) < rule.drop:
        network.lost += 1
        _record(network, cython.address(port.local), to, kind, data, length, -1)
        return
    due_ns += rule.delay_ns + cython.cast(int64_t, random_unit(cython.address(network.random)) * rule.jitter_ns)
    if random_unit(cython.address(network.random)) < rule.reorder:
        due_ns += rule.reorder_ns
    _carry(network, port, to, kind, data, length, due_ns)
    if random_unit(cython.address(network.random)) < rule.duplicate:
        network.repeated += 1
        due_ns += cython.cast(int64_t, random_unit(cython.address(network.random)) * (rule.jitter_ns + rule.reorder_ns))
        _carry(network, port, to, kind, data, length, due_ns)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _refuse(transport: cython.pointer(Transport)) -> cython.int:
    """What a kernel does with a closed socket."""
    transport.error_number = EBADF
    transport.error_count += 1
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _send(transport: cython.pointer(Transport), runs: cython.pointer(cython.const[Run]),
          count: cython.int) -> cython.int:
    port: cython.pointer(Port) = cython.cast(cython.pointer(Port), transport.port)
    run: cython.int
    used: cython.int = 0
    at: int64_t
    size: int64_t
    if port.network == cython.NULL:
        return _refuse(transport)
    for run in range(count):
        at = 0
        while at < runs[run].length:
            size = runs[run].segment_size
            if size > runs[run].length - at:
                size = runs[run].length - at
            if port.connected:
                _transmit(port, runs[run].data + at, size, cython.address(port.peer))
            elif runs[run].to != cython.NULL:
                _transmit(port, runs[run].data + at, size, runs[run].to)
            used += 1
            at += size
    return used


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _receive(transport: cython.pointer(Transport), batch: cython.pointer(Batch)) -> cython.int:
    port: cython.pointer(Port) = cython.cast(cython.pointer(Port), transport.port)
    count: cython.int = 0
    index: cython.int
    for index in range(BATCH):
        free(port.taken[index])
        port.taken[index] = cython.NULL
    if port.network == cython.NULL:
        return _refuse(transport)
    while count < BATCH and port.count > 0 and port.heap[0].due_ns <= port.network.now_ns:
        port.taken[count] = _pop(port)
        batch.arrivals[count].data = cython.address(port.taken[count].data[0])
        batch.arrivals[count].length = port.taken[count].length
        batch.arrivals[count].segment_size = port.taken[count].length
        batch.arrivals[count].source = cython.address(port.taken[count].source)
        port.network.delivered += 1
        count += 1
    return count


class SimulatedNetwork:
    """A network of simulated ports. Time moves only when `now_ns` is set.

    `record=True` keeps a line for every datagram, for `trace`.
    """

    def __init__(self, seed: int = 1, *, now_ns: int = 1_000_000_000, record: bool = False):
        self.network.random = (seed * 0x9E3779B97F4A7C15 + 1) & 0xFFFFFFFFFFFFFFFF or 1
        self.network.digest = 0xCBF29CE484222325
        self.network.now_ns = now_ns
        self.network.recording = record
        self.next_port = 40000
        self.transports = []

    def __dealloc__(self):
        free(self.network.ports)
        free(self.network.trace)

    @property
    def now_ns(self) -> int:
        return self.network.now_ns

    @now_ns.setter
    def now_ns(self, value: int):
        if value < self.network.now_ns:
            raise ValueError(f"now_ns={value} is before {self.network.now_ns}: time does not go back")
        self.network.now_ns = value

    @property
    def digest(self) -> int:
        """One number for every datagram ever sent here: content, times and fate."""
        return self.network.digest

    @property
    def in_flight(self) -> int:
        """Datagrams that were not received yet."""
        total: int64_t = 0
        index: int32_t
        for index in range(self.network.count):
            total += self.network.ports[index].count
        return total

    @property
    def counts(self) -> dict:
        """Datagrams sent, lost on purpose, repeated, delivered, and sent to where nobody is."""
        return {"sent": self.network.sent, "lost": self.network.lost, "repeated": self.network.repeated,
                "delivered": self.network.delivered, "unreachable": self.network.unreachable}

    def trace(self) -> list:
        """(time ns, source port, target port, frame type, length, arrival ns or -1) of every datagram, if recorded."""
        return [
            (self.network.trace[index].time_ns, self.network.trace[index].source_port,
             self.network.trace[index].target_port,
             self.network.trace[index].type, self.network.trace[index].length, self.network.trace[index].due_ns)
            for index in range(self.network.trace_count)
        ]

    def transport(self, *, bind: tuple | None = None, connect: tuple | None = None):
        """A port of this network: bound to (host, port), connected to one, or both. Port 0 takes the next free one."""
        return SimulatedTransport(self, bind=bind, connect=connect)


class SimulatedTransport(DatagramTransport):
    """A port of a simulated network. Raises `OSError` if its address is taken."""

    def __init__(self, network: SimulatedNetwork, *, bind: tuple | None = None, connect: tuple | None = None,
                 so_sndbuf: int = 0, so_rcvbuf: int = 0):
        host, number = bind or ("::1" if connect and ":" in connect[0] else "127.0.0.1", 0)
        if not number:
            number = network.next_port
            network.next_port += 1
        self.so_sndbuf = so_sndbuf
        self.so_rcvbuf = so_rcvbuf
        self.local_address = (host, number)
        _set_address(cython.address(self.port.local), encode_address(host, number))
        if connect is not None:
            _set_address(cython.address(self.port.peer), encode_address(*connect))
            self.port.connected = True
        net: cython.pointer(Network) = cython.address(network.network)
        if _find_port(net, cython.address(self.port.local)) != cython.NULL:
            raise OSError(98, f"cannot bind to {host}:{number}: address already in use")
        grown: cython.pointer(cython.pointer(Port))
        if net.count == net.capacity:
            grown = cython.cast(cython.pointer(cython.pointer(Port)),
                                realloc(net.ports, (net.capacity * 2 + 16) * cython.sizeof(cython.p_void)))
            if grown == cython.NULL:
                raise MemoryError
            net.ports = grown
            net.capacity = net.capacity * 2 + 16
        net.ports[net.count] = cython.address(self.port)
        net.count += 1
        self.network = network
        self.port.network = net
        self.transport.port = cython.address(self.port)
        self.transport.fd = -1
        self.transport.connected = connect is not None
        self.transport.send = _send
        self.transport.receive = _receive
        network.transports.append(self)             # the network points at us until we are closed

    def add_rule(self, *, drop: float = 0.0, duplicate: float = 0.0, reorder: float = 0.0, delay_ns: int = 0,
                 jitter_ns: int = 0, reorder_ns: int = 100_000, mask: int = 0xFFFF) -> None:
        """What happens to what this port sends. The first rule whose `mask` has the frame type (`1 << type`) counts.

        Rates in 0..1. Each datagram takes `delay_ns` and up to `jitter_ns`; a reordered one `reorder_ns` more.
        """
        if self.port.rule_count == MAX_RULES:
            raise ValueError(f"a port has at most {MAX_RULES} rules")
        rule: cython.pointer(Rule) = cython.address(self.port.rules[self.port.rule_count])
        rule.mask = mask & 0xFFFFFFFF
        rule.drop = drop
        rule.duplicate = duplicate
        rule.reorder = reorder
        rule.delay_ns = delay_ns
        rule.jitter_ns = jitter_ns
        rule.reorder_ns = reorder_ns
        self.port.rule_count += 1

    def clear_rules(self) -> None:
        """From now on everything this port sends arrives at once."""
        self.port.rule_count = 0

    def send(self, data: bytes, to: tuple | None = None) -> None:
        """Send one datagram by hand, to (host, port) or to the peer."""
        address: Address
        raw: cython.p_char = data
        length: cython.size_t = len(data)
        self._check_open()
        if to is not None:
            _set_address(cython.address(address), encode_address(*to))
            _transmit(cython.address(self.port), cython.cast(cython.pointer(uint8_t), raw), length,
                      cython.address(address))
        elif self.port.connected:
            _transmit(cython.address(self.port), cython.cast(cython.pointer(uint8_t), raw), length,
                      cython.address(self.port.peer))
        else:
            raise ValueError("the port is not connected: say where `to`")

    def receive(self) -> list:
        """Every datagram whose time has come, as (bytes, source as (host, port)). Not while an agent has this port."""
        found = []
        packet: cython.pointer(Packet)
        self._check_open()
        while self.port.count > 0 and self.port.heap[0].due_ns <= self.port.network.now_ns:
            packet = _pop(cython.address(self.port))
            self.port.network.delivered += 1
            found.append((cython.cast(cython.pointer(uint8_t), cython.address(packet.data[0]))[:packet.length],
                          decode_address(packet.source.bytes[:packet.source.length])))
            free(packet)
        return found

    def reconnect(self, address: tuple) -> None:
        """Change the peer, from the next datagram on, as `UdpTransport.reconnect` does."""
        _set_address(cython.address(self.port.peer), encode_address(*address))
        self.port.connected = True
        self.transport.connected = True

    def _check_open(self):
        if self.port.network == cython.NULL:
            raise OSError(EBADF, f"the port {self.local_address} is closed")

    def close(self) -> None:
        """Leave the network; what was on its way here is lost. Again does nothing."""
        if self.network is None:
            return
        net: cython.pointer(Network) = cython.address(self.network.network)
        index: int32_t
        for index in range(net.count):
            if net.ports[index] == cython.address(self.port):
                net.count -= 1
                net.ports[index] = net.ports[net.count]
                break
        # An agent may still have this port, and the network may go before it.
        self.port.network = cython.NULL
        self.network.transports.remove(self)
        self.network = None

    def __dealloc__(self):
        index: int32_t
        for index in range(self.port.count):
            free(self.port.heap[index])
        for index in range(BATCH):
            free(self.port.taken[index])
        free(self.port.heap)


@cython.cfunc
def _set_address(address: cython.pointer(Address), raw: bytes):
    source: cython.p_char = raw
    length: cython.size_t = len(raw)
    memcpy(cython.address(address.bytes[0]), source, length)
    address.length = cython.cast(cython.uint, length)
