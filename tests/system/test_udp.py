"""Streams over UDP through our own driver: one driver with itself, and a pair."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from transfers import messages, transfer

from pillion.client.client import Client
from pillion.driver.media_driver import MediaDriver
from pillion.driver.setting_values import LossRates, RandomLoss
from pillion.memory.cnc import CncFile
from pillion.protocol.commands import encode_reject_image
from pillion.protocol.ids import CommandType, CounterType, SystemCounter
from support import free_port, wait_until

STREAM = 2001


def channel_of(host: str = "localhost", **parameters: str) -> str:
    where = "::1" if ":" in host else "127.0.0.1"
    extra = "".join(f"|{name.replace('_', '-')}={value}" for name, value in parameters.items())
    return f"aeron:udp?endpoint={host}:{free_port(where)}{extra}"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
@pytest.mark.parametrize("exclusive", [False, True], ids=["concurrent", "exclusive"])
def test_every_message_arrives_once_and_in_order(
    client: Client, host: str, exclusive: bool
) -> None:
    channel = channel_of(host)
    subscription = client.add_subscription(channel, STREAM)
    add = client.add_exclusive_publication if exclusive else client.add_publication
    publication = add(channel, STREAM)
    wanted = messages(2000, publication.max_message_length)
    assert transfer(publication, subscription, wanted) == wanted


def test_a_channel_can_be_added_again_at_once(client: Client) -> None:
    """While the driver is still closing the socket of before, the client asks again."""
    channel = channel_of(term_length="64k")
    for _ in range(100):
        client.add_subscription(channel, STREAM).close()
        client.add_publication(channel, STREAM).close()


@pytest.fixture
def pair(
    start_driver: Callable[..., MediaDriver], connect: Callable[..., Client], tmp_path: Path
) -> Callable[..., tuple[Client, Client]]:
    def start(**keywords: object) -> tuple[Client, Client]:
        here = start_driver(threading_mode="shared", **keywords)
        there = start_driver(
            threading_mode="shared", aeron_dir=here.aeron_dir + "-2",
            dir_delete_on_shutdown=True, **keywords
        )
        return connect(here), connect(there)

    return start


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_lost_repeated_and_reordered_datagrams_do_not_show(
    pair: Callable[..., tuple[Client, Client]], rate: float
) -> None:
    loss = LossRates(drop=rate, duplicate=rate, reorder=rate, seed=11)
    sender, receiver = pair(loss=loss)
    channel = channel_of()
    subscription = receiver.add_subscription(channel, STREAM)
    publication = sender.add_publication(channel, STREAM)
    wanted = messages(1500, 20_000)
    assert transfer(publication, subscription, wanted) == wanted
    assert sender.counters.value(SystemCounter.RETRANSMITS_SENT) > 0
    assert receiver.counters.value(SystemCounter.NAKS_SENT) > 0


def test_an_unreliable_stream_skips_what_was_lost(
    pair: Callable[..., tuple[Client, Client]]
) -> None:
    sender, receiver = pair(loss=LossRates(drop=0.05, seed=3))
    channel = channel_of()
    subscription = receiver.add_subscription(f"{channel}|reliable=false", STREAM)
    publication = sender.add_publication(channel, STREAM)
    wait_until(lambda: publication.is_connected, "connected")
    received: list[int] = []
    for number in range(2000):
        wait_until(lambda n=number: publication.offer(n.to_bytes(8, "big")) > 0, "taken")
        subscription.poll(
            lambda buffer, header: received.append(int.from_bytes(bytes(buffer), "big")), 64
        )

    def poll_to_the_end() -> bool:
        subscription.poll(
            lambda buffer, header: received.append(int.from_bytes(bytes(buffer), "big")), 64
        )
        return bool(received) and received[-1] > 1900

    wait_until(poll_to_the_end, "the end")
    assert received == sorted(set(received))
    assert 0 < len(received) < 2000
    assert receiver.counters.value(SystemCounter.LOSS_GAP_FILLS) > 0
    assert receiver.counters.value(SystemCounter.NAKS_SENT) == 0


def test_the_end_of_a_stream_crosses_the_network(
    pair: Callable[..., tuple[Client, Client]]
) -> None:
    sender, receiver = pair()
    channel = channel_of()
    gone: list[int] = []
    subscription = receiver.add_subscription(
        channel, STREAM, on_unavailable_image=lambda image: gone.append(image.session_id)
    )
    publication = sender.add_publication(channel, STREAM)
    wanted = messages(50, 3000)
    assert transfer(publication, subscription, wanted) == wanted
    image = subscription.images[0]
    end = publication.position
    publication.close()
    wait_until(lambda: gone, "image unavailable")
    assert image.is_end_of_stream
    assert image.end_of_stream_position == end
    for client, folder in ((sender, "publications"), (receiver, "images")):
        wait_until(lambda c=client, f=folder: not os.listdir(f"{c.aeron_dir}/{f}"), "logs deleted")

        def stream_counters(client: Client = client) -> list[object]:
            return [
                record for record in client.counters
                if record.type_id in (CounterType.SENDER_POSITION, CounterType.RECEIVER_POSITION,
                                      CounterType.SUBSCRIBER_POSITION)
            ]

        wait_until(lambda: not stream_counters(), "counters freed")


def test_a_slow_reader_holds_the_writer(pair: Callable[..., tuple[Client, Client]]) -> None:
    sender, receiver = pair()
    channel = channel_of()
    subscription = receiver.add_subscription(channel, STREAM)
    publication = sender.add_publication(channel, STREAM)
    wait_until(lambda: publication.is_connected, "connected")
    wait_until(lambda: publication.offer(bytes(1000)) == -2, "back pressure")
    position = publication.position
    assert position <= 256 * 1024
    wanted_more = messages(200, 1000)
    count = 0

    def drain() -> bool:
        nonlocal count
        count += subscription.poll(lambda buffer, header: None, 64)
        return subscription.images[0].position == position

    wait_until(drain, "drained")
    assert transfer(publication, subscription, wanted_more) == wanted_more


def test_port_zero_is_resolved(client: Client) -> None:
    subscription = client.add_subscription("aeron:udp?endpoint=127.0.0.1:0", STREAM)
    resolved = wait_until(lambda: subscription.resolved_endpoint, "resolved")
    port = int(resolved.rpartition(":")[2])
    assert port > 0
    publication = client.add_publication(f"aeron:udp?endpoint=127.0.0.1:{port}", STREAM)
    wanted = messages(20, 100)
    assert transfer(publication, subscription, wanted) == wanted


def test_streams_share_an_endpoint(client: Client) -> None:
    channel = channel_of()
    subscriptions = [client.add_subscription(channel, STREAM + i) for i in range(3)]
    publications = [client.add_publication(channel, STREAM + i) for i in range(3)]
    for number, (publication, subscription) in enumerate(
        zip(publications, subscriptions, strict=True)
    ):
        wanted = messages(100, 1000, seed=number)
        assert transfer(publication, subscription, wanted) == wanted
    types = [record.type_id for record in client.counters]
    assert types.count(CounterType.SEND_CHANNEL_STATUS) == 1
    assert types.count(CounterType.RECEIVE_CHANNEL_STATUS) == 1


def test_a_spy_reads_what_is_sent(client: Client) -> None:
    channel = channel_of()
    publication = client.add_publication(f"{channel}|ssc=true", STREAM)
    spy = client.add_subscription(f"aeron-spy:{channel}", STREAM)
    wanted = messages(100, 1000)
    wait_until(lambda: publication.is_connected, "connected")
    assert transfer(publication, spy, wanted) == wanted
    assert spy.images[0].source_identity == "aeron:ipc"


def test_a_rejected_image_is_an_error_for_its_publisher(
    pair: Callable[..., tuple[Client, Client]]
) -> None:
    sender, receiver = pair()
    channel = channel_of()
    subscription = receiver.add_subscription(channel, STREAM)
    publication = sender.add_publication(channel, STREAM)
    wait_until(lambda: publication.is_connected, "connected")
    wait_until(lambda: subscription.images, "image")[0].reject("no more of this")
    wait_until(lambda: not publication.is_connected, "not connected")
    assert sender.counters.value(SystemCounter.ERROR_FRAMES_RECEIVED) > 0
    assert receiver.counters.value(SystemCounter.IMAGES_REJECTED) == 1
    wait_until(lambda: publication.is_connected, "rejoined after the rejection")


@pytest.mark.parametrize(
    "settings", [{"udp_offload": False}, {"udp_offload": True}, {"connect_enabled": False}], ids=str
)
@pytest.mark.parametrize("mtu", ["1408", "8192", "65504"])
def test_every_way_to_send_delivers_the_same(
    pair: Callable[..., tuple[Client, Client]], settings: dict[str, bool], mtu: str
) -> None:
    sender, receiver = pair(**settings)
    channel = channel_of()
    subscription = receiver.add_subscription(channel, STREAM)
    publication = sender.add_publication(f"{channel}|mtu={mtu}", STREAM)
    wanted = messages(3000, 30_000)
    assert transfer(publication, subscription, wanted) == wanted
    assert sender.counters.value(SystemCounter.ERRORS) == 0
    assert receiver.counters.value(SystemCounter.INVALID_PACKETS) == 0


def test_the_references_loss_generator_works(pair: Callable[..., tuple[Client, Client]]) -> None:
    sender, receiver = pair(receive_loss=(RandomLoss(rate=0.2, seed=4),))
    channel = channel_of()
    subscription = receiver.add_subscription(channel, STREAM)
    publication = sender.add_publication(channel, STREAM)
    wanted = messages(500, 20_000)
    assert transfer(publication, subscription, wanted) == wanted
    assert receiver.counters.value(SystemCounter.NAKS_SENT) > 0


def test_a_reason_that_is_too_long_is_refused_whoever_sends_it(pair: Callable[..., tuple[Client, Client]]) -> None:
    sender, receiver = pair()
    channel = channel_of()
    subscription = receiver.add_subscription(channel, STREAM)
    publication = sender.add_publication(channel, STREAM)
    image = wait_until(lambda: subscription.images, "image")[0]
    with pytest.raises(ValueError, match="1024 bytes"):
        image.reject("x" * 1024)
    cnc = CncFile.open(receiver.aeron_dir)
    for reason in ("x" * 1024, "\u00e9" * 512):  # as a client of another make might
        cnc.to_driver_ring.write(
            CommandType.REJECT_IMAGE,
            encode_reject_image(receiver.client_id, receiver.next_correlation_id(), image.correlation_id, 0, reason),
        )
    errors = wait_until(cnc.read_errors, "the driver's refusal")
    assert "a reason of 1024 bytes" in errors[0].text
    wait_until(lambda: cnc.read_errors()[0].count == 2, "both refused")
    assert not image.is_closed
    assert publication.is_connected
    image.reject("\u00e9" * 511 + "x")
    wait_until(lambda: not publication.is_connected, "not connected")
