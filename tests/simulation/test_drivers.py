"""Pairs of whole drivers: set-up, bad networks, partitions, silence, suspension, slow readers, the end of streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from machines import MS, SECOND, TERM, Flow, Listener, World, seeds

from pillion.errors import ClientTimeoutError, ConductorServiceTimeoutError, DriverTimeoutError
from pillion.protocol.ids import CounterType, SystemCounter
from support import FAST

CHANNEL = "aeron:udp?endpoint=right:5001"
BACK = "aeron:udp?endpoint=left:5002"
LIVENESS_NS = FAST["image_liveness_timeout_ns"]
CLIENT_LIVENESS_NS = FAST["client_liveness_timeout_ns"]
CONNECTION_NS = FAST["publication_connection_timeout_ns"]
TIMER_NS = FAST["timer_interval_ns"]
LOST = {"drop": 1.0}
RATES: list[dict[str, Any]] = [
    {"delay_ns": 50_000},
    {"drop": 0.05, "delay_ns": 200_000},
    {"drop": 0.3, "delay_ns": 100_000},
    {"duplicate": 0.3, "delay_ns": 100_000, "jitter_ns": 300_000},
    {"reorder": 0.3, "reorder_ns": 1_000_000, "jitter_ns": 100_000},
    {"drop": 0.1, "duplicate": 0.1, "reorder": 0.2, "delay_ns": 500_000, "jitter_ns": 500_000},
]


class Pair:
    """A publisher's machine on the left, a subscriber's on the right, and a stream between them."""

    def __init__(self, world: World, **right: Any) -> None:
        self.world = world
        self.left = world.machine("left", "10.0.0.1")
        self.right = world.machine("right", "10.0.0.2", **right)
        self.gone: list[Any] = []
        self.errors: list[Exception] = []
        self.publisher = self.left.connect(on_error=self.errors.append)
        self.subscriber = self.right.connect(on_error=self.errors.append)

    def stream(self, channel: str = CHANNEL, stream_id: int = 10, publication: str = "") -> None:
        self.subscription = self.subscriber.add_subscription(
            channel, stream_id, on_unavailable_image=self.gone.append)
        self.publication = self.publisher.add_publication(publication or channel, stream_id)
        self.flow = Flow(self.world, self.publication)
        self.listener = Listener(self.subscription, lambda session_id: self.flow)
        self.world.until(
            lambda: self.publication.is_connected and self.subscription.images, "the stream is there")

    def work(self) -> None:
        self.flow.offer()
        self.listener.read()

    def deliver(self) -> None:
        """Everything sent so far arrives."""
        def is_there() -> bool:
            self.listener.read()
            return self.listener.has_all(self.flow)

        self.world.until(is_there, "everything arrives")


@pytest.fixture
def new_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    count = iter(range(1000))
    return lambda seed=1: World(tmp_path / str(next(count)), seed)


@pytest.fixture
def pair(new_world: Callable[..., World]) -> Iterator[Pair]:
    with new_world() as world:
        yield Pair(world)


def test_a_stream_is_set_up_and_taken_down(pair: Pair) -> None:
    pair.stream()
    image = pair.subscription.images[0]
    assert image.source_identity == "10.0.0.1:40000"
    assert image.session_id == pair.publication.session_id
    assert pair.publication.local_socket_addresses == ["10.0.0.1:40000"]
    pair.world.run(20 * MS, pair.work)
    pair.deliver()
    assert pair.listener.received == len(pair.flow.sent) > 100
    pair.publication.close()
    pair.world.until(lambda: pair.gone, "the image ends")
    pair.subscription.close()
    pair.publisher.close()
    pair.subscriber.close()
    for machine in (pair.left, pair.right):
        pair.world.until(machine.is_clean, f"{machine.name} is as at the beginning")
        assert machine.count(SystemCounter.ERRORS) == 0
        assert machine.count(SystemCounter.CLIENT_TIMEOUTS) == 0


def test_a_name_that_moves_is_looked_up_again(pair: Pair) -> None:
    pair.stream()
    third = pair.world.machine("third", "10.0.0.3")
    subscription = third.connect().add_subscription("aeron:udp?endpoint=10.0.0.3:5001", 10)
    pair.world.names["right"] = "10.0.0.3"
    pair.right.is_suspended = True
    pair.world.step_ns = MS
    pair.world.until(lambda: pair.left.count(SystemCounter.RESOLUTION_CHANGES), "the name is looked up")
    pair.world.until(lambda: subscription.images, "the stream goes to the new address")
    pair.world.until(lambda: pair.publication.is_connected, "who is there answers", seconds=1)


@pytest.mark.parametrize("seed", seeds(3))
@pytest.mark.parametrize("rates", RATES, ids=str)
def test_everything_arrives_once_and_in_order_both_ways(
    new_world: Callable[..., World], rates: dict[str, Any], seed: int
) -> None:
    with new_world(seed) as world:
        pair = Pair(world)
        there = pair.right.connect()
        subscription = pair.publisher.add_subscription(BACK, 10)
        back = Flow(world, there.add_publication(BACK, 10), name="back")
        listener = Listener(subscription, lambda session_id: back)
        pair.left.disturb(rates)
        pair.right.disturb(rates)
        pair.stream()
        world.until(lambda: back.publication.is_connected, "the way back is there")

        def work() -> None:
            pair.work()
            back.offer()
            listener.read()

        world.run(30 * MS, work)
        pair.deliver()
        world.until(lambda: (listener.read(), listener.has_all(back))[1], "everything arrives back")
        assert min(len(back.sent), len(pair.flow.sent)) > 20
        assert not pair.gone


def test_a_short_partition_costs_nothing_but_time(pair: Pair) -> None:
    pair.stream()
    pair.world.run(5 * MS, pair.work)
    pair.left.disturb(LOST)
    pair.right.disturb(LOST)
    pair.world.run(LIVENESS_NS - 100 * MS, pair.work)
    pair.left.disturb()
    pair.right.disturb()
    pair.deliver()
    pair.world.run(5 * MS, pair.work)
    pair.deliver()
    assert not pair.gone
    assert len(pair.subscription.images) == 1


def test_a_long_partition_ends_the_image_and_healing_makes_a_new_one(pair: Pair) -> None:
    world = pair.world
    pair.stream()
    world.run(5 * MS, pair.work)
    pair.deliver()
    image = pair.subscription.images[0]
    pair.left.disturb(LOST)
    pair.right.disturb(LOST)
    since_ns = world.network.now_ns
    world.step_ns = MS
    world.until(lambda: pair.gone, "the image times out")
    image_ns = world.network.now_ns - since_ns
    world.until(lambda: not pair.publication.is_connected, "the publication is not connected")
    # Not before the time-outs: heartbeats were sent up to 100 ms, status messages 50 ms before.
    assert image_ns >= LIVENESS_NS - 100 * MS
    assert world.network.now_ns - since_ns >= CONNECTION_NS - 50 * MS
    # Nor much later: a timer, the end-of-stream messages of the image, and another timer.
    assert image_ns <= LIVENESS_NS + 5 * 50 * MS + 3 * TIMER_NS
    assert image.is_closed
    world.until(lambda: not pair.right.logs(), "the log of the image is deleted")
    assert pair.publication.offer(b"into nothing") < 0
    pair.left.disturb()
    pair.right.disturb()
    world.step_ns = 50_000
    world.until(lambda: pair.publication.is_connected and pair.subscription.images, "a new image")
    assert pair.subscription.images[0].correlation_id != image.correlation_id
    world.run(5 * MS, pair.work)
    pair.deliver()


def test_without_rejoin_a_session_stays_away(pair: Pair) -> None:
    world = pair.world
    pair.stream(CHANNEL + "|rejoin=false", publication=CHANNEL)
    pair.left.disturb(LOST)
    world.step_ns = MS
    world.until(lambda: pair.gone, "the image times out")
    pair.left.disturb()
    world.run(2 * LIVENESS_NS)
    assert not pair.subscription.images
    # Another one who wants the stream changes that.
    pair.subscription.close()
    world.run(10 * MS)          # its endpoint closes
    again = pair.subscriber.add_subscription(CHANNEL, 10)
    world.until(lambda: again.images, "the next subscription gets the session")


def test_a_silent_publisher_is_let_go_and_told_when_it_wakes(pair: Pair) -> None:
    world = pair.world
    pair.stream()
    world.run(5 * MS, pair.work)
    pair.left.silent.add(pair.publisher)
    since_ns = world.network.now_ns
    world.step_ns = MS
    world.until(lambda: pair.left.count(SystemCounter.CLIENT_TIMEOUTS), "the publisher is timed out")
    assert CLIENT_LIVENESS_NS - 100 * MS <= world.network.now_ns - since_ns <= CLIENT_LIVENESS_NS + 2 * TIMER_NS
    pair.deliver()
    world.until(lambda: pair.gone, "its stream ends")
    world.until(pair.left.is_clean, "nothing of it is left")
    pair.left.silent.clear()
    world.until(lambda: pair.publisher.is_closed, "it ends")
    assert [type(error) for error in pair.errors] == [ConductorServiceTimeoutError]
    assert pair.publication.offer(b"too late") < 0


def test_a_client_whose_keep_alives_came_too_late_is_told_so(pair: Pair) -> None:
    """Its conductor ran, but the driver's wall clock jumped: it lives, and the driver has let it go."""
    pair.stream()
    pair.left.wall_offset_ms += 3 * CLIENT_LIVENESS_NS // MS
    pair.world.until(lambda: pair.publisher.is_closed, "the client ends", seconds=1)
    assert isinstance(pair.errors[0], (ClientTimeoutError, DriverTimeoutError))


