"""The classes through which the conductor builds streams and endpoints, and looks at them.

Each owns one struct; from `DataPlane.add_*` on the struct belongs to an agent, until the agent has reported it released.
What is read here of a struct in use is one atomic word at a time.
"""

from __future__ import annotations

import cython
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memcpy
from cython.cimports.pillion.driver.udp.transport import UdpTransport
from cython.cimports.pillion.memory.atomics import load_acquire_i32, load_acquire_i64, store_release_i32, store_release_i64
from cython.cimports.pillion.memory.log_buffer import LogBuffer, log_producer_position
from cython.cimports.pillion.memory.loss_report import LossReportEntry
from cython.cimports.pillion.protocol.layouts import LossEntry

if not cython.compiled:
    raise ImportError("pillion.driver.streams must be compiled: run `pip install .`")


@cython.cfunc
def _counter(counters, counter_id: int32_t) -> cython.pointer(int64_t):
    reader: CountersReader = counters
    address: cython.pointer(int64_t) = reader.value_address(counter_id)
    if address == cython.NULL:
        raise IndexError(f"counter id {counter_id} is outside the counters")
    return address


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
        stream.pub_pos = _counter(counters, pub_pos_id)
        stream.pub_lmt = _counter(counters, pub_lmt_id)
        stream.window = window_length
        position: int64_t = log_producer_position(stream.log)
        stream.consumer_position = position
        stream.clean_position = position
        stream.trip_limit = position
        store_release_i64(stream.pub_pos, position)
        store_release_i64(stream.pub_lmt, position)

    def __dealloc__(self):
        free(self.stream)

    @property
    def consumer_position(self) -> int:
        """The furthest consumer's position."""
        return load_acquire_i64(cython.address(self.stream.consumer_position))


class SendEndpoint:
    """A connected socket that one or more publications send through."""

    def __cinit__(self):
        self.endpoint = cython.cast(cython.pointer(SendEndpointStruct), calloc(1, cython.sizeof(SendEndpointStruct)))
        if self.endpoint == cython.NULL:
            raise MemoryError

    def __init__(self, transport: UdpTransport):
        self.transport = transport
        self.endpoint.transport = cython.address(transport.transport)

    def __dealloc__(self):
        free(self.endpoint)


class NetworkPublication:
    """A UDP stream as its sender has it."""

    def __cinit__(self):
        self.stream = cython.cast(cython.pointer(NetworkStruct), calloc(1, cython.sizeof(NetworkStruct)))
        if self.stream == cython.NULL:
            raise MemoryError

    def __init__(self, log_buffer: LogBuffer, counters, endpoint: SendEndpoint, *, pub_pos_id: int, pub_lmt_id: int,
                 snd_pos_id: int, snd_lmt_id: int, snd_bpe_id: int, snd_naks_id: int, window_length: int,
                 connection_timeout_ns: int, spies_simulate_connection: bool, signal_eos: bool):
        self.log_buffer = log_buffer
        self.counters = counters
        self.endpoint = endpoint
        stream: cython.pointer(NetworkStruct) = self.stream
        stream.log = cython.address(log_buffer.log)
        stream.endpoint = endpoint.endpoint
        stream.pub_pos = _counter(counters, pub_pos_id)
        stream.pub_lmt = _counter(counters, pub_lmt_id)
        stream.snd_pos = _counter(counters, snd_pos_id)
        stream.snd_lmt = _counter(counters, snd_lmt_id)
        stream.snd_bpe = _counter(counters, snd_bpe_id)
        stream.snd_naks = _counter(counters, snd_naks_id)
        stream.window = window_length
        stream.connection_timeout_ns = connection_timeout_ns
        stream.spies_simulate = spies_simulate_connection
        stream.signal_eos = signal_eos
        stream.session_id = stream.log.session_id
        stream.stream_id = stream.log.stream_id
        position: int64_t = log_producer_position(stream.log)
        stream.clean_position = position - (position & (stream.log.term_length - 1))
        store_release_i64(stream.pub_pos, position)
        store_release_i64(stream.pub_lmt, position)
        store_release_i64(stream.snd_pos, position)
        store_release_i64(stream.snd_lmt, position)

    def __dealloc__(self):
        free(self.stream)

    def signal_end(self, revoked: bool) -> None:
        """No more data comes: heartbeats say so once everything is sent."""
        store_release_i32(cython.address(self.stream.end_state), 2 if revoked else 1)

    @property
    def sender_position(self) -> int:
        return load_acquire_i64(self.stream.snd_pos)

    @property
    def has_receivers(self) -> bool:
        return load_acquire_i32(cython.address(self.stream.live_receivers)) > 0

    @property
    def is_end_confirmed(self) -> bool:
        """The receiver said that it has everything."""
        return load_acquire_i32(cython.address(self.stream.eos_confirmed)) != 0


