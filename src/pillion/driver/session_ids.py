"""The driver-wide counter that new publications get their session ids from."""

from __future__ import annotations

from collections.abc import Container

_INT32_MIN = -(2**31)
_INT32_MAX = 2**31 - 1


class SessionIds:
    """Runs through the 32-bit numbers from a random start, past the reserved range `low..high`."""

    def __init__(self, first: int, reserved_low: int, reserved_high: int) -> None:
        self._next = first
        self._reserved_low = reserved_low
        self._reserved_high = reserved_high

    def take(self, used: Container[int]) -> int:
        """The next id that is not in `used`."""
        while True:
            candidate = self._next
            if self._reserved_low <= candidate <= self._reserved_high:
                candidate = self._reserved_high + 1
                if candidate > _INT32_MAX:
                    candidate = _INT32_MIN
            self._next = candidate + 1 if candidate < _INT32_MAX else _INT32_MIN
            if candidate not in used:
                return candidate
