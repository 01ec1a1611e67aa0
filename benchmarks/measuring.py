"""One sample of one peer in one row: start what it needs, warm up, probe, measure, probe, end everything."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import network
from benchmarks.peers.base import DriverKind, Peer
from benchmarks.process import DEADLINE_S, PeerFailure, Process
from benchmarks.rows import Row

STREAM, PONG_STREAM = 1001, 1002
LOOPBACK = ("127.0.0.1", "127.0.0.1")
#: In a network of the row's own every port is free.
NETWORK_PORTS = (40123, 40124)
IDLE_STREAMS = 100
#: After the streams are connected, before the CPU time counts: set-ups and the first status messages are over.
SETTLE_S = 2.0
#: Round trips at a low rate are fewer than the row says.
LONGEST_AT_A_RATE_S = 10.0


@dataclass
class Conditions:
    """What holds for every sample of a run."""

    read_probe: Callable[[], float | None]
    cpus: tuple[int, ...] = ()
    #: Pin publisher or ping to the first of `cpus`, subscriber or pong to the second.
    pins: bool = False
    #: By kind of driver; "" leaves it to the driver.
    threading_mode: dict[str, str] = field(default_factory=dict)
    #: AERON_... variables by kind of driver.
    driver_settings: dict[str, dict[str, str]] = field(default_factory=dict)
    #: Term length of all measured streams; "" is each row's own.
    term: str = ""
    scale: float = 1.0
    rate: float = 0.0
    idle_s: float = 10.0


@dataclass
class Measured:
    """A row's value with what else was seen, and the probe's readings around it."""

    value: float
    before_ns: float | None
    after_ns: float | None
    detail: dict[str, Any]


def environment(settings: dict[str, str] | None = None) -> dict[str, str]:
    """Ours, without anybody's Aeron settings; from any directory, `pillion` is the one that is found here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AERON_")}
    package = find_spec("pillion")
    if package is None or package.origin is None:
        raise ImportError("pillion is not installed here")
    kept["PYTHONPATH"] = str(Path(package.origin).parents[1])
    return {**kept, **(settings or {})}


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A fresh directory where TMPDIR says, or in memory."""
    in_memory = "/dev/shm" if "TMPDIR" not in os.environ and os.access("/dev/shm", os.W_OK) else None
    path = tempfile.mkdtemp(prefix="pillion-bench-", dir=in_memory)
    try:
        yield Path(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def free_ports() -> tuple[int, int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as a, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as b:
        a.bind(("127.0.0.1", 0))
        b.bind(("127.0.0.1", 0))
        return a.getsockname()[1], b.getsockname()[1]


def is_ready(directory: Path) -> bool:
    """True once the driver wrote the version of its cnc.dat, which it does last."""
    try:
        with open(directory / "cnc.dat", "rb", buffering=0) as cnc:
            version = cnc.read(4)
    except FileNotFoundError:
        return False
    return len(version) == 4 and struct.unpack("<i", version)[0] != 0


@contextlib.contextmanager
def running_driver(
    kind: DriverKind, directory: Path, conditions: Conditions, prefix: tuple[str, ...] = ()
) -> Iterator[tuple[Process, float]]:
    """A driver that is ready, and the ms from its process's start until then."""
    command = [*prefix, *kind.command(str(directory), conditions.threading_mode.get(kind.name, ""))]
    with Process(f"{kind.name} driver", command, environment(conditions.driver_settings.get(kind.name))) as process:
        deadline = time.monotonic() + DEADLINE_S
        while not is_ready(directory):
            if not process.is_running or time.monotonic() > deadline:
                raise process.fail("it is not ready")
            # Poll, rather than wait for a line: every driver says it the same way, and 0.2 ms is fine enough.
            time.sleep(0.0002)
        yield process, (time.monotonic_ns() - process.started_ns) / 1e6


