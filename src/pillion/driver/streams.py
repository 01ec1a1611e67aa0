"""The classes through which the conductor builds streams and endpoints, and looks at them.

Each owns one struct; from `DataPlane.add_*` on the struct belongs to an agent, until the agent has reported it
released. What is read here of a struct in use is one atomic word at a time.
"""

from __future__ import annotations

import cython
from cython.cimports.libc.stdint import int32_t, int64_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memcpy
from cython.cimports.pillion.driver.positions import PointerList, list_add, list_free
from cython.cimports.pillion.driver.publisher_limit import limit_init, limit_producer
from cython.cimports.pillion.driver.udp.transport import ADDRESS_LENGTH, Address, DatagramTransport
from cython.cimports.pillion.memory.atomics import (
    load_acquire_i32,
    load_acquire_i64,
    store_release_i32,
    store_release_i64,
)
from cython.cimports.pillion.memory.log_buffer import LogBuffer
from cython.cimports.pillion.memory.loss_report import LossReportEntry

if not cython.compiled:
    raise ImportError("pillion.driver.streams must be compiled: run `pip install .`")

NOBODY = cython.declare(int64_t, 0x7FFFFFFFFFFFFFFF)


@cython.cfunc
def _counter(counters, counter_id: int32_t) -> cython.pointer(int64_t):
    reader: CountersReader = counters
    address: cython.pointer(int64_t) = reader.value_address(counter_id)
    if address == cython.NULL:
        raise IndexError(f"counter id {counter_id} is outside the counters")
    return address


@cython.cfunc
def _link(stream, handed_over: cython.bint, positions: cython.pointer(PointerList), counters, position_id: int32_t,
          join_position: int64_t):
    if handed_over:
        raise ValueError(f"{stream!r} belongs to its agent already: use DataPlane.add_subscriber")
    address: cython.pointer(int64_t) = _counter(counters, position_id)
    if not list_add(positions, address):
        raise MemoryError
    store_release_i64(address, join_position)
    return join_position


class IpcPublication:
    """An IPC stream: publisher's position and limit, cleaning, consumers' positions."""

    def __cinit__(self):
        self.stream = cython.cast(cython.pointer(IpcStruct), calloc(1, cython.sizeof(IpcStruct)))
        if self.stream == cython.NULL:
            raise MemoryError

    def __init__(self, log_buffer: LogBuffer, counters, *, pub_pos_id: int, pub_lmt_id: int, window_length: int):
        self.log_buffer = log_buffer
        self.counters = counters
        stream: cython.pointer(IpcStruct) = self.stream
        stream.log = cython.address(log_buffer.log)
        limit_init(cython.address(stream.limit), stream.log, _counter(counters, pub_pos_id),
                   _counter(counters, pub_lmt_id), window_length)
        stream.trip_limit = stream.limit.position
        stream.consumer_position = stream.limit.position
        stream.slowest_position = NOBODY

    def __dealloc__(self):
        if self.stream != cython.NULL:
            list_free(cython.address(self.stream.subscribers))
            free(self.stream)

    def link_subscriber(self, position_id: int) -> int:
        """Before `add_ipc_publication` only: a subscriber that is there from the start. Its join position."""
        return _link(self, self.handed_over, cython.address(self.stream.subscribers), self.counters, position_id,
                     self.stream.consumer_position)

    def signal_end(self, revoked: bool) -> None:
        """No more data comes; once more with `revoked` if it is revoked after that.

        The agent sets the publisher's limit and the log's end-of-stream position to the producer position in its next
        cycle, and for a revoked stream the revoked mark and not connected.
        """
        _signal_end(cython.address(self.stream.end_state), revoked)

    @property
    def consumer_position(self) -> int:
        """The furthest consumer's position, also of consumers that are gone."""
        return load_acquire_i64(cython.address(self.stream.consumer_position))

    @property
    def producer_position(self) -> int:
        """Where the next message is written."""
        return limit_producer(cython.address(self.stream.limit), 0)

    @property
    def has_subscribers(self) -> bool:
        return load_acquire_i32(cython.address(self.stream.subscriber_count)) > 0

    @property
    def is_drained(self) -> bool:
        """Every consumer has reached the producer position; also if there is no consumer."""
        return load_acquire_i64(cython.address(self.stream.slowest_position)) >= self.producer_position


