"""Idle strategies of the measuring commands: called with the number of polls that found nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

Idle = Callable[[int], None]

IDLE_CHOICES = ("backoff", "yield", "sleep", "spin")


_SPINS = 20
_YIELDS = 200


def _back_off(attempt: int) -> None:
    # Yields last longer than in `console.idle`: a round trip over a network is worth them, and
    # unlike spinning they let a driver run that waits for this very processor.
    if attempt < _SPINS:
        return
    if attempt < _SPINS + _YIELDS:
        os.sched_yield()
    else:
        time.sleep(min((attempt - _SPINS - _YIELDS + 1) * 20e-6, 0.001))


def _spin(attempt: int) -> None:
    pass


def _yield(attempt: int) -> None:
    os.sched_yield()


def _sleep(attempt: int) -> None:
    time.sleep(50e-6)


def make_idle(name: str) -> Idle:
    """The strategy called `name`, one of `IDLE_CHOICES`."""
    return {"backoff": _back_off, "yield": _yield, "sleep": _sleep, "spin": _spin}[name]
