"""Our driver with the real clients, and with the real drivers over UDP."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, product

import killing
import pytest
from drivers import SHORT_TIMEOUTS, Driver, DriverFactory, require
from streams import channel_of, check_stream

pytestmark = pytest.mark.interop

stream_ids = count(3001)

KINDS = ["pillion", "c", "java"]
MEDIA = ["ipc", "udp"]
MODES = ["concurrent", "exclusive", "claim"]
# Every pair of clients on our driver.
RUNS = [pytest.param(*run, id="-".join(run)) for run in product(KINDS, KINDS, MEDIA, MODES)]
# Drivers at both ends, each with its own client and with the other's.
PAIRS = [
    pytest.param(*drivers, *clients, mode, id="-".join((*drivers, *clients, mode)))
    for other in ("c", "java")
    for drivers in (("pillion", other), (other, "pillion"))
    for clients in (drivers, drivers[::-1])
    for mode in MODES
]


@pytest.mark.parametrize(("publisher", "subscriber", "media", "mode"), RUNS)
def test_stream(
    shared_driver: Callable[[str], Driver],
    free_port: Callable[[], int],
    publisher: str,
    subscriber: str,
    media: str,
    mode: str,
) -> None:
    require(publisher, subscriber)
    directory = shared_driver("pillion").directory
    channel = channel_of(media, free_port())
    check_stream(publisher, directory, subscriber, directory, channel, mode=mode, stream_id=next(stream_ids))


@pytest.mark.parametrize(("from_driver", "to_driver", "publisher", "subscriber", "mode"), PAIRS)
def test_driver_to_driver(
    shared_driver: Callable[[str], Driver],
    free_port: Callable[[], int],
    from_driver: str,
    to_driver: str,
    publisher: str,
    subscriber: str,
    mode: str,
) -> None:
    require(from_driver, to_driver, publisher, subscriber)
    check_stream(
        publisher,
        shared_driver(from_driver).directory,
        subscriber,
        shared_driver(to_driver).directory,
        channel_of("udp", free_port()),
        mode=mode,
        stream_id=next(stream_ids),
    )


@pytest.mark.parametrize("client", ["c", "java"])
@pytest.mark.parametrize("media", MEDIA)
def test_large_messages(
    shared_driver: Callable[[str], Driver], free_port: Callable[[], int], client: str, media: str
) -> None:
    """Messages of up to two megabytes in terms of sixteen, our driver's default for UDP."""
    require(client)
    directory = shared_driver("pillion").directory
    check_stream(
        client,
        directory,
        client,
        directory,
        channel_of(media, free_port(), 16 * 1024 * 1024),
        mode="concurrent",
        stream_id=next(stream_ids),
        count=2500,
        largest=2 * 1024 * 1024,
    )


@pytest.mark.parametrize("media", MEDIA)
@pytest.mark.parametrize("victim", KINDS)
@pytest.mark.parametrize("strike", killing.STRIKES)
def test_killed_subscriber(
    impatient_driver: Callable[[str], Driver],
    free_port: Callable[[], int],
    victim: str,
    media: str,
    strike: killing.Strike,
) -> None:
    require(victim)
    directory = impatient_driver("pillion").directory
    killing.strike_subscriber(strike, victim, directory, channel_of(media, free_port()), next(stream_ids))


@pytest.mark.parametrize("media", MEDIA)
@pytest.mark.parametrize("victim", KINDS)
@pytest.mark.parametrize("strike", killing.STRIKES)
def test_killed_publisher(
    impatient_driver: Callable[[str], Driver],
    free_port: Callable[[], int],
    victim: str,
    media: str,
    strike: killing.Strike,
) -> None:
    require(victim)
    directory = impatient_driver("pillion").directory
    killing.strike_publisher(strike, victim, directory, channel_of(media, free_port()), next(stream_ids))


@pytest.mark.parametrize("media", MEDIA)
def test_killed_between_claim_and_commit(
    impatient_driver: Callable[[str], Driver], free_port: Callable[[], int], media: str
) -> None:
    directory = impatient_driver("pillion").directory
    killing.kill_claimer(directory, channel_of(media, free_port()), next(stream_ids))


@pytest.mark.parametrize("strike", killing.STRIKES)
def test_killed_driver(new_driver: DriverFactory, strike: killing.Strike) -> None:
    started = new_driver("pillion", **SHORT_TIMEOUTS)
    killing.strike_driver(strike, started.directory, started.process, "aeron:ipc", next(stream_ids))


def test_stopped_driver(new_driver: DriverFactory) -> None:
    started = new_driver("pillion")
    killing.stop_driver(started.directory, started.process, "aeron:ipc", next(stream_ids))


@pytest.mark.parametrize("other", ["c", "java"])
@pytest.mark.parametrize("victim", ["ours", "theirs"])
@pytest.mark.parametrize("strike", killing.STRIKES)
def test_killed_driver_at_the_other_end(
    new_driver: DriverFactory,
    free_port: Callable[[], int],
    other: str,
    victim: str,
    strike: killing.Strike,
) -> None:
    """The driver that is left ends the image of one that was killed, and the publication to it."""
    require(other)
    left_kind, killed_kind = (other, "pillion") if victim == "ours" else ("pillion", other)
    left = new_driver(left_kind, **SHORT_TIMEOUTS)
    killed = new_driver(killed_kind, **SHORT_TIMEOUTS)
    killing.strike_other_driver(strike, left.directory, killed.directory, killed.process, free_port, next(stream_ids))
