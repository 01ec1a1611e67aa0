# cython: auto_pickle=False
"""Publications: the writer's end of a stream.

`offer` keeps the GIL: a copy into shared memory is shorter than giving the GIL away. A `Publication`
may be used from many threads at once, which the algorithm allows by itself; an
`ExclusivePublication` by one at a time.
"""

from __future__ import annotations

import time

import cython
from cython.cimports.cpython.buffer import (
    PyBUF_SIMPLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.pillion.client.claim import new_claim
from cython.cimports.pillion.client.reuse import become
from cython.cimports.pillion.memory.appender import (
    Part,
    concurrent_claim,
    concurrent_offer,
    exclusive_append_padding,
    exclusive_claim,
    exclusive_init,
    exclusive_offer,
    exclusive_offer_block,
)
from cython.cimports.pillion.memory.atomics import load_acquire_i32, load_acquire_i64
from cython.cimports.pillion.memory.counters import CountersReader
from cython.cimports.pillion.memory.log_buffer import Log, LogBuffer, log_producer_position
from cython.cimports.pillion.protocol.frames import DATA_HEADER_LENGTH, TYPE_DATA, DataHeader

from pillion.errors import (
    ClosedError,
    ForkedError,
    MaxPositionExceededError,
    NotConnectedError,
    TimedOutError,
)

if not cython.compiled:
    raise ImportError("pillion.client.publication must be compiled: run `pip install .`")

NOT_CONNECTED = -1
BACK_PRESSURED = -2
ADMIN_ACTION = -3
CLOSED = -4
MAX_POSITION_EXCEEDED = -5

# The default of `reserved_value`: told by its identity, which is cheaper than its truth; another 0 takes the slow way.
_NO_VALUE = cython.declare(object, 0)


def new_publication(
    exclusive: bool,
    conductor: object,
    log_buffer: LogBuffer,
    counters: CountersReader,
    channel: str,
    registration_id: int,
    original_registration_id: int,
    limit_id: int,
    status_id: int,
) -> _PublicationBase:
    """The publication the driver has made. Raises `ValueError` for a limit counter out of range."""
    if log_buffer.log.metadata == cython.NULL:
        raise ValueError("the log is not mapped")
    kind = ExclusivePublication if exclusive else Publication
    self: _PublicationBase = kind.__new__(kind)
    self.limit_address = counters.value_address(limit_id)
    if self.limit_address == cython.NULL:
        raise ValueError(
            f"publisher limit counter id {limit_id} is outside the counters of the driver"
        )
    self.conductor = conductor
    self.log_buffer = log_buffer
    self.log = log_buffer.log
    self.counters_file = counters.owner
    self.channel = channel
    self.stream_id = self.log.stream_id
    self.session_id = self.log.session_id
    self.registration_id = registration_id
    self.original_registration_id = original_registration_id
    self.publisher_limit_id = limit_id
    self.channel_status_id = status_id
    self.status_registration_id = conductor.registration_of_counter(status_id)
    self.exclusive = exclusive
    exclusive_init(cython.address(self.log), cython.address(self.state))
    self.closed = False
    return self


class _PublicationBase:
    """What both kinds have in common."""

    def __cinit__(self, *args, **kwargs):
        self.closed = True
        self.channel = ""

    def __init__(self):
        raise TypeError("a publication comes from Client.add_publication")

    def _closed_code(self):
        if self.conductor is not None and isinstance(self.conductor.closed, ForkedError):
            raise ForkedError(str(self.conductor.closed))
        return CLOSED

    @cython.final
    def _append(self, parts, count, total, reserved):
        limit: int64_t = load_acquire_i64(self.limit_address)
        position: int64_t
        if self.exclusive:
            position = exclusive_offer(cython.address(self.log), cython.address(self.state), limit, parts, count,
                                       total, reserved)
        else:
            position = concurrent_offer(cython.address(self.log), limit, parts, count, total, reserved)
        if position < 0:
            return position
        if not become(cython.cast(cython.p_void, self.last_position), position):
            self.last_position = position
        return self.last_position

    @cython.binding(False)
    @cython.embedsignature.format('clinic')
    def offer(self, buffer, reserved_value=0):
        """Write one message: `bytes`, any contiguous buffer, or a list or tuple of buffers, joined.

        Returns the stream position after the message (> 0), or without having written anything
        NOT_CONNECTED (-1), BACK_PRESSURED (-2: the subscribers or the network are behind, try
        again), ADMIN_ACTION (-3: try again at once), CLOSED (-4) or MAX_POSITION_EXCEEDED (-5).
        `reserved_value` is a signed 64-bit number that travels in the header, or a callable that
        gets the buffer and returns one. Raises `ValueError` above `max_message_length` bytes.
        """
        part: Part
        if PyBytes_CheckExact(buffer) and reserved_value is _NO_VALUE and not self.closed:
            part.data = cython.cast(cython.pointer(cython.const[uint8_t]), PyBytes_AS_STRING(buffer))
            part.length = PyBytes_GET_SIZE(buffer)
            if part.length <= self.log.max_message_length:
                return self._append(cython.address(part), 1, part.length, 0)
        return self._offer_any(buffer, reserved_value)

    def _offer_any(self, buffer, reserved_value):
        if self.closed:
            return self._closed_code()
        reserved: int64_t = 0
        if reserved_value is not _NO_VALUE:
            reserved = reserved_value(buffer) if callable(reserved_value) else reserved_value
        if isinstance(buffer, (list, tuple)):
            return self._offer_parts(tuple(buffer), reserved)
        view: Py_buffer
        part: Part
        PyObject_GetBuffer(buffer, cython.address(view), PyBUF_SIMPLE)
        try:
            self._check_length(view.len)
            if self.closed:  # by the code that gave the buffer or the value
                return self._closed_code()
            part.data = cython.cast(cython.pointer(cython.const[uint8_t]), view.buf)
            part.length = view.len
            return self._append(cython.address(part), 1, part.length, reserved)
        finally:
            PyBuffer_Release(cython.address(view))

    def _check_length(self, length):
        if length > self.log.max_message_length:
            raise ValueError(
                f"message of {length} bytes on {self.channel} stream {self.stream_id}: the largest "
                f"is {self.log.max_message_length} (an eighth of the term length, at most 16 MiB); "
                "split it, or raise term-length"
            )
        return 0

    def _offer_parts(self, buffers, reserved):
        count: cython.Py_ssize_t = len(buffers)
        views: cython.pointer(Py_buffer) = cython.cast(
            cython.pointer(Py_buffer), malloc(max(count, 1) * cython.sizeof(Py_buffer))
        )
        parts: cython.pointer(Part) = cython.cast(
            cython.pointer(Part), malloc((count + 1) * cython.sizeof(Part))
        )
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
                    parts[used].data = cython.cast(
                        cython.pointer(cython.const[uint8_t]), views[index].buf
                    )
                    parts[used].length = views[index].len
                    total += views[index].len
                    used += 1
            self._check_length(total)
            if self.closed:
                return self._closed_code()
            return self._append(parts, used, total, reserved)
        finally:
            for index in range(held):
                PyBuffer_Release(cython.address(views[index]))
            free(views)
            free(parts)

    def try_claim(self, length: int) -> object:
        """Reserve `length` payload bytes to be written in place.

        Returns a `BufferClaim`, or a negative code as of `offer`. The claim must be committed or
        aborted soon: until then it holds back every subscriber. Raises `ValueError` unless
        `length` is in 0..`max_payload_length`.
        """
        if not isinstance(length, int):
            raise TypeError(f"length={length!r} must be an int")
        if not 0 <= length <= self.log.max_payload_length:
            raise ValueError(
                f"length={length} must be in 0..{self.log.max_payload_length} "
                "(the MTU less the 32-byte header)"
            )
        if self.closed:
            return self._closed_code()
        frame: cython.pointer(uint8_t)
        limit: int64_t = load_acquire_i64(self.limit_address)
        log: cython.pointer(Log) = cython.address(self.log)
        position: int64_t
        if self.exclusive:
            position = exclusive_claim(
                log, cython.address(self.state), limit, length, cython.address(frame)
            )
        else:
            position = concurrent_claim(log, limit, length, cython.address(frame))
        if position < 0:
            return position
        return new_claim(self.log_buffer, frame, length, position)

    def send(self, message, timeout: float | None = 5.0, reserved_value=0) -> int:
        """`offer` until it is taken, through back pressure and while nobody is connected.

        Returns the position. Raises `TimedOutError` after `timeout` seconds of back pressure
        (None: wait for ever), `NotConnectedError` if nobody was connected at the end of it,
        `ClosedError`, `MaxPositionExceededError`.
        """
        attempts = 0
        deadline = 0.0
        while True:
            position = self.offer(message, reserved_value)
            if position > 0:
                return position
            if position == CLOSED:
                self._check_open()
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
                raise TimedOutError(
                    f"subscribers of {self.channel} stream {self.stream_id} did not make room "
                    f"within {timeout} s"
                )
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
        return log_producer_position(cython.address(self.log))

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
        """Where the stream is full: 2^31 terms."""
        return cython.cast(int64_t, self.log.term_length) << 31

    @property
    def term_length(self) -> int:
        """Bytes of a term."""
        return self.log.term_length

    @property
    def position_bits_to_shift(self) -> int:
        """log2 of the term length."""
        return self.log.position_bits

    @property
    def initial_term_id(self) -> int:
        return self.log.initial_term_id

    @property
    def is_original(self) -> bool:
        """True unless somebody else had added the same publication before."""
        return self.registration_id == self.original_registration_id

    @property
    def channel_status(self) -> int:
        """1 active, 0 initialising, -1 errored or closed, 2 closing; always 1 for IPC."""
        if self.closed:
            return -1
        return self.conductor.channel_status(self.channel_status_id, self.status_registration_id)

    @property
    def local_socket_addresses(self) -> list:
        """Addresses the channel's sockets are bound to."""
        if self.closed:
            return []
        return self.conductor.local_socket_addresses(
            self.channel_status_id, self.status_registration_id
        )

    def _check_open(self):
        if self.closed:
            self._closed_code()
            reason = None if self.conductor is None else self.conductor.closed
            why = "" if reason is None else f": {reason}"
            raise ClosedError(
                f"the publication on {self.channel} stream {self.stream_id} is closed{why}"
            )

    def add_destination(self, channel: str) -> int:
        """Add a destination to a `control-mode=manual` publication; its registration id.

        Raises `RegistrationError`, `DriverTimeoutError`, `ClosedError`.
        """
        self._check_open()
        return self.conductor.destination(self, "add_destination", channel)

    def remove_destination(self, destination) -> None:
        """Take a destination away, named by its channel or its registration id.

        A driver need not answer when there is none of that id: then `DriverTimeoutError`.
        """
        self._check_open()
        self.conductor.destination(self, "remove_destination", destination)

    def async_add_destination(self, channel: str) -> int:
        """Ask only; `Client.poll_async` with the number returned says when it is done."""
        self._check_open()
        return self.conductor.submit_destination(self, "add_destination", channel)

    def async_remove_destination(self, destination) -> int:
        """Ask only; `Client.poll_async` with the number returned says when it is done."""
        self._check_open()
        return self.conductor.submit_destination(self, "remove_destination", destination)

    def close(self) -> None:
        """Give the publication back. Again does nothing. Offers from now on return CLOSED.

        Subscribers still get what was written, within the driver's linger timeout.
        """
        if not self.closed:
            self.closed = True
            self.conductor.release_publication(self, self.revoking)

    def _close(self):
        self.closed = True

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __repr__(self):
        state = "closed"
        if not self.closed:
            connected = "connected" if self.is_connected else "not connected"
            state = f"at {self.position}, {connected}"
        return (
            f"{type(self).__name__}({self.channel!r}, stream {self.stream_id}, "
            f"session {self.session_id}, {state})"
        )


class Publication(_PublicationBase):
    """A publication that any number of threads, here and in other clients, may share."""


class ExclusivePublication(_PublicationBase):
    """A publication with one writer, which makes it faster. Not thread-safe."""

    def append_padding(self, length: int) -> int:
        """Write `length` bytes that no subscriber is handed; the position or a code of `offer`."""
        if not isinstance(length, int):
            raise TypeError(f"length={length!r} must be an int")
        if self.closed:
            return self._closed_code()
        if length < 0 or length > self.log.max_message_length:
            raise ValueError(f"length={length} must be in 0..{self.log.max_message_length}")
        limit: int64_t = load_acquire_i64(self.limit_address)
        return exclusive_append_padding(
            cython.address(self.log), cython.address(self.state), limit, length
        )

    def offer_block(self, block) -> int:
        """Append complete frames, headers included, that continue exactly here.

        Returns the position or a code of `offer`. Only the first header is checked; `ValueError`
        if it does not continue this stream, or if the block is not a multiple of 32 bytes that
        fits the rest of the term.
        """
        if self.closed:
            return self._closed_code()
        view: Py_buffer
        PyObject_GetBuffer(block, cython.address(view), PyBUF_SIMPLE)
        try:
            if self.closed:
                return self._closed_code()
            log: cython.pointer(Log) = cython.address(self.log)
            limit: int64_t = load_acquire_i64(self.limit_address)
            code: int64_t
            if self.state.term_offset >= log.term_length:
                # At the end of a term nothing fits: asking for more makes the next term current.
                code = exclusive_append_padding(log, cython.address(self.state), limit, 0)
                if self.state.term_offset >= log.term_length:
                    return code
            rest: int64_t = log.term_length - self.state.term_offset
            if view.len < DATA_HEADER_LENGTH or view.len % 32 or view.len > rest:
                raise ValueError(
                    f"block of {view.len} bytes: a multiple of 32 that fits the rest of the term "
                    f"({rest}) is needed"
                )
            first: cython.pointer(DataHeader) = cython.cast(cython.pointer(DataHeader), view.buf)
            found = (
                first.term_offset, first.session_id, first.stream_id, first.term_id, first.type
            )
            wanted = (
                self.state.term_offset, self.session_id, self.stream_id, self.state.term_id,
                TYPE_DATA,
            )
            if found != wanted:
                raise ValueError(
                    "the block's first frame does not continue this stream: term offset, session, "
                    f"stream, term id and type are {found}, {wanted} is needed"
                )
            return exclusive_offer_block(
                log,
                cython.address(self.state),
                limit,
                cython.cast(cython.pointer(cython.const[uint8_t]), view.buf),
                cython.cast(int32_t, view.len),
            )
        finally:
            PyBuffer_Release(cython.address(view))

    def revoke_on_close(self) -> None:
        """Make the next `close` a `revoke`."""
        self.revoking = True

    def revoke(self) -> None:
        """Close at once: subscribers lose what they have not consumed."""
        self.revoking = True
        self.close()