class SendEndpoint:
    """A transport that one or more publications send through.

    It is connected to the receiver, or sends to `destination`, a raw socket address.
    """

    def __cinit__(self):
        self.endpoint = cython.cast(cython.pointer(SendEndpointStruct), calloc(1, cython.sizeof(SendEndpointStruct)))
        if self.endpoint == cython.NULL:
            raise MemoryError

    def __init__(self, transport: DatagramTransport, destination: bytes | None = None):
        if transport.transport.connected == (destination is not None):
            raise ValueError("a transport is either connected or has a destination to send to")
        self.transport = transport
        self.endpoint.transport = cython.address(transport.transport)
        if destination is not None:
            _set_address(cython.address(self.endpoint.destination), destination)
            self.endpoint.to = cython.address(self.endpoint.destination)

    def __dealloc__(self):
        if self.endpoint != cython.NULL:
            list_free(cython.address(self.endpoint.publications))
            free(self.endpoint)


class NetworkPublication:
    """A UDP stream as its sender has it.

    `window_length` bounds how far publishers may run ahead of the sender, in bytes; `retransmit_delay_ns` is the wait
    before a resend, `retransmit_linger_ns` how long NAKs for what was resent are ignored.
    """

    def __cinit__(self):
        self.stream = cython.cast(cython.pointer(NetworkStruct), calloc(1, cython.sizeof(NetworkStruct)))
        if self.stream == cython.NULL:
            raise MemoryError

    def __init__(self, log_buffer: LogBuffer, counters, endpoint: SendEndpoint, *, pub_pos_id: int, pub_lmt_id: int,
                 snd_pos_id: int, snd_lmt_id: int, snd_bpe_id: int, snd_naks_id: int, window_length: int,
                 connection_timeout_ns: int, spies_simulate_connection: bool, signal_eos: bool,
                 retransmit_delay_ns: int = 0, retransmit_linger_ns: int = 10_000_000):
        self.log_buffer = log_buffer
        self.counters = counters
        self.endpoint = endpoint
        stream: cython.pointer(NetworkStruct) = self.stream
        stream.log = cython.address(log_buffer.log)
        stream.endpoint = endpoint.endpoint
        limit_init(cython.address(stream.limit), stream.log, _counter(counters, pub_pos_id),
                   _counter(counters, pub_lmt_id), window_length)
        stream.snd_pos = _counter(counters, snd_pos_id)
        stream.snd_lmt = _counter(counters, snd_lmt_id)
        stream.snd_bpe = _counter(counters, snd_bpe_id)
        stream.snd_naks = _counter(counters, snd_naks_id)
        stream.connection_timeout_ns = connection_timeout_ns
        stream.spies_simulate = spies_simulate_connection
        stream.signal_eos = signal_eos
        stream.resend_delay_ns = retransmit_delay_ns
        stream.resend_linger_ns = retransmit_linger_ns
        stream.session_id = stream.log.session_id
        stream.stream_id = stream.log.stream_id
        position: int64_t = stream.limit.position
        stream.sender_position = position
        stream.sender_limit = position
        stream.max_spy_position = position
        stream.slowest_spy = NOBODY
        store_release_i64(stream.snd_pos, position)
        store_release_i64(stream.snd_lmt, position)

    def __dealloc__(self):
        if self.stream != cython.NULL:
            list_free(cython.address(self.stream.spies))
            free(self.stream)

    def link_subscriber(self, position_id: int) -> int:
        """Before `add_network_publication` only: a spy that is there from the start. Its join position."""
        return _link(self, self.handed_over, cython.address(self.stream.spies), self.counters, position_id,
                     self.stream.sender_position)

    def signal_end(self, revoked: bool) -> None:
        """No more data comes: heartbeats say so once everything is sent, at once if `revoked`.

        The agent sets the publisher's limit and the log's end-of-stream position to the producer position in its next
        cycle, and for a revoked stream the revoked mark and not connected.
        """
        _signal_end(cython.address(self.stream.end_state), revoked)

    @property
    def sender_position(self) -> int:
        """Up to where the stream was sent."""
        return load_acquire_i64(cython.address(self.stream.sender_position))

    @property
    def producer_position(self) -> int:
        """Where the next message is written."""
        return limit_producer(cython.address(self.stream.limit), 0)

    @property
    def has_receivers(self) -> bool:
        """Status messages came within the connection timeout."""
        return load_acquire_i32(cython.address(self.stream.live_receivers)) > 0

    @property
    def has_subscribers(self) -> bool:
        """There are spies."""
        return load_acquire_i32(cython.address(self.stream.spy_count)) > 0

    @property
    def spies_drained(self) -> bool:
        """Every spy has reached the producer position; also if there is none."""
        return load_acquire_i64(cython.address(self.stream.slowest_spy)) >= self.producer_position

    @property
    def is_end_confirmed(self) -> bool:
        """The receiver said that it has finished the stream, and none has come back since."""
        return load_acquire_i32(cython.address(self.stream.end_confirmed)) != 0


