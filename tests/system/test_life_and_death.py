"""Processes that are stopped, go on, die and come back around a driver, while streams flow."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from children import Child

import pillion
from pillion.client.client import Client
from pillion.driver import aeron_directory
from pillion.driver.media_driver import MediaDriver
from pillion.errors import ActiveDriverError, ClosedError, DriverTimeoutError, RegistrationError
from pillion.memory.cnc import CNC_FILE, CncFile
from pillion.protocol.ids import CounterType, SystemCounter
from support import FAST, free_port, wait_until

STREAM = 3001
PATIENCE_S = 60.0
LIVENESS_S = 2.0
SHORT_STOP_S = 0.4
LONG_STOP_S = 3.0
FREE_TO_REUSE_MS = 20_000
IMAGE_COUNTERS = (CounterType.RECEIVER_HWM, CounterType.RECEIVER_POSITION, CounterType.RECEIVER_NAKS_SENT)
SETTINGS: dict[str, Any] = {
    **FAST,
    "threading_mode": "shared",
    "client_liveness_timeout_ns": int(LIVENESS_S * 1e9),
    "image_liveness_timeout_ns": int(LIVENESS_S * 1e9),
    "publication_connection_timeout_ns": int(LIVENESS_S * 1e9),
    "publication_unblock_timeout_ns": int((LIVENESS_S + 1) * 1e9),
    # No counter is used again while a test still looks at what its last owner left.
    "counters_free_to_reuse_timeout_ns": FREE_TO_REUSE_MS * 1_000_000,
}


@pytest.fixture
def children() -> Iterator[Callable[..., Child]]:
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(Child(*arguments))


@pytest.fixture(params=["ipc", "udp"])
def channel(request: pytest.FixtureRequest) -> str:
    return "aeron:ipc" if request.param == "ipc" else f"aeron:udp?endpoint=127.0.0.1:{free_port()}"


class Stage:
    """A driver, a publisher and two subscribers, each in a process of its own, and a client that watches them."""

    def __init__(self, directory: str, channel: str, start: Callable[..., Child], watch: Callable[..., Client]) -> None:
        self.directory = directory
        self.driver = start("drive", directory, json.dumps(SETTINGS))
        self.driver.expect("ready")
        self.client = watch(directory)
        self.counters = self.client.counters
        self.subscribers = [start("subscribe", directory, channel, STREAM) for _ in range(2)]
        self.publisher = start("publish", directory, channel, STREAM)
        self.received_ids = []
        self.client_ids: dict[Child, int] = {}
        for subscriber in self.subscribers:
            ready = subscriber.expect("ready")
            self.received_ids.append(ready["counter_id"])
            self.client_ids[subscriber] = ready["client_id"]
        ready = self.publisher.expect("ready")
        self.client_ids[self.publisher] = ready["client_id"]
        self.log = f"{directory}/publications/{ready['registration_id']}.logbuffer"
        self.flows(0)
        self.flows(1)

    def received(self, subscriber: int) -> int:
        return self.counters.value(self.received_ids[subscriber])

    def flows(self, subscriber: int) -> None:
        """It reads on from where it is now."""
        before = self.received(subscriber)
        wait_until(lambda: self.received(subscriber) > before + 100, "the stream flows", PATIENCE_S)

    def heartbeat_id(self, child: Child) -> int:
        return self.counters.find_by_type_and_registration(CounterType.CLIENT_HEARTBEAT, self.client_ids[child])

    def images(self) -> list[str]:
        """The subscribers' positions: as long as they stay, so do the images."""
        return sorted(record.label for record in self.counters.scan()
                      if record.type_id == CounterType.SUBSCRIBER_POSITION)

    def owned(self, child: Child) -> list[str]:
        """Counters of a client; those of an image name the client it was made for, but are the image's."""
        return [record.label for record in self.counters.scan()
                if record.owner_id == self.client_ids[child] and record.type_id not in IMAGE_COUNTERS]

    def timed_out(self, child: Child) -> None:
        """The stopped child is missed, not before its time, and everything of it is taken away."""
        heartbeat_id = self.heartbeat_id(child)
        last_ms = self.counters.value(heartbeat_id)
        wait_until(lambda: not self.counters.is_allocated(heartbeat_id), "the driver misses it", PATIENCE_S)
        freed_ms = free_deadline_ms(self.directory, heartbeat_id) - FREE_TO_REUSE_MS
        assert freed_ms - last_ms > LIVENESS_S * 1000
        wait_until(lambda: not self.owned(child), "its counters are freed", PATIENCE_S)
        assert self.counters.value(SystemCounter.CLIENT_TIMEOUTS) == 1


