"""Pillion: our client on our driver, on the C driver, and with the driver in the caller's thread."""

from __future__ import annotations

import sys

from benchmarks.peers.base import PROGRAMS, Peer
from benchmarks.peers.drivers import C_DRIVER, PILLION_DRIVER


def _program() -> list[str]:
    return [sys.executable, str(PROGRAMS / "pillion_program.py")]


PILLION = Peer("pillion", "Pillion", _program, driver=PILLION_DRIVER)
PILLION_ON_C = Peer("pillion-on-c", "Pillion client, C driver", _program, driver=C_DRIVER)
PILLION_INVOKER = Peer(
    "pillion-invoker",
    "Pillion, a driver in each caller's thread",
    _program,
    kinds=("round_trip",),
    media=("udp",),
    options={"invoker": True, "yields": False},
    waits="two processes of one spinning thread each, which polls its own driver too",
    has_own_drivers=True,
)
