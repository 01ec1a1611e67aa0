"""Subscriptions, streams, and the links between them: who reads what, from which position.

A link is one subscriber position of one stream. The agent that owns the stream decides where it
joins; only then the client hears of its image. Timers follow untethered subscriptions: one that
lags is let go, rests, and comes back.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from pillion.protocol import commands
from pillion.protocol.commands import AvailableImage, UnavailableImage
from pillion.protocol.ids import CounterType, ResponseType

if TYPE_CHECKING:
    from pillion.driver.channel_endpoints import ReceiveChannelEndpoint
    from pillion.driver.channel_params import SubscriptionParams, UntetheredTimeouts
    from pillion.driver.services import Services
    from pillion.driver.udp_channel import UdpChannel

IPC_CHANNEL = "aeron:ipc"


class Subscription:
    """What a client subscribed to: one channel, one stream id."""

    def __init__(
        self,
        registration_id: int,
        client_id: int,
        channel: str,
        stream_id: int,
        params: SubscriptionParams,
        *,
        endpoint: ReceiveChannelEndpoint | None = None,
        spied: UdpChannel | None = None,
    ) -> None:
        self.registration_id = registration_id
        self.client_id = client_id
        self.channel = channel
        self.stream_id = stream_id
        self.params = params
        #: Of a UDP subscription.
        self.endpoint = endpoint
        #: The channel whose publications a spy reads.
        self.spied = spied
        self.links: dict[Stream, Link] = {}

    @property
    def is_ipc(self) -> bool:
        return self.endpoint is None and self.spied is None

    def wants(self, stream_id: int, session_id: int) -> bool:
        if stream_id != self.stream_id:
            return False
        return self.params.session_id is None or self.params.session_id == session_id


class LinkState(enum.Enum):
    """`JOINING` until the stream's agent said where, `LEAVING` until it let go."""

    JOINING = enum.auto()
    ACTIVE = enum.auto()
    LINGER = enum.auto()
    RESTING = enum.auto()
    LEAVING = enum.auto()


class Link:
    """One subscription on one stream. `position_id` is its counter, which the client writes."""

    __slots__ = ("is_watched", "position_id", "since_ns", "state", "subscription")

    def __init__(self, subscription: Subscription, position_id: int, now_ns: int) -> None:
        self.subscription = subscription
        self.position_id = position_id
        self.state = LinkState.JOINING
        self.since_ns = now_ns
        self.is_watched = not subscription.params.tether


