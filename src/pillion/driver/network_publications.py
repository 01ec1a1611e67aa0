"""Network publications: streams sent over UDP, which spies may read where they are sent."""

from __future__ import annotations

import socket
import struct
from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any

from pillion.channel import ChannelUri
from pillion.driver.channel_params import (
    PublicationParams,
    leaves_term_length_open,
    publication_params,
    refuse_port_zero,
    refuse_unsupported_addressing,
)
from pillion.driver.events import decode_address
from pillion.driver.publications import (
    PublicationStream,
    State,
    log_spec,
    refuse_different,
    refuse_session_clash,
)
from pillion.driver.refusal import generic
from pillion.driver.streams import NetworkPublication
from pillion.driver.udp_channel import UdpChannel, format_address, resolve_channel
from pillion.memory.log_buffer import LogBuffer
from pillion.protocol import commands
from pillion.protocol.commands import AddPublication, PublicationErrorEvent
from pillion.protocol.ids import CounterType, ResponseType, SystemCounter
from pillion.units import SECOND_NS

if TYPE_CHECKING:
    from pillion.driver.channel_endpoints import Endpoints, SendChannelEndpoint
    from pillion.driver.publications_index import PublicationsIndex
    from pillion.driver.services import Services

#: Silence after which an endpoint's name is looked up again.
RE_RESOLUTION_NS = 5 * SECOND_NS
_COUNTERS = (
    (CounterType.PUBLISHER_POSITION, "pub-pos"),
    (CounterType.PUBLISHER_LIMIT, "pub-lmt"),
    (CounterType.SENDER_POSITION, "snd-pos"),
    (CounterType.SENDER_LIMIT, "snd-lmt"),
    (CounterType.SENDER_BACK_PRESSURE, "snd-bpe"),
    (CounterType.SENDER_NAKS_RECEIVED, "snd-naks-received"),
)
_POSITIONS = ("pub-pos", "pub-lmt", "snd-pos", "snd-lmt")


