"""ZeroMQ through pyzmq in a virtual environment of its own (`benchmarks/setup_peers.py`)."""

from __future__ import annotations

from benchmarks.peers.base import CACHE, PROGRAMS, ROOT, Peer

PYTHON = CACHE / "pyzmq" / "bin" / "python"


def _absence() -> str:
    if PYTHON.exists():
        return ""
    return f"{PYTHON.relative_to(ROOT)} does not exist: run `make bench-peers`"


ZEROMQ = Peer(
    "zmq",
    "ZeroMQ (pyzmq)",
    lambda: [str(PYTHON), str(PROGRAMS / "zmq_program.py")],
    kinds=("throughput", "round_trip"),
    absence=_absence,
    waits="both processes block in the kernel, each with an I/O thread; its `ipc` is a Unix socket",
    at_a_rate=False,
)
