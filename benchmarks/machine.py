"""The settings that a figure is worth nothing without: machine, kernel, versions, drivers, who waits how."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measuring import Conditions, versions
from benchmarks.peers.base import ROOT, Peer
from benchmarks.probe import NEAR_BELOW_NS, Probe
from benchmarks.rows import IPC_TERM, UDP_TERM

CLIENTS_WAIT = "clients as the row says"
DRIVERS_WAIT = {
    "pillion": "the driver adaptive unless set otherwise: it spins, yields, then waits in the kernel",
    "c": "the driver backoff unless set otherwise: it spins, yields, then sleeps up to 1 ms",
    "java": "the driver backoff unless set otherwise: it spins, yields, then sleeps up to 1 ms",
}


def describe(peers: Sequence[Peer], conditions: Conditions, probe: Probe) -> dict[str, Any]:
    """Everything about this run that is not a measurement, as JSON."""
    return {
        "processor": _cpu_model(),
        "processors": list(conditions.cpus),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_at_start": list(os.getloadavg()),
        "commit": _commit(),
        "pinned": conditions.pins,
        "driver_threading": conditions.threading_mode,
        "driver_settings": conditions.driver_settings,
        "term_length": conditions.term or f"{IPC_TERM} in shared memory, {UDP_TERM} over UDP",
        "scale": conditions.scale,
        "rate": conditions.rate,
        "probe": probe.reason or f"processors {probe.cpus[0]} and {probe.cpus[1]}; near is below {NEAR_BELOW_NS:g} ns",
        "peers": {peer.name: _peer(peer) for peer in peers if not peer.why_absent()},
    }


def _peer(peer: Peer) -> dict[str, Any]:
    waits = peer.waits or CLIENTS_WAIT
    if peer.driver:
        waits = f"{waits}; {DRIVERS_WAIT[peer.driver.name]}"
    return {"title": peer.title, "versions": versions(peer), "waits": waits}


def warnings(described: dict[str, Any]) -> list[str]:
    """What makes figures of this run doubtful."""
    found = []
    if described["load_at_start"][0] > 0.5:
        found.append(f"the machine was at work: load {described['load_at_start'][0]:.1f} at the start")
    if len(described["processors"]) > 2 and not described["pinned"]:
        found.append("the probe sees two of the processors, and nothing is pinned to them: use --pin, --cpus")
    pythons = {
        versions["python"].rpartition(".")[0]
        for peer in described["peers"].values()
        if "python" in (versions := peer["versions"])
    }
    if len(pythons) > 1:
        found.append(
            f"the peers run under different Pythons ({', '.join(sorted(pythons))}): "
            "`make bench VENV=.venv-3.12 PYTHON=python3.12` builds Pillion for another one"
        )
    return found


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