def test_a_wall_clock_that_goes_back_harms_nobody(pair: Pair) -> None:
    world = pair.world
    pair.stream()
    for machine in (pair.left, pair.right):
        machine.wall_offset_ms -= 3_600_000
    world.step_ns = MS
    world.run(3 * SECOND, pair.work)
    pair.deliver()
    assert not pair.errors
    assert not pair.gone
    # Who falls silent now is missed in time all the same.
    pair.left.silent.add(pair.publisher)
    world.until(pair.left.is_clean, "nothing of the silent client is left", seconds=3)


def test_a_silent_subscriber_does_not_hold_the_others(pair: Pair) -> None:
    world = pair.world
    other = pair.right.connect(on_error=pair.errors.append)
    held = other.add_subscription(CHANNEL, 10)
    pair.stream()
    world.until(lambda: held.images, "it has the image too")
    pair.right.silent.add(other)
    world.step_ns = MS
    world.run(CLIENT_LIVENESS_NS // 2, pair.work)
    stuck = len(pair.flow.sent)
    world.run(100 * MS, pair.work)
    assert len(pair.flow.sent) == stuck, "nobody reads for it, so it holds the stream"
    world.until(lambda: pair.right.count(SystemCounter.CLIENT_TIMEOUTS), "it is timed out")
    world.run(100 * MS, pair.work)
    pair.deliver()
    assert len(pair.flow.sent) > stuck
    assert not pair.gone
    assert not held.is_closed, "it has not heard of it yet"
    pair.right.silent.clear()
    world.until(lambda: other.is_closed, "it has")


@pytest.mark.parametrize("side", ["left", "right", "both"])
@pytest.mark.parametrize("duration_ns", [LIVENESS_NS // 2, 2 * LIVENESS_NS], ids=["short", "long"])
def test_suspended_drivers_go_on(pair: Pair, side: str, duration_ns: int) -> None:
    """The driver's process does not run for a while, those of its clients do."""
    world = pair.world
    pair.stream()
    world.run(5 * MS, pair.work)
    victims = [machine for machine in (pair.left, pair.right) if side in (machine.name, "both")]
    for machine in victims:
        machine.is_suspended = True
    world.step_ns = MS
    world.run(duration_ns, pair.work)
    for machine in victims:
        machine.is_suspended = False
    world.run(100 * MS, pair.listener.read)
    world.until(
        lambda: (pair.listener.read(), pair.publication.is_connected and pair.subscription.images)[1],
        "the stream is there again",
    )
    before = pair.listener.received
    world.run(20 * MS, pair.work)
    pair.deliver()
    assert pair.listener.received > before
    assert not pair.errors
    if duration_ns < LIVENESS_NS:
        assert not pair.gone


def test_a_slow_reader_holds_the_publisher_and_loses_nothing(pair: Pair) -> None:
    world = pair.world
    for machine in (pair.left, pair.right):
        machine.disturb({"drop": 0.02, "delay_ns": 100_000})
    pair.stream()

    def work() -> None:
        pair.flow.offer()
        pair.listener.read(1)

    world.run(50 * MS, work)
    counters = pair.publisher.counters
    pressure = [record.value for record in counters.scan() if record.type_id == CounterType.SENDER_BACK_PRESSURE]
    assert len(pressure) == 1
    assert pressure[0] > 0
    # A window at each side and what is on its way is all that lies between them.
    assert pair.publication.position - pair.subscription.images[0].position <= 2 * TERM
    pair.deliver()
    assert pair.listener.received == len(pair.flow.sent)


def test_what_was_sent_before_the_end_arrives_although_it_was_lost(pair: Pair) -> None:
    world = pair.world
    pair.stream()
    world.run(2 * MS, pair.work)
    pair.left.disturb({**LOST, "mask": 0x7})
    pair.flow.offer(5)
    pair.publication.close()
    world.run(20 * MS, pair.listener.read)
    assert not pair.listener.has_all(pair.flow)
    pair.left.disturb()
    pair.deliver()
    image = pair.subscription.images[0]
    world.until(lambda: image.is_end_of_stream, "the end is signalled")
    world.step_ns = MS
    world.until(lambda: pair.gone, "the image ends")
    world.until(lambda: not pair.left.logs() and not pair.right.logs(), "the logs are deleted")
    assert not pair.errors


def test_the_linger_of_a_stream_without_readers(pair: Pair) -> None:
    """Nobody confirms the end, so the log stays for the linger time-out and no longer."""
    world = pair.world
    pair.stream()
    pair.right.disturb(LOST)
    pair.publication.close()
    since_ns = world.network.now_ns
    world.step_ns = MS
    world.until(lambda: not pair.left.logs(), "the log is deleted")
    linger_ns = FAST["publication_linger_timeout_ns"]
    assert linger_ns <= world.network.now_ns - since_ns <= linger_ns + 4 * TIMER_NS


def test_a_client_that_restarts_again_and_again_leaves_nothing(pair: Pair) -> None:
    world = pair.world
    pair.stream()
    free = len(pair.left.counters()), pair.left.logs()
    for _ in range(20):
        client = pair.left.connect()
        publication = client.add_exclusive_publication(CHANNEL, 10)
        world.until(lambda publication=publication: publication.is_connected, "it is connected")
        client.close()
        pair.left.clients.remove(client)
    world.step_ns = MS
    world.until(lambda: (len(pair.left.counters()), pair.left.logs()) == free, "only the first stream is left")
    world.until(lambda: len(pair.subscription.images) == 1, "only its image is left")
    assert pair.left.count(SystemCounter.BYTES_MAPPED) < 20 * 1024 * 1024


def test_the_same_seed_makes_the_same_run(new_world: Callable[..., World]) -> None:
    def run(seed: int) -> tuple[int, list[str], list[Any]]:
        with new_world(seed) as world:
            pair = Pair(world)
            for machine in (pair.left, pair.right):
                machine.disturb({"drop": 0.1, "duplicate": 0.1, "reorder": 0.1, "jitter_ns": 300_000})
            pair.stream()
            world.run(20 * MS, pair.work)
            pair.publication.close()
            world.run(400 * MS, pair.listener.read)
            values = [
                (record.counter_id, record.value, record.label)
                for machine in (pair.left, pair.right) for record in machine.driver.services.counters.scan()
            ]
            return world.network.digest, world.trace(), values

    first = run(7)
    assert run(7) == first
    assert run(8)[0] != first[0]
