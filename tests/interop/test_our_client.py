"""Our client on the real drivers, against itself and against the real clients."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, product

import pytest
from drivers import Driver, require
from streams import channel_of, check_stream

pytestmark = pytest.mark.interop

stream_ids = count(2001)

DRIVERS = ["c", "java"]
# Publisher and subscriber.
CLIENTS = [
    ("pillion", "pillion"),
    ("pillion", "c"),
    ("c", "pillion"),
    ("pillion", "java"),
    ("java", "pillion"),
]
MODES = ["concurrent", "exclusive", "claim"]
RUNS = [
    pytest.param(driver, *clients, media, mode, id="-".join((driver, *clients, media, mode)))
    for driver, clients, media, mode in product(DRIVERS, CLIENTS, ["ipc", "udp"], MODES)
]


@pytest.mark.parametrize(("driver", "publisher", "subscriber", "media", "mode"), RUNS)
def test_stream(
    shared_driver: Callable[[str], Driver],
    free_port: Callable[[], int],
    driver: str,
    publisher: str,
    subscriber: str,
    media: str,
    mode: str,
) -> None:
    require(driver, publisher, subscriber)
    directory = shared_driver(driver).directory
    channel = channel_of(media, free_port())
    check_stream(publisher, directory, subscriber, directory, channel, mode=mode, stream_id=next(stream_ids))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("publisher", "subscriber"), [("c", "java"), ("java", "c")])
def test_between_the_real_drivers(
    shared_driver: Callable[[str], Driver],
    free_port: Callable[[], int],
    publisher: str,
    subscriber: str,
    mode: str,
) -> None:
    """Our client at both ends, on drivers of different kinds."""
    require(publisher, subscriber)
    check_stream(
        "pillion",
        shared_driver(publisher).directory,
        "pillion",
        shared_driver(subscriber).directory,
        channel_of("udp", free_port()),
        mode=mode,
        stream_id=next(stream_ids),
    )


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("direction", ["out", "in"])
def test_the_largest_message(shared_driver: Callable[[str], Driver], driver: str, direction: str) -> None:
    """Sixteen megabytes, which needs a term of 128: the largest message there is."""
    require(driver)
    directory = shared_driver(driver).directory
    publisher, subscriber = ("pillion", driver) if direction == "out" else (driver, "pillion")
    check_stream(
        publisher,
        directory,
        subscriber,
        directory,
        channel_of("ipc", 0, 128 * 1024 * 1024),
        mode="exclusive",
        stream_id=next(stream_ids),
        count=4,
        largest=16 * 1024 * 1024,
    )
