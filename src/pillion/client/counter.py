"""Counters of the application, kept by the driver and visible to every tool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pillion.errors import ClosedError

if TYPE_CHECKING:
    from pillion.memory.counters import CountersReader


class Counter:
    """A counter this client may write. Thread-safe; `add` is atomic. A closed one raises `ClosedError`."""

    def __init__(self, conductor: Any, counters: CountersReader, registration_id: int, counter_id: int, *,
                 is_static: bool) -> None:
        self._conductor = conductor
        self._counters = counters
        self.registration_id = registration_id
        self.counter_id = counter_id
        self.is_static = is_static
        self.is_closed = False

    def _check_open(self) -> None:
        if self.is_closed:
            raise ClosedError(f"counter {self.counter_id} (registration {self.registration_id}) is closed")

    @property
    def value(self) -> int:
        """The value, signed 64-bit."""
        self._check_open()
        return self._counters.value(self.counter_id)

    @value.setter
    def value(self, value: int) -> None:
        self._check_open()
        self._counters.set_value(self.counter_id, value)

    def add(self, delta: int) -> int:
        """Add atomically; the value before."""
        self._check_open()
        return self._counters.add_to_value(self.counter_id, delta)

    @property
    def label(self) -> str:
        self._check_open()
        return self._counters.label(self.counter_id)

    def _close(self) -> None:
        self.is_closed = True

    def close(self) -> None:
        """Give it back; a static counter stays for the life of the driver."""
        if not self.is_closed:
            self.is_closed = True
            if not self.is_static:
                self._conductor.release_counter(self)

    def __enter__(self) -> Counter:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else f"{self.label!r} = {self.value}"
        return f"Counter({self.counter_id}, {state})"
