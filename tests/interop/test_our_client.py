"""Our client on the real drivers, against itself and against the real clients."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
from conftest import Driver, require
from streams import channel_of, check_stream

pytestmark = pytest.mark.interop

stream_ids = count(2001)

# Driver, publisher, subscriber, media, mode: every pair of clients on every driver with every mode somewhere.
RUNS = [
    ("c", "pillion", "pillion", "ipc", "concurrent"),
    ("c", "pillion", "pillion", "udp", "exclusive"),
    ("c", "pillion", "c", "ipc", "exclusive"),
    ("c", "pillion", "c", "ipc", "claim"),
    ("c", "pillion", "c", "udp", "concurrent"),
    ("c", "c", "pillion", "ipc", "claim"),
    ("c", "c", "pillion", "ipc", "concurrent"),
    ("c", "c", "pillion", "udp", "exclusive"),
    ("c", "pillion", "java", "udp", "claim"),
    ("c", "java", "pillion", "ipc", "exclusive"),
    ("java", "pillion", "pillion", "ipc", "claim"),
    ("java", "pillion", "pillion", "udp", "concurrent"),
    ("java", "pillion", "java", "ipc", "concurrent"),
    ("java", "pillion", "java", "udp", "exclusive"),
    ("java", "java", "pillion", "ipc", "claim"),
    ("java", "java", "pillion", "udp", "concurrent"),
    ("java", "pillion", "c", "udp", "claim"),
    ("java", "c", "pillion", "ipc", "exclusive"),
]


@pytest.mark.parametrize(("driver", "publisher", "subscriber", "media", "mode"), RUNS, ids="-".join)
def test_stream(shared_driver: Callable[[str], Driver], free_port: Callable[[], int], driver: str, publisher: str,
                subscriber: str, media: str, mode: str) -> None:
    require(driver, publisher, subscriber)
    directory = shared_driver(driver).directory
    check_stream(publisher, directory, subscriber, directory, channel_of(media, free_port()), mode=mode,
                 stream_id=next(stream_ids))


@pytest.mark.parametrize(("publisher", "subscriber"), [("c", "java"), ("java", "c")])
def test_between_the_real_drivers(shared_driver: Callable[[str], Driver], free_port: Callable[[], int], publisher: str,
                                  subscriber: str) -> None:
    """Our client at both ends, on drivers of different kinds."""
    require(publisher, subscriber)
    check_stream("pillion", shared_driver(publisher).directory, "pillion", shared_driver(subscriber).directory,
                 channel_of("udp", free_port()), mode="concurrent", stream_id=next(stream_ids))


@pytest.mark.parametrize("driver", ["c", "java"])
@pytest.mark.parametrize("direction", [("pillion", "driver"), ("driver", "pillion")], ids="-".join)
def test_the_largest_message(shared_driver: Callable[[str], Driver], driver: str, direction: tuple[str, str]) -> None:
    """Sixteen megabytes, which needs a term of 128: the largest message there is."""
    require(driver)
    directory = shared_driver(driver).directory
    publisher, subscriber = (driver if side == "driver" else side for side in direction)
    check_stream(publisher, directory, subscriber, directory, channel_of("ipc", 0, 128 * 1024 * 1024),
                 mode="exclusive", stream_id=next(stream_ids), count=4, largest=16 * 1024 * 1024)
