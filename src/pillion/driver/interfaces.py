"""The local address that a channel's `interface` means. Loaded only by channels that have one."""

from __future__ import annotations

import ctypes
import ctypes.util
import socket
from collections.abc import Iterator
from typing import NamedTuple

from pillion.channel import ChannelUri

_IFF_UP = 1
_IFF_LOOPBACK = 8


class LocalAddress(NamedTuple):
    """One address of one interface; `prefix_length` bits of it are the network's."""

    device: str
    host: str
    packed: bytes
    prefix_length: int
    is_loopback: bool


class _SockAddr(ctypes.Structure):
    _fields_ = [("family", ctypes.c_ushort), ("data", ctypes.c_ubyte * 26)]


class _IfAddrs(ctypes.Structure):
    pass


_IfAddrs._fields_ = [
    ("next", ctypes.POINTER(_IfAddrs)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.POINTER(_SockAddr)),
    ("netmask", ctypes.POINTER(_SockAddr)),
    ("broadcast", ctypes.POINTER(_SockAddr)),
    ("data", ctypes.c_void_p),
]


def local_addresses() -> list[LocalAddress]:
    """The IPv4 and IPv6 addresses of every interface that is up."""
    libc = ctypes.CDLL(None, use_errno=True)
    first = ctypes.POINTER(_IfAddrs)()
    if libc.getifaddrs(ctypes.byref(first)) != 0:
        raise OSError(ctypes.get_errno(), "cannot list the network interfaces")
    try:
        return list(_walk(first))
    finally:
        libc.freeifaddrs(first)


def _walk(node: ctypes._Pointer[_IfAddrs]) -> Iterator[LocalAddress]:
    while node:
        entry = node.contents
        packed = _packed(entry.address)
        mask = _packed(entry.netmask)
        if packed is not None and mask is not None and entry.flags & _IFF_UP:
            family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
            yield LocalAddress(
                entry.name.decode(),
                socket.inet_ntop(family, packed),
                packed,
                int.from_bytes(mask).bit_count(),
                bool(entry.flags & _IFF_LOOPBACK),
            )
        node = entry.next


def _packed(pointer: ctypes._Pointer[_SockAddr]) -> bytes | None:
    if not pointer:
        return None
    family = pointer.contents.family
    if family == socket.AF_INET:
        return bytes(pointer.contents.data[2:6])
    if family == socket.AF_INET6:
        return bytes(pointer.contents.data[6:22])
    return None


def find_interface(uri: ChannelUri, *, is_ipv6: bool) -> tuple[str, int]:
    """Address and port to bind for `uri`'s interface; raises `ChannelError` if there is none."""
    wanted = uri.interface
    assert wanted is not None
    length = 16 if is_ipv6 else 4
    candidates = [address for address in local_addresses() if len(address.packed) == length]
    if wanted.device:
        matching = [address for address in candidates if address.device == wanted.device]
    else:
        family = socket.AF_INET6 if wanted.is_ipv6_literal else socket.AF_INET
        network = socket.inet_pton(family, wanted.host)
        bits = len(network) * 8 if wanted.prefix_length is None else wanted.prefix_length
        matching = [
            address for address in candidates if _same_network(address.packed, network, bits)
        ]
    if not matching:
        known = ", ".join(f"{{{address.device}}} {address.host}" for address in candidates)
        raise uri.error("interface", f"matches no interface that is up; there are: {known}")
    # The most specific network wins, loopback only if there is no other.
    best = max(matching, key=lambda address: (not address.is_loopback, address.prefix_length))
    return best.host, wanted.port


def _same_network(address: bytes, network: bytes, bits: int) -> bool:
    if len(address) != len(network):
        return False
    shift = len(address) * 8 - bits
    return int.from_bytes(address) >> shift == int.from_bytes(network) >> shift
