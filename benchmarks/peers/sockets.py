"""Plain sockets in Python: what a program has without any library."""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.peers.base import PROGRAMS, Peer


def _program() -> list[str]:
    return [sys.executable, str(PROGRAMS / "socket_program.py")]


def _peer(name: str, title: str, kinds: tuple[str, ...], waits: str, **options: Any) -> Peer:
    # They stand beside shared memory and beside UDP alike.
    return Peer(name, title, _program, kinds=kinds, options=options, waits=waits, at_a_rate=False)


_BLOCKS = "both processes block in the kernel"
_SPINS = "both processes spin on a non-blocking socket"

UDP = _peer("udp", "UDP sockets, blocking", ("round_trip",), _BLOCKS, protocol="udp", spins=False)
UDP_SPINNING = _peer("udp-spinning", "UDP sockets, spinning", ("round_trip",), _SPINS, protocol="udp", spins=True)
TCP = _peer("tcp", "TCP socket, blocking", ("throughput", "round_trip"), _BLOCKS, protocol="tcp", spins=False)
TCP_SPINNING = _peer("tcp-spinning", "TCP socket, spinning", ("round_trip",), _SPINS, protocol="tcp", spins=True)
