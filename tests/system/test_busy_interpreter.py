"""An embedded driver whose process computes, or holds the interpreter's lock: the streams of others flow on."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from children import Child

from pillion.client.client import Client
from pillion.driver.media_driver import MediaDriver
from pillion.driver.setting_values import LossRates
from pillion.protocol.ids import SystemCounter
from support import free_port, wait_until

STREAM = 3101
PATIENCE_S = 60.0
HOLD_S = 1.0
MARGIN_NS = 100_000_000
# What holds must be shorter than what anybody waits for.
SETTINGS: dict[str, Any] = {
    "client_liveness_timeout_ns": 30_000_000_000,
    "image_liveness_timeout_ns": 30_000_000_000,
    "publication_connection_timeout_ns": 30_000_000_000,
    "publication_unblock_timeout_ns": 60_000_000_000,
}


@pytest.fixture
def children() -> Iterator[Callable[..., Child]]:
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(Child(*arguments))


def start_streams(
    driver: MediaDriver, start: Callable[..., Child], client: Client
) -> list[Callable[[], int]]:
    """An IPC and a UDP stream between other processes, over small terms, and what counts their messages."""
    channels = ["aeron:ipc?term-length=64k", f"aeron:udp?endpoint=127.0.0.1:{free_port()}|term-length=64k"]
    subscribers = [start("subscribe", driver.aeron_dir, channel, STREAM) for channel in channels]
    publishers = [start("publish", driver.aeron_dir, channel, STREAM) for channel in channels]
    for publisher in publishers:
        publisher.expect("ready")
    counts: list[Callable[[], int]] = []
    for subscriber in subscribers:
        counter_id = subscriber.expect("ready")["counter_id"]
        counts.append(lambda counter_id=counter_id: client.counters.value(counter_id))
    for count in counts:
        wait_until(lambda: count() > 100, "the stream flows", PATIENCE_S)
    return counts


@pytest.mark.parametrize("mode", ["shared", "dedicated"])
def test_streams_flow_while_the_interpreters_lock_is_held(
    start_driver: Callable[..., MediaDriver], connect: Callable[..., Client], children: Callable[..., Child], mode: str
) -> None:
    # Some datagrams are lost, so that NAKs and retransmissions have to go on too.
    driver = start_driver(
        threading_mode=mode, timer_interval_ns=100_000_000, loss=LossRates(drop=0.01, duplicate=0, reorder=0, seed=5),
        **SETTINGS)
    client = connect(driver)
    start_streams(driver, children, client)
    watcher = children("watch", driver.aeron_dir)
    watcher.expect("ready")
    resent = client.counters.value(SystemCounter.RETRANSMITS_SENT)
    began_ns = time.monotonic_ns()
    # A function called through PyDLL does not give the lock back: no Python runs in this process meanwhile.
    ctypes.PyDLL(None).usleep(int(HOLD_S * 1e6))
    ended_ns = time.monotonic_ns()
    held_resent = client.counters.value(SystemCounter.RETRANSMITS_SENT) - resent
    assert ended_ns - began_ns >= HOLD_S * 1e9
    assert watcher.finish() == 0
    samples = [
        (heartbeat_ms, positions) for at_ns, heartbeat_ms, positions in watcher.expect("samples")["samples"]
        if began_ns + MARGIN_NS < at_ns < ended_ns - MARGIN_NS
    ]
    assert len(samples) >= 2, "the watcher itself was not run"
    (first_ms, first), (last_ms, last) = samples[0], samples[-1]
    assert {label.partition(":")[0] for label in first} == {"sub-pos", "pub-lmt", "snd-pos"}
    assert len(first) == 5          # a limit and a reader each, and the sender's
    # Each moved by more than was there to be read before: limits, status messages and terms went on.
    for label, position in first.items():
        assert last[label] > position + 64 * 1024, f"{label} went from {position} to {last[label]}"
    assert last_ms > first_ms, "the driver gave no sign of life"
    assert held_resent > 0
    wait_until(lambda: client.add_publication("aeron:ipc", STREAM + 1), "commands are served again", PATIENCE_S)


def test_streams_and_commands_go_on_while_python_computes(
    start_driver: Callable[..., MediaDriver], connect: Callable[..., Client], children: Callable[..., Child]
) -> None:
    driver = start_driver(threading_mode="shared", **SETTINGS)
    client = connect(driver)
    counts = start_streams(driver, children, client)
    stop = threading.Event()
    turns = [0]

    def compute() -> None:
        while not stop.is_set():
            turns[0] += sum(number * number for number in range(1000))

    computing = threading.Thread(target=compute)
    computing.start()
    try:
        wait_until(lambda: turns[0], "it computes", PATIENCE_S)
        for count in counts:
            before, turn = count(), turns[0]
            wait_until(lambda: count() > before + 1000 and turns[0] > turn, "both go on", PATIENCE_S)
        client.add_publication("aeron:ipc", STREAM + 1)
    finally:
        stop.set()
        computing.join()
    assert client.counters.value(SystemCounter.CLIENT_TIMEOUTS) == 0
