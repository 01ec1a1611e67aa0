# cython: auto_pickle=False
"""An image: one publisher's stream as one subscription sees it.

Poll walks the frames of the current term from the subscriber position, loading each length with
acquire, and stores the position with release when it is done, exception or not. One thread polls an
image at a time. The position counter is ours only while the image is open: the driver gives a freed
counter to somebody else, so one whose registration id has changed is neither read nor written, and there is nothing to
poll until the client hears that the image is gone.
"""

from __future__ import annotations

import cython
from cython.cimports.libc.stdint import int64_t, uint8_t
from cython.cimports.pillion.client.fragment import FragmentBuffer, Header
from cython.cimports.pillion.client.reuse import PyVectorcall_Function, call_two, is_held_by_more, vectorcallfunc
from cython.cimports.pillion.memory.assertions import pillion_assert
from cython.cimports.pillion.memory.atomics import (
    load_acquire_i32,
    load_acquire_i64,
    load_acquire_u8,
    load_plain_i64,
    store_release_i64,
)
from cython.cimports.pillion.memory.counters import CountersReader
from cython.cimports.pillion.memory.log_buffer import LogBuffer, partition_of_position
from cython.cimports.pillion.protocol.frames import (
    DATA_HEADER_LENGTH,
    TYPE_PAD,
    DataHeader,
    align_frame,
)
from cython.cimports.pillion.protocol.layouts import CounterValue

from pillion.errors import ClosedError, PillionError

if not cython.compiled:
    raise ImportError("pillion.client.image must be compiled: run `pip install .`")

#: What a controlled handler returns (None counts as CONTINUE).
ABORT = 1
BREAK = 2
COMMIT = 3
CONTINUE = 4

_NO_LIMIT = cython.declare(int64_t, 9223372036854775807)


@cython.cfunc
@cython.exceptval(-1)
def _action_of(action: object) -> cython.int:
    if action is None:
        return CONTINUE
    # True is 1, and who returns it does not mean ABORT.
    if isinstance(action, int) and not isinstance(action, bool) and ABORT <= action <= CONTINUE:
        return action
    raise ValueError(
        f"a controlled handler returned {action!r}: ABORT, BREAK, COMMIT, CONTINUE or None is needed"
    )


def new_image(
    log_buffer: LogBuffer,
    counters: CountersReader,
    position_id: int,
    correlation_id: int,
    subscription: object,
    source_identity: str,
) -> Image:
    """The image the driver has announced. Raises `ValueError` for a position counter out of range."""
    if log_buffer.log.metadata == cython.NULL:
        raise ValueError("the log is not mapped")
    self: Image = Image.__new__(Image)
    self.position_address = counters.value_address(position_id)
    if self.position_address == cython.NULL:
        raise ValueError(
            f"position counter id {position_id} is outside the counters of the driver"
        )
    self.position_registration_id = counters.registration_id(position_id)
    self.log_buffer = log_buffer
    self.log = log_buffer.log
    self.counters_file = counters.owner
    self.correlation_id = correlation_id
    self.subscription = subscription
    self.subscription_registration_id = subscription.registration_id
    self.session_id = self.log.session_id
    self.stream_id = self.log.stream_id
    self.subscriber_position_id = position_id
    self.source_identity = source_identity
    self.join_position = load_acquire_i64(self.position_address)
    self.final_position = self.join_position
    self.closed = False
    return self


