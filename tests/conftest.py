"""What every test shares: a directory for a driver, hypothesis settings, and a check that nothing is left behind."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

try:
    from hypothesis import HealthCheck, settings
except ImportError:
    pass
else:
    settings.register_profile(
        "pillion",
        deadline=None,
        max_examples=60,
        derandomize=True,
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    settings.load_profile("pillion")

# A shell that runs this in the background has it ignore the interrupt; so would every process that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long what a test has closed may take to be gone.
LEAK_PATIENCE_S = 5.0
_FAILED = pytest.StashKey[bool]()
SHARED_FILES = ("cnc.dat", "loss-report.dat", ".logbuffer")


def _base_directory() -> str:
    shm = "/dev/shm"
    if os.path.isdir(shm) and os.access(shm, os.W_OK):
        found = os.statvfs(shm)
        if found.f_bavail * found.f_frsize >= 512 * 1024 * 1024:
            return shm
    return tempfile.gettempdir()


@pytest.fixture
def aeron_dir() -> Iterator[str]:
    """A fresh, empty directory for the shared files of one driver; removed after the test."""
    path = tempfile.mkdtemp(prefix="pillion-test-", dir=_base_directory())
    yield path
    shutil.rmtree(path, ignore_errors=True)


def _threads() -> set[str]:
    return {f"thread {thread.name} ({thread.ident})" for thread in threading.enumerate()}


def _descriptors() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue        # the descriptor of the listing itself
        found.add(f"file descriptor {name} of {target}")
    return found


def _mappings() -> set[str]:
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {
        f"mapping {line.split()[0]} of {line.split(maxsplit=5)[5]}"
        for line in lines
        if any(name in line for name in SHARED_FILES)
    }


def _children() -> set[str]:
    found = set()
    for task in os.listdir("/proc/self/task"):
        try:
            children = Path(f"/proc/self/task/{task}/children").read_text().split()
        except OSError:
            continue
        for child in children:
            try:
                command = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ").strip()
            except OSError:
                continue
            if "resource_tracker" not in command:
                found.add(f"child process {child} ({command or 'ended, not waited for'})")
    return found


def _held() -> set[str]:
    return _threads() | _descriptors() | _mappings() | _children()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.fixture(autouse=True)
def _no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaves a thread, descriptor, mapping of a shared file, or child process behind."""
    if not os.path.isdir("/proc/self/fd"):
        yield
        return
    before = _held()
    yield
    if request.node.stash.get(_FAILED, False):
        return              # the traceback of a failure holds everything: there is one thing to say already
    # Objects that outlive their `close` keep their mappings: pytest keeps the fixtures' values until later.
    request.node.funcargs.clear()
    left = _held() - before
    deadline = time.monotonic() + LEAK_PATIENCE_S
    while left and time.monotonic() < deadline:
        gc.collect()
        left = _held() - before
        if left:
            time.sleep(0.05)
    if left:
        pytest.fail(f"{request.node.nodeid} left behind:\n  " + "\n  ".join(sorted(left)), pytrace=False)
