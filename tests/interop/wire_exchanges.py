"""The exchanges whose frames are compared: the same steps for every pair of drivers, each waiting for the one before.

Our client plays both applications, so that nothing but the drivers differs. Nothing here depends on how fast anybody
is: what the receiver reports is decided by whole polls of what has arrived, and a step ends when its frames were seen.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Self

from drivers import Driver
from processes import wait_until
from wire_capture import DATA_HEADER, LOCALHOST, TYPE_DATA, Datagram, Relay

import pillion
from pillion.protocol.ids import CounterType

STREAM_ID = 1001
SESSION_ID = 0x12345678
STATUS_MESSAGE = struct.Struct("<iBBHiiiiiq")
ROUND_TRIP = struct.Struct("<iBBHiiqqq")
TYPE_SM = 3
TYPE_ERR = 4
TYPE_SETUP = 5
TYPE_RTTM = 6
SM_SEND_SETUP = 0x80
SM_EOS = 0x40
FLAGS_PLAIN = 0xC0
FLAGS_EOS = 0xE0
FLAGS_REVOKED = 0xF0
RTTM_QUESTION = 0x80
REASON = "not wanted here"
# A message that fills most of a datagram, so that no other shares it and the relay can lose it alone.
LARGE = bytes(range(250)) * 4
LARGE_LENGTH = 1056
SMALL = b"small" * 40
SMALL_LENGTH = 256
LARGEST = b"\xa5" * 8000
LARGEST_LENGTH = 8192


@dataclass(frozen=True)
class Stream:
    """What the channels of an exchange say; lengths in bytes."""

    term_length: int = 64 * 1024
    initial_term_id: int = 7
    start_offset: int = 0
    mtu: int = 1408
    window: int = 32 * 1024
    publication_options: str = ""
    subscription_options: str = ""

    def position(self, term_id: int, offset: int) -> int:
        return (term_id - self.initial_term_id) % 2**32 * self.term_length + offset

    def place(self, position: int) -> tuple[int, int]:
        """Term id and term offset; term ids go on from the largest number of 32 bits at the smallest."""
        term_id = self.initial_term_id + position // self.term_length
        return (term_id + 2**31) % 2**32 - 2**31, position % self.term_length


def type_of(datagram: Datagram) -> int:
    kind: int = struct.unpack_from("<H", datagram.payload, 6)[0]
    return kind


def is_setup(datagram: Datagram) -> bool:
    return type_of(datagram) == TYPE_SETUP


def is_heartbeat(datagram: Datagram, flags: int = FLAGS_PLAIN) -> bool:
    return type_of(datagram) == TYPE_DATA and DATA_HEADER.unpack_from(datagram.payload)[:3:2] == (0, flags)


def is_status(datagram: Datagram, flags: int = 0, place: tuple[int, int] | None = None) -> bool:
    if type_of(datagram) != TYPE_SM:
        return False
    _, _, its_flags, _, _, _, term_id, offset, _, _ = STATUS_MESSAGE.unpack_from(datagram.payload)
    return its_flags == flags and place in (None, (term_id, offset))


class Ports(NamedTuple):
    """Of one exchange and no other: a publication that was closed sends for a while after that."""

    relay_front: int
    relay_back: int
    receiver: int


class Exchange:
    """A publication on one driver, a subscription on another, a relay in between."""

    def __init__(self, stream: Stream, sender: Driver, receiver: Driver, ports: Ports) -> None:
        self.stream = stream
        self.receiver_kind = receiver.kind
        self._stack = ExitStack()
        self.relay = Relay(*ports)
        self._stack.callback(self.relay.close)
        self._from = self._stack.enter_context(pillion.connect(sender.directory))
        self._to = self._stack.enter_context(pillion.connect(receiver.directory))
        self._channel = f"aeron:udp?endpoint={LOCALHOST}:{ports.receiver}{stream.subscription_options}"
        self._reported = 0  # the position of the last status message that says something new
        self._arrived = 0

    @property
    def window_end(self) -> int:
        """How far the sender may send."""
        return self._reported + self.stream.window

    def publish_here(self) -> None:
        stream = self.stream
        first = stream.initial_term_id
        place = f"init-term-id={first}|term-id={first}|term-offset={stream.start_offset}"
        self.publication = self._from.add_exclusive_publication(
            f"aeron:udp?endpoint={LOCALHOST}:{self.relay.port}|session-id={SESSION_ID}|term-length={stream.term_length}"
            f"|mtu={stream.mtu}|{place}{stream.publication_options}",
            STREAM_ID,
        )

    def subscribe(self) -> None:
        self.subscription = self._to.add_subscription(self._channel, STREAM_ID)

    def await_connection(self) -> None:
        wait_until("the image", lambda: self.subscription.image_count)
        wait_until("the publication to be connected", lambda: self.publication.is_connected)
        (self.image,) = self.subscription.images
        self._reported = self.image.join_position

    def begin(self) -> None:
        """The subscriber is there first; both sides are connected, and the sender has said that it is there."""
        self.relay.phase = "set-up"
        self.subscribe()
        self.publish_here()
        self.await_connection()
        self.relay.wait_for("heartbeat", is_heartbeat)

    def offer(self, message: bytes, count: int = 1, reserved_value: int = 0) -> None:
        for _ in range(count):
            self.publication.send(message, timeout=30, reserved_value=reserved_value)

    def offer_at_once(self, message: bytes, count: int) -> None:
        """Unfragmented messages that become visible to the sender together: no heartbeat can come between them."""
        block = b""
        for _ in range(count):
            term_id, offset = self.stream.place(self.publication.position + len(block))
            block += DATA_HEADER.pack(
                DATA_HEADER.size + len(message), 0, FLAGS_PLAIN, TYPE_DATA, offset, SESSION_ID, STREAM_ID, term_id, 0
            )
            block += message + bytes(-len(message) % 32)
        wait_until("room for a block", lambda: self.publication.offer_block(block) > 0)

    def lose_at(self, *positions: int) -> None:
        self.relay.lose(*map(self.stream.place, positions))

    def settle(self, position: int | None = None) -> None:
        """Until the image is complete up to where the publication, or `position`, is."""
        wanted = self.publication.position if position is None else position
        counters = self._to.counters

        def arrived() -> bool:
            counter_id = counters.find_by_type_and_registration(
                CounterType.RECEIVER_POSITION, self.image.correlation_id
            )
            return counter_id >= 0 and counters.value(counter_id) >= wanted

        wait_until(f"the image to be complete up to {wanted}", arrived)
        self._arrived = wanted

    def consume(self) -> None:
        """Poll all that has arrived, a term at most at once, and wait for the reports that this is due."""
        while self.image.position < self._arrived:
            self.image.poll(lambda buffer, header: None, fragment_limit=10_000)
            position = self.image.position
            if position > self._reported + self.stream.window // 4:
                self._reported = position
                place = self.stream.place(position)
                self.relay.wait_for(f"status message at {position}", lambda seen: is_status(seen, 0, place))

    def deliver(self) -> None:
        """Everything that was offered arrives and is consumed."""
        self.settle()
        self.consume()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()


def whole_life(exchange: Exchange) -> None:
    """Set-up before there is a receiver, data, losses, a slow consumer, padding, idleness, the end of the stream."""
    relay = exchange.relay
    relay.phase = "set-up"
    exchange.publish_here()
    relay.wait_for("set-up", is_setup, count=2)
    exchange.subscribe()
    exchange.await_connection()
    relay.wait_for("heartbeat", is_heartbeat)

    relay.phase = "data"
    exchange.offer(b"x" * 100)
    exchange.offer(b"")
    exchange.offer(bytes(range(250)) * 12)
    exchange.offer(b"reserved", reserved_value=0x1122334455667788)
    exchange.deliver()

    relay.phase = "loss"
    start = exchange.publication.position
    # Two losses apart from each other, then two in a row, then the last there is, which only a heartbeat can tell.
    exchange.lose_at(*(start + index * LARGE_LENGTH for index in (1, 3)))
    exchange.offer_at_once(LARGE, 5)
    exchange.deliver()
    start = exchange.publication.position
    exchange.lose_at(*(start + index * LARGE_LENGTH for index in (1, 2)))
    exchange.offer_at_once(LARGE, 4)
    exchange.settle()
    exchange.lose_at(exchange.publication.position)
    exchange.offer(LARGE)
    exchange.deliver()

    relay.phase = "slow consumer"
    start = exchange.publication.position
    exchange.offer(SMALL, 140)
    exchange.settle(start + (exchange.window_end - start) // SMALL_LENGTH * SMALL_LENGTH)
    relay.wait_for("heartbeat", is_heartbeat, count=2)
    relay.phase = "window opened"
    exchange.consume()
    exchange.deliver()

    relay.phase = "padding"
    # What is left of the term is more than a datagram, and less than the next message.
    left = exchange.stream.term_length - exchange.publication.position
    exchange.offer(LARGE, (left - LARGEST_LENGTH) // LARGE_LENGTH + 1)
    exchange.settle()
    exchange.offer(LARGEST)
    exchange.deliver()

    relay.phase = "idle"
    relay.wait_for("heartbeat", is_heartbeat, count=3)
    relay.wait_for("status message", is_status, count=2)

    relay.phase = "end of stream"
    exchange.publication.close()
    relay.wait_for("end of stream", lambda seen: is_heartbeat(seen, FLAGS_EOS))
    relay.wait_for("status message of the end", lambda seen: is_status(seen, SM_EOS))
    wait_until("the image to go", lambda: exchange.subscription.image_count == 0)


def second_receiver(exchange: Exchange) -> None:
    """The subscriber is there first, leaves, and comes again to a stream that has moved on."""
    relay = exchange.relay
    exchange.begin()
    relay.phase = "data"
    exchange.offer(LARGE, 3)
    exchange.deliver()

    relay.phase = "leave"
    exchange.subscription.close()
    relay.wait_for("status message of the end", lambda seen: is_status(seen, SM_EOS))
    wait_until("the publication to be disconnected", lambda: not exchange.publication.is_connected)

    relay.phase = "join again"
    exchange.subscribe()
    relay.wait_for("request for a set-up", lambda seen: is_status(seen, SM_SEND_SETUP))
    exchange.await_connection()
    # The first one went out when there was no receiver, so that another follows, whatever came in between.
    relay.wait_for("set-up", is_setup, count=2)
    exchange.offer(LARGE)
    exchange.deliver()


def revocation(exchange: Exchange) -> None:
    """The publication is revoked. Nobody may have left it before: it would go before it could say so."""
    relay = exchange.relay
    exchange.begin()
    relay.phase = "data"
    exchange.offer(LARGE)
    exchange.deliver()
    relay.phase = "revoked"
    exchange.publication.revoke()
    relay.wait_for("revoked", lambda seen: is_heartbeat(seen, FLAGS_REVOKED))
    wait_until("the image to go", lambda: exchange.subscription.image_count == 0)
    if exchange.receiver_kind == "pillion":  # the C driver does not always
        relay.wait_for("status message of the end", lambda seen: is_status(seen, SM_EOS))


def unusual_channel(exchange: Exchange) -> None:
    """Padding up to the last term id before the negative ones, a small window, a group tag, no end of stream."""
    relay = exchange.relay
    exchange.begin()

    relay.phase = "padding"
    exchange.offer(LARGE)
    exchange.deliver()

    relay.phase = "slow consumer"
    exchange.offer(SMALL, 40)
    while exchange.image.position < exchange.publication.position:
        exchange.settle(min(exchange.window_end, exchange.publication.position))
        exchange.consume()

    relay.phase = "closed"
    exchange.publication.close()
    relay.wait_for("heartbeat", is_heartbeat, count=3)
    exchange.subscription.close()
    relay.wait_for("status message of the end", lambda seen: is_status(seen, SM_EOS))


def unreliable(exchange: Exchange) -> None:
    """The subscriber does not want what is lost again."""
    relay = exchange.relay
    exchange.begin()
    relay.phase = "loss"
    exchange.lose_at(exchange.publication.position + LARGE_LENGTH)
    exchange.offer_at_once(LARGE, 3)
    exchange.deliver()


def padding_without_room(exchange: Exchange) -> None:
    """The term ends beyond the window: is its padding sent before there is room for it?"""
    relay = exchange.relay
    exchange.begin()
    relay.phase = "no room"
    exchange.offer(SMALL, 28)
    before_padding = exchange.publication.position
    exchange.offer(LARGEST[:4000])
    exchange.settle(before_padding)
    relay.wait_for("heartbeat", is_heartbeat, count=2)
    relay.phase = "room"
    exchange.consume()
    exchange.deliver()


def round_trip(exchange: Exchange) -> None:
    """Both sides are asked for the time a round trip takes, which no driver does unless it is told to."""
    relay = exchange.relay
    exchange.begin()
    relay.phase = "round trip"
    fields = (ROUND_TRIP.size, 0, RTTM_QUESTION, TYPE_RTTM, SESSION_ID, STREAM_ID, 0x0102030405060708, 0)
    relay.say_to_receiver(ROUND_TRIP.pack(*fields, 0))
    relay.say_to_sender(ROUND_TRIP.pack(*fields, 0x1111))
    for is_from_sender in (True, False):
        relay.wait_for("answer", lambda seen: type_of(seen) == TYPE_RTTM and seen.is_from_sender == is_from_sender)


def rejection(exchange: Exchange) -> None:
    """The application rejects the image."""
    relay = exchange.relay
    relay.phase = "set-up"
    exchange.subscribe()
    exchange.publish_here()
    exchange.await_connection()
    relay.phase = "rejected"
    exchange.image.reject(REASON)
    relay.wait_for("error", lambda seen: type_of(seen) == TYPE_ERR, count=2)


UNUSUAL = Stream(
    term_length=128 * 1024,
    initial_term_id=2**31 - 1,
    start_offset=127 * 1024,
    mtu=1024,
    window=4 * 1024,
    publication_options="|eos=false",
    subscription_options="|gtag=99|rcv-wnd=4k",
)
# 1 KiB of the window is left where 2 KiB of the term are.
NARROW = Stream(start_offset=55 * 1024, window=8 * 1024, subscription_options="|rcv-wnd=8k")
EXCHANGES: dict[str, tuple[Callable[[Exchange], None], Stream]] = {
    "whole life": (whole_life, Stream()),
    "second receiver": (second_receiver, Stream()),
    "revocation": (revocation, Stream()),
    "unusual channel": (unusual_channel, UNUSUAL),
    "unreliable": (unreliable, Stream(subscription_options="|reliable=false")),
    "padding without room": (padding_without_room, NARROW),
    "round trip": (round_trip, Stream()),
    "rejection": (rejection, Stream()),
}