def free_deadline_ms(directory: str, counter_id: int) -> int:
    """When a freed counter may be used again, by the driver's clock, as its metadata says."""
    cnc = Path(directory, CNC_FILE).read_bytes()
    to_driver, to_clients = struct.unpack_from("<ii", cnc, 4)
    return int(struct.unpack_from("<q", cnc, 128 + to_driver + to_clients + 512 * counter_id + 8)[0])


@pytest.fixture
def stage(
    aeron_dir: str, channel: str, children: Callable[..., Child], connect: Callable[..., Client]
) -> Stage:
    return Stage(aeron_dir, channel, children, connect)


@pytest.mark.parametrize("who", ["driver", "publisher", "subscriber"])
def test_who_is_stopped_for_a_moment_is_not_missed(stage: Stage, who: str) -> None:
    victim = stage.subscribers[0] if who == "subscriber" else getattr(stage, who)
    images = stage.images()
    assert len(images) == 2
    victim.stop()
    time.sleep(SHORT_STOP_S)
    victim.go_on()
    stage.flows(0)
    stage.flows(1)
    assert stage.images() == images
    assert stage.counters.value(SystemCounter.CLIENT_TIMEOUTS) == 0
    for child in (*stage.subscribers, stage.publisher):
        assert child.finish() == 0
        child.expect("ended")


def test_a_driver_that_was_stopped_for_long_goes_on_with_its_clients(stage: Stage) -> None:
    stage.driver.stop()
    time.sleep(LONG_STOP_S)
    stage.driver.go_on()
    stage.flows(0)
    stage.flows(1)
    # They stored their heartbeats all the while, so nobody is missed.
    assert stage.counters.value(SystemCounter.CLIENT_TIMEOUTS) == 0
    for child in (*stage.subscribers, stage.publisher):
        assert child.finish() == 0
        child.expect("ended")
    wait_until(lambda: not os.path.exists(stage.log), "the log is deleted", PATIENCE_S)


def test_a_stopped_publisher_is_let_go_and_ends_when_it_goes_on(stage: Stage) -> None:
    stage.publisher.stop()
    stage.timed_out(stage.publisher)
    wait_until(lambda: not stage.images(), "the subscribers' images go", PATIENCE_S)
    wait_until(lambda: not os.path.exists(stage.log), "the log is deleted", PATIENCE_S)
    wait_until(lambda: not os.listdir(f"{stage.directory}/images"), "those of its images are", PATIENCE_S)
    stage.publisher.go_on()
    error = stage.publisher.expect("error")
    assert error["type"] in ("ConductorServiceTimeoutError", "ClientTimeoutError")
    stage.publisher.expect("ended")
    assert stage.publisher.finish() == 0
    for subscriber in stage.subscribers:
        assert subscriber.finish() == 0
        subscriber.expect("ended")


def test_a_stopped_subscriber_holds_the_others_only_until_it_is_let_go(stage: Stage) -> None:
    victim, survivor = stage.subscribers
    position_ids = [record.counter_id for record in stage.counters.scan()
                    if record.type_id == CounterType.SUBSCRIBER_POSITION
                    and record.owner_id == stage.client_ids[victim]]
    assert len(position_ids) == 1
    victim.stop()
    stage.timed_out(victim)
    stage.flows(1)
    assert not stage.counters.is_allocated(position_ids[0])
    assert len(stage.images()) == 1
    victim.go_on()
    assert victim.expect("error")["type"] in ("ConductorServiceTimeoutError", "ClientTimeoutError")
    victim.expect("ended")
    assert victim.finish() == 0
    stage.flows(1)
    assert survivor.finish() == 0
    survivor.expect("ended")


# ---- drivers that come back --------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_a_restarted_driver_serves_new_clients_and_the_old_ones_end(
    aeron_dir: str, children: Callable[..., Child], connect: Callable[..., Client], end: str
) -> None:
    settings = json.dumps({**SETTINGS, "driver_timeout_ms": 500})
    first = children("drive", aeron_dir, settings)
    first.expect("ready")
    errors: list[Exception] = []
    old = connect(aeron_dir, on_error=errors.append, driver_timeout=3.0)
    subscription = old.add_subscription("aeron:ipc", STREAM)
    publication = old.add_publication("aeron:ipc", STREAM)
    publication.send(b"to the first", timeout=PATIENCE_S)
    assert next(subscription.messages(timeout=PATIENCE_S)) == b"to the first"
    if end == "killed":
        first.kill()
    else:
        assert first.finish() == 0
    second = wait_until(lambda: started(children, aeron_dir, settings), "the next driver starts", PATIENCE_S)
    new = connect(aeron_dir)
    new_subscription = new.add_subscription("aeron:ipc", STREAM)
    new.add_publication("aeron:ipc", STREAM).send(b"to the second", timeout=PATIENCE_S)
    assert next(new_subscription.messages(timeout=PATIENCE_S)) == b"to the second"
    wait_until(lambda: old.is_closed, "the old client ends", PATIENCE_S)
    assert isinstance(errors[0], DriverTimeoutError)
    assert publication.offer(b"to nobody") == pillion.CLOSED
    assert subscription.is_closed
    # What the old one leaves behind is nothing of the new driver's.
    old.close()
    new.add_publication("aeron:ipc", STREAM + 1)
    assert second.finish() == 0


