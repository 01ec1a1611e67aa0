"""Ports for channels with port 0, where the settings confine them to a range."""

from __future__ import annotations

from pillion.driver.refusal import generic


class WildcardPorts:
    """Hands out the ports of `low..high` in turn; `(0, 0)` leaves the choice to the system."""

    def __init__(self, low: int, high: int) -> None:
        self._low = low
        self._high = high
        self._next = low
        self._used: set[int] = set()

    def take(self, port: int) -> int:
        """The port to bind for `port`; raises `Refusal` when the range is used up."""
        if self._high == 0:
            return port
        if port:
            self._used.add(port)
            return port
        for _ in range(self._low, self._high + 1):
            candidate = self._next
            self._next = self._low if candidate == self._high else candidate + 1
            if candidate not in self._used:
                self._used.add(candidate)
                return candidate
        raise generic(
            f"no available ports in range {self._low} {self._high}: widen "
            "AERON_RECEIVER_WILDCARD_PORT_RANGE or AERON_SENDER_WILDCARD_PORT_RANGE"
        )

    def give_back(self, port: int) -> None:
        self._used.discard(port)
