"""Drivers and clients of the system tests; everything made here is closed here."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pillion
from pillion.client.client import Client
from pillion.driver.media_driver import MediaDriver

#: Time-outs short enough to wait for in a test.
FAST: dict[str, Any] = {
    "timer_interval_ns": 20_000_000,
    "client_liveness_timeout_ns": 1_000_000_000,
    "image_liveness_timeout_ns": 1_000_000_000,
    "publication_unblock_timeout_ns": 1_500_000_000,
    "publication_connection_timeout_ns": 1_000_000_000,
    "publication_linger_timeout_ns": 200_000_000,
    "status_message_timeout_ns": 50_000_000,
    "counters_free_to_reuse_timeout_ns": 100_000_000,
    "term_buffer_length": 256 * 1024,
    "ipc_term_buffer_length": 256 * 1024,
    "untethered_window_limit_timeout_ns": 300_000_000,
    "untethered_linger_timeout_ns": 300_000_000,
    "untethered_resting_timeout_ns": 300_000_000,
}


def wait_until(condition: Callable[[], Any], what: str, timeout: float = 20.0) -> Any:
    """What `condition` returns once it is true; fails after a generous time."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"did not happen within {timeout} s: {what}")
        time.sleep(0.001)


def free_port(host: str = "127.0.0.1") -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def start_driver(aeron_dir: str) -> Iterator[Callable[..., MediaDriver]]:
    """Starts drivers, in `aeron_dir` unless told otherwise."""
    drivers: list[MediaDriver] = []

    def start(**keywords: Any) -> MediaDriver:
        driver = MediaDriver(**{"aeron_dir": aeron_dir, **FAST, **keywords})
        drivers.append(driver)
        return driver

    yield start
    for driver in reversed(drivers):
        driver.close()


@pytest.fixture(params=["shared", "dedicated"])
def driver(request: pytest.FixtureRequest, start_driver: Callable[..., MediaDriver]) -> MediaDriver:
    return start_driver(threading_mode=request.param)


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    """Connects clients."""
    clients: list[Client] = []

    def connect_to(driver: MediaDriver | str, **keywords: Any) -> Client:
        directory = driver if isinstance(driver, str) else driver.aeron_dir
        client = pillion.connect(directory, **keywords)
        clients.append(client)
        return client

    yield connect_to
    for client in reversed(clients):
        client.close()


@pytest.fixture
def client(driver: MediaDriver, connect: Callable[..., Client]) -> Client:
    return connect(driver)