class ReceiveEndpoint:
    """A bound transport that subscriptions listen on."""

    def __cinit__(self):
        self.endpoint = cython.cast(cython.pointer(ReceiveEndpointStruct),
                                    calloc(1, cython.sizeof(ReceiveEndpointStruct)))
        if self.endpoint == cython.NULL:
            raise MemoryError

    def __init__(self, transport: DatagramTransport, *, receiver_id: int, group_tag: int | None = None):
        self.transport = transport
        self.endpoint.transport = cython.address(transport.transport)
        self.endpoint.receiver_id = receiver_id
        self.endpoint.has_group_tag = group_tag is not None
        self.endpoint.group_tag = group_tag or 0

    def __dealloc__(self):
        if self.endpoint != cython.NULL:
            list_free(cython.address(self.endpoint.images))
            free(self.endpoint.interests)
            free(self.endpoint.sessions)
            free(self.endpoint)


class PublicationImage:
    """A UDP stream as one receiver has it.

    `source` is the raw socket address of the set-up, which status messages and NAKs go to. Times in ns.
    """

    def __cinit__(self):
        self.stream = cython.cast(cython.pointer(ImageStruct), calloc(1, cython.sizeof(ImageStruct)))
        if self.stream == cython.NULL:
            raise MemoryError

    def __init__(self, log_buffer: LogBuffer, counters, endpoint: ReceiveEndpoint, *, join_position: int, source: bytes,
                 rcv_hwm_id: int, rcv_pos_id: int, rcv_naks_id: int, reliable: bool, window_length: int,
                 nak_delay_ns: int, nak_retry_ns: int, sm_timeout_ns: int, now_ns: int,
                 liveness_timeout_ns: int = 10_000_000_000):
        if join_position < 0 or join_position % 32:
            raise ValueError(f"join_position={join_position} must be a multiple of 32, 0 or more")
        self.log_buffer = log_buffer
        self.counters = counters
        self.endpoint = endpoint
        stream: cython.pointer(ImageStruct) = self.stream
        stream.log = cython.address(log_buffer.log)
        stream.endpoint = endpoint.endpoint
        stream.rcv_hwm = _counter(counters, rcv_hwm_id)
        stream.rcv_pos = _counter(counters, rcv_pos_id)
        stream.rcv_naks = _counter(counters, rcv_naks_id)
        stream.session_id = stream.log.session_id
        stream.stream_id = stream.log.stream_id
        stream.reliable = reliable
        stream.nak_delay_ns = nak_delay_ns
        stream.nak_retry_ns = nak_retry_ns
        stream.sm_timeout_ns = sm_timeout_ns
        stream.liveness_timeout_ns = liveness_timeout_ns
        # A sender takes no window above half a term.
        stream.window = min(window_length, stream.log.term_length // 2)
        stream.rebuild_position = join_position
        stream.hwm_position = join_position
        stream.clean_position = join_position
        stream.next_sm_position = join_position
        stream.sm_due = True
        stream.gap_position = -1
        stream.reported_gap = -1
        stream.last_packet_ns = now_ns
        stream.activity_ns = now_ns
        stream.slowest_subscriber = NOBODY
        _set_address(cython.address(stream.source), source)
        store_release_i64(stream.rcv_hwm, join_position)
        store_release_i64(stream.rcv_pos, join_position)

    def __dealloc__(self):
        if self.stream != cython.NULL:
            list_free(cython.address(self.stream.subscribers))
            free(self.stream)

    def link_subscriber(self, position_id: int) -> int:
        """Before `add_image` only: a subscriber that is there from the start. Its join position, the image's."""
        return _link(self, self.handed_over, cython.address(self.stream.subscribers), self.counters, position_id,
                     self.stream.rebuild_position)

    @property
    def last_packet_ns(self) -> int:
        """When data or a heartbeat was last accepted."""
        return load_acquire_i64(cython.address(self.stream.last_packet_ns))

    @property
    def end_state(self) -> int:
        """0 open, 1 the publisher ended the stream, 2 it revoked it."""
        return load_acquire_i32(cython.address(self.stream.eos_state))

    @property
    def is_complete(self) -> bool:
        """Everything up to the highest position heard of is there."""
        return load_acquire_i64(cython.address(self.stream.rebuild_position)) >= (
            load_acquire_i64(cython.address(self.stream.hwm_position)))

    @property
    def is_drained(self) -> bool:
        """No consumer is behind what was received; also if there is no consumer."""
        return load_acquire_i64(cython.address(self.stream.slowest_subscriber)) >= (
            load_acquire_i64(cython.address(self.stream.rebuild_position)))

    @property
    def has_subscribers(self) -> bool:
        return load_acquire_i32(cython.address(self.stream.subscriber_count)) > 0

    @property
    def rebuild_position(self) -> int:
        """Everything below it was received."""
        return load_acquire_i64(cython.address(self.stream.rebuild_position))

    def set_mode(self, mode: int) -> None:
        """0 active, 1 draining: status messages carry the end-of-stream flag, 2 silent."""
        store_release_i32(cython.address(self.stream.mode), mode)

    def reject(self, reason: bytes) -> None:
        """Drop what comes from now on and tell the source why. `reason` up to 1023 bytes; again does nothing."""
        if len(reason) > 1023:
            raise ValueError(f"the reason has {len(reason)} bytes, at most 1023 can be sent")
        if load_acquire_i32(cython.address(self.stream.rejected)):
            return
        text: cython.p_char = reason
        length: cython.size_t = len(reason)
        memcpy(cython.address(self.stream.error_text[0]), text, length)
        self.stream.error_length = cython.cast(int32_t, length)
        # Release: the agent reads the text after it loaded this.
        store_release_i32(cython.address(self.stream.rejected), 1)

    def set_loss_entry(self, entry: LossReportEntry) -> None:
        """Where the receiver counts this stream's losses from now on. Once only."""
        if self.loss_reference is not None:
            raise ValueError("this image has its loss entry")
        self.loss_reference = entry
        store_release_i64(cython.address(self.stream.loss_entry), cython.cast(int64_t, entry.entry))


@cython.cfunc
def _set_address(address: cython.pointer(Address), raw: bytes):
    if len(raw) > ADDRESS_LENGTH:
        raise ValueError(f"{raw!r} is not a socket address: it has {len(raw)} bytes")
    length: cython.size_t = len(raw)
    source: cython.p_char = raw
    memcpy(cython.address(address.bytes[0]), source, length)
    address.length = cython.cast(cython.uint, length)


@cython.cfunc
def _signal_end(state: cython.pointer(int32_t), revoked: cython.bint):
    value: int32_t = 2 if revoked else 1
    if value > load_acquire_i32(state):
        store_release_i32(state, value)