class NetworkStream(PublicationStream):
    """One network publication, from its first client to the end of its linger."""

    native: NetworkPublication

    def __init__(
        self,
        services: Services,
        command: AddPublication,
        params: PublicationParams,
        log: LogBuffer,
        endpoint: SendChannelEndpoint,
        *,
        is_exclusive: bool,
    ) -> None:
        super().__init__(services, command, log.session_id, params, log, is_exclusive=is_exclusive)
        self.endpoint = endpoint
        self.status_id = endpoint.status_id
        self.linger_since_ns = 0
        kind = "exclusive" if is_exclusive else "concurrent"
        ids = {}
        for counter_type, name in _COUNTERS:
            ids[name] = services.allocate_stream_counter(
                counter_type,
                f"{name} ({kind})" if name == "pub-pos" else name,
                registration_id=self.registration_id,
                owner_id=command.client_id,
                session_id=self.session_id,
                stream_id=self.stream_id,
                channel=command.channel,
                value=log.producer_position if name in _POSITIONS else 0,
            )
            self.counter_ids.append(ids[name])
        self.limit_id = ids["pub-lmt"]
        assert endpoint.native is not None
        self.native = NetworkPublication(
            log,
            services.counters,
            endpoint.native,
            pub_pos_id=ids["pub-pos"],
            pub_lmt_id=ids["pub-lmt"],
            snd_pos_id=ids["snd-pos"],
            snd_lmt_id=ids["snd-lmt"],
            snd_bpe_id=ids["snd-bpe"],
            snd_naks_id=ids["snd-naks-received"],
            window_length=params.window_length,
            connection_timeout_ns=services.settings.publication_connection_timeout_ns,
            spies_simulate_connection=params.spies_simulate_connection,
            signal_eos=params.signal_eos,
            retransmit_delay_ns=services.settings.retransmit_unicast_delay_ns,
            retransmit_linger_ns=services.settings.retransmit_unicast_linger_ns,
        )
        endpoint.publications.add(self)
        self.is_handed_over = True
        services.plane.add_network_publication(self.native)

    @property
    def accepts_subscribers(self) -> bool:
        """For spies."""
        if self.state is State.ACTIVE:
            return not self.is_revoked
        return (
            self.state is State.DRAINING
            and bool(self.links)
            and self.native.producer_position > self.native.sender_position
        )

    def untethered_limit(self) -> int:
        window = self.params.window_length
        return self.native.sender_position - window + window // 4

    def begin_draining(self) -> None:
        if self.state is State.ACTIVE:
            self.native.signal_end(self.is_revoked)
            if not self.is_revoked:
                self.state = State.DRAINING

    # ---- timers ---------------------------------------------------------------------------------

    def on_time_event(self) -> None:
        if self.state is State.ACTIVE and self.is_revoked:
            self.services.count(SystemCounter.PUBLICATIONS_REVOKED)
            self._linger()
        elif self.state is State.ACTIVE:
            self.check_untethered()
            if not self.is_exclusive:
                self.check_blocked(self.native.sender_position)
        elif self.state is State.DRAINING:
            self._drain()
        elif self.state is State.LINGER and not self.client_links:
            elapsed_ns = self.services.now_ns - self.linger_since_ns
            if self.native.is_end_confirmed or elapsed_ns > self.params.linger_ns:
                self.state = State.DONE
                self.services.plane.remove_network_publication(self.native)

    def _drain(self) -> None:
        native = self.native
        position = native.sender_position
        if native.producer_position > position and (
            self.unblock(position) or native.has_receivers
        ):
            return
        if native.spies_drained:
            self._linger()

    def _linger(self) -> None:
        self.unlink_all(announce=True)
        self.linger_since_ns = self.services.now_ns
        self.state = State.LINGER

    def on_error_frame(
        self, receiver_id: int, group_tag: int, error_code: int, text: bytes, source: bytes
    ) -> None:
        """A receiver rejected the stream: the clients are told who and why."""
        host, port = decode_address(source)
        family = 2 if ":" in host else 1
        packed = socket.inet_pton(socket.AF_INET6 if family == 2 else socket.AF_INET, host)
        reason = text.decode("utf-8", "replace")
        event = PublicationErrorEvent(
            self.registration_id,
            -1,
            self.session_id,
            self.stream_id,
            receiver_id,
            group_tag,
            # The port travels in network byte order, the rest of the message does not.
            (family, struct.unpack("<H", struct.pack("!H", port))[0], packed),
            error_code,
            reason,
        )
        self.services.record(
            error_code,
            f"receiver {receiver_id} at {format_address((host, port))} rejected {self}: {reason}",
        )
        self.services.send(
            ResponseType.PUBLICATION_ERROR, commands.encode_publication_error(event)
        )


