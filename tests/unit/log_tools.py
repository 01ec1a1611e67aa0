"""Logs and publications without a driver."""

from __future__ import annotations

import struct
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from memory_tools import fill, get, put, take

from pillion.client.publication import new_publication
from pillion.memory.counters import CountersManager
from pillion.memory.log_buffer import LOG_EXCLUSIVE, LogBuffer, LogSpec
from pillion.memory.mapped_file import MappedFile

TERM = 65_536
FAR = 2**62
SPEC = LogSpec(
    term_length=TERM, mtu_length=1408, initial_term_id=7, session_id=0x12345678, stream_id=1001,
    correlation_id=42,
)  # fmt: skip


def changed(**changes):
    """`SPEC` with some of its values changed."""
    spec = copy(SPEC)
    for name, value in changes.items():
        assert hasattr(spec, name), name
        setattr(spec, name, value)
    return spec


class Frame(NamedTuple):
    """A frame in a term."""

    offset: int
    length: int
    flags: int
    type: int
    session_id: int
    stream_id: int
    term_id: int
    reserved_value: int
    payload: bytes


@dataclass
class Log:
    """A log buffer with raw access to its terms and metadata."""

    buffer: LogBuffer

    @classmethod
    def create(cls, directory: str | Path, name: str = "1.logbuffer", **changes: Any) -> Log:
        return cls(LogBuffer.create(str(Path(directory) / name), changed(**changes)))

    @property
    def file(self) -> MappedFile:
        return self.buffer.file

    @property
    def metadata(self) -> int:
        return len(self.file) - 4096

    def term(self, partition: int) -> bytes:
        length = self.buffer.term_length
        return take(self.file, partition * length, length)

    def get(self, layout: str, partition: int, offset: int) -> int:
        return get(self.file, layout, partition * self.buffer.term_length + offset)

    def put(self, layout: str, partition: int, offset: int, value: int) -> None:
        put(self.file, layout, partition * self.buffer.term_length + offset, value)

    def fill(self, partition: int, offset: int, data: bytes) -> None:
        fill(self.file, partition * self.buffer.term_length + offset, data)

    def set_tail(self, partition: int, term_id: int, offset: int) -> None:
        put(self.file, "q", self.metadata + 8 * partition, (term_id << 32) | offset)

    def tails(self) -> list[tuple[int, int]]:
        raws = [self.buffer.raw_tail(index) for index in range(3)]
        return [(raw >> 32, raw & 0xFFFFFFFF) for raw in raws]

    def frame(self, partition: int, offset: int) -> Frame:
        at = partition * self.buffer.term_length + offset
        length, version, flags, kind, term_offset, session, stream, term_id, reserved = struct.unpack(
            "<iBBHiiiiq", take(self.file, at, 32)
        )
        assert (version, term_offset) == (0, offset)
        payload = take(self.file, at + 32, max(length - 32, 0)) if kind == 1 else b""
        return Frame(offset, length, flags, kind, session, stream, term_id, reserved, payload)

    def frames(self, partition: int, start: int = 0, end: int = TERM) -> list[Frame]:
        """The committed frames that follow each other from `start`."""
        found = []
        while start < end and self.get("i", partition, start) > 0:
            found.append(self.frame(partition, start))
            start += (found[-1].length + 31) & ~31
        return found


class NoConductor:
    """What a publication asks of its conductor."""

    closed = None

    def registration_of_counter(self, counter_id: int) -> int:
        return -1


class Writer:
    """A publication over a log, with the counter that limits it."""

    def __init__(self, log: Log, *, exclusive: bool = False, limit: int = FAR) -> None:
        self.log = log
        self.memory = MappedFile.anonymous(8 * (512 + 128))
        self.counters = CountersManager(self.memory, 0, 8 * 512, 8 * 512, 8 * 128)
        self.limit_id = self.counters.allocate(1, b"", "pub-lmt", value=limit)
        self.publication = self.again(exclusive=exclusive)

    def set_limit(self, limit: int) -> None:
        self.counters.set_value(self.limit_id, limit)

    def again(self, *, exclusive: bool = False) -> Any:
        """Another publication object over the same log and limit."""
        return new_publication(
            exclusive, NoConductor(), self.log.buffer, self.counters, "aeron:ipc", 42, 42, self.limit_id, -1
        )


def new_writer(
    directory: str | Path, *, exclusive: bool = False, limit: int = FAR, **changes: Any
) -> Writer:
    """A log with its only writer."""
    if exclusive:
        changes["log_type"] = LOG_EXCLUSIVE
    return Writer(Log.create(directory, **changes), exclusive=exclusive, limit=limit)
