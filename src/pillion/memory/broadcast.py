"""The to-clients broadcast buffer: one transmitter (the driver's conductor), any number of receivers.

There is no flow control. A receiver copies a record out and then looks whether the transmitter has meanwhile
announced (tail intent) that it overwrites it: then the copy is worthless and the receiver was lapped.
"""

from __future__ import annotations

import cython
from cython.cimports.cpython.buffer import PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t
from cython.cimports.libc.string import memcpy
from cython.cimports.pillion.memory.assertions import pillion_assert
from cython.cimports.pillion.memory.atomics import (
    fence_acquire,
    fence_release,
    load_acquire_i64,
    load_plain_i32,
    store_plain_i32,
    store_release_i64,
)
from cython.cimports.pillion.memory.mapped_file import MappedFile
from cython.cimports.pillion.protocol.layouts import (
    BROADCAST_TRAILER_LENGTH,
    PADDING_TYPE_ID,
    RECORD_HEADER_LENGTH,
    BroadcastTrailer,
)

from pillion.errors import LappedError

if not cython.compiled:
    raise ImportError("pillion.memory.broadcast must be compiled: run `pip install .`")


@cython.cfunc
def _check(owner: MappedFile, offset: int64_t, length: int64_t) -> int64_t:
    capacity: int64_t = length - BROADCAST_TRAILER_LENGTH
    if capacity < 8 or capacity & (capacity - 1):
        raise ValueError(f"broadcast length={length} is not a power of two + {BROADCAST_TRAILER_LENGTH}")
    if offset < 0 or offset % 8 or offset + length > cython.cast(int64_t, owner.length):
        raise ValueError(f"broadcast buffer of {length} bytes at {offset} does not fit {owner!r}")
    return capacity


class BroadcastTransmitter:
    """The driver's end. One thread at a time."""

    def __init__(self, owner: MappedFile, offset: int, length: int):
        owner.check_writable()
        self.capacity = _check(owner, offset, length)
        self.owner = owner
        self.buffer = owner.address + cython.cast(int64_t, offset)
        self.trailer = cython.cast(cython.pointer(BroadcastTrailer), self.buffer + self.capacity)
        self.max_message_length = self.capacity // 8

    def transmit(self, type_id: int, message) -> None:
        """Publish one message to every client. Raises `ValueError` above `max_message_length` bytes."""
        view: Py_buffer
        kind: int32_t = type_id
        PyObject_GetBuffer(message, cython.address(view), PyBUF_SIMPLE)
        try:
            if view.len > self.max_message_length or kind < 1:
                raise ValueError(f"cannot transmit {view.len} bytes of type {kind}")
            # A multiple of 8 whatever a client has stored there.
            tail: int64_t = self.trailer.tail_counter & ~7
            length: int64_t = view.len + RECORD_HEADER_LENGTH
            aligned: int64_t = (length + 7) & ~7
            offset: int64_t = tail & (self.capacity - 1)
            to_end: int64_t = self.capacity - offset
            if to_end < aligned:
                self._announce(tail + to_end + aligned)
                store_plain_i32(self.buffer + offset + 4, PADDING_TYPE_ID)
                store_plain_i32(self.buffer + offset, cython.cast(int32_t, to_end))
                tail += to_end
                offset = 0
            else:
                self._announce(tail + aligned)
            pillion_assert(offset + aligned <= self.capacity, b"an event is written inside the buffer")
            store_plain_i32(self.buffer + offset, cython.cast(int32_t, length))
            store_plain_i32(self.buffer + offset + 4, kind)
            memcpy(self.buffer + offset + RECORD_HEADER_LENGTH, view.buf, view.len)
            # Release, in this order: who sees the tail sees the record, and a valid `latest` to start from.
            store_release_i64(cython.address(self.trailer.latest_counter), tail)
            store_release_i64(cython.address(self.trailer.tail_counter), tail + aligned)
        finally:
            PyBuffer_Release(cython.address(view))

    def _announce(self, intent: int64_t):
        store_release_i64(cython.address(self.trailer.tail_intent_counter), intent)
        fence_release()         # the intent is visible before the first byte that is overwritten


class BroadcastReceiver:
    """A client's end, with a cursor of its own that starts at the newest message. One thread at a time."""

    def __init__(self, owner: MappedFile, offset: int, length: int):
        self.capacity = _check(owner, offset, length)
        self.owner = owner
        self.buffer = owner.address + cython.cast(int64_t, offset)
        self.trailer = cython.cast(cython.pointer(BroadcastTrailer), self.buffer + self.capacity)
        self.next_record = load_acquire_i64(cython.address(self.trailer.latest_counter))
        self.cursor = self.next_record
        self.lapped_count = 0

    def has_work(self):
        return load_acquire_i64(cython.address(self.trailer.tail_counter)) > self.next_record

    def _is_intact(self) -> cython.bint:
        return self.cursor + self.capacity > load_acquire_i64(cython.address(self.trailer.tail_intent_counter))

    def _lapped(self):
        self.lapped_count += 1
        self.next_record = load_acquire_i64(cython.address(self.trailer.latest_counter))
        raise LappedError(
            f"events of the driver were overwritten before this client read them ({self.lapped_count} times): "
            "run the client's conductor more often, or give the driver a larger to-clients buffer"
        )

    def receive(self):
        """The next event as `(type_id, bytes)`, or None. Raises `LappedError`, after which the newest event is next."""
        if load_acquire_i64(cython.address(self.trailer.tail_counter)) <= self.next_record:
            return None
        self.cursor = self.next_record
        if not self._is_intact():
            self._lapped()
        mask: int64_t = (self.capacity - 1) & ~7
        record: cython.pointer(uint8_t) = self.buffer + (self.cursor & mask)
        length: int64_t = load_plain_i32(record)
        if load_plain_i32(record + 4) == PADDING_TYPE_ID:
            self.cursor += self.capacity - (self.cursor & mask)
            record = self.buffer
            length = load_plain_i32(record)
        kind: int32_t = load_plain_i32(record + 4)
        # Torn by an overwrite, or hostile: either way the length must stay inside before it is used.
        if length < RECORD_HEADER_LENGTH or length > self.capacity - (record - self.buffer):
            self._lapped()
        message = record[RECORD_HEADER_LENGTH:length]
        fence_acquire()         # the copy is finished before the intent is read again
        if not self._is_intact():
            self._lapped()
        self.next_record = self.cursor + ((length + 7) & ~7)
        return kind, message
