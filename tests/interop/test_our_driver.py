"""Our driver with the real clients, and with the real drivers over UDP."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
from conftest import Driver, require
from streams import channel_of, check_stream

pytestmark = pytest.mark.interop

stream_ids = count(3001)

# Publisher, subscriber, media, mode, all on our driver.
RUNS = [
    ("pillion", "pillion", "ipc", "concurrent"),
    ("pillion", "pillion", "udp", "exclusive"),
    ("c", "c", "ipc", "concurrent"),
    ("c", "c", "ipc", "exclusive"),
    ("c", "c", "ipc", "claim"),
    ("c", "c", "udp", "concurrent"),
    ("c", "c", "udp", "claim"),
    ("java", "java", "ipc", "concurrent"),
    ("java", "java", "ipc", "claim"),
    ("java", "java", "udp", "exclusive"),
    ("java", "java", "udp", "concurrent"),
    ("c", "java", "ipc", "exclusive"),
    ("java", "c", "udp", "claim"),
    ("pillion", "c", "ipc", "claim"),
    ("c", "pillion", "udp", "exclusive"),
    ("pillion", "java", "udp", "claim"),
    ("java", "pillion", "ipc", "exclusive"),
]

# Driver and client of the publisher, driver and client of the subscriber, mode.
PAIRS = [
    ("pillion", "pillion", "c", "c", "concurrent"),
    ("pillion", "pillion", "c", "c", "exclusive"),
    ("c", "c", "pillion", "pillion", "concurrent"),
    ("c", "c", "pillion", "pillion", "claim"),
    ("pillion", "c", "c", "pillion", "claim"),
    ("c", "pillion", "pillion", "c", "exclusive"),
    ("pillion", "pillion", "java", "java", "concurrent"),
    ("java", "java", "pillion", "pillion", "concurrent"),
    ("pillion", "java", "java", "pillion", "claim"),
    ("java", "pillion", "pillion", "java", "exclusive"),
]


@pytest.mark.parametrize(("publisher", "subscriber", "media", "mode"), RUNS, ids="-".join)
def test_stream(shared_driver: Callable[[str], Driver], free_port: Callable[[], int], publisher: str, subscriber: str,
                media: str, mode: str) -> None:
    require(publisher, subscriber)
    directory = shared_driver("pillion").directory
    check_stream(publisher, directory, subscriber, directory, channel_of(media, free_port()), mode=mode,
                 stream_id=next(stream_ids))


@pytest.mark.parametrize(("from_driver", "publisher", "to_driver", "subscriber", "mode"), PAIRS, ids="-".join)
def test_driver_to_driver(shared_driver: Callable[[str], Driver], free_port: Callable[[], int], from_driver: str,
                          publisher: str, to_driver: str, subscriber: str, mode: str) -> None:
    require(from_driver, publisher, to_driver, subscriber)
    check_stream(publisher, shared_driver(from_driver).directory, subscriber, shared_driver(to_driver).directory,
                 channel_of("udp", free_port()), mode=mode, stream_id=next(stream_ids))


@pytest.mark.parametrize("client", ["c", "java"])
@pytest.mark.parametrize("media", ["ipc", "udp"])
def test_large_messages(shared_driver: Callable[[str], Driver], free_port: Callable[[], int], client: str,
                        media: str) -> None:
    """Messages of up to two megabytes in terms of sixteen, to our driver's defaults."""
    require(client)
    directory = shared_driver("pillion").directory
    check_stream(client, directory, client, directory, channel_of(media, free_port(), 16 * 1024 * 1024),
                 mode="concurrent", stream_id=next(stream_ids), count=2500, largest=2 * 1024 * 1024)
