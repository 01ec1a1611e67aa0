"""A UDP channel with its names looked up: where to bind, where to send, and which channels are one.

Runs on the resource agent: looking up a name may take seconds.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from pillion.address import EndpointAddress, is_multicast
from pillion.channel import ChannelUri
from pillion.driver.refusal import Refusal, not_supported
from pillion.driver.udp import transport
from pillion.errors import ErrorCode
from pillion.protocol.ids import SystemCounter

if TYPE_CHECKING:
    from pillion.clock import Clock
    from pillion.memory.counters import CountersManager

Address = tuple[str, int]
#: Looks up a host name: `(host, is IPv6 literal) -> (family, address text)`; raises `OSError`.
Resolver = Callable[[str], str]

_suffixes = itertools.count(1)


class UdpChannel(NamedTuple):
    """A resolved unicast channel.

    `canonical_form` is equal for channels that share an endpoint. `is_wildcard` marks one with a
    tag only, that uses whatever endpoint carries the tag.
    """

    uri: ChannelUri
    local: Address
    remote: Address
    canonical_form: str
    tag: int | None
    is_wildcard: bool

    def matches_tag_of(self, other: UdpChannel) -> bool:
        """Whether both have the same channel tag; raises `Refusal` if they contradict otherwise."""
        if self.tag is None or self.tag != other.tag:
            return False
        if not self.is_wildcard and (self.local, self.remote) != (other.local, other.remote):
            raise Refusal(
                ErrorCode.GENERIC_ERROR,
                f"matching tag {self.tag} has mismatched endpoint or control: {self.uri} against "
                f"{other.uri}",
            )
        return True


def default_resolver(host: str) -> str:
    """The first IPv4 address of `host`, else the first IPv6 one; raises `OSError`."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    chosen = next((row for row in found if row[0] == socket.AF_INET), found[0])
    return str(chosen[4][0])


class MeasuredResolver:
    """A resolver whose slowest look-up is a counter, and with another those above `threshold_ns`."""

    def __init__(
        self, resolver: Resolver, clock: Clock, counters: CountersManager, threshold_ns: int
    ) -> None:
        self._resolver = resolver
        self._clock = clock
        self._counters = counters
        self._threshold_ns = threshold_ns

    def __call__(self, host: str) -> str:
        started_ns = self._clock.nano()
        try:
            return self._resolver(host)
        finally:
            elapsed_ns = self._clock.nano() - started_ns
            if elapsed_ns > self._counters.value(SystemCounter.NAME_RESOLVER_MAX_TIME):
                self._counters.set_value(SystemCounter.NAME_RESOLVER_MAX_TIME, elapsed_ns)
            if elapsed_ns > self._threshold_ns:
                self._counters.add_to_value(SystemCounter.NAME_RESOLVER_TIME_EXCEEDED, 1)


def resolve_channel(uri: ChannelUri, resolver: Resolver) -> UdpChannel:
    """Look up `uri`'s addresses. Raises `Refusal` (code 9 for a name nobody knows)."""
    endpoint = uri.endpoint
    control = uri.control
    remote = _resolve(endpoint, resolver, uri, "endpoint")
    control_address = _resolve(control, resolver, uri, "control")
    if remote is not None and is_multicast(_packed(remote[0])):
        raise not_supported("a multicast endpoint", uri)
    is_ipv6 = remote is not None and ":" in remote[0]
    any_address = "::" if is_ipv6 else "0.0.0.0"
    if control_address is not None:
        local = control_address
    elif "interface" in uri:
        # Few channels name an interface: what enumerates them is loaded by those that do.
        from pillion.driver.interfaces import find_interface

        local = find_interface(uri, is_ipv6=is_ipv6)
    else:
        local = (any_address, 0)
    remote_address = remote if remote is not None else (any_address, 0)
    tag = uri.channel_tag
    canonical = (
        f"UDP-{uri.get('control') or format_address(local)}"
        f"-{uri.get('endpoint') or format_address(remote_address)}"
    )
    has_no_port = any(address is not None and address.port == 0 for address in (endpoint, control))
    if (endpoint is None and control is None) or has_no_port:
        canonical += f"#{tag}" if tag is not None else f"-{next(_suffixes)}"
    return UdpChannel(
        uri=uri,
        local=local,
        remote=remote_address,
        canonical_form=canonical,
        tag=tag,
        is_wildcard=endpoint is None and control is None,
    )


def _resolve(
    address: EndpointAddress | None, resolver: Resolver, uri: ChannelUri, parameter: str
) -> Address | None:
    if address is None:
        return None
    literal = address.literal
    if literal is not None:
        return address.host, address.port
    try:
        return resolver(address.host), address.port
    except (OSError, UnicodeError) as error:
        raise Refusal(
            ErrorCode.UNKNOWN_HOST,
            f"{parameter}={uri.get(parameter)!r}: host {address.host!r} is unknown ({error}) in "
            f"channel {uri}",
        ) from None


def _packed(host: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)


def format_address(address: Address) -> str:
    """`host:port`, an IPv6 host in brackets."""
    return transport.format_address(*address)
