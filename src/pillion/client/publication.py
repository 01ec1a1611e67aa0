"""Publications: the writer's end of a stream.

`offer` keeps the GIL: a copy into shared memory is shorter than giving the GIL away. A `Publication` may be used from many
threads at once, which the algorithm allows by itself; an `ExclusivePublication` by one at a time.
"""

from __future__ import annotations

import time

import cython
from cython.cimports.cpython.buffer import PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.pillion.memory.appender import (
    Part,
    claim_abort,
    claim_commit,
    concurrent_claim,
    concurrent_offer,
    exclusive_append_padding,
    exclusive_claim,
    exclusive_init,
    exclusive_offer,
    exclusive_offer_block,
)
from cython.cimports.pillion.memory.atomics import load_acquire_i32, load_acquire_i64
from cython.cimports.pillion.memory.log_buffer import LogBuffer, log_producer_position
from cython.cimports.pillion.protocol.frames import DATA_HEADER_LENGTH, TYPE_DATA, DataHeader

from pillion.errors import ClosedError, MaxPositionExceededError, NotConnectedError, TimedOutError

if not cython.compiled:
    raise ImportError("pillion.client.publication must be compiled: run `pip install .`")

NOT_CONNECTED = -1
BACK_PRESSURED = -2
ADMIN_ACTION = -3
CLOSED = -4
MAX_POSITION_EXCEEDED = -5


