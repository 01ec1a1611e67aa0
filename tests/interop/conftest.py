"""Fixtures of the interop tests: drivers of each kind and free UDP ports."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from drivers import SHORT_TIMEOUTS, Driver, DriverFactory, SharedDrivers, require
from processes import PATIENT_TIMEOUTS


@pytest.fixture
def new_driver() -> Iterator[DriverFactory]:
    """Starts a driver that ends with the test: `new_driver("c", AERON_TIMER_INTERVAL="100ms")`."""
    started: list[Driver] = []

    def start(kind: str, **settings: str) -> Driver:
        require(kind)
        started.append(Driver.start(kind, settings))
        return started[-1]

    yield start
    for driver in started:
        driver.close()


@pytest.fixture(scope="session")
def shared_driver() -> Iterator[SharedDrivers]:
    """`shared_driver("java")`: one driver of each kind for the session, with long time-outs."""
    drivers = SharedDrivers(PATIENT_TIMEOUTS)
    yield drivers
    drivers.close()


@pytest.fixture(scope="session")
def impatient_driver() -> Iterator[SharedDrivers]:
    """As `shared_driver`, with time-outs of two seconds: for the tests that kill."""
    drivers = SharedDrivers(SHORT_TIMEOUTS)
    yield drivers
    drivers.close()


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A UDP port that nobody has bound, never the same twice in a test."""
    given: set[int] = set()

    def find() -> int:
        while True:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(("127.0.0.1", 0))
                port: int = probe.getsockname()[1]
            if port not in given:
                given.add(port)
                return port

    return find
