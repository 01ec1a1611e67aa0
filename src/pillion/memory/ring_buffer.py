"""The to-driver ring buffer: many producers in many processes, one consumer (the driver's conductor).

Invariant: everything between head and tail that no producer has written yet is zero, because the consumer zeroes what
it has read before it publishes the new head. The length word of a record commits it. Every word here can be written by
another process, so indices are masked to whole records and lengths checked against the ring before they are used.
"""

from __future__ import annotations

import cython
from cython.cimports.cpython.buffer import PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.pillion.memory.assertions import pillion_assert
from cython.cimports.pillion.memory.atomics import (
    cas_i64,
    fence_release,
    load_acquire_i32,
    load_acquire_i64,
    store_plain_i32,
    store_release_i32,
    store_release_i64,
    xadd_i64,
)
from cython.cimports.pillion.memory.mapped_file import MappedFile
from cython.cimports.pillion.protocol.layouts import (
    PADDING_TYPE_ID,
    RECORD_HEADER_LENGTH,
    RING_TRAILER_LENGTH,
    RingTrailer,
)

if not cython.compiled:
    raise ImportError("pillion.memory.ring_buffer must be compiled: run `pip install .`")


class ManyToOneRingBuffer:
    """Ring over `length` bytes at `offset` of a mapped file; `length` = power of two + 768 bytes of trailer."""

    def __init__(self, owner: MappedFile, offset: int, length: int):
        capacity: int64_t = length - RING_TRAILER_LENGTH
        if capacity < 8 or capacity & (capacity - 1):
            raise ValueError(f"ring length={length} is not a power of two + {RING_TRAILER_LENGTH}")
        if offset < 0 or offset % 8 or offset + length > owner.length:
            raise ValueError(f"ring of {length} bytes at {offset} does not fit {owner!r}")
        self.owner = owner
        self.buffer = owner.address + cython.cast(int64_t, offset)
        self.trailer = cython.cast(cython.pointer(RingTrailer), self.buffer + capacity)
        self.capacity = capacity
        # Positions are multiples of 8; the mask makes sure of it, whatever another process has stored.
        self.mask = (capacity - 1) & ~7
        self.max_message_length = capacity // 8

    def has_work(self):
        # As `read_one` sees it: a tail that leads away from the head, whoever stored it, is no command yet.
        return self.is_claimed() and load_acquire_i32(self.buffer + (self.trailer.head_position & self.mask)) > 0

    def is_claimed(self):
        """A hint for any thread: a producer has claimed what the consumer has not passed. Looks at no record."""
        head: int64_t = load_acquire_i64(cython.address(self.trailer.head_position))
        return load_acquire_i64(cython.address(self.trailer.tail_position)) - head > 0

    def _claim(self, need):
        mask: int64_t = self.mask
        head: int64_t = load_acquire_i64(cython.address(self.trailer.head_cache_position))
        tail: int64_t
        padding: int64_t
        index: int64_t
        while True:
            tail = load_acquire_i64(cython.address(self.trailer.tail_position))
            if need > self.capacity - (tail - head):
                head = load_acquire_i64(cython.address(self.trailer.head_position))
                if need > self.capacity - (tail - head):
                    return -1
                store_release_i64(cython.address(self.trailer.head_cache_position), head)
            padding = 0
            index = tail & mask
            if need > self.capacity - index:
                if need > (head & mask):
                    head = load_acquire_i64(cython.address(self.trailer.head_position))
                    if need > (head & mask):
                        return -1
                    store_release_i64(cython.address(self.trailer.head_cache_position), head)
                padding = self.capacity - index
            if cas_i64(cython.address(self.trailer.tail_position), tail, tail + need + padding):
                break
        if padding:
            # Negative first: a producer that dies here leaves a record that unblocking can recognise.
            store_release_i32(self.buffer + index, cython.cast(int32_t, -padding))
            store_plain_i32(self.buffer + index + 4, PADDING_TYPE_ID)
            store_release_i32(self.buffer + index, cython.cast(int32_t, padding))
            index = 0
        pillion_assert(index + need <= self.capacity, b"a command is claimed inside the ring")
        return index

    def write(self, type_id: int, message) -> bool:
        """Append one message; False when the ring is full. Safe from any thread and process.

        Raises `ValueError` for a type id below 1 or a message above `max_message_length` bytes.
        """
        view: Py_buffer
        kind: int32_t = type_id
        self.owner.check_writable()
        if kind < 1:
            raise ValueError(f"message type id {kind} is below 1")
        PyObject_GetBuffer(message, cython.address(view), PyBUF_SIMPLE)
        try:
            length: int64_t = view.len
            if length > self.max_message_length:
                raise ValueError(f"message of {length} bytes, the ring takes {self.max_message_length}")
            index: int64_t = self._claim((length + RECORD_HEADER_LENGTH + 7) & ~7)
            if index < 0:
                return False
            record: cython.pointer(uint8_t) = self.buffer + index
            store_release_i32(record, cython.cast(int32_t, -(length + RECORD_HEADER_LENGTH)))
            # The negative length is visible before any byte: unblocking must not take the bytes for another record.
            fence_release()
            memcpy(record + RECORD_HEADER_LENGTH, view.buf, length)
            store_plain_i32(record + 4, kind)
            # Release: whoever sees the positive length sees type and bytes.
            store_release_i32(record, cython.cast(int32_t, length + RECORD_HEADER_LENGTH))
        finally:
            PyBuffer_Release(cython.address(view))
        return True

    def read_one(self):
        """The next message as `(type_id, bytes)`, or None. Consumer only.

        A record whose length leads outside the ring (a hostile or broken producer) is skipped to the end of what is
        claimed and reported as type 0, so that it cannot stop the driver. One call steps over at most one ring of
        padding.
        """
        passed: int64_t = 0
        self.owner.check_writable()
        while passed < self.capacity:
            head: int64_t = self.trailer.head_position
            index: int64_t = head & self.mask
            record: cython.pointer(uint8_t) = self.buffer + index
            length: int64_t = load_acquire_i32(record)
            if length <= 0:
                return None
            # A producer moves the tail before it stores a length, so a length beyond the tail is nobody's.
            claimed: int64_t = load_acquire_i64(cython.address(self.trailer.tail_position)) - head
            if claimed <= 0:
                return None
            taken: int64_t = (length + 7) & ~7
            kind: int32_t = cython.cast(cython.pointer(int32_t), record)[1]
            if length < RECORD_HEADER_LENGTH or taken > self.capacity - index or taken > claimed:
                taken = min(max(claimed & ~7, 8), self.capacity - index)
                result = (0, b"")
            elif kind == PADDING_TYPE_ID:
                result = None
            else:
                result = (kind, record[RECORD_HEADER_LENGTH:length])
            pillion_assert(taken >= 8, b"the consumer moves on")
            pillion_assert(index + taken <= self.capacity, b"what is zeroed is inside the ring")
            memset(record, 0, taken)
            # Release after zeroing: a producer that sees the new head finds zeros.
            store_release_i64(cython.address(self.trailer.head_position), head + taken)
            if result is not None:
                return result
            passed += taken
        return None

    def next_correlation_id(self) -> int:
        """A number no other client, command or image of this driver has."""
        self.owner.check_writable()
        return xadd_i64(cython.address(self.trailer.correlation_counter), 1)

    @property
    def consumer_heartbeat_ms(self) -> int:
        """When the driver last said it lives, ms since the epoch; 0 not yet, -1 shut down."""
        return load_acquire_i64(cython.address(self.trailer.consumer_heartbeat_ms))

    @consumer_heartbeat_ms.setter
    def consumer_heartbeat_ms(self, now_ms: int):
        self.owner.check_writable()
        store_release_i64(cython.address(self.trailer.consumer_heartbeat_ms), now_ms)

    @property
    def head_position(self) -> int:
        return load_acquire_i64(cython.address(self.trailer.head_position))

    @property
    def tail_position(self) -> int:
        return load_acquire_i64(cython.address(self.trailer.tail_position))

    def unblock(self) -> bool:
        """Turn the record a dead producer left at the head into padding. Consumer only; True if it did.

        To be called when the head has stood still, with the tail beyond it, for longer than a living producer takes.
        """
        self.owner.check_writable()
        head: int64_t = load_acquire_i64(cython.address(self.trailer.head_position))
        tail: int64_t = load_acquire_i64(cython.address(self.trailer.tail_position))
        claimed: int64_t = tail - head
        if claimed <= 0:
            return False
        start: int64_t = head & self.mask
        to_end: int64_t = self.capacity - start
        length: int64_t = load_acquire_i32(self.buffer + start)
        if length < 0:
            # Never beyond the ring or what is claimed: the length may be anybody's.
            self._pad(start, max(min(-length, claimed, to_end), RECORD_HEADER_LENGTH))
            return True
        if length > 0:
            return False
        limit: int64_t = start + claimed if claimed < to_end else self.capacity
        i: int64_t = self._next_non_zero(start + 8, limit)
        if i < limit:
            # Look back: a producer that was only slow may have written meanwhile.
            if self._next_non_zero(start, i) < i:
                return False
            self._pad(start, i - start)
            return True
        # All zero to the end of the ring, and somebody has written behind it: records never cross the end, so what is
        # missing ends there (a producer that died between its claim and its padding).
        if claimed > to_end and self._next_non_zero(0, min(claimed - to_end, start)) < min(claimed - to_end, start):
            if self._next_non_zero(start, self.capacity) < self.capacity:
                return False
            self._pad(start, to_end)
            return True
        return False

    def _next_non_zero(self, i, limit):
        """The first index from `i` on, in steps of 8 below `limit`, whose word is not zero; else `limit` or more."""
        while i < limit and load_acquire_i32(self.buffer + i) == 0:
            i += 8
        return i

    def _pad(self, index, length):
        pillion_assert(length >= RECORD_HEADER_LENGTH, b"padding has a header")
        pillion_assert(index + length <= self.capacity, b"padding ends in the ring")
        store_plain_i32(self.buffer + index + 4, PADDING_TYPE_ID)
        store_release_i32(self.buffer + index, cython.cast(int32_t, length))