class Image:
    """Made by the client when the driver announces it; see `Subscription.images`.

    One thread polls it at a time; everything else is for any thread.
    """

    def __cinit__(self, *args, **kwargs):
        self.closed = True
        self.source_identity = ""

    def __init__(self):
        raise TypeError("an Image comes from Subscription.images")

    def _enter(self):
        if self.polling:
            raise PillionError(
                "this image is being polled already, by its own handler or another thread: "
                "one poll at a time"
            )
        self.polling = True
        return 0

    @cython.final
    def _is_ours(self):
        """Whether the position counter is still this image's, and was not freed and given to somebody else."""
        return self.position_registration_id == load_acquire_i64(
            cython.address(cython.cast(cython.pointer(CounterValue), self.position_address).registration_id)
        )

    def _position(self):
        position: int64_t = load_plain_i64(self.position_address)
        if position < 0 or position & 31:
            raise PillionError(
                f"subscriber position {position} of image {self.correlation_id} is corrupt"
            )
        return position

    def _store(self, position):
        if not self.closed and self._is_ours():
            self.final_position = position
            # Release: what was read before is read before the driver may overwrite it.
            store_release_i64(self.position_address, position)

    def _new_buffer(self):
        self.buffer = FragmentBuffer.__new__(FragmentBuffer)
        self.buffer.owner = self.log_buffer
        return self.buffer

    def _new_header(self):
        self.header = Header.__new__(Header)
        self.header.owner = self.log_buffer
        self.header.context = self
        self.header.position_bits = self.log.position_bits
        self.header.initial_term_id = self.log.initial_term_id
        self.header.fragmented_frame_length = -1
        self.header.end_term_offset = -1
        return self.header

    @cython.binding(False)
    @cython.embedsignature.format('clinic')
    def poll(self, handler, fragment_limit: cython.int = 10):
        """Deliver up to `fragment_limit` fragments to `handler(buffer, header)`; how many were.

        An exception of the handler leaves the position behind the fragment that raised it. A
        closed image gives 0. Raises `TypeError` if `handler` cannot be called.
        """
        return self.walk(handler, fragment_limit, _NO_LIMIT, False)

    def bounded_poll(self, handler, limit_position: int, fragment_limit: int = 10) -> int:
        """As `poll`, but no fragment that begins at or beyond stream position `limit_position`."""
        return self.walk(handler, fragment_limit, limit_position, False)

    def controlled_poll(self, handler, fragment_limit: int = 10) -> int:
        """As `poll`, with a handler that returns what comes next.

        ABORT: not taken, stop, the same again next time. BREAK: taken, stop. COMMIT: taken, go on,
        and tell the publisher now. CONTINUE or None: taken, go on. An aborted fragment is not
        counted. Raises `ValueError` for anything else.
        """
        return self.walk(handler, fragment_limit, _NO_LIMIT, True)

    def bounded_controlled_poll(
        self, handler, limit_position: int, fragment_limit: int = 10
    ) -> int:
        """`controlled_poll` and `bounded_poll` in one."""
        return self.walk(handler, fragment_limit, limit_position, True)

    def walk(self, handler, limit, limit_position, controlled):
        if not callable(handler):
            raise TypeError(f"handler {handler!r} is not callable")
        if self.closed or not self._is_ours():
            return 0
        position: int64_t = self._position()
        term_length: int64_t = self.log.term_length
        start: int64_t = position & (term_length - 1)
        term: cython.pointer(uint8_t) = self.log.terms[
            partition_of_position(position, self.log.position_bits)
        ]
        if load_acquire_i32(term + start) <= 0:
            return 0  # nothing there: the common case of an idle stream
        if limit_position <= position:
            return 0
        end: int64_t = term_length
        if limit_position - position < term_length - start:
            end = start + (limit_position - position)
        offset: int64_t = start
        count: cython.int = 0
        length: int64_t
        aligned: int64_t
        action: cython.int
        frame: cython.pointer(uint8_t)
        call: vectorcallfunc = PyVectorcall_Function(handler)
        buffer: FragmentBuffer = self._new_buffer() if self.buffer is None else self.buffer
        header: Header = self._new_header() if self.header is None else self.header
        self._enter()
        try:
            while count < limit and offset < end:
                length = load_acquire_i32(term + offset)
                if length <= 0:
                    break
                aligned = align_frame(length)
                if aligned > term_length - offset:
                    raise PillionError(
                        f"frame of {length} bytes at term offset {offset} leads out of its term: "
                        f"the log of image {self.correlation_id} is corrupt"
                    )
                frame = term + offset
                offset += aligned
                if cython.cast(cython.pointer(DataHeader), frame).type == TYPE_PAD:
                    continue
                if length < DATA_HEADER_LENGTH:
                    raise PillionError(
                        f"frame of {length} bytes at term offset {offset - aligned}: "
                        "shorter than a header"
                    )
                count += 1
                pillion_assert(length <= term_length - (offset - aligned), b"a fragment ends in its term")
                # The image and this frame hold them. Who else does keeps what it has: fresh ones then.
                if is_held_by_more(cython.cast(cython.p_void, buffer), 2):
                    buffer = self._new_buffer()
                if is_held_by_more(cython.cast(cython.p_void, header), 2):
                    header = self._new_header()
                buffer.data = frame + DATA_HEADER_LENGTH
                buffer.length = length - DATA_HEADER_LENGTH
                header.frame = cython.cast(cython.pointer(cython.const[DataHeader]), frame)
                result = call_two(call, handler, buffer, header)
                if controlled and result is not None:
                    action = _action_of(result)
                    if action == ABORT:
                        offset -= aligned
                        count -= 1
                        break
                    if action == BREAK:
                        break
                    if action == COMMIT:
                        self._store(position - start + offset)
                if self.closed:
                    break
        finally:
            self.polling = False
            pillion_assert(offset <= term_length, b"a poll stays in its term")
            if offset > start:
                self._store(position - start + offset)
        return count

    def block_poll(self, handler, block_length_limit: int) -> int:
        """Deliver consecutive whole frames as one buffer: `handler(buffer, session_id, term_id)`.

        The buffer includes the frames' headers and has up to `block_length_limit` bytes; a
        padding frame comes alone. Returns the bytes delivered, 0 for a closed image.
        """
        limit: int64_t = block_length_limit
        if not callable(handler):
            raise TypeError(f"handler {handler!r} is not callable")
        if self.closed or not self._is_ours():
            return 0
        position: int64_t = self._position()
        term_length: int64_t = self.log.term_length
        start: int64_t = position & (term_length - 1)
        term: cython.pointer(uint8_t) = self.log.terms[
            partition_of_position(position, self.log.position_bits)
        ]
        end: int64_t = start
        length: int64_t
        aligned: int64_t
        while end < term_length:
            length = load_acquire_i32(term + end)
            aligned = align_frame(length)
            if length <= 0 or aligned > term_length - end:
                break
            if cython.cast(cython.pointer(DataHeader), term + end).type == TYPE_PAD:
                if end == start:
                    end += aligned
                break
            if end + aligned - start > limit:
                break
            end += aligned
        if end == start:
            return 0
        self._enter()
        try:
            block: FragmentBuffer = FragmentBuffer.__new__(FragmentBuffer)
            block.owner = self.log_buffer
            block.data = term + start
            block.length = end - start
            handler(
                block,
                self.session_id,
                cython.cast(cython.pointer(DataHeader), term + start).term_id,
            )
        finally:
            self.polling = False
            self._store(position + end - start)
        return end - start

    @property
    def position(self) -> int:
        """Position this subscriber has consumed to; the last one for a closed image."""
        if self.closed or not self._is_ours():
            return self.final_position
        return load_plain_i64(self.position_address)

    @position.setter
    def position(self, value: int):
        if self.closed or not self._is_ours():
            raise ClosedError("the image is closed")
        current: int64_t = self._position()
        end: int64_t = (current | (self.log.term_length - 1)) + 1
        if value % 32 or not current <= value <= end:
            raise ValueError(f"position={value} must be a multiple of 32 in {current}..{end}")
        self._store(value)

    @property
    def is_closed(self) -> bool:
        """True once the publisher is gone or the subscription was closed."""
        return self.closed

    @property
    def is_end_of_stream(self) -> bool:
        """True once everything of a finished stream was consumed."""
        return self.final_eos if self.closed else self.position >= self.end_of_stream_position

    @property
    def end_of_stream_position(self) -> int:
        """Where the stream ends; 2^63-1 while it has not."""
        if self.closed:
            return self.final_eos_position
        return load_acquire_i64(cython.address(self.log.metadata.end_of_stream_position))

    @property
    def is_publication_revoked(self) -> bool:
        """True if the publisher took back what was not consumed."""
        if self.closed:
            return self.final_revoked
        return load_acquire_u8(cython.address(self.log.metadata.is_publication_revoked)) != 0

    @property
    def active_transport_count(self) -> int:
        """Transports the stream comes in on; 0 for IPC and for a closed image."""
        if self.closed:
            return 0
        return load_acquire_i32(cython.address(self.log.metadata.active_transport_count))

    @property
    def term_length(self) -> int:
        """Bytes of a term."""
        return self.log.term_length

    @property
    def position_bits_to_shift(self) -> int:
        """log2 of the term length."""
        return self.log.position_bits

    @property
    def mtu_length(self) -> int:
        """Bytes of the largest frame."""
        return self.log.mtu_length

    @property
    def initial_term_id(self) -> int:
        return self.log.initial_term_id

    def reject(self, reason: str) -> None:
        """Ask the driver to drop this image and to tell the publisher why.

        `reason` has up to 1023 bytes. Raises `ValueError`, `ClosedError`, `RegistrationError`, and
        `PillionError` for an image of a spy subscription, which cannot reject.
        """
        if not isinstance(reason, str):
            raise TypeError(f"reason={reason!r} must be a str")
        if self.closed:
            raise ClosedError("the image is closed")
        self.subscription._reject_image(self.correlation_id, self.position, reason)

    def _close(self):
        """By the conductor: the image is gone or the subscription was closed."""
        if not self.closed:
            self.final_position = self.position
            self.final_eos_position = self.end_of_stream_position
            self.final_eos = self.final_position >= self.final_eos_position
            self.final_revoked = self.is_publication_revoked
            self.closed = True
            # The header refers to the image: kept, both would wait for the cycle collector.
            self.buffer = None
            self.header = None

    def __repr__(self):
        state = "closed" if self.closed else f"at {self.position}"
        return (
            f"Image(session {self.session_id}, stream {self.stream_id}, "
            f"from {self.source_identity}, {state})"
        )
