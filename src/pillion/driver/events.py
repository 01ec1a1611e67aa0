"""What the agents tell the conductor."""

from __future__ import annotations

import struct
from enum import IntEnum
from socket import AF_INET, AF_INET6, inet_ntop


class DriverEvent(IntEnum):
    """First element of the tuples of `DataPlane.poll_event`."""

    RELEASED = 1
    SETUP = 2
    ERROR_FRAME = 3
    FIRST_LOSS = 4


def decode_address(raw: bytes) -> tuple[str, int]:
    """Host and port of a socket address as the kernel gave it."""
    family = struct.unpack_from("=H", raw)[0]
    port = struct.unpack_from("!H", raw, 2)[0]
    if family == AF_INET:
        return inet_ntop(AF_INET, raw[4:8]), port
    return inet_ntop(AF_INET6, raw[8:24]), port