class Stream:
    """What IPC publications, network publications and images have in common for subscribers."""

    #: How the statistics call who feeds the stream.
    source_identity = IPC_CHANNEL

    def __init__(
        self,
        services: Services,
        registration_id: int,
        session_id: int,
        stream_id: int,
        log_path: str,
        log_length: int,
        untethered: UntetheredTimeouts,
    ) -> None:
        self.services = services
        self.registration_id = registration_id
        self.session_id = session_id
        self.stream_id = stream_id
        self.log_path = log_path
        self.log_length = log_length
        self.untethered = untethered
        #: The struct's owner, which the agents know; None once it is released.
        self.native: Any = None
        #: Whether an agent has the stream; before that subscribers join at once, at its beginning.
        self.is_handed_over = False
        self.links: dict[int, Link] = {}
        self.counter_ids: list[int] = []

    # ---- linking --------------------------------------------------------------------------------

    def link(self, subscription: Subscription) -> None:
        """Begin to link; the client hears of it when the agent has set the position."""
        if self in subscription.links:
            return
        services = self.services
        position_id = services.allocate_stream_counter(
            CounterType.SUBSCRIBER_POSITION,
            "sub-pos",
            registration_id=subscription.registration_id,
            owner_id=subscription.client_id,
            reference_id=self.registration_id,
            session_id=self.session_id,
            stream_id=self.stream_id,
            channel=subscription.channel,
        )
        link = Link(subscription, position_id, services.now_ns)
        self.links[position_id] = link
        subscription.links[self] = link
        if self.is_handed_over:
            services.plane.add_subscriber(self.native, position_id)
        else:
            self.on_joined(position_id, self.native.link_subscriber(position_id))

    def on_joined(self, position_id: int, join_position: int) -> None:
        """The agent follows the position now."""
        link = self.links.get(position_id)
        if link is None or link.state is not LinkState.JOINING:
            return
        if join_position < 0:
            self.services.record(
                11, f"{self}: too many subscribers, subscription "
                f"{link.subscription.registration_id} is not linked"
            )
            self.unlink(link)
            return
        link.state = LinkState.ACTIVE
        link.since_ns = self.services.now_ns
        counters = self.services.counters
        if " @" not in counters.label(position_id):
            counters.append_to_label(position_id, f" @{join_position}")
        self._announce(link)

    def _announce(self, link: Link) -> None:
        event = AvailableImage(
            self.registration_id,
            self.session_id,
            self.stream_id,
            link.subscription.registration_id,
            link.position_id,
            self.log_path,
            self.source_identity,
        )
        self.services.send(ResponseType.AVAILABLE_IMAGE, commands.encode_available_image(event))

    def announce_unavailable(self, subscription: Subscription, channel: str | None = None) -> None:
        event = UnavailableImage(
            self.registration_id,
            subscription.registration_id,
            self.stream_id,
            subscription.channel if channel is None else channel,
        )
        self.services.send(
            ResponseType.UNAVAILABLE_IMAGE, commands.encode_unavailable_image(event)
        )

    def unlink(self, link: Link, *, announce: bool = False) -> None:
        """Let a subscriber go; its counter is freed when the agent no longer follows it."""
        if link.state is LinkState.LEAVING:
            return
        was_announced = link.state in (LinkState.ACTIVE, LinkState.LINGER)
        is_followed = link.state is not LinkState.RESTING
        link.state = LinkState.LEAVING
        link.subscription.links.pop(self, None)
        if announce and was_announced:
            self.announce_unavailable(link.subscription)
        if is_followed:
            self.services.plane.remove_subscriber(self.native, link.position_id)
        else:
            self.on_left(link.position_id)

    def unlink_all(self, *, announce: bool) -> None:
        for link in list(self.links.values()):
            self.unlink(link, announce=announce)

    def on_left(self, position_id: int) -> None:
        """The agent no longer looks at the position."""
        link = self.links.get(position_id)
        if link is not None and link.state is LinkState.LEAVING:
            del self.links[position_id]
            self.services.counters.free(position_id, self.services.now_ms)

    # ---- untethered subscriptions ---------------------------------------------------------------

    def untethered_limit(self) -> int:
        """An untethered subscriber that is not beyond this position lags."""
        raise NotImplementedError

    def check_untethered(self) -> None:
        """Timer event of an active stream."""
        watched = [link for link in self.links.values() if link.is_watched]
        if not watched:
            return
        limit = self.untethered_limit()
        for link in watched:
            self._check_link(link, limit, self.services.now_ns)

    def _check_link(self, link: Link, limit: int, now_ns: int) -> None:
        services = self.services
        elapsed_ns = now_ns - link.since_ns
        if link.state is LinkState.ACTIVE:
            if services.counters.value(link.position_id) > limit:
                link.since_ns = now_ns
            elif elapsed_ns > self.untethered.window_limit_ns:
                self.announce_unavailable(link.subscription, IPC_CHANNEL)
                link.state, link.since_ns = LinkState.LINGER, now_ns
        elif link.state is LinkState.LINGER:
            if elapsed_ns <= self.untethered.linger_ns:
                return
            if link.subscription.params.rejoin:
                link.state, link.since_ns = LinkState.RESTING, now_ns
                services.plane.remove_subscriber(self.native, link.position_id)
            else:
                self.unlink(link)
        elif link.state is LinkState.RESTING and elapsed_ns > self.untethered.resting_ns:
            link.state, link.since_ns = LinkState.JOINING, now_ns
            services.plane.add_subscriber(self.native, link.position_id)

    # ---- the end --------------------------------------------------------------------------------

    def release(self) -> None:
        """The agents have let go of everything: counters and log file go too."""
        services = self.services
        for link in list(self.links.values()):
            link.state = LinkState.LEAVING
            link.subscription.links.pop(self, None)
            self.on_left(link.position_id)
        services.free_counters(self.counter_ids)
        references: list[Any] = [self.native]
        self.native = None
        services.delete_log(self.log_path, self.log_length, references)

    def __repr__(self) -> str:
        kind = type(self).__name__
        return f"{kind}({self.registration_id}, session {self.session_id}, stream {self.stream_id})"
