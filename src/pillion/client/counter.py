"""Counters of the application, kept by the driver and visible to every tool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pillion.errors import ClosedError

if TYPE_CHECKING:
    from pillion.memory.counters import CountersWriter


class Counter:
    """A counter this client may write; made by `Client.add_counter`.

    Thread-safe; `add` is atomic. A closed one raises `ClosedError`: its place in the driver's
    memory may be somebody else's by then.
    """

    def __init__(
        self,
        conductor: Any,
        counters: CountersWriter,
        registration_id: int,
        correlation_id: int,
        counter_id: int,
        *,
        is_static: bool = False,
    ) -> None:
        self._conductor = conductor
        self._writer: CountersWriter | None = counters
        self.registration_id = registration_id
        self.correlation_id = correlation_id
        self.counter_id = counter_id
        self.is_static = is_static

    @property
    def is_closed(self) -> bool:
        """True once it was closed, by its owner or with its client."""
        return self._writer is None

    @property
    def _counters(self) -> CountersWriter:
        writer = self._writer
        if writer is None:
            name = f"counter {self.counter_id} (registration {self.registration_id})"
            raise ClosedError(f"{name} is closed")
        return writer

    @property
    def value(self) -> int:
        """The value, signed 64-bit."""
        value: int = self._counters.value(self.counter_id)
        return value

    @value.setter
    def value(self, value: int) -> None:
        self._counters.set_value(self.counter_id, value)

    def add(self, delta: int) -> int:
        """Add atomically; the value before."""
        before: int = self._counters.add_to_value(self.counter_id, delta)
        return before

    def increment(self) -> int:
        """Add one atomically; the value before."""
        return self.add(1)

    @property
    def label(self) -> str:
        """What tools show it as, up to 380 bytes. Raises `ClosedError`."""
        label: str = self._counters.label(self.counter_id)
        return label

    @property
    def type_id(self) -> int:
        """What kind of counter it is; 1000 and above are the applications'. Raises `ClosedError`."""
        type_id: int = self._counters.type_id(self.counter_id)
        return type_id

    def _close(self) -> None:
        self._writer = None

    def close(self) -> None:
        """Give it back; a static counter stays for the life of the driver. Again does nothing."""
        if self._writer is not None:
            self._writer = None
            self._conductor.release_counter(self)

    def __enter__(self) -> Counter:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else f"{self.label!r} = {self.value}"
        return f"Counter({self.counter_id}, {state})"
