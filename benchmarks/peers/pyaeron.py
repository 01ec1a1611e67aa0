"""The C client of the reference implementation, through pyaeron in a Python of its own, on the C driver and on ours."""

from __future__ import annotations

from benchmarks.peers.base import Peer
from benchmarks.peers.drivers import C_DRIVER, PILLION_DRIVER, PYAERON_PROGRAM, PYAERON_PYTHON, pyaeron_absence


def _program() -> list[str]:
    return [str(PYAERON_PYTHON), str(PYAERON_PROGRAM)]


PYAERON = Peer("pyaeron", "C client and driver (pyaeron)", _program, driver=C_DRIVER, absence=pyaeron_absence)
PYAERON_ON_PILLION = Peer(
    "pyaeron-on-pillion",
    "C client (pyaeron), Pillion driver",
    _program,
    driver=PILLION_DRIVER,
    absence=pyaeron_absence,
)
