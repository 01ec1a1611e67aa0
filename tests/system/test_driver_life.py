"""Start, stop, stale and living directories, killed clients, a full file system."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pillion
from pillion.client.client import Client
from pillion.driver.media_driver import MediaDriver
from pillion.errors import (
    ActiveDriverError,
    ClosedError,
    DirectoryError,
    DriverTimeoutError,
    PillionError,
    RegistrationError,
)
from pillion.memory.cnc import CncFile
from pillion.protocol.ids import CounterType, SystemCounter
from support import FAST, wait_until


def test_a_stopped_driver_says_so(start_driver: Callable[..., MediaDriver]) -> None:
    driver = start_driver()
    driver.close()
    driver.close()
    assert CncFile.open(driver.aeron_dir).to_driver_ring.consumer_heartbeat_ms == -1


def test_a_living_drivers_directory_is_refused_with_its_pid(
    start_driver: Callable[..., MediaDriver]
) -> None:
    driver = start_driver()
    with pytest.raises(ActiveDriverError) as failure:
        start_driver()
    assert failure.value.pid == os.getpid()
    assert driver.aeron_dir in str(failure.value)
    # The one that lives is not disturbed.
    with pillion.connect(driver.aeron_dir) as client:
        client.add_publication("aeron:ipc", 1)


def test_a_stopped_drivers_directory_is_taken_over(
    start_driver: Callable[..., MediaDriver]
) -> None:
    first = start_driver()
    with pillion.connect(first.aeron_dir) as client:
        client.add_publication("aeron:ipc", 1)
    first.close()
    second = start_driver()
    with pillion.connect(second.aeron_dir) as client:
        client.add_publication("aeron:ipc", 1)


def test_a_crashed_drivers_directory_is_taken_over_and_its_errors_are_kept(
    start_driver: Callable[..., MediaDriver], aeron_dir: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import sys, time, pillion\n"
        f"driver = pillion.MediaDriver(aeron_dir={aeron_dir!r}, driver_timeout_ms=200)\n"
        "client = pillion.connect(driver.aeron_dir)\n"
        "try:\n    client.add_publication('aeron:udp?endpoint=nohost.invalid:1', 1)\n"
        "except pillion.PillionError:\n    pass\n"
        "print('ready', flush=True)\ntime.sleep(60)\n"
    )
    crashed = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert crashed.stdout is not None
    assert crashed.stdout.readline() == b"ready\n"
    crashed.kill()
    crashed.wait()
    crashed.stdout.close()
    wait_until(lambda: _starts(start_driver), "taken over once the heartbeat is old")
    saved = list(Path(aeron_dir).parent.glob(f"{Path(aeron_dir).name}-*-error.log"))
    assert len(saved) == 1
    assert "nohost.invalid" in saved[0].read_text()
    saved[0].unlink()
    assert "were saved to" in capfd.readouterr().err


def _starts(start_driver: Callable[..., MediaDriver]) -> bool:
    try:
        start_driver(driver_timeout_ms=200)
    except ActiveDriverError:
        return False
    return True


def test_a_directory_that_is_something_else_is_left_alone(
    start_driver: Callable[..., MediaDriver], tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DirectoryError, match="not an aeron directory"):
        start_driver(aeron_dir=str(tmp_path))
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_link_is_not_followed(start_driver: Callable[..., MediaDriver], tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(DirectoryError, match="symbolic link"):
        start_driver(aeron_dir=str(tmp_path / "link"))
    assert (tmp_path / "target").is_dir()


def test_the_directory_is_its_owners(driver: MediaDriver, client: Client) -> None:
    publication = client.add_publication("aeron:ipc", 1)
    log = f"publications/{publication.registration_id}.logbuffer"
    for name, mode in (("", 0o700), ("cnc.dat", 0o600), (log, 0o600), ("images", 0o700)):
        assert os.stat(os.path.join(driver.aeron_dir, name)).st_mode & 0o777 == mode


def test_no_driver_is_an_error_that_says_how_to_start_one(aeron_dir: str) -> None:
    with pytest.raises(DriverTimeoutError, match="pillion driver"):
        pillion.connect(aeron_dir, driver_timeout=0.1)


def test_clients_notice_that_the_driver_stopped(
    start_driver: Callable[..., MediaDriver], connect: Callable[..., Client]
) -> None:
    errors: list[Exception] = []
    driver = start_driver()
    client = connect(driver, on_error=errors.append, keepalive_interval=0.05)
    publication = client.add_publication("aeron:ipc", 1)
    subscription = client.add_subscription("aeron:ipc", 1)
    driver.close()
    wait_until(lambda: client.is_closed, "noticed")
    assert isinstance(errors[0], DriverTimeoutError)
    assert publication.offer(b"too late") == pillion.CLOSED
    with pytest.raises(ClosedError):
        subscription.poll(lambda buffer, header: None)
    with pytest.raises(PillionError):
        client.add_publication("aeron:ipc", 2)


def test_a_killed_client_is_cleaned_up_after(
    driver: MediaDriver, connect: Callable[..., Client]
) -> None:
    code = (
        "import sys, time, pillion\n"
        f"client = pillion.connect({driver.aeron_dir!r})\n"
        "publication = client.add_publication('aeron:ipc', 77)\n"
        "exclusive = client.add_exclusive_publication('aeron:ipc', 78)\n"
        "subscription = client.add_subscription('aeron:ipc', 77)\n"
        "client.add_counter(1200, 'orphan')\n"
        "print(client.client_id, flush=True)\ntime.sleep(60)\n"
    )
    watcher = connect(driver)
    watcher.add_counter(1201, "of the survivor")
    survivor = watcher.add_publication("aeron:ipc", 77)
    victim = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert victim.stdout is not None
    client_id = int(victim.stdout.readline())
    wait_until(lambda: survivor.is_connected, "its subscription is linked")
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    victim.stdout.close()

    def of_victim() -> list[object]:
        return [record for record in watcher.counters if record.owner_id == client_id]

    assert of_victim()
    wait_until(lambda: not of_victim(), "its counters are freed")
    wait_until(lambda: not survivor.is_connected, "its subscription is gone")
    wait_until(
        lambda: len(os.listdir(f"{driver.aeron_dir}/publications")) == 1, "its logs are deleted"
    )
    assert watcher.counters.value(SystemCounter.CLIENT_TIMEOUTS) == 1
    assert not watcher.is_closed


def test_a_closed_client_is_cleaned_up_without_a_timeout(
    driver: MediaDriver, connect: Callable[..., Client]
) -> None:
    watcher = connect(driver)
    watcher.add_counter(1201, "of the survivor")
    client = connect(driver)
    client.add_counter(1202, "of the other")
    client.close()

    def heartbeats() -> int:
        return sum(r.type_id == CounterType.CLIENT_HEARTBEAT for r in watcher.counters)

    wait_until(lambda: heartbeats() == 1, "its heartbeat counter is freed")
    assert watcher.counters.value(SystemCounter.CLIENT_TIMEOUTS) == 0


def test_termination_needs_permission(
    start_driver: Callable[..., MediaDriver], connect: Callable[..., Client]
) -> None:
    driver = start_driver()
    client = connect(driver)
    client.terminate_driver(b"token")
    client.add_publication("aeron:ipc", 1)  # answered after the request: the driver goes on
    driver.close()
    driver = start_driver(termination_validator="allow")
    client = connect(driver, on_error=lambda error: None)
    client.terminate_driver(b"token")
    driver.run_until_stopped()


@pytest.fixture
def small_file_system(tmp_path: Path) -> Iterator[Callable[[int], str]]:
    """Mounts file systems of few MiB."""
    mounted: list[Path] = []

    def mount(megabytes: int) -> str:
        where = tmp_path / f"small-{len(mounted)}"
        where.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(where)],
            capture_output=True, text=True, check=False,
        )
        if done.returncode:
            pytest.skip(f"a small file system cannot be mounted: {done.stderr.strip()}")
        mounted.append(where)
        return str(where)

    yield mount
    for where in mounted:
        subprocess.run(["umount", "-l", str(where)], check=True)


def test_too_little_space_for_a_driver_is_said_with_numbers(
    start_driver: Callable[..., MediaDriver], small_file_system: Callable[[int], str]
) -> None:
    directory = os.path.join(small_file_system(8), "aeron")
    with pytest.raises(DirectoryError) as failure:
        start_driver(aeron_dir=directory)
    assert failure.value.needed > failure.value.available > 0
    assert not os.path.exists(directory)


def test_too_little_space_for_a_log_is_said_with_numbers(
    start_driver: Callable[..., MediaDriver], connect: Callable[..., Client],
    small_file_system: Callable[[int], str],
) -> None:
    driver = start_driver(aeron_dir=os.path.join(small_file_system(64), "aeron"))
    client = connect(driver)
    # Sparse logs take nothing yet, but they count: what is promised must be there when written.
    with pytest.raises(RegistrationError, match="are left") as failure:
        for stream_id in range(20):
            client.add_publication("aeron:ipc?term-length=1m", stream_id)
    assert failure.value.error_code == 12
    client.close()


@pytest.mark.parametrize("channel", ["aeron:ipc", "aeron:udp?endpoint=localhost:40871"])
def test_a_containers_64_megabytes_are_enough_to_begin_with(
    connect: Callable[..., Client], small_file_system: Callable[[int], str], channel: str
) -> None:
    directory = os.path.join(small_file_system(64), "aeron")
    with MediaDriver(aeron_dir=directory) as driver:
        client = connect(driver)
        subscription = client.add_subscription(channel, 1)
        publication = client.add_publication(channel, 1)
        found: list[bytes] = []
        wait_until(lambda: publication.offer(b"hello") > 0, "taken")
        wait_until(
            lambda: subscription.poll(lambda buffer, header: found.append(bytes(buffer))), "message"
        )
        assert found == [b"hello"]
        assert publication.term_length <= 4 * 1024 * 1024
        client.close()


def test_an_embedded_driver_goes_with_its_client() -> None:
    with pillion.connect(embedded=True, **FAST) as client:
        directory = client.aeron_dir
        subscription = client.add_subscription("aeron:ipc", 1)
        publication = client.add_publication("aeron:ipc", 1)
        wait_until(lambda: publication.offer(b"hello") > 0, "taken")
        found: list[bytes] = []
        wait_until(
            lambda: subscription.poll(lambda buffer, header: found.append(bytes(buffer))), "message"
        )
        assert found == [b"hello"]
    assert not os.path.exists(directory)


def test_an_invoked_driver_runs_in_its_callers_thread(aeron_dir: str) -> None:
    import threading

    before = {thread.name for thread in threading.enumerate()}
    with MediaDriver(aeron_dir=aeron_dir, threading_mode="invoker", **FAST) as driver:
        client = pillion.connect(driver.aeron_dir, use_conductor_agent_invoker=True)
        wanted = client.async_add_publication("aeron:ipc", 1)
        publication = None
        deadline = time.monotonic() + 20
        while publication is None and time.monotonic() < deadline:
            driver.invoke()
            client.invoke()
            publication = client.poll_async(wanted)
        assert publication is not None
        names = {thread.name for thread in threading.enumerate()} - before
        assert names <= {"pillion-resources"}
        client.close()
        driver.invoke()
    with pytest.raises(ClosedError):
        driver.invoke()
