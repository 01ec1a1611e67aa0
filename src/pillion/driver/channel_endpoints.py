"""Channel endpoints: one socket for all streams of a channel, found by its address or its tag."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from pillion.driver.ports import WildcardPorts
from pillion.driver.refusal import Refusal, generic
from pillion.driver.streams import ReceiveEndpoint, SendEndpoint
from pillion.driver.udp.transport import encode_address
from pillion.driver.udp_channel import UdpChannel, format_address
from pillion.errors import ErrorCode
from pillion.protocol.ids import ChannelStatus, CounterType, SystemCounter

if TYPE_CHECKING:
    from pillion.channel import ChannelUri
    from pillion.driver.images import ImageStream
    from pillion.driver.links import Subscription
    from pillion.driver.network_publications import NetworkStream
    from pillion.driver.services import Services
    from pillion.driver.udp.transport import DatagramTransport

MAX_RECEIVER_ID = 2**63 - 1


class ChannelEndpoint:
    """What send and receive endpoints share. `status_id` is the counter clients watch."""

    def __init__(
        self, services: Services, channel: UdpChannel, channel_text: str, registration_id: int
    ) -> None:
        self.services = services
        self.channel = channel
        self.channel_text = channel_text
        self.registration_id = registration_id
        self.is_closing = False
        self.status_id = -1
        self.counter_ids: list[int] = []
        self.managed_port = 0

    def _register(
        self, counter_type: CounterType, name: str, address_name: str, transport: DatagramTransport
    ) -> None:
        """Allocate the counters that show the channel and the address it got."""
        services = self.services
        address = format_address(transport.local_address)
        self.status_id = services.allocate_channel_counter(
            counter_type, name, self.channel_text, self.registration_id
        )
        self.counter_ids.append(self.status_id)
        services.counters.set_label(self.status_id, f"{name}: {self.channel_text} {address}")
        self.counter_ids.append(
            services.allocate_address_counter(
                address_name, self.status_id, address, self.registration_id
            )
        )
        services.counters.set_value(self.status_id, ChannelStatus.ACTIVE)

    def mark_closing(self) -> None:
        self.is_closing = True
        self.services.counters.set_value(self.status_id, ChannelStatus.CLOSING)


class SendChannelEndpoint(ChannelEndpoint):
    """A socket that publications send through."""

    def __init__(
        self,
        services: Services,
        channel: UdpChannel,
        channel_text: str,
        registration_id: int,
        transport: DatagramTransport,
    ) -> None:
        super().__init__(services, channel, channel_text, registration_id)
        self.publications: set[NetworkStream] = set()
        #: Publications of which the log is being made: they keep it open.
        self.expected = 0
        self.transport = transport
        # Unconnected, a socket hears from any peer, and each send has to say where to.
        self.is_connected = services.settings.connect_enabled
        self.native: SendEndpoint | None = SendEndpoint(
            transport, None if self.is_connected else encode_address(*channel.remote)
        )
        #: When the name was last looked up again because nobody answered.
        self.resolved_ns = services.now_ns
        self._register(
            CounterType.SEND_CHANNEL_STATUS, "snd-channel", "snd-local-sockaddr", transport
        )


class ReceiveChannelEndpoint(ChannelEndpoint):
    """A bound socket that subscriptions listen on."""

    def __init__(
        self,
        services: Services,
        channel: UdpChannel,
        channel_text: str,
        registration_id: int,
        transport: DatagramTransport,
        *,
        receiver_id: int,
        group_tag: int | None,
    ) -> None:
        super().__init__(services, channel, channel_text, registration_id)
        self.subscriptions: list[Subscription] = []
        self.images: set[ImageStream] = set()
        self.transport = transport
        self.native: ReceiveEndpoint | None = ReceiveEndpoint(
            transport, receiver_id=receiver_id, group_tag=group_tag
        )
        self._register(
            CounterType.RECEIVE_CHANNEL_STATUS, "rcv-channel", "rcv-local-sockaddr", transport
        )

    @property
    def is_used(self) -> bool:
        return bool(self.subscriptions or self.images)


class SocketBuffers:
    """What the operating system gives a socket, measured once."""

    def __init__(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            self.default_sndbuf = probe.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            self.default_rcvbuf = probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.max_sndbuf = _read_limit("wmem_max")
        self.max_rcvbuf = _read_limit("rmem_max")


def _read_limit(name: str) -> int:
    try:
        with open(f"/proc/sys/net/core/{name}", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


class Endpoints:
    """Every endpoint of the driver, and what decides which channel uses which."""

    def __init__(self, services: Services) -> None:
        self.services = services
        settings = services.settings
        self.buffers = SocketBuffers()
        self.senders: list[SendChannelEndpoint] = []
        self.receivers: list[ReceiveChannelEndpoint] = []
        self._by_native: dict[object, ChannelEndpoint] = {}
        self._next_receiver_id = services.random.getrandbits(63)
        self._send_ports = WildcardPorts(*settings.sender_wildcard_port_range)
        self._receive_ports = WildcardPorts(*settings.receiver_wildcard_port_range)

    # ---- lengths of socket buffers --------------------------------------------------------------

    def sndbuf(self, uri: ChannelUri) -> int:
        """Bytes asked for: of the channel, else of the settings; 0 leaves it to the system."""
        return uri.get_size("so-sndbuf", 0) or self.services.settings.socket_so_sndbuf

    def rcvbuf(self, uri: ChannelUri) -> int:
        return uri.get_size("so-rcvbuf", 0) or self.services.settings.socket_so_rcvbuf

    def check_mtu(self, uri: ChannelUri, mtu_length: int) -> None:
        room = self.sndbuf(uri) or self.buffers.default_sndbuf
        if mtu_length > room:
            raise generic(
                f"MTU greater than SO_SNDBUF for channel: mtu={mtu_length} so-sndbuf={room} "
                f"channel={uri}: raise so-sndbuf or lower mtu"
            )

    def check_window(self, uri: ChannelUri, window_length: int) -> None:
        room = self.rcvbuf(uri) or self.buffers.default_rcvbuf
        if window_length > room:
            raise generic(
                f"Initial window greater than SO_RCVBUF for channel: rcv-wnd={window_length} "
                f"so-rcvbuf={room} channel={uri}: raise so-rcvbuf or lower rcv-wnd"
            )

    # ---- finding --------------------------------------------------------------------------------

    def find_send(self, channel: UdpChannel) -> SendChannelEndpoint | None:
        """The endpoint a publication of `channel` shares; raises `Refusal` on a contradiction."""
        found = _find(self.senders, channel)
        if found is None and channel.is_wildcard:
            raise generic(
                "URI must have explicit control, endpoint, or be manual control-mode when "
                f"original: {channel.uri}"
            )
        if found is not None:
            self._check_same_buffers(found, channel.uri)
        return found

    def find_receive(self, channel: UdpChannel) -> ReceiveChannelEndpoint | None:
        found = _find(self.receivers, channel)
        if found is None and channel.is_wildcard:
            raise generic(
                f"no subscription has the tag of {channel.uri}: the first one needs an endpoint"
            )
        if found is not None:
            self._check_same_buffers(found, channel.uri)
        return found

    def _check_same_buffers(self, endpoint: ChannelEndpoint, uri: ChannelUri) -> None:
        for name in ("so-sndbuf", "so-rcvbuf"):
            asked = uri.get_size(name)
            wanted = self.sndbuf if name == "so-sndbuf" else self.rcvbuf
            if asked is not None and asked != wanted(endpoint.channel.uri):
                raise generic(
                    f"{name}={uri.get(name)} does not match the existing endpoint's value: "
                    f"{endpoint.channel.uri}"
                )

    # ---- opening --------------------------------------------------------------------------------

    def open_send(self, channel: UdpChannel) -> Callable[[], DatagramTransport]:
        """The slow call that opens the socket of a new send endpoint."""
        services = self.services
        host, port = channel.local
        if "control" in channel.uri:
            port = self._send_ports.take(port)
        sndbuf, rcvbuf = self.sndbuf(channel.uri), self.rcvbuf(channel.uri)
        return lambda: services.open_transport(
            bind=(host, port),
            connect=channel.remote if services.settings.connect_enabled else None,
            so_sndbuf=sndbuf,
            so_rcvbuf=rcvbuf,
        )

    def add_send(
        self, channel: UdpChannel, text: str, registration_id: int, transport: DatagramTransport
    ) -> SendChannelEndpoint:
        endpoint = SendChannelEndpoint(self.services, channel, text, registration_id, transport)
        if "control" in channel.uri:
            endpoint.managed_port = transport.local_address[1]
        self.senders.append(endpoint)
        self._by_native[endpoint.native] = endpoint
        assert endpoint.native is not None
        self.services.plane.add_send_endpoint(endpoint.native)
        return endpoint

    def open_receive(self, channel: UdpChannel) -> Callable[[], DatagramTransport]:
        services = self.services
        host, port = channel.remote
        bind = (host, self._receive_ports.take(port))
        sndbuf, rcvbuf = self.sndbuf(channel.uri), self.rcvbuf(channel.uri)
        return lambda: services.open_transport(bind=bind, so_sndbuf=sndbuf, so_rcvbuf=rcvbuf)

    def add_receive(
        self,
        channel: UdpChannel,
        text: str,
        registration_id: int,
        transport: DatagramTransport,
        group_tag: int | None,
    ) -> ReceiveChannelEndpoint:
        receiver_id = self._next_receiver_id
        self._next_receiver_id = (receiver_id + 1) & MAX_RECEIVER_ID
        endpoint = ReceiveChannelEndpoint(
            self.services,
            channel,
            text,
            registration_id,
            transport,
            receiver_id=receiver_id,
            group_tag=group_tag,
        )
        endpoint.managed_port = transport.local_address[1]
        self.receivers.append(endpoint)
        self._by_native[endpoint.native] = endpoint
        assert endpoint.native is not None
        self.services.plane.add_receive_endpoint(endpoint.native)
        return endpoint

    def give_back_port(self, channel: UdpChannel, *, is_send: bool) -> None:
        """After a socket could not be opened."""
        if is_send:
            self._send_ports.give_back(channel.local[1])
        else:
            self._receive_ports.give_back(channel.remote[1])

    # ---- closing --------------------------------------------------------------------------------

    def close_unused_send(self, endpoint: SendChannelEndpoint) -> None:
        if not endpoint.publications and not endpoint.expected and not endpoint.is_closing:
            endpoint.mark_closing()
            assert endpoint.native is not None
            self.services.plane.remove_send_endpoint(endpoint.native)

    def close_unused_receive(self, endpoint: ReceiveChannelEndpoint) -> None:
        if not endpoint.is_used and not endpoint.is_closing:
            endpoint.mark_closing()
            assert endpoint.native is not None
            self.services.plane.remove_receive_endpoint(endpoint.native)

    def on_released(self, native: object) -> bool:
        """An agent let an endpoint go; False if `native` is none."""
        endpoint = self._by_native.pop(native, None)
        if isinstance(endpoint, SendChannelEndpoint):
            self.senders.remove(endpoint)
            self._send_ports.give_back(endpoint.managed_port)
        elif isinstance(endpoint, ReceiveChannelEndpoint):
            self.receivers.remove(endpoint)
            self._receive_ports.give_back(endpoint.managed_port)
        else:
            return False
        endpoint.native = None
        endpoint.transport.close()
        self.services.free_counters(endpoint.counter_ids)
        return True

    def on_socket_error(self, native: object, errno: int, count: int) -> None:
        """Sends or receives failed `count` times since the last report."""
        endpoint = self._by_native.get(native)
        if endpoint is not None:
            self.services.record(
                ErrorCode.GENERIC_ERROR, f"{endpoint.channel_text}: {os.strerror(errno)} ({errno})"
            )
            self.services.count(SystemCounter.ERRORS, count - 1)

    def receiver_of(self, native: object) -> ReceiveChannelEndpoint | None:
        endpoint = self._by_native.get(native)
        return endpoint if isinstance(endpoint, ReceiveChannelEndpoint) else None

    def close(self) -> None:
        """The agents have stopped: close every socket."""
        endpoints: list[SendChannelEndpoint | ReceiveChannelEndpoint]
        endpoints = [*self.senders, *self.receivers]
        for endpoint in endpoints:
            endpoint.native = None
            endpoint.transport.close()


E = TypeVar("E", bound=ChannelEndpoint)


def _find(endpoints: list[E], channel: UdpChannel) -> E | None:
    for endpoint in endpoints:
        if channel.matches_tag_of(endpoint.channel):
            return _open(endpoint)
    if channel.is_wildcard:
        return None
    for endpoint in endpoints:
        other = endpoint.channel
        if other.canonical_form != channel.canonical_form:
            continue
        if channel.tag is not None and other.tag is not None:
            continue
        return _open(endpoint)
    return None


def _open(endpoint: E) -> E:
    if endpoint.is_closing:
        raise Refusal(
            ErrorCode.RESOURCE_TEMPORARILY_UNAVAILABLE,
            f"the endpoint of {endpoint.channel_text} is still closing: try again",
        )
    return endpoint