class _PublicationBase:
    """What both kinds have in common."""

    def __init__(self, conductor, log_buffer: LogBuffer, counters, channel: str, registration_id: int,
                 original_registration_id: int, limit_id: int, status_id: int):
        self.conductor = conductor
        self.log_buffer = log_buffer
        self.log = cython.address(log_buffer.log)
        self.counters = counters
        self.limit_address = self.counters.value_address(limit_id)
        self.status_address = self.counters.value_address(status_id)
        if self.limit_address == cython.NULL:
            raise ValueError(f"publisher limit counter id {limit_id} is outside the counters of the driver")
        self.channel = channel
        self.stream_id = self.log.stream_id
        self.session_id = self.log.session_id
        self.registration_id = registration_id
        self.original_registration_id = original_registration_id
        self.publisher_limit_id = limit_id
        self.channel_status_id = status_id
        self.exclusive = isinstance(self, ExclusivePublication)
        exclusive_init(self.log, cython.address(self.state))
        self.closed = False

    def _append(self, parts, count, total, reserved):
        limit: int64_t = load_acquire_i64(self.limit_address)
        if self.exclusive:
            return exclusive_offer(self.log, cython.address(self.state), limit, parts, count, total, reserved)
        return concurrent_offer(self.log, limit, parts, count, total, reserved)

    def offer(self, buffer, reserved_value=0):
        """Write one message: `bytes`, any contiguous buffer, or a list or tuple of buffers that become one message.

        Returns the stream position after the message (> 0), or without having written anything NOT_CONNECTED (-1),
        BACK_PRESSURED (-2: the subscribers or the network are behind, try again), ADMIN_ACTION (-3: try again at once),
        CLOSED (-4) or MAX_POSITION_EXCEEDED (-5). `reserved_value` is a signed 64-bit number that travels in the header,
        or a callable that gets the buffer and returns one. Raises `ValueError` above `max_message_length` bytes.
        """
        part: Part
        if PyBytes_CheckExact(buffer) and not reserved_value and not self.closed:
            part.data = cython.cast(cython.pointer(cython.const[uint8_t]), PyBytes_AS_STRING(buffer))
            part.length = PyBytes_GET_SIZE(buffer)
            if part.length <= self.log.max_message_length:
                return self._append(cython.address(part), 1, part.length, 0)
        return self._offer_slow(buffer, reserved_value)

    def _offer_slow(self, buffer, reserved_value):
        if self.closed:
            return CLOSED
        reserved: int64_t = reserved_value(buffer) if callable(reserved_value) else reserved_value
        if isinstance(buffer, (list, tuple)):
            return self._offer_parts(buffer, reserved)
        view: Py_buffer
        part: Part
        PyObject_GetBuffer(buffer, cython.address(view), PyBUF_SIMPLE)
        try:
            self._check_length(view.len)
            part.data = cython.cast(cython.pointer(cython.const[uint8_t]), view.buf)
            part.length = view.len
            return self._append(cython.address(part), 1, part.length, reserved)
        finally:
            PyBuffer_Release(cython.address(view))

    def _check_length(self, length: int64_t):
        if length > self.log.max_message_length:
            raise ValueError(
                f"message of {length} bytes on {self.channel} stream {self.stream_id}: the largest is "
                f"{self.log.max_message_length} (an eighth of the term length); split it, or raise term-length")

    def _offer_parts(self, buffers, reserved):
        count: cython.Py_ssize_t = len(buffers)
        views: cython.pointer(Py_buffer) = cython.cast(
            cython.pointer(Py_buffer), malloc(max(count, 1) * cython.sizeof(Py_buffer)))
        parts: cython.pointer(Part) = cython.cast(cython.pointer(Part), malloc((count + 1) * cython.sizeof(Part)))
        held: cython.Py_ssize_t = 0
        used: int32_t = 0
        total: int64_t = 0
        index: cython.Py_ssize_t
        try:
            if views == cython.NULL or parts == cython.NULL:
                raise MemoryError
            for index in range(count):
                PyObject_GetBuffer(buffers[index], cython.address(views[index]), PyBUF_SIMPLE)
                held += 1
                if views[index].len:
                    parts[used].data = cython.cast(cython.pointer(cython.const[uint8_t]), views[index].buf)
                    parts[used].length = views[index].len
                    total += views[index].len
                    used += 1
            self._check_length(total)
            if self.closed:
                return CLOSED
            return self._append(parts, used, total, reserved)
        finally:
            for index in range(held):
                PyBuffer_Release(cython.address(views[index]))
            free(views)
            free(parts)

    def try_claim(self, length: int) -> object:
        """Reserve `length` payload bytes to be written in place: a `BufferClaim`, or a negative code as of `offer`.

        The claim must be committed or aborted soon: until then it holds back every subscriber. `length` is at most
        `max_payload_length`.
        """
        if length < 0 or length > self.log.max_payload_length:
            raise ValueError(f"length={length} must be in 0..{self.log.max_payload_length} (MTU less the 32-byte header)")
        if self.closed:
            return CLOSED
        frame: cython.pointer(uint8_t)
        limit: int64_t = load_acquire_i64(self.limit_address)
        position: int64_t
        if self.exclusive:
            position = exclusive_claim(self.log, cython.address(self.state), limit, length, cython.address(frame))
        else:
            position = concurrent_claim(self.log, limit, length, cython.address(frame))
        if position < 0:
            return position
        claim: BufferClaim = BufferClaim.__new__(BufferClaim)
        claim.owner = self.log_buffer
        claim.frame = frame
        claim.length = length
        claim.position = position
        return claim

    def send(self, message, timeout: float | None = 5.0, reserved_value=0) -> int:
        """`offer` until it is taken, waiting through back pressure and while nobody is connected; the position.

        Raises `TimedOutError` after `timeout` seconds of back pressure (None: wait for ever), `NotConnectedError` if
        nobody was connected at the end of it, `ClosedError`, `MaxPositionExceededError`.
        """
        attempts = 0
        deadline = 0.0
        while True:
            position = self.offer(message, reserved_value)
            if position > 0:
                return position
            if position == CLOSED:
                raise ClosedError(f"the publication on {self.channel} stream {self.stream_id} is closed")
            if position == MAX_POSITION_EXCEEDED:
                raise MaxPositionExceededError(
                    f"stream {self.stream_id} on {self.channel} is at its largest position: use a longer term-length")
            attempts += 1
            if attempts == 1 and timeout is not None:
                deadline = time.monotonic() + timeout
            if timeout is not None and time.monotonic() >= deadline:
                if position == NOT_CONNECTED:
                    raise NotConnectedError(
                        f"no subscriber on {self.channel} stream {self.stream_id} within {timeout} s")
                raise TimedOutError(f"subscribers of {self.channel} stream {self.stream_id} did not make room within {timeout} s")
            self.conductor.idle(attempts if position != NOT_CONNECTED else 1000)

    @property
    def is_connected(self) -> bool:
        """True while somebody subscribes."""
        return not self.closed and load_acquire_i32(cython.address(self.log.metadata.is_connected)) == 1

    @property
    def is_closed(self) -> bool:
        return self.closed

    @property
    def position(self) -> int:
        """Where the next message goes; CLOSED (-4) once closed."""
        if self.closed:
            return CLOSED
        if self.exclusive:
            return self.state.term_begin_position + self.state.term_offset
        return log_producer_position(self.log)

    @property
    def position_limit(self) -> int:
        """Messages that start below this position are accepted; CLOSED (-4) once closed."""
        return CLOSED if self.closed else load_acquire_i64(self.limit_address)

    @property
    def available_window(self) -> int:
        """Bytes until back pressure; CLOSED (-4) once closed."""
        return CLOSED if self.closed else self.position_limit - self.position

    @property
    def max_payload_length(self) -> int:
        """Bytes of the largest message in one frame."""
        return self.log.max_payload_length

    @property
    def max_message_length(self) -> int:
        """Bytes of the largest message."""
        return self.log.max_message_length

    @property
    def max_possible_position(self) -> int:
        return cython.cast(int64_t, self.log.term_length) << 31

    @property
    def term_length(self) -> int:
        """Bytes of a term."""
        return self.log.term_length

    @property
    def initial_term_id(self) -> int:
        return self.log.initial_term_id

    @property
    def channel_status(self) -> int:
        """1 active, 0 initialising, -1 errored, 2 closing; always 1 for IPC. ."""
        if self.status_address == cython.NULL:
            return 1
        return load_acquire_i64(self.status_address)

    @property
    def local_socket_addresses(self) -> list:
        """Addresses the channel's sockets are bound to."""
        return self.conductor.local_socket_addresses(self.channel_status_id)

    def add_destination(self, channel: str) -> int:
        """Add a destination to a `control-mode=manual` publication; its registration id."""
        return self.conductor.destination(self, "add_destination", channel)

    def remove_destination(self, channel: str) -> None:
        self.conductor.destination(self, "remove_destination", channel)

    def close(self) -> None:
        """Give the publication back. Again does nothing. Offers from now on return CLOSED."""
        if not self.closed:
            self.closed = True
            self.conductor.release_publication(self, False)

    def _close(self):
        self.closed = True

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __repr__(self):
        state = "closed" if self.closed else f"at {self.position}, {'connected' if self.is_connected else 'not connected'}"
        return f"{type(self).__name__}({self.channel!r}, stream {self.stream_id}, session {self.session_id}, {state})"


