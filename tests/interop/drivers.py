"""Drivers of each kind in processes of their own, for one test or for the whole session."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
from processes import Process, absence, wait_until

import pillion
from pillion.errors import DriverTimeoutError

KINDS = ("pillion", "c", "java")
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
    """Skip the test when a peer is absent, with the reason; fail it where all have to be there."""
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
    base: str

    @classmethod
    def start(cls, kind: str, settings: Mapping[str, str]) -> Driver:
        shm = "/dev/shm"
        base = tempfile.mkdtemp(prefix="pillion-interop-", dir=shm if os.path.isdir(shm) else None)
        directory = os.path.join(base, "aeron")
        process = Process(kind, "driver", "--dir", directory, settings=settings)
        driver = cls(kind, directory, process, base)
        try:
            if kind == "pillion":
                wait_until(
                    "our driver to be ready",
                    lambda: can_attach(directory) or not process.is_running,
                )
                assert process.is_running, f"our driver ended; it wrote: {process.errors()}"
            else:
                process.expect("ready")
        except BaseException:
            driver.close()
            raise
        return driver

    def close(self) -> None:
        self.process.close()
        shutil.rmtree(self.base, ignore_errors=True)


def can_attach(directory: str) -> bool:
    try:
        pillion.connect(directory, driver_timeout=0.2).close()
    except DriverTimeoutError:
        return False
    return True


class SharedDrivers:
    """One driver of each kind that there is, all started at once.

    At once, so that no test has a driver left over that it did not have before. What does not
    start fails the tests that want it.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._drivers: dict[str, Driver] = {}
        self._failures: dict[str, BaseException] = {}
        for kind in KINDS:
            if not absence(kind):
                try:
                    self._drivers[kind] = Driver.start(kind, settings)
                except (AssertionError, OSError) as error:
                    self._failures[kind] = error

    def __call__(self, kind: str) -> Driver:
        require(kind)
        if kind in self._failures:
            raise AssertionError(f"the {kind} driver did not start") from self._failures[kind]
        driver = self._drivers[kind]
        assert driver.process.is_running, f"the shared {kind} driver ended; it wrote: {driver.process.errors()}"
        return driver

    def close(self) -> None:
        for driver in self._drivers.values():
            driver.close()


DriverFactory = Callable[..., Driver]