class NetworkPublications:
    """The commands that concern network publications."""

    def __init__(self, services: Services, index: PublicationsIndex, endpoints: Endpoints) -> None:
        self.services = services
        self.index = index
        self.endpoints = endpoints

    def add(
        self, command: AddPublication, uri: ChannelUri, *, is_exclusive: bool
    ) -> Generator[Any, Any, NetworkStream]:
        """Steps that find or make the publication."""
        services = self.services
        uri.check_addressing()
        refuse_unsupported_addressing(uri, is_subscription=False)
        channel: UdpChannel = yield partial(resolve_channel, uri, services.resolver)
        room: int | None = None
        if leaves_term_length_open(uri, services.settings):
            room = yield services.log_files.room
        params = publication_params(
            uri, services.settings, self.index.session_of_tag(uri), room
        )
        refuse_port_zero(uri)
        if uri.endpoint is None and uri.control is not None:
            raise generic(f"control needs an endpoint to send to: {uri}")
        endpoint = self.endpoints.find_send(channel)
        self.endpoints.check_mtu(
            endpoint.channel.uri if endpoint is not None else uri, params.mtu_length
        )
        used: list[NetworkStream] = []
        if endpoint is not None:
            used = [
                stream
                for stream in endpoint.publications
                if stream.stream_id == command.stream_id and stream.state is not State.DONE
            ]
            for stream in used:
                if not is_exclusive and stream.accepts_sharing:
                    refuse_different(stream, uri, params)
                    return stream
            refuse_session_clash(used, command, params.given_session_id)
        session_id = params.given_session_id
        if session_id is None:
            session_id = self.index.session_ids.take({stream.session_id for stream in used})
        spec = log_spec(
            command,
            params,
            services,
            session_id=session_id,
            initial_term_id=services.random.int32(),
            is_exclusive=is_exclusive,
        )
        buffers = self.endpoints.buffers
        spec.socket_sndbuf_length = uri.get_size("so-sndbuf", 0)
        spec.socket_rcvbuf_length = uri.get_size("so-rcvbuf", 0)
        spec.os_default_socket_sndbuf_length = buffers.default_sndbuf
        spec.os_default_socket_rcvbuf_length = buffers.default_rcvbuf
        spec.os_max_socket_sndbuf_length = buffers.max_sndbuf
        spec.os_max_socket_rcvbuf_length = buffers.max_rcvbuf
        if endpoint is not None:
            endpoint.expected += 1  # its last publication may go meanwhile
        try:
            log, available = yield partial(
                services.log_files.create, "publications", command.correlation_id, spec
            )
        except Exception:
            if endpoint is not None:
                endpoint.expected -= 1
                self.endpoints.close_unused_send(endpoint)
            raise
        if endpoint is not None:
            endpoint.expected -= 1
        services.log_was_created(len(log.file), available, log.path)
        try:
            if endpoint is None:
                endpoint = yield from self._open(channel, command)
            stream = NetworkStream(
                services, command, params, log, endpoint, is_exclusive=is_exclusive
            )
        except Exception:
            services.delete_log(log.path, len(log.file), [log])
            if endpoint is not None:
                self.endpoints.close_unused_send(endpoint)
            raise
        self.index.add_network(stream)
        return stream

    def _open(
        self, channel: UdpChannel, command: AddPublication
    ) -> Generator[Any, Any, SendChannelEndpoint]:
        try:
            transport = yield self.endpoints.open_send(channel)
        except OSError:
            self.endpoints.give_back_port(channel, is_send=True)
            raise
        try:
            return self.endpoints.add_send(
                channel, command.channel, command.correlation_id, transport
            )
        except Exception:
            transport.close()
            raise

    # ---- names that moved -----------------------------------------------------------------------

    def check_resolution(self) -> None:
        """Timer event: look the names of silent endpoints up again."""
        now_ns = self.services.now_ns
        for endpoint in self.endpoints.senders:
            if (
                endpoint.is_closing
                or not endpoint.is_connected
                or now_ns < endpoint.resolved_ns + RE_RESOLUTION_NS
            ):
                continue
            endpoint.resolved_ns = now_ns
            address = endpoint.channel.uri.endpoint
            if address is None or address.literal is not None:
                continue
            if any(stream.native.has_receivers for stream in endpoint.publications):
                continue
            self.services.resources.submit(
                partial(resolve_channel, endpoint.channel.uri, self.services.resolver),
                partial(self._on_resolved, endpoint),
            )

    def _on_resolved(
        self, endpoint: SendChannelEndpoint, channel: UdpChannel | None, error: Exception | None
    ) -> None:
        services = self.services
        if error is not None or channel is None:
            services.record_failure(error or generic("no address"))
        elif channel.remote != endpoint.channel.remote and not endpoint.is_closing:
            # The kernel changes the peer of a socket at once, also under a sender that uses it.
            endpoint.transport.reconnect(channel.remote)
            endpoint.channel = channel
            services.count(SystemCounter.RESOLUTION_CHANGES)
