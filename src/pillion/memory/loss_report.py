"""`loss-report.dat`: one entry a stream that ever lost something, appended once and then counted up."""

from __future__ import annotations

from typing import NamedTuple

import cython
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t
from cython.cimports.libc.string import memcpy
from cython.cimports.pillion.memory.atomics import load_acquire_i64, store_release_i64, xadd_i64
from cython.cimports.pillion.memory.mapped_file import MappedFile
from cython.cimports.pillion.protocol.layouts import LOSS_ENTRY_ALIGNMENT, LOSS_ENTRY_HEADER_LENGTH, LossEntry

if not cython.compiled:
    raise ImportError("pillion.memory.loss_report must be compiled: run `pip install .`")


class LossRecord(NamedTuple):
    """Loss of one stream: observations, bytes, first and last time (ms since the epoch), which stream from where."""

    count: int
    bytes_lost: int
    first_ms: int
    last_ms: int
    session_id: int
    stream_id: int
    channel: str
    source: str


def loss_observe(entry, bytes_lost, now_ms):
    store_release_i64(cython.address(entry.last_observation_ms), now_ms)
    xadd_i64(cython.address(entry.total_bytes_lost), bytes_lost)
    xadd_i64(cython.address(entry.observation_count), 1)


class LossReportEntry:
    """One entry; holds the mapping it lies in."""


class LossReport:
    """The driver's end. One thread creates entries."""

    def __init__(self, owner: MappedFile):
        owner.check_writable()
        self.owner = owner
        self.next_offset = 0

    def create_entry(self, bytes_lost: int, now_ms: int, session_id: int, stream_id: int, channel: str, source: str):
        """The entry of a stream that has just lost its first bytes; None if the report is full."""
        name = channel.encode("utf-8", "replace")
        where = source.encode("utf-8", "replace")
        padded: int64_t = (len(name) + 3) & ~3
        size: int64_t = LOSS_ENTRY_HEADER_LENGTH + padded + 4 + len(where)
        at: int64_t = self.next_offset
        if at + size > cython.cast(int64_t, self.owner.length):
            return None
        base: cython.pointer(uint8_t) = self.owner.address + at
        entry: cython.pointer(LossEntry) = cython.cast(cython.pointer(LossEntry), base)
        entry.total_bytes_lost = bytes_lost
        entry.first_observation_ms = now_ms
        entry.last_observation_ms = now_ms
        entry.session_id = session_id
        entry.stream_id = stream_id
        entry.channel_length = len(name)
        tail = name.ljust(padded, b"\0") + len(where).to_bytes(4, "little") + where
        source_bytes: cython.p_char = tail
        tail_length: cython.size_t = len(tail)
        memcpy(base + LOSS_ENTRY_HEADER_LENGTH, source_bytes, tail_length)
        self.next_offset = (at + size + LOSS_ENTRY_ALIGNMENT - 1) & ~(LOSS_ENTRY_ALIGNMENT - 1)
        store_release_i64(cython.address(entry.observation_count), 1)      # publishes the entry
        result: LossReportEntry = LossReportEntry.__new__(LossReportEntry)
        result.owner = self.owner
        result.entry = entry
        return result


def read_losses(owner: MappedFile) -> list:
    """Every entry of a mapped loss report, in the order of appearance."""
    found = []
    at: int64_t = 0
    limit: int64_t = owner.length
    while at + LOSS_ENTRY_HEADER_LENGTH + 4 <= limit:
        base: cython.pointer(uint8_t) = owner.address + at
        entry: cython.pointer(LossEntry) = cython.cast(cython.pointer(LossEntry), base)
        count: int64_t = load_acquire_i64(cython.address(entry.observation_count))
        length: int64_t = entry.channel_length
        padded: int64_t = (length + 3) & ~3
        if count <= 0 or length < 0 or at + LOSS_ENTRY_HEADER_LENGTH + padded + 4 > limit:
            break
        source_at: int64_t = LOSS_ENTRY_HEADER_LENGTH + padded
        source_length: int64_t = cython.cast(cython.pointer(int32_t), base + source_at)[0]
        if source_length < 0 or at + source_at + 4 + source_length > limit:
            break
        found.append(LossRecord(
            count, load_acquire_i64(cython.address(entry.total_bytes_lost)), entry.first_observation_ms,
            load_acquire_i64(cython.address(entry.last_observation_ms)), entry.session_id, entry.stream_id,
            base[LOSS_ENTRY_HEADER_LENGTH:LOSS_ENTRY_HEADER_LENGTH + length].decode("utf-8", "replace"),
            base[source_at + 4:source_at + 4 + source_length].decode("utf-8", "replace"),
        ))
        at += (source_at + 4 + source_length + LOSS_ENTRY_ALIGNMENT - 1) & ~(LOSS_ENTRY_ALIGNMENT - 1)
    return found
