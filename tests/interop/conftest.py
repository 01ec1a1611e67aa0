"""Fixtures of the interop tests: drivers of each kind, started once and shared, and free UDP ports."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from processes import Process, absence, wait_until

import pillion
from pillion.errors import DriverTimeoutError

SHORT_TIMEOUTS = {
    "AERON_TIMER_INTERVAL": "100ms",
    "AERON_CLIENT_LIVENESS_TIMEOUT": "2s",
    "AERON_IMAGE_LIVENESS_TIMEOUT": "2s",
    "AERON_PUBLICATION_LINGER_TIMEOUT": "500ms",
    "AERON_PUBLICATION_CONNECTION_TIMEOUT": "2s",
    "AERON_PUBLICATION_UNBLOCK_TIMEOUT": "4s",
    "AERON_UNTETHERED_WINDOW_LIMIT_TIMEOUT": "1s",
    "AERON_UNTETHERED_RESTING_TIMEOUT": "1s",
}


def require(*kinds: str) -> None:
    """Skip the test when a peer is absent, with the reason; fail it where all peers have to be there."""
    for kind in kinds:
        reason = absence(kind)
        if reason:
            if os.environ.get("CI") == "true":
                pytest.fail(f"the {kind} peer is absent: {reason}")
            pytest.skip(f"the {kind} peer is absent: {reason}")


@dataclass
class Driver:
    """A driver in a process of its own, with a directory of its own."""

    kind: str
    directory: str
    process: Process


def can_attach(directory: str) -> bool:
    try:
        pillion.connect(directory, driver_timeout=0.2).close()
    except DriverTimeoutError:
        return False
    return True


def start_driver(kind: str, base: Path, settings: dict[str, str]) -> Driver:
    require(kind)
    directory = str(base / "aeron")
    process = Process(kind, "driver", "--dir", directory, settings=settings)
    try:
        if kind == "pillion":
            wait_until(
                "our driver to be ready", lambda: can_attach(directory) or not process.is_running
            )
            assert process.is_running, process.errors()
        else:
            process.expect("ready")
    except BaseException:
        process.close()
        raise
    return Driver(kind, directory, process)


DriverFactory = Callable[..., Driver]


def _factory() -> Iterator[DriverFactory]:
    started: list[Driver] = []
    bases: list[str] = []

    def start(kind: str, **settings: str) -> Driver:
        require(kind)
        bases.append(
            tempfile.mkdtemp(
                prefix="pillion-interop-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None
            )
        )
        started.append(start_driver(kind, Path(bases[-1]), settings))
        return started[-1]

    yield start
    for driver in started:
        driver.process.close()
    for base in bases:
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def new_driver() -> Iterator[DriverFactory]:
    """Starts a driver that ends with the test: `new_driver("c", AERON_TIMER_INTERVAL="100ms")`."""
    yield from _factory()


@pytest.fixture(scope="session")
def shared_driver() -> Iterator[Callable[[str], Driver]]:
    """`shared_driver("java")`: one driver of each kind for the whole session, with default settings."""
    drivers: dict[str, Driver] = {}
    for start in _factory():

        def shared(kind: str, start: DriverFactory = start) -> Driver:
            if kind not in drivers or not drivers[kind].process.is_running:
                drivers[kind] = start(kind)
            return drivers[kind]

        yield shared


@pytest.fixture(scope="session")
def impatient_driver() -> Iterator[Callable[[str], Driver]]:
    """As `shared_driver`, with time-outs of two seconds: for the tests that kill."""
    drivers: dict[str, Driver] = {}
    for start in _factory():

        def shared(kind: str, start: DriverFactory = start) -> Driver:
            if kind not in drivers or not drivers[kind].process.is_running:
                drivers[kind] = start(kind, **SHORT_TIMEOUTS)
            return drivers[kind]

        yield shared


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
