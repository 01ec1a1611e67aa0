"""The topology probe: ns a round trip of a shared-memory word between two processors, and the state that it means.

Where a virtual machine's two processors sit (on one core complex or on two) changes within seconds, and with it every
figure that moves cache lines. A sample carries the state found before and after it; only samples of one state are
compared.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("probe.c")
DURATION_S = 0.1
#: Round trips in ns: below the first the processors share a cache, at or above the second somebody else ran on them.
NEAR_BELOW_NS = 220.0
DISTURBED_FROM_NS = 2_000.0
#: The program's exit code when not one batch of round trips was completed.
NEVER_MET = 3


def classify(round_trip_ns: float | None, near_below_ns: float = NEAR_BELOW_NS) -> str:
    """`near`, `far` or `disturbed` for one reading; `unknown` without one."""
    if round_trip_ns is None:
        return "unknown"
    if round_trip_ns >= DISTURBED_FROM_NS:
        return "disturbed"
    return "near" if round_trip_ns < near_below_ns else "far"


def state_of(before_ns: float | None, after_ns: float | None, near_below_ns: float = NEAR_BELOW_NS) -> str:
    """The state of a sample between two readings; `mixed` where they differ."""
    before, after = classify(before_ns, near_below_ns), classify(after_ns, near_below_ns)
    if "disturbed" in (before, after):
        return "disturbed"
    return before if before == after else "mixed"


class Probe:
    """The compiled probe; without a compiler or a second processor it reads None and `reason` says why."""

    def __init__(self, cache: Path, cpus: tuple[int, ...]):
        self.cpus = cpus
        self.reason = ""
        self._program: Path | None = None
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if len(cpus) < 2:
            self.reason = "there is one processor"
        elif compiler is None:
            self.reason = "no C compiler was found (apt-get install gcc)"
        else:
            self._program = self._compile(compiler, cache)

    def _compile(self, compiler: str, cache: Path) -> Path | None:
        program = cache / f"probe-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]}"
        if program.exists():
            return program
        cache.mkdir(parents=True, exist_ok=True)
        fresh = program.with_suffix(f".{os.getpid()}")
        done = subprocess.run([compiler, "-O2", "-o", fresh, SOURCE], capture_output=True, text=True)
        if done.returncode:
            self.reason = f"{compiler} does not compile {SOURCE.name}: {done.stderr.strip()[-300:]}"
            return None
        fresh.rename(program)
        return program

    def read(self) -> float | None:
        """The median round trip in ns; None if it cannot be had.

        Processes that did not get to run together within the time read as that time: disturbed.
        """
        if self._program is None:
            return None
        command = [str(self._program), str(self.cpus[0]), str(self.cpus[1]), str(DURATION_S)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        if done.returncode == NEVER_MET:
            return DURATION_S * 1e9
        if done.returncode:
            self.reason = done.stderr.strip()
            return None
        return float(done.stdout.split()[1])
