"""Subscriptions: IPC, UDP and spies; adding, removing, and linking them to streams."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any

from pillion.channel import ChannelUri
from pillion.driver.channel_params import refuse_unsupported_addressing, subscription_params
from pillion.driver.links import Subscription
from pillion.driver.refusal import Refusal, generic
from pillion.driver.udp_channel import UdpChannel, resolve_channel
from pillion.errors import ErrorCode
from pillion.protocol import commands
from pillion.protocol.commands import AddSubscription, Remove
from pillion.protocol.ids import ResponseType

if TYPE_CHECKING:
    from pillion.driver.channel_endpoints import Endpoints, ReceiveChannelEndpoint
    from pillion.driver.channel_params import SubscriptionParams
    from pillion.driver.images import Images
    from pillion.driver.ipc_publications import IpcPublications, IpcStream
    from pillion.driver.network_publications import NetworkStream
    from pillion.driver.publications_index import PublicationsIndex
    from pillion.driver.services import Services

NO_STATUS = -1


class Subscriptions:
    """Every subscription of the driver, by registration id."""

    def __init__(
        self,
        services: Services,
        endpoints: Endpoints,
        index: PublicationsIndex,
        ipc: IpcPublications,
        images: Images,
    ) -> None:
        self.services = services
        self.endpoints = endpoints
        self.index = index
        self.ipc = ipc
        self.images = images
        self._subscriptions: dict[int, Subscription] = {}

    # ---- adding ---------------------------------------------------------------------------------

    def add(
        self, command: AddSubscription, uri: ChannelUri
    ) -> Generator[Any, Any, Subscription]:
        """Steps that make the subscription, without linking it yet."""
        if uri.is_ipc:
            if uri.is_spy:
                raise Refusal(
                    ErrorCode.INVALID_CHANNEL,
                    f"a spy reads the publications of a UDP channel, not {uri}",
                )
            return self._make(command, subscription_params(uri, self.services.settings))
        uri.check_addressing()
        refuse_unsupported_addressing(uri, is_subscription=not uri.is_spy)
        plain = ChannelUri(uri.media, uri.params)
        channel: UdpChannel = yield partial(resolve_channel, plain, self.services.resolver)
        params = subscription_params(uri, self.services.settings)
        if uri.is_spy:
            return self._make(command, params, spied=channel)
        endpoint = self.endpoints.find_receive(channel)
        if endpoint is not None:
            _refuse_conflict(endpoint, command, params)
        self.endpoints.check_window(
            endpoint.channel.uri if endpoint is not None else uri, params.window_length
        )
        if endpoint is None:
            endpoint = yield from self._open(channel, command, params)
        subscription = self._make(command, params, endpoint=endpoint)
        endpoint.subscriptions.append(subscription)
        assert endpoint.native is not None
        self.services.plane.add_subscription(
            endpoint.native, subscription.stream_id, params.session_id
        )
        return subscription

    def _open(
        self, channel: UdpChannel, command: AddSubscription, params: SubscriptionParams
    ) -> Generator[Any, Any, ReceiveChannelEndpoint]:
        try:
            transport = yield self.endpoints.open_receive(channel)
        except OSError:
            self.endpoints.give_back_port(channel, is_send=False)
            raise
        try:
            return self.endpoints.add_receive(
                channel, command.channel, command.correlation_id, transport, params.group_tag
            )
        except Exception:
            transport.close()
            raise

    def _make(
        self,
        command: AddSubscription,
        params: SubscriptionParams,
        *,
        endpoint: ReceiveChannelEndpoint | None = None,
        spied: UdpChannel | None = None,
    ) -> Subscription:
        subscription = Subscription(
            command.correlation_id,
            command.client_id,
            command.channel,
            command.stream_id,
            params,
            endpoint=endpoint,
            spied=spied,
        )
        self._subscriptions[subscription.registration_id] = subscription
        return subscription

    def announce(self, subscription: Subscription) -> None:
        """Tell the client that it is there, then link what it wants to read."""
        endpoint = subscription.endpoint
        status_id = NO_STATUS if endpoint is None else endpoint.status_id
        self.services.send(
            ResponseType.SUBSCRIPTION_READY,
            commands.encode_subscription_ready(subscription.registration_id, status_id),
        )
        for stream in self._matching(subscription):
            stream.link(subscription)

    def _matching(self, subscription: Subscription) -> list[Any]:
        if subscription.is_ipc:
            return self.ipc.matching(subscription)
        if subscription.spied is None:
            return self.images.matching(subscription)
        return [stream for stream in self.index.network if _spies_on(subscription, stream)]

    # ---- linking to new streams -----------------------------------------------------------------

    def link_ipc(self, stream: IpcStream) -> None:
        """Link whoever waits for this IPC publication."""
        for subscription in self._subscriptions.values():
            if (
                subscription.is_ipc
                and subscription.wants(stream.stream_id, stream.session_id)
                and stream.accepts_subscribers
            ):
                stream.link(subscription)

    def link_spies(self, stream: NetworkStream) -> None:
        for subscription in self._subscriptions.values():
            if subscription.spied is not None and _spies_on(subscription, stream):
                stream.link(subscription)

    # ---- removing -------------------------------------------------------------------------------

    def remove(self, command: Remove) -> None:
        subscription = self._subscriptions.get(command.registration_id)
        if subscription is None or subscription.client_id != command.client_id:
            raise unknown_subscription(command.client_id, command.registration_id)
        self._drop(subscription)
        self.services.send(
            ResponseType.OPERATION_SUCCESS, commands.encode_id(command.correlation_id)
        )

    def get(self, registration_id: int) -> Subscription | None:
        return self._subscriptions.get(registration_id)

    def release_client(self, client_id: int) -> None:
        for subscription in list(self._subscriptions.values()):
            if subscription.client_id == client_id:
                self._drop(subscription)

    def _drop(self, subscription: Subscription) -> None:
        del self._subscriptions[subscription.registration_id]
        for stream, link in list(subscription.links.items()):
            stream.unlink(link)
        endpoint = subscription.endpoint
        if endpoint is None:
            return
        endpoint.subscriptions.remove(subscription)
        if endpoint.native is not None and not endpoint.is_closing:
            self.services.plane.remove_subscription(
                endpoint.native, subscription.stream_id, subscription.params.session_id
            )
        self.endpoints.close_unused_receive(endpoint)


def _spies_on(subscription: Subscription, stream: NetworkStream) -> bool:
    channel = subscription.spied
    assert channel is not None
    if subscription.stream_id != stream.stream_id or not stream.accepts_subscribers:
        return False
    other = stream.endpoint.channel
    if channel.tag is not None and channel.tag == other.tag:
        return True
    return channel.canonical_form == other.canonical_form and subscription.wants(
        stream.stream_id, stream.session_id
    )


def _refuse_conflict(
    endpoint: ReceiveChannelEndpoint, command: AddSubscription, params: SubscriptionParams
) -> None:
    for other in endpoint.subscriptions:
        if other.stream_id != command.stream_id or other.params.session_id != params.session_id:
            continue
        for name in ("reliable", "rejoin"):
            if getattr(other.params, name) != getattr(params, name):
                raise generic(
                    f"option conflicts with existing subscription: {name}="
                    f"{str(getattr(params, name)).lower()} existingChannel={other.channel} "
                    f"channel={command.channel}"
                )


def unknown_subscription(client_id: int, registration_id: int) -> Refusal:
    return Refusal(
        ErrorCode.UNKNOWN_SUBSCRIPTION,
        f"client {client_id} has no subscription of registration {registration_id}",
    )