class ReceiveEndpoint:
    """A bound socket that subscriptions listen on."""

    def __cinit__(self):
        self.endpoint = cython.cast(cython.pointer(ReceiveEndpointStruct), calloc(1, cython.sizeof(ReceiveEndpointStruct)))
        if self.endpoint == cython.NULL:
            raise MemoryError

    def __init__(self, transport: UdpTransport, *, receiver_id: int, group_tag: int | None = None):
        self.transport = transport
        self.endpoint.transport = cython.address(transport.transport)
        self.endpoint.receiver_id = receiver_id
        self.endpoint.has_group_tag = group_tag is not None
        self.endpoint.group_tag = group_tag or 0

    def __dealloc__(self):
        free(self.endpoint)


class PublicationImage:
    """A UDP stream as one receiver has it."""

    def __cinit__(self):
        self.stream = cython.cast(cython.pointer(ImageStruct), calloc(1, cython.sizeof(ImageStruct)))
        if self.stream == cython.NULL:
            raise MemoryError

    def __init__(self, log_buffer: LogBuffer, counters, endpoint: ReceiveEndpoint, *, join_position: int, source: bytes,
                 rcv_hwm_id: int, rcv_pos_id: int, rcv_naks_id: int, reliable: bool, window_length: int,
                 nak_delay_ns: int, nak_retry_ns: int, sm_timeout_ns: int, now_ns: int):
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
        stream.window = window_length
        stream.rebuild_position = join_position
        stream.hwm_position = join_position
        stream.clean_position = join_position - (join_position & (stream.log.term_length - 1))
        stream.next_sm_position = join_position
        stream.sm_due = True
        stream.gap_position = -1
        stream.reported_gap = -1
        stream.last_packet_ns = now_ns
        stream.source.length = len(source)
        where: cython.p_char = source
        memcpy(stream.source.bytes, where, min(len(source), 28))
        store_release_i64(stream.rcv_hwm, join_position)
        store_release_i64(stream.rcv_pos, join_position)

    def __dealloc__(self):
        free(self.stream)

    @property
    def last_packet_ns(self) -> int:
        return load_acquire_i64(cython.address(self.stream.last_packet_ns))

    @property
    def end_state(self) -> int:
        """0 open, 1 the publisher ended the stream, 2 it revoked it."""
        return load_acquire_i32(cython.address(self.stream.eos_state))

    @property
    def is_complete(self) -> bool:
        """Everything up to the highest position heard of is there."""
        return load_acquire_i64(self.stream.rcv_pos) >= load_acquire_i64(self.stream.rcv_hwm)

    @property
    def rebuild_position(self) -> int:
        return load_acquire_i64(self.stream.rcv_pos)

    def set_mode(self, mode: int) -> None:
        """0 active, 1 draining: status messages carry the end-of-stream flag, 2 silent."""
        store_release_i32(cython.address(self.stream.mode), mode)

    def reject(self, reason: bytes) -> None:
        """Drop what comes from now on and tell the source why."""
        text: cython.p_char = reason
        length: int32_t = min(len(reason), 1023)
        memcpy(self.stream.error_text, text, length)
        self.stream.error_length = length
        store_release_i32(cython.address(self.stream.rejected), 1)

    def set_loss_entry(self, entry: LossReportEntry) -> None:
        """Where the receiver counts this stream's losses from now on."""
        self.loss_reference = entry
        store_release_i64(cython.address(self.stream.loss_entry), cython.cast(int64_t, entry.entry))
