"""Counters in `cnc.dat`: 512 bytes of metadata and 128 bytes of value each; the index is the counter id.

Only the driver allocates and frees (`CountersManager`); everybody reads (`CountersReader`), and a client writes the
values it owns (`CountersWriter`).
A counter's identity is its registration id: ids are reused after a while, registration ids never.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import cython
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.pillion.memory.atomics import (
    load_acquire_i32,
    load_acquire_i64,
    store_release_i32,
    store_release_i64,
    xadd_i64,
)
from cython.cimports.pillion.memory.mapped_file import MappedFile
from cython.cimports.pillion.protocol.layouts import (
    COUNTER_ALLOCATED,
    COUNTER_METADATA_LENGTH,
    COUNTER_RECLAIMED,
    COUNTER_UNUSED,
    COUNTER_VALUE_LENGTH,
    MAX_KEY_LENGTH,
    MAX_LABEL_LENGTH,
    CounterMetadata,
    CounterValue,
)

from pillion.errors import CountersExhaustedError

if not cython.compiled:
    raise ImportError("pillion.memory.counters must be compiled: run `pip install .`")

NEVER_MS: int = 2**63 - 1


class CounterRecord(NamedTuple):
    """One allocated counter as a scan saw it."""

    counter_id: int
    type_id: int
    registration_id: int
    owner_id: int
    reference_id: int
    value: int
    key: bytes
    label: str


class CountersReader:
    """Reads every counter of a driver. Thread-safe."""

    def __init__(self, owner: MappedFile, metadata_offset: int, metadata_length: int, values_offset: int,
                 values_length: int):
        if min(metadata_offset, values_offset, metadata_length, values_length) < 0 or (
            max(metadata_offset + metadata_length, values_offset + values_length) > owner.length
        ):
            raise ValueError(f"counters do not fit {owner!r}")
        if metadata_offset % 8 or values_offset % 8:
            raise ValueError(f"counters at {metadata_offset} and {values_offset} are not aligned to 8 bytes")
        self.owner = owner
        self.metadata = cython.cast(
            cython.pointer(CounterMetadata), owner.address + cython.cast(int64_t, metadata_offset))
        self.values = cython.cast(cython.pointer(CounterValue), owner.address + cython.cast(int64_t, values_offset))
        self.capacity = min(metadata_length // COUNTER_METADATA_LENGTH, values_length // COUNTER_VALUE_LENGTH)

    def value_address(self, counter_id):
        if counter_id < 0 or counter_id >= self.capacity:
            return cython.NULL
        return cython.address(self.values[counter_id].value)

    def _check(self, counter_id: int32_t):
        if counter_id < 0 or counter_id >= self.capacity:
            raise IndexError(f"counter id {counter_id} is not in 0..{self.capacity - 1}")

    def value(self, counter_id: int32_t) -> int:
        self._check(counter_id)
        return load_acquire_i64(cython.address(self.values[counter_id].value))

    def state(self, counter_id: int32_t) -> int:
        self._check(counter_id)
        return load_acquire_i32(cython.address(self.metadata[counter_id].state))

    def is_allocated(self, counter_id: int32_t) -> bool:
        return self.state(counter_id) == COUNTER_ALLOCATED

    def type_id(self, counter_id: int32_t) -> int:
        self._check(counter_id)
        return self.metadata[counter_id].type_id

    def key(self, counter_id: int32_t) -> bytes:
        self._check(counter_id)
        return cython.cast(cython.pointer(uint8_t), self.metadata[counter_id].key)[:MAX_KEY_LENGTH]

    def label(self, counter_id: int32_t) -> str:
        self._check(counter_id)
        length: int32_t = load_acquire_i32(cython.address(self.metadata[counter_id].label_length))
        length = min(max(length, 0), MAX_LABEL_LENGTH)
        return cython.cast(cython.pointer(uint8_t), self.metadata[counter_id].label)[:length].decode("utf-8", "replace")

    def registration_id(self, counter_id: int32_t) -> int:
        self._check(counter_id)
        return load_acquire_i64(cython.address(self.values[counter_id].registration_id))

    def owner_id(self, counter_id: int32_t) -> int:
        self._check(counter_id)
        return self.values[counter_id].owner_id

    def reference_id(self, counter_id: int32_t) -> int:
        self._check(counter_id)
        return self.values[counter_id].reference_id

    def scan(self) -> list:
        """Every allocated counter, in the order of the ids."""
        found = []
        counter_id: int32_t
        state: int32_t
        values: cython.pointer(CounterValue)
        for counter_id in range(self.capacity):
            state = load_acquire_i32(cython.address(self.metadata[counter_id].state))
            if state == COUNTER_UNUSED:
                break
            if state == COUNTER_ALLOCATED:
                values = cython.address(self.values[counter_id])
                found.append(CounterRecord(
                    counter_id, self.metadata[counter_id].type_id,
                    load_acquire_i64(cython.address(values.registration_id)), values.owner_id, values.reference_id,
                    load_acquire_i64(cython.address(values.value)), self.key(counter_id), self.label(counter_id),
                ))
        return found

    def __iter__(self):
        return iter(self.scan())

    def find_by_type_and_registration(self, type_id: int32_t, registration_id: int64_t) -> int:
        """The id of the first allocated counter of that type and registration, -1 if there is none."""
        counter_id: int32_t
        state: int32_t
        for counter_id in range(self.capacity):
            state = load_acquire_i32(cython.address(self.metadata[counter_id].state))
            if state == COUNTER_UNUSED:
                break
            if (
                state == COUNTER_ALLOCATED
                and self.metadata[counter_id].type_id == type_id
                and load_acquire_i64(cython.address(self.values[counter_id].registration_id)) == registration_id
            ):
                return counter_id
        return -1


class CountersWriter(CountersReader):
    """Writes values and labels of the counters there are: every counter's, so a client keeps it to itself. Thread-safe.

    Raises `PermissionError` where the file is mapped read-only.
    """

    def set_value(self, counter_id: int32_t, value: int64_t) -> None:
        self._check(counter_id)
        self.owner.check_writable()
        store_release_i64(cython.address(self.values[counter_id].value), value)

    def add_to_value(self, counter_id: int32_t, delta: int64_t) -> int:
        """Atomic add; the value before."""
        self._check(counter_id)
        self.owner.check_writable()
        return xadd_i64(cython.address(self.values[counter_id].value), delta)

    def append_to_label(self, counter_id: int32_t, text: str) -> None:
        """Append once; cut at the label's 380 bytes."""
        self._check(counter_id)
        self.owner.check_writable()
        raw = text.encode("utf-8", "replace")
        length: int32_t = load_acquire_i32(cython.address(self.metadata[counter_id].label_length))
        length = min(max(length, 0), MAX_LABEL_LENGTH)
        raw = raw[:MAX_LABEL_LENGTH - length]
        count: cython.size_t = len(raw)
        source: cython.p_char = raw
        memcpy(cython.address(self.metadata[counter_id].label[length]), source, count)
        store_release_i32(cython.address(self.metadata[counter_id].label_length), length + cython.cast(int32_t, count))


