"""Handlers of the application: lists that grow and shrink, and the publication error frame."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pillion.errors import ErrorCode
from pillion.protocol.commands import PublicationErrorEvent

_IPV4 = 1
_IPV6 = 2


@dataclass(frozen=True, slots=True)
class PublicationErrorFrame:
    """A receiver told the publisher that something is wrong; `error_code` says what.

    `destination_registration_id` is -1 unless the publication has manual destinations,
    `receiver_id` and `group_tag` are -1 where there are none. `source_address` is `host:port`.
    """

    publication: Any
    registration_id: int
    destination_registration_id: int
    session_id: int
    stream_id: int
    receiver_id: int
    group_tag: int
    source_address: str
    error_code: ErrorCode
    error_code_value: int
    message: str

    @classmethod
    def of(cls, publication: Any, event: PublicationErrorEvent) -> PublicationErrorFrame:
        kind, port, address = event.address
        source = ""
        if kind == _IPV4:
            source = f"{socket.inet_ntop(socket.AF_INET, address[:4])}:{port}"
        elif kind == _IPV6:
            source = f"[{socket.inet_ntop(socket.AF_INET6, address[:16])}]:{port}"
        return cls(
            publication=publication,
            registration_id=event.registration_id,
            destination_registration_id=event.destination_id,
            session_id=event.session_id,
            stream_id=event.stream_id,
            receiver_id=event.receiver_id,
            group_tag=event.group_tag,
            source_address=source,
            error_code=ErrorCode.of(event.error_code),
            error_code_value=event.error_code,
            message=event.message,
        )


class HandlerList:
    """Handlers in the order they were added, each under a registration id."""

    def __init__(self, first: Callable[..., Any] | None = None) -> None:
        self._handlers: dict[int, Callable[..., Any]] = {}
        if first is not None:
            self._handlers[0] = first

    def add(self, registration_id: int, handler: Callable[..., Any]) -> int:
        if not callable(handler):
            raise TypeError(f"handler {handler!r} is not callable")
        self._handlers[registration_id] = handler
        return registration_id

    def remove(self, which: int | Callable[..., Any]) -> bool:
        """By registration id or by handler; True if something was removed."""
        if isinstance(which, int):
            return self._handlers.pop(which, None) is not None
        for registration_id, handler in self._handlers.items():
            if handler == which:
                del self._handlers[registration_id]
                return True
        return False

    def all(self) -> list[Callable[..., Any]]:
        """A copy: a handler may add and remove handlers."""
        return list(self._handlers.values())

    def clear(self) -> None:
        self._handlers.clear()
