"""What the inspecting commands have in common: the driver's file, read only, and its keys."""

from __future__ import annotations

import argparse
import time
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from pillion.errors import CncNotReadyError, DriverTimeoutError
from pillion.protocol.ids import CounterType
from pillion.tools.console import add_directory_argument, directory_of, positive_seconds

if TYPE_CHECKING:
    from pillion.memory.cnc import CncFile

# Counters whose key is registration id, session, stream and channel.
STREAM_TYPES = frozenset(
    {
        CounterType.PUBLISHER_LIMIT,
        CounterType.SENDER_POSITION,
        CounterType.RECEIVER_HWM,
        CounterType.SUBSCRIBER_POSITION,
        CounterType.RECEIVER_POSITION,
        CounterType.SENDER_LIMIT,
        CounterType.PUBLISHER_POSITION,
        CounterType.SENDER_BACK_PRESSURE,
        CounterType.SENDER_NAKS_RECEIVED,
        CounterType.RECEIVER_NAKS_SENT,
    }
)
_CHANNEL_OFFSET = 20


class StreamKey(NamedTuple):
    """Which stream a counter belongs to. `channel` may be cut at the key's length."""

    session_id: int
    stream_id: int
    channel: str


def stream_key(type_id: int, key: bytes) -> StreamKey | None:
    """The stream in a counter's key; None for counters of something else."""
    if type_id not in STREAM_TYPES:
        return None
    session_id, stream_id, length = (int.from_bytes(key[at : at + 4], "little", signed=True) for at in (8, 12, 16))
    channel = key[_CHANNEL_OFFSET : _CHANNEL_OFFSET + max(0, length)]
    return StreamKey(session_id, stream_id, channel.decode("utf-8", "replace"))


def type_name(type_id: int) -> str:
    """`publisher_limit` for 1; "" for a type this version does not know."""
    try:
        return CounterType(type_id).name.lower()
    except ValueError:
        return ""


def add_inspection_arguments(parser: argparse.ArgumentParser) -> None:
    add_directory_argument(parser)
    parser.add_argument(
        "-t",
        "--timeout",
        type=positive_seconds,
        default=1.0,
        metavar="SECONDS",
        help="how long to wait for the driver's file (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")


def open_cnc(args: argparse.Namespace) -> CncFile:
    """The driver's file, living or not; raises `DriverTimeoutError` if none appears in time."""
    from pillion.memory.cnc import CncFile

    directory = directory_of(args)
    deadline = time.monotonic() + args.timeout
    while True:
        try:
            return CncFile.open(directory, read_only=True)
        except (FileNotFoundError, CncNotReadyError) as error:
            if time.monotonic() > deadline:
                found = error if isinstance(error, CncNotReadyError) else f"no driver in {directory}"
                raise DriverTimeoutError(
                    f"{found}; waited {args.timeout} s. Name the directory with --dir, or start a "
                    f"driver with `pillion driver --dir {directory}`"
                ) from None
        time.sleep(0.016)


def format_time(epoch_ms: int) -> str:
    """A time as `2026-11-22 22:43:02.542+0000`, in the zone of this machine."""
    moment = datetime.fromtimestamp(epoch_ms / 1000).astimezone()
    return f"{moment:%Y-%m-%d %H:%M:%S}.{epoch_ms % 1000:03d}{moment:%z}"
