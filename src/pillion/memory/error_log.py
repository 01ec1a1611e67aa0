"""The distinct error log, last section of `cnc.dat`: one entry a distinct error, with a count and two timestamps.

It is never emptied, so what fills it is bounded: a text by `MAX_TEXT_LENGTH`, and texts that differ in their numbers
only (ids, ports, free space) by `MAX_ALIKE`. Further ones count as the last of their kind.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import cython
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t
from cython.cimports.libc.string import memcpy
from cython.cimports.pillion.memory.atomics import (
    load_acquire_i32,
    load_acquire_i64,
    store_release_i32,
    store_release_i64,
    xadd_i32,
)
from cython.cimports.pillion.memory.mapped_file import MappedFile
from cython.cimports.pillion.protocol.layouts import ERROR_HEADER_LENGTH, ErrorEntry

if not cython.compiled:
    raise ImportError("pillion.memory.error_log must be compiled: run `pip install .`")


MAX_TEXT_LENGTH = 2048
MAX_ALIKE = 32
_NUMBERS = re.compile("[0-9]+")


class ErrorRecord(NamedTuple):
    """One distinct error: how often, when first and last (ms since the epoch), and what."""

    count: int
    first_ms: int
    last_ms: int
    text: str


@cython.cfunc
def _check(owner: MappedFile, offset: int64_t, length: int64_t):
    if offset < 0 or offset % 8 or length < 0 or offset + length > cython.cast(int64_t, owner.length):
        raise ValueError(f"error log of {length} bytes at {offset} does not fit {owner!r}")


class DistinctErrorLog:
    """The driver's end. Callers hold the GIL, which serialises them."""

    def __init__(self, owner: MappedFile, offset: int, length: int, epoch_ms):
        _check(owner, offset, length)
        owner.check_writable()
        self.owner = owner
        self.buffer = owner.address + cython.cast(int64_t, offset)
        self.capacity = length
        self.next_offset = 0
        self.offsets = {}
        self.shapes = {}
        self.epoch_ms = epoch_ms

    def record(self, code: int, text: str) -> bool:
        """Count one observation of `text`; False if the log is full and the text new.

        Of a text the first 2048 bytes count.
        """
        now_ms: int64_t = self.epoch_ms()
        raw = f"({code}) {text}".encode("utf-8", "replace")
        if len(raw) > MAX_TEXT_LENGTH:
            # Cut between characters, and the mark of it fits.
            raw = raw[:MAX_TEXT_LENGTH - 4].decode("utf-8", "ignore").encode() + b" ..."
        at: int64_t = self._find(code, raw)
        entry: cython.pointer(ErrorEntry)
        if at < 0:
            size: int64_t = ERROR_HEADER_LENGTH + len(raw)
            if self.next_offset + size > self.capacity:
                return False
            at = self.next_offset
            entry = cython.cast(cython.pointer(ErrorEntry), self.buffer + at)
            source: cython.p_char = raw
            memcpy(self.buffer + at + ERROR_HEADER_LENGTH, source, size - ERROR_HEADER_LENGTH)
            entry.first_observation_ms = now_ms
            self.next_offset = (at + size + 7) & ~7
            self.offsets[raw] = at
            self.shapes.setdefault((code, _shape(raw)), []).append(at)
            # Release: the length publishes the entry.
            store_release_i32(cython.address(entry.length), cython.cast(int32_t, size))
        entry = cython.cast(cython.pointer(ErrorEntry), self.buffer + at)
        xadd_i32(cython.address(entry.observation_count), 1)
        store_release_i64(cython.address(entry.last_observation_ms), now_ms)
        return True


    def _find(self, code, raw) -> int:
        """Where the entry that counts this text is, -1 for a new one."""
        at = self.offsets.get(raw)
        if at is not None:
            return at
        alike = self.shapes.get((code, _shape(raw)), ())
        return alike[len(alike) - 1] if len(alike) >= MAX_ALIKE else -1


def _shape(raw: bytes) -> str:
    return _NUMBERS.sub("0", raw.decode())


def read_errors(owner: MappedFile, offset: int, length: int, since_ms: int = 0) -> list:
    """The entries last seen at or after `since_ms`, oldest first. Stops at a length that leads outside."""
    _check(owner, offset, length)
    found = []
    buffer: cython.pointer(uint8_t) = owner.address + cython.cast(int64_t, offset)
    limit: int64_t = length
    at: int64_t = 0
    while at + ERROR_HEADER_LENGTH <= limit:
        entry: cython.pointer(ErrorEntry) = cython.cast(cython.pointer(ErrorEntry), buffer + at)
        size: int64_t = load_acquire_i32(cython.address(entry.length))
        if size < ERROR_HEADER_LENGTH or at + size > limit:
            break
        last_ms: int64_t = load_acquire_i64(cython.address(entry.last_observation_ms))
        if last_ms >= since_ms:
            text = (buffer + at)[ERROR_HEADER_LENGTH:size].decode("utf-8", "replace")
            found.append(ErrorRecord(entry.observation_count, entry.first_observation_ms, last_ms, text))
        at += (size + 7) & ~7
    return found
