"""What every program of a peer shares: its role, its options, its JSON lines, and when it begins.

Run as `PROGRAM.py ROLE OPTIONS`, the options as one JSON object. Lines on stdout are JSON objects with an `event`.
A measured program says `ready` when it is open, moves the warm-up, says `warm` and blocks until the line `go` comes on
stdin, so that the topology probe has the processors to itself right before the measurement. Who receives says
`going` when it is about to, and only then is the sender told to go. At the end of stdin a program closes and leaves.

Standard library only, and nothing newer than Python 3.11: it runs under the Python of the peer.
"""

from __future__ import annotations

import json
import os
import platform
import struct
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Protocol

#: Fragments that one poll may deliver, in every binding.
FRAGMENT_LIMIT = 256
#: The intended send time in ns, first in a message that is sent at a rate.
STAMP = struct.Struct("<q")
#: Percentiles reported, in permille.
POINTS = {"p50": 500, "p90": 900, "p99": 990, "p99.9": 999}


class Library(Protocol):
    """What a program measures. The loops are each binding's own: they are written for speed in its idiom."""

    def open_publisher(self, options: SimpleNamespace) -> None: ...

    def publish(self, count: int) -> None:
        """Send `count` messages as fast as they are taken."""

    def open_subscriber(self, options: SimpleNamespace) -> dict[str, Any]:
        """Returns what the publisher must know, such as a port."""

    def receive(self, count: int) -> tuple[int, int]:
        """Take `count` messages; returns how many came after the first poll that gave any, and the ns they took."""

    def open_ping(self, options: SimpleNamespace) -> None: ...

    def ping(self, count: int, latencies_ns: array[int]) -> None:
        """One after the other; writes each round trip into `latencies_ns`."""

    def ping_at(self, count: int, interval_ns: float, latencies_ns: array[int]) -> None:
        """One each `interval_ns` whether or not the last is back, timed from when it was meant to leave."""

    def open_pong(self, options: SimpleNamespace) -> dict[str, Any]: ...

    def pong(self, count: int) -> None: ...

    def hold(self, options: SimpleNamespace) -> None:
        """Open `options.streams` streams, each a publication connected to a subscription."""

    def close(self) -> None: ...


def say(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def await_go() -> None:
    if sys.stdin.readline().strip() != "go":
        sys.exit(0)


def read_handler(buffer: Any, header: Any) -> None:
    """A handler that takes the message out, as programs do."""
    bytes(buffer)


def empty_handler(buffer: Any, header: Any) -> None:
    """A handler that costs its call and nothing else."""


HANDLERS: dict[str, Callable[[Any, Any], None]] = {"empty": empty_handler, "read": read_handler}


def schedule(
    count: int,
    interval_ns: float,
    message: bytearray,
    latencies_ns: array[int],
    offer: Callable[[bytearray], bool],
    poll: Callable[[Callable[[Any, Any], None]], int],
) -> None:
    """Send at a fixed rate and take what comes back; the time of a message counts from when it was meant to leave."""
    clock = time.monotonic_ns
    received = sent = 0

    def handler(buffer: Any, header: Any) -> None:
        nonlocal received
        latencies_ns[received] = clock() - STAMP.unpack_from(buffer)[0]
        received += 1

    start_ns = clock() + 1_000_000
    while received < count:
        if sent < count:
            intended_ns = start_ns + int(sent * interval_ns)
            if clock() >= intended_ns:
                STAMP.pack_into(message, 0, intended_ns)
                if offer(message):
                    sent += 1
        poll(handler)


def publish(library: Library, options: SimpleNamespace) -> None:
    library.open_publisher(options)
    say("ready")
    library.publish(options.warm_up)
    say("warm")
    await_go()
    library.publish(options.count)
    say("published")


def subscribe(library: Library, options: SimpleNamespace) -> None:
    say("ready", **library.open_subscriber(options))
    library.receive(options.warm_up)
    say("warm")
    await_go()
    say("going")
    counted, elapsed_ns = library.receive(options.count)
    say("result", messages=counted, elapsed_ns=elapsed_ns)


def ping(library: Library, options: SimpleNamespace) -> None:
    library.open_ping(options)
    say("ready")
    library.ping(options.warm_up, array("q", bytes(8 * options.warm_up)))
    say("warm")
    await_go()
    latencies_ns = array("q", bytes(8 * options.count))
    if options.rate:
        library.ping_at(options.count, 1e9 / options.rate, latencies_ns)
    else:
        library.ping(options.count, latencies_ns)
    say("result", **latency_summary(latencies_ns))


def percentile(ordered: Sequence[int], permille: int) -> int:
    """The smallest value that `permille` (1..1000) of the ascending `ordered` do not exceed (nearest rank)."""
    return ordered[-(-len(ordered) * permille // 1000) - 1]


def latency_summary(latencies_ns: Sequence[int]) -> dict[str, int]:
    """Count, min, percentiles and max."""
    ordered = sorted(latencies_ns)
    points = {name: percentile(ordered, permille) for name, permille in POINTS.items()}
    return {"count": len(ordered), "min": ordered[0], **points, "max": ordered[-1]}


def pong(library: Library, options: SimpleNamespace) -> None:
    say("ready", **library.open_pong(options))
    library.pong(options.warm_up)
    say("warm")
    await_go()
    say("going")
    library.pong(options.count)
    say("ponged")


def hold(library: Library, options: SimpleNamespace) -> None:
    library.hold(options)
    say("ready")


ROLES = {"publish": publish, "subscribe": subscribe, "ping": ping, "pong": pong, "hold": hold}


def run(library: Library, versions: dict[str, str]) -> None:
    """The program: `versions` of what it uses are printed by the role `versions`."""
    role = sys.argv[1]
    if role == "versions":
        say("versions", **{"python": platform.python_version(), **versions})
        return
    options = SimpleNamespace(**json.loads(sys.argv[2]))
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    ROLES[role](library, options)
    sys.stdin.read()
    library.close()
