"""An image: one publisher's stream as one subscription sees it.

Poll walks the frames of the current term from the subscriber position, loading each length with acquire, and stores
the position with release when it is done, exception or not. One thread polls an image at a time.
"""

from __future__ import annotations

import cython
from cython.cimports.cpython.ref import Py_REFCNT
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t
from cython.cimports.pillion.client.fragment import FragmentBuffer, Header
from cython.cimports.pillion.memory.atomics import (
    load_acquire_i32,
    load_acquire_i64,
    load_acquire_u8,
    load_plain_i64,
    store_release_i64,
)
from cython.cimports.pillion.memory.log_buffer import LogBuffer, partition_of_position
from cython.cimports.pillion.protocol.frames import DATA_HEADER_LENGTH, TYPE_PAD, DataHeader, align_frame

from pillion.errors import ClosedError, PillionError

if not cython.compiled:
    raise ImportError("pillion.client.image must be compiled: run `pip install .`")

#: What a controlled handler returns (None counts as CONTINUE).
ABORT = 1
BREAK = 2
COMMIT = 3
CONTINUE = 4

_NO_LIMIT = cython.declare(int64_t, 9223372036854775807)


class Image:
    """Made by the client when the driver announces it; see `Subscription.images`. One thread polls it at a time."""

    def __init__(self, log_buffer: LogBuffer, counters, position_id: int, correlation_id: int, subscription,
                 subscription_registration_id: int, source_identity: str):
        self.log_buffer = log_buffer
        self.log = cython.address(log_buffer.log)
        self.counters = counters
        self.position_address = self.counters.value_address(position_id)
        if self.position_address == cython.NULL:
            raise ValueError(f"position counter id {position_id} is outside the counters of the driver")
        self.correlation_id = correlation_id
        self.subscription = subscription
        self.subscription_registration_id = subscription_registration_id
        self.session_id = self.log.session_id
        self.stream_id = self.log.stream_id
        self.subscriber_position_id = position_id
        self.source_identity = source_identity
        self.join_position = load_acquire_i64(self.position_address)
        self.final_position = self.join_position
        self.closed = False
        self.polling = False

    def _enter(self):
        if self.polling:
            raise PillionError("this image is being polled already, by its own handler or another thread: "
                               "one poll at a time")
        self.polling = True
        return 0

    def _store(self, position):
        # The counter belongs to us until we are closed; after that the driver may reuse it.
        if not self.closed:
            store_release_i64(self.position_address, position)

    def _prepare(self, frame, length):
        """Point buffer and header at a frame; fresh ones if the handler kept the last."""
        if self.buffer is None or Py_REFCNT(self.buffer) > 1:
            self.buffer = FragmentBuffer.__new__(FragmentBuffer)
            self.buffer.owner = self.log_buffer
        if self.header is None or Py_REFCNT(self.header) > 1:
            self.header = Header.__new__(Header)
            self.header.owner = self.log_buffer
            self.header.context = self
            self.header.position_bits = self.log.position_bits
            self.header.initial_term_id = self.log.initial_term_id
            self.header.flags_override = -1
        self.buffer.data = frame + DATA_HEADER_LENGTH
        self.buffer.length = length - DATA_HEADER_LENGTH
        self.header.frame = cython.cast(cython.pointer(cython.const[DataHeader]), frame)
        return 0

    def poll(self, handler, fragment_limit=10):
        """Deliver up to `fragment_limit` fragments to `handler(buffer, header)`; how many were.

        An exception of the handler leaves the position behind the fragment that raised it. A closed image gives 0.
        """
        return self._walk(handler, fragment_limit, _NO_LIMIT, False)

    def bounded_poll(self, handler, limit_position: int, fragment_limit: int = 10) -> int:
        """As `poll`, but no fragment that ends beyond `limit_position`."""
        return self._walk(handler, fragment_limit, limit_position, False)

    def controlled_poll(self, handler, fragment_limit: int = 10) -> int:
        """As `poll`, where the handler returns ABORT (not taken, again next time), BREAK, COMMIT or CONTINUE (or None)."""
        return self._walk(handler, fragment_limit, _NO_LIMIT, True)

    def bounded_controlled_poll(self, handler, limit_position: int, fragment_limit: int = 10) -> int:
        """`controlled_poll` and `bounded_poll` in one."""
        return self._walk(handler, fragment_limit, limit_position, True)

    def _walk(self, handler, limit, limit_position, controlled):
        if self.closed:
            return 0
        position: int64_t = load_plain_i64(self.position_address)
        if position < 0 or position % 32:
            raise PillionError(f"subscriber position {position} of image {self.correlation_id} is corrupt")
        term_length: int64_t = self.log.term_length
        start: int64_t = position & (term_length - 1)
        term: cython.pointer(uint8_t) = self.log.terms[partition_of_position(position, self.log.position_bits)]
        if load_acquire_i32(term + start) <= 0:
            return 0                                # nothing there: the common case of an idle stream
        self._enter()
        offset: int64_t = start
        count: cython.int = 0
        length: int64_t
        aligned: int64_t
        try:
            while count < limit and offset < term_length:
                length = load_acquire_i32(term + offset)
                if length <= 0:
                    break
                aligned = align_frame(length)
                if aligned > term_length - offset:
                    raise PillionError(f"frame of {length} bytes at term offset {offset} leads out of its term: "
                                       f"the log of image {self.correlation_id} is corrupt")
                if position - start + offset + aligned > limit_position:
                    break
                offset += aligned
                if cython.cast(cython.pointer(DataHeader), term + offset - aligned).type == TYPE_PAD:
                    continue
                if length < DATA_HEADER_LENGTH:
                    raise PillionError(f"frame of {length} bytes at term offset {offset - aligned}: shorter than a header")
                count += 1
                self._prepare(term + offset - aligned, cython.cast(int32_t, length))
                action = handler(self.buffer, self.header)
                if controlled and action is not None and action != CONTINUE:
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
            if offset > start:
                self._store(position - start + offset)
        return count

    def block_poll(self, handler, block_length_limit: int) -> int:
        """Deliver consecutive whole frames, headers included, as one buffer: `handler(buffer, session_id, term_id)`.

        At most `block_length_limit` bytes; a padding frame comes alone. Returns the bytes delivered.
        """
        if self.closed:
            return 0
        self._enter()
        try:
            position: int64_t = load_plain_i64(self.position_address)
            term_length: int64_t = self.log.term_length
            offset: int64_t = position & (term_length - 1)
            term: cython.pointer(uint8_t) = self.log.terms[partition_of_position(position, self.log.position_bits)]
            end: int64_t = offset
            length: int64_t
            aligned: int64_t
            while end < term_length:
                length = load_acquire_i32(term + end)
                aligned = align_frame(length)
                if length <= 0 or aligned > term_length - end:
                    break
                if cython.cast(cython.pointer(DataHeader), term + end).type == TYPE_PAD:
                    if end == offset:
                        end += aligned
                    break
                if end + aligned - offset > block_length_limit:
                    break
                end += aligned
            if end > offset:
                term_id = cython.cast(cython.pointer(DataHeader), term + offset).term_id
                self._prepare(term + offset, cython.cast(int32_t, end - offset))
                self.buffer.data = term + offset
                self.buffer.length = end - offset
                try:
                    handler(self.buffer, self.session_id, term_id)
                finally:
                    self._store(position + end - offset)
            return end - offset
        finally:
            self.polling = False

    @property
    def position(self) -> int:
        """Position this subscriber has consumed to; the last one for a closed image."""
        return self.final_position if self.closed else load_plain_i64(self.position_address)

    @position.setter
    def position(self, value: int):
        if self.closed:
            raise ClosedError("the image is closed")
        current: int64_t = load_plain_i64(self.position_address)
        end: int64_t = (current - (current & (self.log.term_length - 1))) + self.log.term_length
        if value % 32 or not current <= value <= end:
            raise ValueError(f"position={value} must be a multiple of 32 in {current}..{end}")
        self._store(value)

    @property
    def is_closed(self) -> bool:
        return self.closed

    @property
    def is_end_of_stream(self) -> bool:
        """True once everything of a finished stream was consumed."""
        if self.closed:
            return self.final_eos
        return load_plain_i64(self.position_address) >= load_acquire_i64(
            cython.address(self.log.metadata.end_of_stream_position))

    @property
    def end_of_stream_position(self) -> int:
        """Where the stream ends; 2^63-1 while it has not."""
        return load_acquire_i64(cython.address(self.log.metadata.end_of_stream_position))

    @property
    def is_publication_revoked(self) -> bool:
        return load_acquire_u8(cython.address(self.log.metadata.is_publication_revoked)) != 0

    @property
    def active_transport_count(self) -> int:
        return load_acquire_i32(cython.address(self.log.metadata.active_transport_count))

    @property
    def term_length(self) -> int:
        """Bytes of a term."""
        return self.log.term_length

    @property
    def mtu_length(self) -> int:
        return self.log.mtu_length

    @property
    def initial_term_id(self) -> int:
        return self.log.initial_term_id

    def reject(self, reason: str) -> None:
        """Ask the driver to drop this image and to tell the publisher why. `reason` up to 1023 bytes."""
        if self.closed:
            raise ClosedError("the image is closed")
        self.subscription._reject_image(self.correlation_id, self.position, reason)

    def _close(self):
        """By the conductor: the image is gone or the subscription was closed. Never touches the position again."""
        if not self.closed:
            self.final_position = load_plain_i64(self.position_address)
            self.final_eos = self.final_position >= load_acquire_i64(
                cython.address(self.log.metadata.end_of_stream_position))
            self.closed = True

    def __repr__(self):
        state = "closed" if self.closed else f"at {self.position}"
        return f"Image(session {self.session_id}, stream {self.stream_id}, from {self.source_identity}, {state})"
