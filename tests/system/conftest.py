"""Drivers and clients of the system tests; everything made here is closed here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pillion
from pillion.client.client import Client
from pillion.driver.media_driver import MediaDriver
from support import FAST


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
