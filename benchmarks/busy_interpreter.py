"""How much a stream suffers when the process that embeds its driver computes in pure Python.

The driver, a publisher and a subscriber (processes of their own) share the same processors in both cases; the last
processor is kept for the computation, so that what is measured is the interpreter's lock and not a processor less.
Phases alternate between waiting and computing; the table has their medians, and what the ratio is, which should be
0.9 or more.

    python benchmarks/busy_interpreter.py --json result.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pillion
from pillion.memory.counters import CountersReader
from pillion.protocol.ids import CounterType
from pillion.version import __version__

STREAM = 10
LENGTHS = (32, 1024)
TARGET = 0.9

PUBLISHER = """
import os, sys, pillion
directory, channel, length = sys.argv[1], sys.argv[2], int(sys.argv[3])
client = pillion.connect(directory)
publication = client.add_publication(channel, 10)
message = bytes(length)
offer = publication.offer
while not client.is_closed:
    if offer(message) <= 0:
        os.sched_yield()
"""
SUBSCRIBER = """
import os, sys, pillion
directory, channel = sys.argv[1], sys.argv[2]
client = pillion.connect(directory)
subscription = client.add_subscription(channel, 10)
def on_message(buffer, header):
    pass
while not client.is_closed:
    if not subscription.poll(on_message, 100):
        os.sched_yield()
"""


def compute_for(duration_s: float) -> None:
    """Pure Python, without a pause."""
    end = time.monotonic() + duration_s
    value = 1
    while time.monotonic() < end:
        for _ in range(1000):
            value = (value * 1103515245 + 12345) & 0x7FFFFFFF


def wait_for(duration_s: float) -> None:
    threading.Event().wait(duration_s)


def reading(counters: CountersReader, counter_id: int) -> tuple[int, float]:
    """A position and when it was that: again, if this thread was not run in between."""
    while True:
        before = time.monotonic()
        position = counters.value(counter_id)
        after = time.monotonic()
        if after - before < 0.0002:
            return position, after


def messages_per_second(counters: CountersReader, counter_id: int, phase: Any, seconds: float, frame: int) -> float:
    position, began = reading(counters, counter_id)
    phase(seconds)
    end_position, ended = reading(counters, counter_id)
    return (end_position - position) / frame / (ended - began)


def measure(channel: str, length: int, args: argparse.Namespace, data_processors: set[int], own: int) -> dict[str, Any]:
    os.sched_setaffinity(0, data_processors)        # inherited by the driver's threads and the children
    shm = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with (
        tempfile.TemporaryDirectory(dir=shm) as base,
        pillion.MediaDriver(aeron_dir=f"{base}/aeron", threading_mode=args.threading) as driver,
    ):
        children = [
            subprocess.Popen([sys.executable, "-c", program, driver.aeron_dir, channel, str(length)])
            for program in (SUBSCRIBER, PUBLISHER)
        ]
        os.sched_setaffinity(0, {own})
        try:
            return _phases(driver.aeron_dir, length, args)
        finally:
            os.sched_setaffinity(0, data_processors | {own})
            for child in children:
                child.kill()
                child.wait()


def _phases(directory: str, length: int, args: argparse.Namespace) -> dict[str, Any]:
    frame = (length + 32 + 31) & ~31
    with pillion.connect(directory) as client:
        counters = client.counters
        position_id = _position_id(client, args.patience)
        for phase in (wait_for, compute_for):
            phase(args.seconds)                     # warm up
        rates: dict[str, list[float]] = {"idle": [], "busy": []}
        for _ in range(args.rounds):
            for name, phase in (("idle", wait_for), ("busy", compute_for)):
                rates[name].append(messages_per_second(counters, position_id, phase, args.seconds, frame))
    idle, busy = (statistics.median(rates[name]) for name in ("idle", "busy"))
    return {"idle": rates["idle"], "busy": rates["busy"], "idle_median": idle, "busy_median": busy,
            "ratio": busy / idle if idle else 0.0}


def _position_id(client: pillion.Client, patience: float) -> int:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        for record in client.counters.scan():
            if record.type_id == CounterType.SUBSCRIBER_POSITION and record.value > 1 << 16:
                return record.counter_id
        time.sleep(0.05)
    raise SystemExit(f"no stream within {patience} s")


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a phase (default 1)")
    parser.add_argument("--rounds", type=int, default=7, help="phases of each kind (default 7)")
    parser.add_argument("--threading", default="shared", help="threading mode of the driver (default shared)")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds to wait for a stream (default 30)")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    args = parser.parse_args()
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        raise SystemExit("two processors are needed: one for the computation, the others for the streams")
    own, data_processors = processors[-1], set(processors[:-1])
    settings = {
        "pillion": __version__, "python": platform.python_version(), "kernel": platform.release(),
        "threading_mode": args.threading, "streams_on": sorted(data_processors), "computation_on": own,
        "seconds": args.seconds, "rounds": args.rounds,
    }
    print(", ".join(f"{name}={value}" for name, value in settings.items()))
    print(f"{'stream':8} {'bytes':>6} {'idle msg/s':>12} {'busy msg/s':>12} {'ratio':>6}")
    results = []
    for media in ("ipc", "udp"):
        for length in LENGTHS:
            channel = "aeron:ipc" if media == "ipc" else f"aeron:udp?endpoint=127.0.0.1:{free_port()}"
            row = {"media": media, "length": length, **measure(channel, length, args, data_processors, own)}
            results.append(row)
            verdict = "" if row["ratio"] >= TARGET else f"   below {TARGET}"
            print(f"{media:8} {length:6} {row['idle_median']:12,.0f} {row['busy_median']:12,.0f} "
                  f"{row['ratio']:6.2f}{verdict}", flush=True)
    if args.json:
        args.json.write_text(json.dumps({"settings": settings, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
