"""Our client on the real drivers, with somebody killed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import killing
import pytest
from drivers import SHORT_TIMEOUTS, Driver, DriverFactory, require
from streams import channel_of

pytestmark = pytest.mark.interop

DRIVERS = ["c", "java"]
stream_ids = count(4001)


@pytest.mark.parametrize("media", ["ipc", "udp"])
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("strike", killing.STRIKES)
def test_killed_subscriber(
    impatient_driver: Callable[[str], Driver],
    free_port: Callable[[], int],
    driver: str,
    media: str,
    strike: killing.Strike,
) -> None:
    directory = impatient_driver(driver).directory
    channel = channel_of(media, free_port())
    killing.strike_subscriber(strike, "pillion", directory, channel, next(stream_ids))


@pytest.mark.parametrize("media", ["ipc", "udp"])
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("strike", killing.STRIKES)
def test_killed_publisher(
    impatient_driver: Callable[[str], Driver],
    free_port: Callable[[], int],
    driver: str,
    media: str,
    strike: killing.Strike,
) -> None:
    directory = impatient_driver(driver).directory
    channel = channel_of(media, free_port())
    killing.strike_publisher(strike, "pillion", directory, channel, next(stream_ids))


@pytest.mark.parametrize(("driver", "victim"), [("c", "c"), ("java", "java")])
@pytest.mark.parametrize("strike", killing.STRIKES)
def test_killed_real_peers(
    impatient_driver: Callable[[str], Driver],
    free_port: Callable[[], int],
    driver: str,
    victim: str,
    strike: killing.Strike,
) -> None:
    """Our client survives the death of a real one at the other end."""
    require(driver, victim)
    directory = impatient_driver(driver).directory
    killing.strike_subscriber(strike, victim, directory, channel_of("udp", free_port()), next(stream_ids))
    killing.strike_publisher(strike, victim, directory, channel_of("ipc", 0), next(stream_ids))


@pytest.mark.parametrize("media", ["ipc", "udp"])
@pytest.mark.parametrize("driver", DRIVERS)
def test_killed_between_claim_and_commit(
    impatient_driver: Callable[[str], Driver], free_port: Callable[[], int], driver: str, media: str
) -> None:
    directory = impatient_driver(driver).directory
    killing.kill_claimer(directory, channel_of(media, free_port()), next(stream_ids))


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("strike", killing.STRIKES)
def test_killed_driver(new_driver: DriverFactory, driver: str, strike: killing.Strike) -> None:
    started = new_driver(driver, **SHORT_TIMEOUTS)
    killing.strike_driver(strike, started.directory, started.process, "aeron:ipc", next(stream_ids))


@pytest.mark.parametrize("driver", DRIVERS)
def test_stopped_driver(new_driver: DriverFactory, driver: str) -> None:
    started = new_driver(driver)
    killing.stop_driver(started.directory, started.process, "aeron:ipc", next(stream_ids))
