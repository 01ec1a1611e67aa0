"""What this client has asked its driver for, until the answer is taken.

A request is known by the correlation id of its command. Its answer is turned into the result as it
arrives, so that a publication exists before the next event is looked at. Who no longer waits
abandons the request; what the driver then still makes is given back. The conductor's lock guards it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pillion.errors import DriverTimeoutError, PillionError, RegistrationError
from pillion.protocol.commands import ErrorEvent


@dataclass(slots=True)
class Request:
    """One command that waits for its answer.

    `make` turns the answer into the result. `undo` gives back what the driver made when nobody
    wants it any more or `make` failed; None where there is nothing to give back.
    """

    what: str
    make: Callable[[Any], Any]
    undo: Callable[[int], None] | None = None
    channel: str = ""
    stream_id: int | None = None
    deadline_ns: int = 0
    is_abandoned: bool = False

    def __str__(self) -> str:
        stream = "" if self.stream_id is None else f" stream {self.stream_id}"
        return f"{self.what} {self.channel}".rstrip() + stream


class Requests:
    """The requests of one client."""

    def __init__(self) -> None:
        self._pending: dict[int, Request] = {}
        self._results: dict[int, Any] = {}

    def add(self, correlation_id: int, request: Request) -> None:
        self._pending[correlation_id] = request

    def drop(self, correlation_id: int) -> None:
        """Its command was never sent."""
        self._pending.pop(correlation_id, None)

    def is_active(self, correlation_id: int) -> bool:
        """True while the driver has not answered."""
        request = self._pending.get(correlation_id)
        return request is not None and not request.is_abandoned

    def is_known(self, correlation_id: int) -> bool:
        """True until the answer was taken, or nobody waits for it."""
        return correlation_id in self._results or self.is_active(correlation_id)

    @property
    def has_active(self) -> bool:
        return any(not request.is_abandoned for request in self._pending.values())

    def on_answer(self, event: Any) -> None:
        """The driver answered; an answer to somebody else's command is none of ours."""
        correlation_id: int = event.correlation_id
        request = self._pending.pop(correlation_id, None)
        if request is None:
            return
        result: Any
        if isinstance(event, ErrorEvent):
            result = RegistrationError(
                event.message,
                error_code=event.error_code,
                correlation_id=correlation_id,
                command=request.what,
                channel=request.channel,
                stream_id=request.stream_id,
            )
        elif request.is_abandoned:
            if request.undo is not None:
                request.undo(correlation_id)
        else:
            try:
                result = request.make(event)
            except (PillionError, OSError, ValueError, MemoryError) as error:
                result = error
                if request.undo is not None:
                    request.undo(correlation_id)
        if not request.is_abandoned:
            self._results[correlation_id] = result

    def take(self, correlation_id: int, now_ns: int) -> Any:
        """The result, None while there is none. Raises what the driver refused with, once.

        Raises `DriverTimeoutError`, once, when the driver has not answered in time.
        """
        if correlation_id in self._results:
            result = self._results.pop(correlation_id)
            if isinstance(result, Exception):
                raise result
            return result
        request = self._pending.get(correlation_id)
        if request is not None and not request.is_abandoned and now_ns > request.deadline_ns:
            request.is_abandoned = True
            raise DriverTimeoutError(f"the driver did not answer in time: {request}")
        return None

    def abandon(self, correlation_id: int) -> bool:
        """Nobody waits for the answer any more; False if there is none to wait for."""
        request = self._pending.get(correlation_id)
        if request is None or request.is_abandoned:
            return False
        request.is_abandoned = True
        return True

    def forget(self, correlation_id: int) -> Any:
        """The result that nobody has taken, None if there is none or it is an error."""
        result = self._results.pop(correlation_id, None)
        return None if isinstance(result, Exception) else result

    def clear(self) -> None:
        self._pending.clear()
        self._results.clear()
