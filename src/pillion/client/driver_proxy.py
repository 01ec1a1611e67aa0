"""The driver as its clients see it: commands go in, and there is no way to tell when it reads them.

The conductor's lock guards it. A command that gives something back may not be lost: it waits here
while the ring is full.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any

from pillion.errors import BufferFullError, ClosedError
from pillion.memory.ring_buffer import ManyToOneRingBuffer
from pillion.protocol import commands
from pillion.protocol.ids import CommandType

_ATTEMPTS = 10


class _NoRing:
    """In place of the ring of a client that is closed, by a signal handler in the middle of a command for example."""

    def __getattr__(self, name: str) -> Any:
        raise ClosedError("the client was closed")


class DriverProxy:
    """Writes the commands of one client."""

    def __init__(self, ring: ManyToOneRingBuffer, description: str) -> None:
        self._ring: Any = ring
        self._description = description
        self._unsent: deque[tuple[CommandType, bytes]] = deque()
        self.client_id = self.next_correlation_id()

    def detach(self) -> None:
        """Let go of the driver's memory: no command after this."""
        self._ring = _NoRing()

    def next_correlation_id(self) -> int:
        correlation_id: int = self._ring.next_correlation_id()
        return correlation_id

    @property
    def consumer_heartbeat_ms(self) -> int:
        """When the driver last said it lives, ms since the epoch; -1 after an orderly end."""
        heartbeat: int = self._ring.consumer_heartbeat_ms
        return heartbeat

    def send(self, command: CommandType, message: bytes) -> None:
        """Raises `BufferFullError` if the ring stays full, `ValueError` for too long a message."""
        for _ in range(_ATTEMPTS):
            if self._ring.write(command, message):
                return
            os.sched_yield()
        raise BufferFullError(
            f"the command buffer of {self._description} is full: it is overloaded or stopped"
        )

    def send_unsent(self) -> None:
        """Try again what did not fit."""
        while self._unsent and self._ring.write(*self._unsent[0]):
            self._unsent.popleft()

    def _give_back(self, command: CommandType, message: bytes) -> None:
        self.send_unsent()
        if self._unsent or not self._ring.write(command, message):
            self._unsent.append((command, message))

    def remove_publication(self, registration_id: int, *, revoke: bool = False) -> None:
        flags = commands.REVOKE_FLAG if revoke else 0
        correlation_id = self.next_correlation_id()
        self._give_back(
            CommandType.REMOVE_PUBLICATION,
            commands.encode_remove_publication(self.client_id, correlation_id, registration_id, flags),
        )

    def remove_subscription(self, registration_id: int) -> None:
        correlation_id = self.next_correlation_id()
        self._give_back(
            CommandType.REMOVE_SUBSCRIPTION,
            commands.encode_remove(self.client_id, correlation_id, registration_id),
        )

    def remove_counter(self, registration_id: int) -> None:
        correlation_id = self.next_correlation_id()
        self._give_back(
            CommandType.REMOVE_COUNTER,
            commands.encode_remove(self.client_id, correlation_id, registration_id),
        )

    def terminate_driver(self, token: bytes) -> None:
        self.send(CommandType.TERMINATE_DRIVER, commands.encode_terminate_driver(self.client_id, token))

    def close_client(self) -> None:
        self.send(CommandType.CLIENT_CLOSE, commands.encode_client_command(self.client_id))
