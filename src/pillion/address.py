"""Addresses as channels write them: `host:port`, `[ipv6]:port` and the forms of `interface=`.

Parsing only: nothing here looks up a name or opens a socket. Both functions raise `ChannelError`
whose `error_code` is what the reference driver answers for the same text.
"""

from __future__ import annotations

from typing import NamedTuple

from pillion.errors import ChannelError, ErrorCode

MAX_PORT = 65535
# IFNAMSIZ, less the terminator.
MAX_DEVICE_NAME = 15


class EndpointAddress(NamedTuple):
    """`host:port` of an endpoint or control parameter.

    `host` is a name or a literal, without brackets and scope; `is_ipv6_literal` tells that it stood
    in brackets, so that it is not to be looked up as a name.
    """

    host: str
    port: int
    is_ipv6_literal: bool = False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.is_ipv6_literal else f"{self.host}:{self.port}"

    @property
    def literal(self) -> bytes | None:
        """The 4 or 16 bytes of the address, None where the host is a name."""
        return packed_address(self.host, ipv6=self.is_ipv6_literal)

    @property
    def is_multicast(self) -> bool:
        """Whether the host is a literal multicast address (a name is only known once looked up)."""
        return is_multicast(self.literal or b"")


class InterfaceAddress(NamedTuple):
    """A local interface: by address (`host`, `prefix_length` bits of it count) or by `device` name.

    One of `host` and `device` is empty. `prefix_length` is None where none was written: all bits.
    """

    host: str
    device: str = ""
    port: int = 0
    prefix_length: int | None = None
    is_ipv6_literal: bool = False


def packed_address(host: str, *, ipv6: bool) -> bytes | None:
    """The bytes of a literal address in network order, None if `host` is not one."""
    import socket

    try:
        return socket.inet_pton(socket.AF_INET6 if ipv6 else socket.AF_INET, host)
    except (OSError, ValueError):
        return None


def is_multicast(address: bytes) -> bool:
    """Whether 4 or 16 bytes of an address are a multicast group's."""
    if len(address) == 4:
        return address[0] & 0xF0 == 0xE0
    return len(address) == 16 and address[0] == 0xFF


def multicast_control_address(address: bytes) -> bytes:
    """The group for status messages and NAKs beside the data group `address`: its last byte plus 1.

    Of that byte only: 255 becomes 0.
    Raises `ValueError` for an even last byte, which no data group may have.
    """
    if address[-1] & 1 == 0:
        raise ValueError(
            "is an even multicast address: data groups are odd, their control group is one above"
        )
    return address[:-1] + bytes(((address[-1] + 1) & 0xFF,))


def parse_endpoint(text: str, *, parameter: str = "endpoint", channel: str = "") -> EndpointAddress:
    """`host:port` or `[ipv6]:port`; a scope (`%eth0`) inside the brackets is dropped.

    Raises `ChannelError`: code 11 for the port, code 9 for a host that no look-up can find.
    """

    def wrong(why: str, code: ErrorCode = ErrorCode.GENERIC_ERROR) -> ChannelError:
        return ChannelError.of_parameter(parameter, text, why, channel=channel, error_code=code)

    bracketed = text.startswith("[") and "]" in text
    if bracketed:
        host, rest = text[1:].split("]", 1)
        colon, port_text = rest[:1], rest[1:]
        host = host.split("%", 1)[0]
    else:
        host, colon, port_text = text.rpartition(":")
    if colon != ":":
        raise wrong("has no port: write host:port, for example localhost:40123")
    port = _port(port_text)
    if port is None:
        raise wrong(f"has no port in 0..{MAX_PORT} behind the colon: write host:port")
    if not host:
        raise wrong(
            "has no host: write host:port, for example localhost:40123", ErrorCode.UNKNOWN_HOST
        )
    if host.startswith("[") or (bracketed and packed_address(host, ipv6=True) is None):
        raise wrong("is not an IPv6 address in brackets: write [::1]:40123", ErrorCode.UNKNOWN_HOST)
    return EndpointAddress(host, port, bracketed)


def parse_interface(
    text: str, *, parameter: str = "interface", channel: str = ""
) -> InterfaceAddress:
    """`address[:port][/prefix]`, `[ipv6][:port][/prefix]` or `{device}[:port]`.

    Raises `ChannelError` with code 11.
    """

    def wrong(why: str) -> ChannelError:
        return ChannelError.of_parameter(parameter, text, why, channel=channel)

    if text.startswith("{"):
        device, brace, rest = text[1:].partition("}")
        if not brace or not 1 <= len(device) <= MAX_DEVICE_NAME:
            raise wrong("is not a device: write its name in braces, for example {eth0}")
        port = _optional_port(rest)
        if port is None:
            raise wrong(f"has something else than a port in 0..{MAX_PORT} behind the device")
        return InterfaceAddress("", device, port)
    address, slash, prefix_text = text.partition("/")
    bracketed = address.startswith("[") and "]" in address
    if bracketed:
        host, rest = address[1:].split("]", 1)
        host = host.split("%", 1)[0]
    else:
        host, colon, rest = address.partition(":")
        rest = colon + rest
    port = _optional_port(rest)
    if port is None:
        raise wrong(f"has something else than a port in 0..{MAX_PORT} behind the address")
    if not host or host.startswith("[") or "}" in host:
        raise wrong("is not an address: write for example 192.168.0.0/24, [fe80::]/10 or {eth0}")
    if bracketed and packed_address(host, ipv6=True) is None:
        raise wrong("is not an IPv6 address in brackets")
    bits = 128 if bracketed else 32
    prefix_length = None
    if slash:
        is_number = prefix_text.isascii() and prefix_text.isdigit() and len(prefix_text) <= 3
        prefix_length = int(prefix_text) if is_number else -1
        if not 0 <= prefix_length <= bits:
            raise wrong(f"has no prefix length in 0..{bits} behind the slash")
    return InterfaceAddress(host, "", port, prefix_length, bracketed)


def _port(text: str) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        return None
    port = int(text)
    return port if port <= MAX_PORT else None


def _optional_port(text: str) -> int | None:
    if not text:
        return 0
    return _port(text[1:]) if text.startswith(":") else None
