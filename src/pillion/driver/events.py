"""What the agents tell the conductor."""

from __future__ import annotations

import struct
from enum import IntEnum
from socket import AF_INET, AF_INET6, inet_ntop


class DriverEvent(IntEnum):
    """First element of the tuples of `DataPlane.poll_event`. The second is the stream or endpoint it is about.

    | event | further elements |
    |---|---|
    | RELEASED | none: the agent has let go of the stream or endpoint and of every position on it |
    | SETUP | stream, session, initial term and active term id, term offset, term length, mtu, ttl, flags, source |
    | ERROR_FRAME | receiver id, group tag or -1, error code, text (bytes), source |
    | FIRST_LOSS | bytes |
    | SUBSCRIBER_ADDED | position counter id, join position; -1: it could not be added, for want of memory |
    | SUBSCRIBER_REMOVED | position counter id: nobody writes or reads the counter for this stream any more |
    | SOCKET_ERROR | errno, how often since the last report (at most one report a second and endpoint) |

    A source is a raw socket address, see `decode_address`.
    """

    RELEASED = 1
    SETUP = 2
    ERROR_FRAME = 3
    FIRST_LOSS = 4
    SUBSCRIBER_ADDED = 5
    SUBSCRIBER_REMOVED = 6
    SOCKET_ERROR = 7


def decode_address(raw: bytes) -> tuple[str, int]:
    """Host and port of a socket address as the kernel gave it."""
    family = struct.unpack_from("=H", raw)[0]
    port = struct.unpack_from("!H", raw, 2)[0]
    if family == AF_INET:
        return inet_ntop(AF_INET, raw[4:8]), port
    if family != AF_INET6:
        raise ValueError(f"address family {family} is neither IPv4 nor IPv6")
    return inet_ntop(AF_INET6, raw[8:24]), port
