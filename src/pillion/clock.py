"""Where conductors read the time: the system's clocks, or those of a simulation."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """`nano` gives ns that never go back, `epoch_ms` the ms since the epoch."""

    def __init__(self, nano: Callable[[], int], epoch_ms: Callable[[], int]) -> None:
        self.nano = nano
        self.epoch_ms = epoch_ms


def _epoch_ms() -> int:
    return time.time_ns() // 1_000_000


SYSTEM_CLOCK = Clock(time.monotonic_ns, _epoch_ms)
