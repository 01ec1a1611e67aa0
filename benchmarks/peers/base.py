"""What a peer is to the runner: its program, its driver if it has one, and why it is absent."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "benchmarks"
PEERS = ROOT / ".cache" / "peers"
PROGRAMS = Path(__file__).resolve().parents[1] / "programs"


def present() -> str:
    return ""


@dataclass(frozen=True)
class DriverKind:
    """A media driver: the command that runs it in a directory until SIGTERM, and why it cannot run here."""

    name: str
    #: (directory, threading mode or "" for the driver's own default) -> command
    command: Callable[[str, str], list[str]]
    #: The interpreter or virtual machine alone, doing nothing: what a start costs before the driver begins.
    bare: Callable[[], list[str]]
    absence: Callable[[], str] = present
    #: True if the driver prints a line `driver` once it is up.
    speaks: bool = False


@dataclass(frozen=True)
class Peer:
    """A library under measurement. `kinds` and `media` are the rows it can be in."""

    name: str
    title: str
    program: Callable[[], list[str]]
    kinds: tuple[str, ...] = ("throughput", "round_trip", "start", "idle")
    media: tuple[str, ...] = ("ipc", "udp")
    driver: DriverKind | None = None
    absence: Callable[[], str] = present
    #: Given to its programs besides the row's own.
    options: dict[str, Any] = field(default_factory=dict)
    #: Which of its threads wait how, for the report.
    waits: str = ""
    #: Each process has a directory, and a driver in it, of its own.
    has_own_drivers: bool = False
    at_a_rate: bool = True

    def why_absent(self) -> str:
        return self.absence() or (self.driver.absence() if self.driver else "")

    def takes_part_in(self, kind: str, media: str) -> bool:
        return kind in self.kinds and media in self.media


def fetched(name: str) -> str:
    """Why a peer that `make peers` fetches is absent."""
    status = PEERS / "status.json"
    try:
        reasons: dict[str, str] = json.loads(status.read_text())
    except FileNotFoundError:
        return f"{status.relative_to(ROOT)} does not exist: run `make peers`"
    return reasons.get(name, f"{name} is not in {status.relative_to(ROOT)}: run `make peers`")