class CountersManager(CountersWriter):
    """The driver's end: allocates and frees. One thread."""

    def __init__(self, owner: MappedFile, metadata_offset: int, metadata_length: int, values_offset: int,
                 values_length: int, free_to_reuse_ms: int = 1000):
        CountersReader.__init__(self, owner, metadata_offset, metadata_length, values_offset, values_length)
        owner.check_writable()
        self.high_water = -1
        # Ids and when each may be reused: kept here too, because a client can write the deadlines in the file.
        self.free_list = deque()
        self.free_to_reuse_ms = free_to_reuse_ms

    def _next_id(self, now_ms: int64_t) -> int:
        slot: int32_t
        for freed in self.free_list:
            if now_ms >= freed[1]:
                self.free_list.remove(freed)
                slot = freed[0]
                store_release_i64(cython.address(self.values[slot].registration_id), 0)
                self.values[slot].owner_id = 0
                self.values[slot].reference_id = 0
                store_release_i64(cython.address(self.values[slot].value), 0)
                return slot
        if self.high_water + 1 >= self.capacity:
            raise CountersExhaustedError(
                f"all {self.capacity} counters are in use: enlarge the counters buffer (AERON_COUNTERS_BUFFER_LENGTH)"
            )
        self.high_water += 1
        return self.high_water

    def allocate(self, type_id: int32_t, key: bytes, label: str, *, registration_id: int64_t = 0, owner_id: int64_t = 0,
                 reference_id: int64_t = 0, value: int64_t = 0, now_ms: int64_t = 0) -> int:
        """A new counter; key and label are cut at 112 and 380 bytes. Raises `CountersExhaustedError`."""
        # Everything that can fail comes before the id is taken: nothing would give it back.
        text = label.encode("utf-8", "replace")[:MAX_LABEL_LENGTH]
        stored = bytes(key[:MAX_KEY_LENGTH])
        counter_id: int32_t = self._next_id(now_ms)
        slot: cython.pointer(CounterMetadata) = cython.address(self.metadata[counter_id])
        source: cython.p_char = text
        key_source: cython.p_char = stored
        text_length: cython.size_t = len(text)
        key_length: cython.size_t = len(stored)
        slot.type_id = type_id
        slot.free_for_reuse_deadline_ms = 2**63 - 1
        memset(slot.key, 0, MAX_KEY_LENGTH)
        memcpy(slot.key, key_source, key_length)
        memcpy(slot.label, source, text_length)
        slot.label_length = cython.cast(int32_t, text_length)
        self.values[counter_id].owner_id = owner_id
        self.values[counter_id].reference_id = reference_id
        store_release_i64(cython.address(self.values[counter_id].value), value)
        store_release_i64(cython.address(self.values[counter_id].registration_id), registration_id)
        # Release last: who sees the counter allocated sees all of it.
        store_release_i32(cython.address(slot.state), COUNTER_ALLOCATED)
        return counter_id

    def set_label(self, counter_id: int32_t, text: str) -> None:
        self._check(counter_id)
        raw = text.encode("utf-8", "replace")[:MAX_LABEL_LENGTH]
        source: cython.p_char = raw
        count: cython.size_t = len(raw)
        memcpy(self.metadata[counter_id].label, source, count)
        store_release_i32(cython.address(self.metadata[counter_id].label_length), cython.cast(int32_t, count))

    def set_reference_id(self, counter_id: int32_t, reference_id: int64_t) -> None:
        self._check(counter_id)
        self.values[counter_id].reference_id = reference_id

    def free(self, counter_id: int32_t, now_ms: int64_t) -> None:
        """Give the counter back; its id is reused after `free_to_reuse_ms`. `ValueError` if it is not allocated."""
        self._check(counter_id)
        slot: cython.pointer(CounterMetadata) = cython.address(self.metadata[counter_id])
        if load_acquire_i32(cython.address(slot.state)) != COUNTER_ALLOCATED:
            raise ValueError(f"counter {counter_id} is not allocated")
        store_release_i32(cython.address(slot.state), COUNTER_RECLAIMED)
        memset(slot.key, 0, MAX_KEY_LENGTH)
        slot.free_for_reuse_deadline_ms = now_ms + self.free_to_reuse_ms
        self.free_list.append((counter_id, now_ms + self.free_to_reuse_ms))
