"""How a stream of bytes becomes messages, and messages a stream of bytes again.

`lines`: a message is a line without its newline, which the other side adds. `records`: a message
has its length before it, 4 bytes little-endian. `raw`: a message is whatever bytes come next, so
that what comes out is what went in, byte for byte, with one publisher at a time.
"""

from __future__ import annotations

from collections.abc import Callable

FORMATS = ("lines", "records", "raw")
RECORD_PREFIX_LENGTH = 4

Splitter = Callable[[bytes, bool], "list[bytes | memoryview]"]


class FramingError(ValueError):
    """The input does not hold to its format, or a message of it is too long."""


class LineSplitter:
    """`split(data, end)` gives the lines that `data` completes; at the end also the last one."""

    def __init__(self, max_length: int):
        self._max_length = max_length
        self._rest = b""
        self._line = 1

    def split(self, data: bytes, end: bool = False) -> list[bytes]:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if end and self._rest:
            lines.append(self._rest)
            self._rest = b""
        for number, line in enumerate(lines, self._line):
            self._check(number, len(line))
        self._line += len(lines)
        self._check(self._line, len(self._rest))
        return lines

    def _check(self, number: int, length: int) -> None:
        if length > self._max_length:
            raise FramingError(
                f"line {number} has {length} bytes or more, the longest message is "
                f"{self._max_length}: use --format raw, or a longer term-length in the channel"
            )


class RecordSplitter:
    """`split(data, end)` gives the payloads of the records that `data` completes."""

    def __init__(self, max_length: int):
        self._max_length = max_length
        self._rest = b""
        self._record = 1

    def split(self, data: bytes, end: bool = False) -> list[bytes]:
        data = self._rest + data
        at = 0
        records = []
        while at + RECORD_PREFIX_LENGTH <= len(data):
            start = at + RECORD_PREFIX_LENGTH
            length = int.from_bytes(data[at:start], "little")
            if length > self._max_length:
                raise FramingError(
                    f"record {self._record} has {length} bytes, the longest message is "
                    f"{self._max_length}: is this input of 4-byte little-endian lengths?"
                )
            if start + length > len(data):
                break
            records.append(data[start : start + length])
            self._record += 1
            at = start + length
        self._rest = data[at:]
        if end and self._rest:
            raise FramingError(f"the input ends inside record {self._record}")
        return records


class BlockSplitter:
    """`split(data, end)` gives `data` in blocks of `block_length` bytes and what is left over."""

    def __init__(self, block_length: int):
        self._block_length = block_length

    def split(self, data: bytes, end: bool = False) -> list[memoryview]:
        view = memoryview(data)
        step = self._block_length
        return [view[at : at + step] for at in range(0, len(view), step)]


def make_splitter(kind: str, max_length: int, block_length: int) -> Splitter:
    """The `split` of the format `kind`."""
    if kind == "lines":
        return LineSplitter(max_length).split  # type: ignore[return-value]
    if kind == "records":
        return RecordSplitter(max_length).split  # type: ignore[return-value]
    return BlockSplitter(block_length).split  # type: ignore[return-value]


def join_lines(messages: list[bytes]) -> bytes:
    """Each message as a line."""
    return b"".join([part for message in messages for part in (message, b"\n")])


def join_records(messages: list[bytes]) -> bytes:
    """Each message with its length before it."""
    return b"".join(
        [part for message in messages for part in (len(message).to_bytes(RECORD_PREFIX_LENGTH, "little"), message)]
    )


def make_joiner(kind: str) -> Callable[[list[bytes]], bytes]:
    """The way back of `make_splitter`."""
    return {"lines": join_lines, "records": join_records, "raw": b"".join}[kind]