def started(children: Callable[..., Child], directory: str, settings: str) -> Child | None:
    driver = children("drive", directory, settings)
    return driver if driver.next()["event"] == "ready" else None


def test_a_driver_whose_directory_was_taken_over_ends_and_deletes_nothing(
    aeron_dir: str, children: Callable[..., Child], connect: Callable[..., Client], capfd: pytest.CaptureFixture[str]
) -> None:
    settings = json.dumps({**SETTINGS, "driver_timeout_ms": 300, "dir_delete_on_shutdown": True})
    first = children("drive", aeron_dir, settings)
    first.expect("ready")
    told: list[Exception] = []
    old = connect(aeron_dir, on_error=told.append)
    old.add_publication("aeron:ipc", STREAM)
    first.stop()
    second = wait_until(lambda: started(children, aeron_dir, settings), "another one takes over", PATIENCE_S)
    new = connect(aeron_dir)
    subscription = new.add_subscription("aeron:ipc", STREAM)
    publication = new.add_publication("aeron:ipc", STREAM)
    logs = os.listdir(f"{aeron_dir}/publications")
    assert len(logs) == 1
    first.go_on()
    first.expect("ended")
    assert first.finish() == 0
    assert "taken" in capfd.readouterr().err
    wait_until(lambda: old.is_closed, "its client is told", PATIENCE_S)
    assert isinstance(told[0], DriverTimeoutError)
    assert CncFile.open(aeron_dir).pid == second.pid
    assert os.listdir(f"{aeron_dir}/publications") == logs
    publication.send(b"still here", timeout=PATIENCE_S)
    assert next(subscription.messages(timeout=PATIENCE_S)) == b"still here"
    new.close()
    assert second.finish() == 0
    assert not os.path.exists(aeron_dir)


def test_an_invoked_driver_that_was_not_run_for_long_ends_too(
    aeron_dir: str, start_driver: Callable[..., MediaDriver], connect: Callable[..., Client]
) -> None:
    neglected = start_driver(threading_mode="invoker", driver_timeout_ms=100, dir_delete_on_shutdown=True)

    def take_over() -> MediaDriver | None:
        try:
            return start_driver(driver_timeout_ms=100)
        except ActiveDriverError:
            return None

    def has_ended() -> bool:
        try:
            neglected.invoke()
        except ClosedError as error:
            assert "taken" in str(error)
            return True
        return False

    driver = wait_until(take_over, "another one takes over", PATIENCE_S)
    client = connect(driver)
    wait_until(has_ended, "the first one notices", PATIENCE_S)
    assert neglected.is_closed
    client.add_publication("aeron:ipc", STREAM)


@pytest.mark.parametrize("round_", range(3))
def test_of_two_drivers_that_start_at_once_one_lives(
    aeron_dir: str, children: Callable[..., Child], connect: Callable[..., Client], round_: int
) -> None:
    settings = json.dumps({**SETTINGS, "at": True})
    rivals = [children("drive", aeron_dir, settings) for _ in range(2)]
    for rival in rivals:
        rival.expect("loaded")
    at_ns = time.monotonic_ns() + 50_000_000
    for rival in rivals:
        rival.tell(str(at_ns))
    said = {rival: rival.next() for rival in rivals}
    winner, loser = sorted(rivals, key=lambda rival: said[rival]["event"])
    assert [said[winner]["event"], said[loser]["event"]] == ["ready", "refused"]
    assert said[loser]["pid"] == winner.pid
    assert str(winner.pid) in said[loser]["text"]
    client = connect(aeron_dir)
    subscription = client.add_subscription("aeron:ipc", STREAM)
    client.add_publication("aeron:ipc", STREAM).send(b"it lives", timeout=PATIENCE_S)
    assert next(subscription.messages(timeout=PATIENCE_S)) == b"it lives"
    assert not os.path.exists(aeron_dir + ".lock")