class Sampler:
    """Takes samples of a row. One method a kind."""

    def __init__(self, row: Row, peer: Peer, conditions: Conditions):
        self.row, self.peer, self.conditions = row, peer, conditions

    def take(self) -> Measured:
        """Raises `PeerFailure` when a program does not do what it should."""
        return {
            "throughput": self._throughput,
            "round_trip": self._round_trip,
            "start": self._start,
            "idle": self._idle,
        }[self.row.kind]()

    def _options(self, directory: Path, ports: tuple[int, int], hosts: tuple[str, str] = LOOPBACK) -> dict[str, Any]:
        row, scale = self.row, self.conditions.scale
        there, back = row.channels(hosts, ports, self.conditions.term)
        return {
            "dir": str(directory),
            "channel": there,
            "pong_channel": back,
            "stream": STREAM,
            "pong_stream": PONG_STREAM,
            "streams": IDLE_STREAMS,
            "media": row.media,
            "length": row.length,
            "count": self._count(),
            "warm_up": max(int(row.warm_up * scale), 10),
            "yields": row.yields,
            "handler": row.handler,
            "rate": self._rate(),
            "cpu": None,
            "invoker": False,
            "spins": False,
            "no_delay": row.kind == "round_trip",
            **self.peer.options,
        }

    def _rate(self) -> float:
        return self.conditions.rate if self.row.kind == "round_trip" else 0.0

    def _count(self) -> int:
        count = self.row.count * self.conditions.scale
        if self._rate():
            count = min(count, self._rate() * LONGEST_AT_A_RATE_S)
        return max(int(count), 10)

    def _program(self, role: str, options: dict[str, Any], **more: Any) -> Process:
        if self.conditions.pins and len(self.conditions.cpus) > 1:
            options = {**options, "cpu": self.conditions.cpus[role in ("subscribe", "pong")]}
        words = [*options.get("prefix", ()), *self.peer.program(), role, json.dumps({**options, **more})]
        return Process(f"{self.peer.name} {role}", words, environment())

    def _open(self, stack: contextlib.ExitStack, base: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """The options of receiver and sender, with a driver running for both where the peer has one."""
        if self.row.has_network:
            return self._open_network(stack, base)
        options = self._options(base / "aeron", free_ports())
        if self.peer.has_own_drivers:
            return options, {**options, "dir": str(base / "aeron-sender")}
        if self.peer.driver:
            stack.enter_context(running_driver(self.peer.driver, base / "aeron", self.conditions))
        else:
            options["dir"] = str(base)
        return options, options

    def _open_network(self, stack: contextlib.ExitStack, base: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        assert self.peer.driver is not None
        sides = stack.enter_context(network.joined())
        found = []
        for number, side in enumerate(sides):
            directory = base / f"aeron-{number}"
            stack.enter_context(running_driver(self.peer.driver, directory, self.conditions, side.prefix))
            options = self._options(directory, NETWORK_PORTS, (sides[0].address, sides[1].address))
            found.append({**options, "prefix": side.prefix})
        return found[0], found[1]

    @contextlib.contextmanager
    def _pair(self, receiving: str, sending: str) -> Iterator[tuple[Process, Process]]:
        """Both programs, warmed up."""
        with contextlib.ExitStack() as stack:
            base = stack.enter_context(scratch())
            receiver_options, sender_options = self._open(stack, base)
            receiver = stack.enter_context(self._program(receiving, receiver_options))
            ready = receiver.expect("ready")
            more = {"port": ready["port"]} if "port" in ready else {}
            sender = stack.enter_context(self._program(sending, sender_options, **more))
            sender.expect("ready")
            sender.expect("warm")
            receiver.expect("warm")
            yield receiver, sender
            sender.finish()
            receiver.finish()

    def _begin(self, receiver: Process, sender: Process) -> float | None:
        """Probe while both wait in the kernel, then let them go, who receives first."""
        before_ns = self.conditions.read_probe()
        receiver.go()
        receiver.expect("going")
        sender.go()
        return before_ns

    def _throughput(self) -> Measured:
        with self._pair("subscribe", "publish") as (subscriber, publisher):
            before_ns = self._begin(subscriber, publisher)
            result = subscriber.expect("result")
            publisher.expect("published")
            after_ns = self.conditions.read_probe()
        value = result["messages"] * 1e9 / result["elapsed_ns"]
        detail = {"messages": result["messages"], "seconds": result["elapsed_ns"] / 1e9}
        detail["megabytes_per_second"] = value * self.row.length / 1e6
        return Measured(value, before_ns, after_ns, detail)

    def _round_trip(self) -> Measured:
        with self._pair("pong", "ping") as (pong, ping):
            before_ns = self._begin(pong, ping)
            result = ping.expect("result")
            pong.expect("ponged")
            after_ns = self.conditions.read_probe()
        points = ("min", "p50", "p90", "p99", "p99.9", "max")
        detail = {"round_trips": result["count"]} | {f"{name}_us": result[name] / 1e3 for name in points}
        return Measured(detail["p50_us"], before_ns, after_ns, detail)

    def _start(self) -> Measured:
        assert self.peer.driver is not None
        bare_ns = time.monotonic_ns()
        subprocess.run(self.peer.driver.bare(), env=environment(), capture_output=True, check=True)
        detail = {"bare_ms": (time.monotonic_ns() - bare_ns) / 1e6}
        before_ns = self.conditions.read_probe()
        with scratch() as base, running_driver(self.peer.driver, base / "aeron", self.conditions) as (process, ms):
            if self.peer.driver.speaks:
                detail["driver_alone_ms"] = process.expect("driver")["started_ms"]
            after_ns = self.conditions.read_probe()
        return Measured(ms, before_ns, after_ns, detail)

    def _idle(self) -> Measured:
        assert self.peer.driver is not None
        with (
            scratch() as base,
            running_driver(self.peer.driver, base / "aeron", self.conditions) as (driver, _),
            self._program("hold", self._options(base / "aeron", free_ports())) as holder,
        ):
            holder.expect("ready")
            before_ns = self.conditions.read_probe()
            time.sleep(SETTLE_S)
            start_ns, start_cpu_s = time.monotonic_ns(), driver.cpu_seconds()
            time.sleep(self.conditions.idle_s)
            cpu_s = driver.cpu_seconds() - start_cpu_s
            elapsed_s = (time.monotonic_ns() - start_ns) / 1e9
            after_ns = self.conditions.read_probe()
            if not (driver.is_running and holder.is_running):
                raise PeerFailure(f"{self.peer.name}: the driver or its client went while idle: {holder.errors()}")
            holder.finish()
        return Measured(1e3 * cpu_s / elapsed_s, before_ns, after_ns, {"cpu_s": cpu_s, "seconds": elapsed_s})


def versions(peer: Peer) -> dict[str, str]:
    """What the program of a peer says that it is made of."""
    with Process(f"{peer.name} versions", [*peer.program(), "versions"], environment()) as process:
        fields = process.expect("versions")
    del fields["event"]
    return fields
