"""Peers that are killed or frozen, and what must be left of them: nothing, within the driver's time-outs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from processes import Process, wait_until
from streams import channel_of

import pillion
from pillion.errors import DriverTimeoutError
from pillion.protocol.ids import CounterType

# Client liveness and image liveness are 2 s, and each waits for a timer of 0.1 s; the rest is
# for a busy machine.
CLEANUP_TIMEOUT = 30.0
MESSAGES = 10
Strike = Callable[[Process], None]
#: What is done to a victim: to everybody else the two look alike once the time-outs have passed.
STRIKES = [pytest.param(Process.kill, id="killed"), pytest.param(Process.freeze, id="frozen")]


def clients_of(client: pillion.Client) -> set[int]:
    """Registration ids of the clients the driver knows, but this one's."""
    return {
        record.registration_id
        for record in client.counters.scan()
        if record.type_id == CounterType.CLIENT_HEARTBEAT and record.registration_id != client.client_id
    }


def owned_counters(client: pillion.Client, owner_ids: set[int]) -> list[str]:
    """Labels of the counters that belong to these clients, and of their heartbeats."""
    return [record.label for record in client.counters.scan() if record.owner_id in owner_ids]


def check_cleaned_up(client: pillion.Client, victims: set[int]) -> None:
    wait_until(
        f"the counters of clients {victims} to go",
        lambda: not owned_counters(client, victims),
        CLEANUP_TIMEOUT,
    )
    assert not clients_of(client) & victims


def options(directory: str, channel: str, stream_id: int) -> list[object]:
    return [
        "--dir",
        directory,
        "--channel",
        channel,
        "--stream",
        stream_id,
        "--count",
        MESSAGES,
        "--largest",
        64,
        "--hang",
    ]


def strike_subscriber(strike: Strike, kind: str, directory: str, channel: str, stream_id: int) -> None:
    """Our publication notices that its subscriber does not live any more, and serves the next one."""
    with pillion.connect(directory) as client:
        before = clients_of(client)
        publication = client.add_publication(channel, stream_id)
        with Process(kind, "subscribe", *options(directory, channel, stream_id)) as subscriber:
            subscriber.expect("ready")
            for index in range(MESSAGES):
                publication.send(str(index).encode(), timeout=30)
            subscriber.expect("received")
            victims = clients_of(client) - before
            assert victims
            strike(subscriber)
            wait_until(
                "the publication to be disconnected",
                lambda: not publication.is_connected,
                CLEANUP_TIMEOUT,
            )
            check_cleaned_up(client, victims)
        with client.add_subscription(channel, stream_id) as subscription:
            wait_until("the next subscriber", lambda: publication.is_connected)
            publication.send(b"next", timeout=30)
            assert next(subscription.messages(timeout=30)) == b"next"


def strike_publisher(strike: Strike, kind: str, directory: str, channel: str, stream_id: int) -> None:
    """Our subscription loses the image of a struck publisher after all of its messages."""
    gone: list[pillion.Image] = []
    with pillion.connect(directory) as client:
        before = clients_of(client)
        subscription = client.add_subscription(channel, stream_id, on_unavailable_image=gone.append)
        with Process(kind, "publish", *options(directory, channel, stream_id)) as publisher:
            publisher.expect("ready")
            publisher.expect("published")
            victims = clients_of(client) - before
            assert victims
            strike(publisher)
            messages = subscription.messages(timeout=30)
            assert len([next(messages) for _ in range(MESSAGES)]) == MESSAGES
            wait_until("the image to go", lambda: gone, CLEANUP_TIMEOUT)
            assert subscription.image_count == 0
            assert gone[0].is_closed
            check_cleaned_up(client, victims)


# Holds a claim when it is killed: the messages of others behind it wait.
HOLD_CLAIM = """
import sys, time, pillion
client = pillion.connect(sys.argv[1])
publication = client.add_publication(sys.argv[2], int(sys.argv[3]))
while not publication.is_connected:
    time.sleep(0.001)
claim = publication.try_claim(100)
print('{"event": "claimed"}', flush=True)
sys.stdin.read()
"""


def kill_claimer(directory: str, channel: str, stream_id: int) -> None:
    """The driver unblocks a stream whose writer died between claim and commit."""
    with pillion.connect(directory) as client:
        subscription = client.add_subscription(channel, stream_id)
        publication = client.add_publication(channel, stream_id)
        with Process("pillion", HOLD_CLAIM, directory, channel, stream_id) as claimer:
            claimer.expect("claimed")
            claimer.kill()
        publication.send(b"behind the claim", timeout=30)
        assert subscription.poll(lambda buffer, header: None) == 0
        assert next(subscription.messages(timeout=60)) == b"behind the claim"


def strike_driver(strike: Strike, directory: str, driver: Process, channel: str, stream_id: int) -> None:
    """Our client ends, with the reason, when its driver is killed or does nothing."""
    errors: list[Exception] = []
    with pillion.connect(directory, driver_timeout=3, on_error=errors.append) as client:
        subscription = client.add_subscription(channel, stream_id)
        publication = client.add_publication(channel, stream_id)
        publication.send(b"last", timeout=30)
        assert next(subscription.messages(timeout=30)) == b"last"
        strike(driver)
        wait_until("the client to end", lambda: client.is_closed, CLEANUP_TIMEOUT)
        wait_until("the error to be told", lambda: errors)
        assert isinstance(errors[0], DriverTimeoutError)
        assert publication.offer(b"too late") == pillion.CLOSED


def stop_driver(directory: str, driver: Process, channel: str, stream_id: int) -> None:
    """Our client ends at once when its driver says that it shuts down."""
    errors: list[Exception] = []
    with pillion.connect(directory, on_error=errors.append) as client:
        client.add_publication(channel, stream_id)
        driver.stop()
        wait_until("the error to be told", lambda: errors, CLEANUP_TIMEOUT)
        assert "shut down" in str(errors[0])
        assert client.is_closed


def strike_other_driver(
    strike: Strike, left: str, other: str, driver: Process, free_port: Callable[[], int], stream_id: int
) -> None:
    """A stream each way between two drivers, one of which is struck: the other cleans both up."""
    here, there = channel_of("udp", free_port()), channel_of("udp", free_port())
    told: list[Exception] = []
    with (
        pillion.connect(left) as client,
        pillion.connect(other, driver_timeout=3, on_error=told.append) as far_client,
    ):
        subscription = client.add_subscription(here, stream_id)
        publication = client.add_publication(there, stream_id)
        far_subscription = far_client.add_subscription(there, stream_id)
        far_client.add_publication(here, stream_id).send(b"to here", timeout=30)
        publication.send(b"to there", timeout=30)
        assert next(subscription.messages(timeout=30)) == b"to here"
        assert next(far_subscription.messages(timeout=30)) == b"to there"
        strike(driver)
        wait_until("the image to go", lambda: not subscription.images, CLEANUP_TIMEOUT)
        wait_until(
            "the publication to be disconnected",
            lambda: not publication.is_connected,
            CLEANUP_TIMEOUT,
        )
        wait_until("the far client to end", lambda: told, CLEANUP_TIMEOUT)
