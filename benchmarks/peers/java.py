"""The Java client and driver of the reference implementation, for context: no Python in it at all."""

from __future__ import annotations

from benchmarks.peers.base import CACHE, Peer
from benchmarks.peers.drivers import JAVA_DRIVER, java_absence, java_command

CLASSES = CACHE / "java"


def _absence() -> str:
    reason = java_absence()
    if not reason and not (CLASSES / "Bench.class").exists():
        return "benchmarks/programs/Bench.java is not compiled: run `make bench-peers`"
    return reason


def _program() -> list[str]:
    command = java_command("Bench")
    jars = command.index("-cp") + 1
    command[jars] = f"{CLASSES}:{command[jars]}"
    return command


JAVA = Peer(
    "java",
    "Java client and driver",
    _program,
    kinds=("throughput", "round_trip", "start"),
    driver=JAVA_DRIVER,
    absence=_absence,
    at_a_rate=False,
)
