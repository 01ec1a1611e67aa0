"""Clients: who is there, who is gone, and the counters they asked for."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from pillion.driver.refusal import Refusal, generic
from pillion.errors import ErrorCode
from pillion.protocol import commands
from pillion.protocol.commands import AddCounter, ClientCommand, Remove
from pillion.protocol.ids import CounterType, ResponseType, SystemCounter

if TYPE_CHECKING:
    from pillion.driver.services import Services

STATIC_OWNER = -1


class Client:
    """One client, known by its heartbeat counter from its first command that makes something."""

    def __init__(self, client_id: int, heartbeat_id: int) -> None:
        self.client_id = client_id
        self.heartbeat_id = heartbeat_id
        self.closed_by_command = False
        #: Counter ids by registration id.
        self.counters: dict[int, int] = {}


class Clients:
    """Registers clients, notices the dead ones and has their things released."""

    def __init__(self, services: Services, release: Callable[[int], None]) -> None:
        self.services = services
        #: Drops the publications, then the subscriptions of a client.
        self._release = release
        self._clients: dict[int, Client] = {}

    def register(self, client_id: int) -> Client:
        """The record of a client; a new one is announced by its heartbeat counter."""
        client = self._clients.get(client_id)
        if client is not None:
            return client
        services = self.services
        heartbeat_id = services.allocate(
            CounterType.CLIENT_HEARTBEAT,
            struct.pack("<q", client_id),
            f"client-heartbeat: id={client_id}",
            registration_id=client_id,
            owner_id=client_id,
            value=services.now_ms,
        )
        client = self._clients[client_id] = Client(client_id, heartbeat_id)
        services.send(
            ResponseType.COUNTER_READY, commands.encode_counter_event(client_id, heartbeat_id)
        )
        return client

    # ---- commands -------------------------------------------------------------------------------

    def keepalive(self, command: ClientCommand) -> None:
        client = self._clients.get(command.client_id)
        if client is not None and not client.closed_by_command:
            self.services.counters.set_value(client.heartbeat_id, self.services.now_ms)

    def close(self, command: ClientCommand) -> None:
        """Its things go with the next timer event."""
        client = self._clients.get(command.client_id)
        if client is not None:
            client.closed_by_command = True
            self.services.counters.set_value(client.heartbeat_id, 0)

    def add_counter(self, command: AddCounter) -> None:
        services = self.services
        client = self.register(command.client_id)
        counter_id = services.allocate(
            command.type_id,
            command.key,
            command.label,
            registration_id=command.correlation_id,
            owner_id=command.client_id,
        )
        client.counters[command.correlation_id] = counter_id
        services.send(
            ResponseType.COUNTER_READY,
            commands.encode_counter_event(command.correlation_id, counter_id),
        )

    def add_static_counter(self, command: AddCounter) -> None:
        services = self.services
        self.register(command.client_id)
        counter_id: int = services.counters.find_by_type_and_registration(
            command.type_id, command.registration_id
        )
        if counter_id < 0:
            counter_id = services.allocate(
                command.type_id,
                command.key,
                command.label,
                registration_id=command.registration_id,
                owner_id=STATIC_OWNER,
            )
        elif services.counters.owner_id(counter_id) != STATIC_OWNER:
            raise generic(
                f"cannot add static counter: counter {counter_id} of type {command.type_id} and "
                f"registration {command.registration_id} belongs to client "
                f"{services.counters.owner_id(counter_id)}"
            )
        services.send(
            ResponseType.STATIC_COUNTER,
            commands.encode_counter_event(command.correlation_id, counter_id),
        )

    def remove_counter(self, command: Remove) -> None:
        services = self.services
        client = self._clients.get(command.client_id)
        counter_id = None if client is None else client.counters.pop(command.registration_id, None)
        if counter_id is None:
            raise Refusal(
                ErrorCode.UNKNOWN_COUNTER,
                f"client {command.client_id} has no counter of registration "
                f"{command.registration_id}",
            )
        services.send(
            ResponseType.OPERATION_SUCCESS, commands.encode_id(command.correlation_id)
        )
        self._free(command.registration_id, counter_id)

    # ---- liveness -------------------------------------------------------------------------------

    def on_time_event(self) -> None:
        services = self.services
        timeout_ms = max(services.settings.client_liveness_timeout_ns // 1_000_000, 1)
        for client in list(self._clients.values()):
            heartbeat_ms = services.counters.value(client.heartbeat_id)
            if client.closed_by_command or services.now_ms > heartbeat_ms + timeout_ms:
                self._remove(client)

    def _remove(self, client: Client) -> None:
        services = self.services
        del self._clients[client.client_id]
        if not client.closed_by_command:
            services.count(SystemCounter.CLIENT_TIMEOUTS)
            services.send(ResponseType.CLIENT_TIMEOUT, commands.encode_id(client.client_id))
        self._announce_unavailable(client.client_id, client.heartbeat_id)
        self._release(client.client_id)
        for registration_id, counter_id in client.counters.items():
            self._free(registration_id, counter_id)
        services.counters.free(client.heartbeat_id, services.now_ms)

    def _free(self, registration_id: int, counter_id: int) -> None:
        self._announce_unavailable(registration_id, counter_id)
        self.services.counters.free(counter_id, self.services.now_ms)

    def _announce_unavailable(self, registration_id: int, counter_id: int) -> None:
        self.services.send(
            ResponseType.UNAVAILABLE_COUNTER,
            commands.encode_counter_event(registration_id, counter_id),
        )