def test_nobody_begins_between_the_look_at_a_directory_and_its_taking(
    aeron_dir: str, start_driver: Callable[..., MediaDriver], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[ActiveDriverError] = []
    remove = aeron_directory._remove

    def meanwhile(path: str) -> None:
        monkeypatch.setattr(aeron_directory, "_remove", remove)
        with pytest.raises(ActiveDriverError) as failure:
            start_driver(driver_timeout_ms=100)
        refused.append(failure.value)
        remove(path)

    monkeypatch.setattr(aeron_directory, "_remove", meanwhile)
    driver = start_driver()
    assert [error.pid for error in refused] == [os.getpid()]
    assert "has been starting" in str(refused[0])
    with pillion.connect(driver.aeron_dir) as client:
        client.add_publication("aeron:ipc", STREAM)


def test_the_lock_of_a_driver_that_died_while_it_started_holds_nobody(
    aeron_dir: str, start_driver: Callable[..., MediaDriver]
) -> None:
    code = (
        "import os, signal, pillion\n"
        "from pillion.driver import media_driver\n"
        "media_driver.build_driver = lambda *rest, **more: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"pillion.MediaDriver(aeron_dir={aeron_dir!r})\n"
    )
    died = subprocess.run([sys.executable, "-c", code], check=False)
    assert died.returncode == -signal.SIGKILL
    assert os.path.exists(aeron_dir + ".lock")
    driver = start_driver()
    with pillion.connect(driver.aeron_dir) as client:
        client.add_publication("aeron:ipc", STREAM)
    assert not os.path.exists(aeron_dir + ".lock")


# ---- full disks --------------------------------------------------------------------------------------


@pytest.fixture
def small_directory(tmp_path: Path) -> Iterator[str]:
    """A directory for a driver on a file system of 40 MiB."""
    where = tmp_path / "small"
    where.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(where)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted: {done.stderr.strip()}")
    yield str(where / "aeron")
    subprocess.run(["umount", "-l", str(where)], check=True)


@pytest.mark.parametrize("checks", [True, False], ids=["checked", "unchecked"])
def test_a_full_disk_refuses_new_streams_and_harms_no_old_one(
    small_directory: str, start_driver: Callable[..., MediaDriver], connect: Callable[..., Client], checks: bool
) -> None:
    driver = start_driver(
        aeron_dir=small_directory, counters_buffer_length=1024 * 1024, perform_storage_checks=checks,
        term_buffer_sparse_file=False,
    )
    client = connect(driver)
    subscription = client.add_subscription("aeron:ipc", STREAM)
    publication = client.add_publication("aeron:ipc", STREAM)
    filler = Path(small_directory).parent / "filler"
    found = os.statvfs(small_directory)
    with open(filler, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, found.f_bavail * found.f_frsize - 64 * 1024)
    with pytest.raises(RegistrationError) as failure:
        client.add_publication("aeron:ipc", STREAM + 1)
    assert failure.value.error_code == 12
    assert any(character.isdigit() for character in str(failure.value))
    for number in range(5000):          # more than a term: pages of it that were not written yet are there
        publication.send(number.to_bytes(100, "little"), timeout=PATIENCE_S)
        assert next(subscription.messages(timeout=PATIENCE_S)) == number.to_bytes(100, "little")
    filler.unlink()
    client.add_publication("aeron:ipc", STREAM + 1)
    client.close()


def test_an_image_that_finds_no_space_comes_when_there_is_some(
    small_directory: str, start_driver: Callable[..., MediaDriver], connect: Callable[..., Client], aeron_dir: str
) -> None:
    receiver = start_driver(aeron_dir=small_directory, counters_buffer_length=1024 * 1024)
    sender = start_driver(aeron_dir=aeron_dir)
    channel = f"aeron:udp?endpoint=127.0.0.1:{free_port()}"
    filler = Path(small_directory).parent / "filler"
    subscriber = connect(receiver)
    subscription = subscriber.add_subscription(channel, STREAM)
    found = os.statvfs(small_directory)
    with open(filler, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, found.f_bavail * found.f_frsize - 64 * 1024)
    publication = connect(sender).add_publication(channel, STREAM)
    wait_until(lambda: subscriber.counters.value(SystemCounter.ERRORS), "the set-up is refused", PATIENCE_S)
    assert not subscription.images
    assert not publication.is_connected
    filler.unlink()
    wait_until(lambda: subscription.images and publication.is_connected, "the next set-up is taken", PATIENCE_S)
    publication.send(b"there is room", timeout=PATIENCE_S)
    assert next(subscription.messages(timeout=PATIENCE_S)) == b"there is room"
    subscriber.close()
