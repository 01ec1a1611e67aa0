"""What one call costs: `offer` and `poll` in one process, without anybody at the other end, beside what the interpreter
takes for the loop and for calling the handler.

Nothing waits and nothing is shared, so this is the part of a message's way that the library has in its hands. The
publisher offers a batch, then the subscriber of the same process polls it. Peers alternate, each round in a process of
its own; the figures are the medians of the rounds, each the least of many batches, in ns.

    python -m benchmarks.calls --json result.json
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH = 2000
BATCHES = 400
LENGTH = 32
CHANNEL = "aeron:ipc?term-length=1m"
FRAGMENT_LIMIT = 256
ROWS = {
    "loop": "a loop that calls a built-in function of one argument (`len`), and compares the result",
    "offer": "the same loop with `offer` of 32 bytes",
    "handler": "the interpreter calls an empty Python function of two arguments (by `map`)",
    "poll": "`poll` with that function as its handler, per message",
}


def least(batch: Callable[[], object]) -> float:
    """ns for one of BATCH, in the quickest of some."""
    clock, best = time.perf_counter_ns, float("inf")
    for _ in range(BATCHES // 10):
        before = clock()
        batch()
        best = min(best, (clock() - before) / BATCH)
    return best


def handler(buffer: Any, header: Any) -> None:
    pass


def interpreter() -> dict[str, float]:
    message = bytes(LENGTH)

    def loop() -> None:
        call = len
        for _ in itertools.repeat(None, BATCH):
            while call(message) < 0:
                pass

    def handlers() -> None:
        for _ in map(handler, itertools.repeat(None, BATCH), itertools.repeat(None)):
            pass

    return {"loop": least(loop), "handler": least(handlers)}


def library(offer_all: Callable[[], None], poll_all: Callable[[], None]) -> dict[str, float]:
    clock, offers, polls = time.perf_counter_ns, [], []
    for _ in range(BATCHES):
        begin = clock()
        offer_all()
        middle = clock()
        poll_all()
        polls.append((clock() - middle) / BATCH)
        offers.append((middle - begin) / BATCH)
    return {"offer": min(offers), "poll": min(polls)}


def connected(publication: Any) -> None:
    while not publication.is_connected:
        time.sleep(0.001)


def measure_pillion(directory: str) -> dict[str, float]:
    import pillion

    with pillion.MediaDriver(aeron_dir=directory, threading_mode="shared"), pillion.connect(directory) as client:
        subscription = client.add_subscription(CHANNEL, 1)
        publication = client.add_exclusive_publication(CHANNEL, 1)
        connected(publication)
        message = bytes(LENGTH)

        def offer_all() -> None:
            offer = publication.offer
            for _ in itertools.repeat(None, BATCH):
                while offer(message) < 0:
                    pass

        def poll_all() -> None:
            poll, count = subscription.poll, 0
            while count < BATCH:
                count += poll(handler, FRAGMENT_LIMIT)

        return library(offer_all, poll_all)


def measure_pyaeron(directory: str) -> dict[str, float]:
    import pyaeron  # type: ignore[import-not-found]

    driver = pyaeron.MediaDriver(dir=directory, threading="shared")
    client = pyaeron.connect(dir=directory)
    subscription = client.add_subscription(CHANNEL, 1)
    publication = client.add_exclusive_publication(CHANNEL, 1)
    connected(publication)
    message = bytes(LENGTH)

    def offer_all() -> None:
        offer = publication.offer
        for _ in itertools.repeat(None, BATCH):
            while not offer(message):
                pass

    def poll_all() -> None:
        poll, count = subscription.poll, 0
        while count < BATCH:
            count += poll(handler, FRAGMENT_LIMIT, assemble=False)

    found = library(offer_all, poll_all)
    client.close()
    driver.close()
    return found


MEASURES = {"pillion": measure_pillion, "pyaeron": measure_pyaeron}


def one_round(name: str, python: str, environment: dict[str, str]) -> dict[str, float]:
    done = subprocess.run(
        [python, __file__, "--one", name], capture_output=True, text=True, check=False, env=environment, timeout=120
    )
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip()}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="processes of each peer (default 7)")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--one", choices=MEASURES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        shm = "/dev/shm" if Path("/dev/shm").is_dir() else None
        with tempfile.TemporaryDirectory(dir=shm) as base:
            print(json.dumps({**interpreter(), **MEASURES[args.one](f"{base}/aeron")}))
        return
    from benchmarks.measuring import environment
    from benchmarks.peers.drivers import PYAERON_PYTHON, pyaeron_absence

    pythons = {"pillion": sys.executable}
    if reason := pyaeron_absence():
        print(f"pyaeron: absent: {reason}")
    else:
        pythons["pyaeron"] = str(PYAERON_PYTHON)
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in pythons}
    with contextlib.suppress(KeyboardInterrupt):
        for number in range(args.rounds):
            for name in list(pythons) if number % 2 == 0 else reversed(list(pythons)):
                rounds[name].append(one_round(name, pythons[name], environment()))
    report(rounds, args.json)


def report(rounds: dict[str, list[dict[str, float]]], json_file: Path | None) -> None:
    medians = {
        name: {row: statistics.median(found[row] for found in taken) for row in ROWS}
        for name, taken in rounds.items()
        if taken
    }
    print(f"{'ns':8}" + "".join(f"{name:>10}" for name in medians))
    for row, what in ROWS.items():
        print(f"{row:8}" + "".join(f"{medians[name][row]:10.1f}" for name in medians) + f"   {what}")
    if json_file:
        json_file.write_text(json.dumps({"rounds": rounds, "medians": medians}, indent=2) + "\n")


if __name__ == "__main__":
    main()