class Publication(_PublicationBase):
    """A publication that any number of threads, here and in other clients, may share."""


class ExclusivePublication(_PublicationBase):
    """A publication with one writer, which makes it faster. Not thread-safe."""

    def append_padding(self, length: int) -> int:
        """Write `length` bytes that no subscriber is handed; the position or a negative code as of `offer`."""
        if self.closed:
            return CLOSED
        if length < 0 or length > self.log.max_message_length:
            raise ValueError(f"length={length} must be in 0..{self.log.max_message_length}")
        return exclusive_append_padding(self.log, cython.address(self.state), load_acquire_i64(self.limit_address), length)

    def offer_block(self, block) -> int:
        """Append complete frames, headers included, that continue exactly here; the position or a negative code."""
        if self.closed:
            return CLOSED
        view: Py_buffer
        PyObject_GetBuffer(block, cython.address(view), PyBUF_SIMPLE)
        try:
            if view.len < DATA_HEADER_LENGTH or view.len % 32 or view.len > self.log.term_length - self.state.term_offset:
                raise ValueError(f"block of {view.len} bytes: a multiple of 32 that fits the rest of the term "
                                 f"({self.log.term_length - self.state.term_offset}) is needed")
            first: cython.pointer(DataHeader) = cython.cast(cython.pointer(DataHeader), view.buf)
            if (first.term_offset, first.session_id, first.stream_id, first.term_id, first.type) != (
                self.state.term_offset, self.session_id, self.stream_id, self.state.term_id, TYPE_DATA
            ):
                raise ValueError("the block's first frame does not continue this stream")
            return exclusive_offer_block(self.log, cython.address(self.state), load_acquire_i64(self.limit_address),
                                         cython.cast(cython.pointer(cython.const[uint8_t]), view.buf),
                                         cython.cast(int32_t, view.len))
        finally:
            PyBuffer_Release(cython.address(view))

    def revoke(self) -> None:
        """Close at once: subscribers lose what they have not consumed."""
        if not self.closed:
            self.closed = True
            self.conductor.release_publication(self, True)


class BufferClaim:
    """A claimed message, written in place. As a context manager it commits, or aborts on an exception."""

    def __getbuffer__(self, buffer: cython.pointer(Py_buffer), flags: cython.int):
        if self.done:
            raise ClosedError("the claim was committed or aborted")
        PyBuffer_FillInfo(buffer, self, self.frame + DATA_HEADER_LENGTH, self.length, 0, flags)

    def __len__(self):
        return self.length

    @property
    def buffer(self) -> memoryview:
        """The writable payload. Writing to it after commit changes a message others are reading."""
        return memoryview(self)

    @property
    def reserved_value(self) -> int:
        return cython.cast(cython.pointer(DataHeader), self.frame).reserved_value

    @reserved_value.setter
    def reserved_value(self, value: int):
        if self.done:
            raise ClosedError("the claim was committed or aborted")
        cython.cast(cython.pointer(DataHeader), self.frame).reserved_value = value

    def commit(self) -> None:
        """Publish the message. Once."""
        if self.done:
            raise ClosedError("the claim was committed or aborted already")
        self.done = True
        claim_commit(self.frame, self.length)

    def abort(self) -> None:
        """Turn the claim into padding that nobody sees. Once."""
        if self.done:
            raise ClosedError("the claim was committed or aborted already")
        self.done = True
        claim_abort(self.frame, self.length)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        if not self.done:
            if kind is None:
                self.commit()
            else:
                self.abort()

    def __dealloc__(self):
        # A forgotten claim would block every subscriber until the driver unblocks it.
        if self.frame != cython.NULL and not self.done:
            claim_abort(self.frame, self.length)
