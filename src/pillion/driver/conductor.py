"""The conductor: takes the clients' commands and the agents' events, and keeps the timers.

One thread calls `do_work`. A command that needs slow work is a generator: it yields the call that
the resource agent is to run and goes on with the result in a later cycle. Meanwhile no other
command is taken, so answers come in the order of the commands; streams, events and timers go on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from pillion.channel import ChannelUri
from pillion.driver.channel_endpoints import Endpoints
from pillion.driver.clients import Clients
from pillion.driver.events import DriverEvent
from pillion.driver.images import Images, SetUp, check_reason
from pillion.driver.ipc_publications import IpcPublications, IpcStream
from pillion.driver.links import Stream
from pillion.driver.network_publications import NetworkPublications, NetworkStream
from pillion.driver.publications_index import PublicationsIndex
from pillion.driver.refusal import Refusal, generic, not_supported
from pillion.driver.subscriptions import Subscriptions, unknown_subscription
from pillion.errors import ErrorCode, MalformedCommandError
from pillion.protocol import commands
from pillion.protocol.commands import (
    AddPublication,
    AddSubscription,
    Command,
    Destination,
    RejectImage,
    RemoveDestinationById,
    TerminateDriver,
)
from pillion.protocol.ids import CommandType, ResponseType, SystemCounter

if TYPE_CHECKING:
    from pillion.driver.services import Services

Steps = Generator[Any, Any, Any]
_COMMANDS_PER_CYCLE = 16
_EVENTS_PER_CYCLE = 256


class Conductor:
    """The control plane of one driver."""

    def __init__(self, services: Services, request_stop: Callable[[], None]) -> None:
        self.services = services
        self._request_stop = request_stop
        services.now_ns = services.clock.nano()
        services.now_ms = services.clock.epoch_ms()
        self.endpoints = Endpoints(services)
        self.index = PublicationsIndex(services)
        self.ipc = IpcPublications(services, self.index)
        self.network = NetworkPublications(services, self.index, self.endpoints)
        self.images = Images(services, self.endpoints)
        self.subscriptions = Subscriptions(
            services, self.endpoints, self.index, self.ipc, self.images
        )
        self.clients = Clients(services, self._release_client)
        #: Whether another driver has our directory.
        self.is_taken_over = False
        self._is_busy = False
        self._timer_ns = services.now_ns
        self._cycle_ns = services.now_ns
        self._consumed = (services.cnc.to_driver_ring.head_position, services.now_ns)
        self._handlers: dict[CommandType, Callable[[Any], Steps | None]] = {
            CommandType.ADD_PUBLICATION: lambda c: self._add_publication(c, is_exclusive=False),
            CommandType.ADD_EXCLUSIVE_PUBLICATION: lambda c: self._add_publication(
                c, is_exclusive=True
            ),
            CommandType.REMOVE_PUBLICATION: self.index.remove,
            CommandType.ADD_SUBSCRIPTION: self._add_subscription,
            CommandType.REMOVE_SUBSCRIPTION: self.subscriptions.remove,
            CommandType.CLIENT_KEEPALIVE: self.clients.keepalive,
            CommandType.CLIENT_CLOSE: self.clients.close,
            CommandType.ADD_COUNTER: self.clients.add_counter,
            CommandType.REMOVE_COUNTER: self.clients.remove_counter,
            CommandType.ADD_STATIC_COUNTER: self.clients.add_static_counter,
            CommandType.ADD_DESTINATION: self._send_destination,
            CommandType.REMOVE_DESTINATION: self._send_destination,
            CommandType.REMOVE_DESTINATION_BY_ID: self._send_destination,
            CommandType.ADD_RCV_DESTINATION: self._receive_destination,
            CommandType.REMOVE_RCV_DESTINATION: self._receive_destination,
            CommandType.TERMINATE_DRIVER: self._terminate,
            CommandType.REJECT_IMAGE: self._reject_image,
            CommandType.GET_NEXT_SESSION_ID: self.index.next_session_id,
        }

    # ---- the duty cycle -------------------------------------------------------------------------

    def do_work(self) -> int:
        """One cycle; what it did, 0 for nothing."""
        services = self.services
        services.now_ns = services.clock.nano()
        services.now_ms = services.clock.epoch_ms()
        self._measure_cycle()
        work = services.resources.drain()
        work += self._handle_events()
        work += self._take_commands()
        if services.now_ns >= self._timer_ns:
            self._timer_ns = services.now_ns + services.settings.timer_interval_ns
            self._on_time_event()
            work += 1
        return work

    @property
    def timer_ns(self) -> int:
        """When timers are due next."""
        return self._timer_ns

    @property
    def idle_ns(self) -> int:
        """How long nothing is due, as far as timers go."""
        return max(self._timer_ns - self.services.clock.nano(), 0)

    @property
    def is_busy(self) -> bool:
        """Whether a command waits for the resource agent."""
        return self._is_busy

    def _measure_cycle(self) -> None:
        # Only a cycle with work in it can be late: waiting is not a cycle.
        services = self.services
        elapsed_ns = services.now_ns - self._cycle_ns
        self._cycle_ns = services.now_ns
        counters = services.counters
        if elapsed_ns > counters.value(SystemCounter.CONDUCTOR_MAX_CYCLE_TIME):
            counters.set_value(SystemCounter.CONDUCTOR_MAX_CYCLE_TIME, elapsed_ns)
        if elapsed_ns > services.settings.conductor_cycle_threshold_ns:
            services.count(SystemCounter.CONDUCTOR_CYCLE_TIME_EXCEEDED)

    def restart_cycle_time(self) -> None:
        """After a wait: the time until now does not count as a cycle."""
        self._cycle_ns = self.services.clock.nano()

    # ---- commands of clients --------------------------------------------------------------------

    def _take_commands(self) -> int:
        ring = self.services.cnc.to_driver_ring
        for count in range(_COMMANDS_PER_CYCLE):
            if self._is_busy:
                return count
            message = ring.read_one()
            if message is None:
                return count
            self._on_command(*message)
        return _COMMANDS_PER_CYCLE

    def _on_command(self, type_id: int, message: bytes) -> None:
        services = self.services
        try:
            command = commands.decode_command(type_id, message)
        except KeyError:
            services.record(
                ErrorCode.UNKNOWN_COMMAND_TYPE_ID,
                f"a command of the unknown type {type_id:#x} and {len(message)} bytes was skipped",
            )
            return
        except MalformedCommandError as error:
            services.record(ErrorCode.MALFORMED_COMMAND, str(error))
            return
        try:
            steps = self._handlers[CommandType(type_id)](command)
        except Exception as error:
            self._answer_failure(command, error)
            return
        if steps is not None:
            self._is_busy = True
            self._advance(steps, command)

    def _advance(
        self, steps: Steps, command: Command | None, result: Any = None, error: Exception | None = None
    ) -> None:
        """Run steps up to the next slow call; `command` is None for those of the driver itself."""
        try:
            call = steps.send(result) if error is None else steps.throw(error)
        except StopIteration:
            self._finish(command)
        except Exception as failure:
            self._finish(command)
            if command is None:
                self.services.record_failure(failure)
            else:
                self._answer_failure(command, failure)
        else:
            self.services.resources.submit(
                call, lambda result, error: self._advance(steps, command, result, error)
            )

    def _finish(self, command: Command | None) -> None:
        if command is not None:
            self._is_busy = False

    def _answer_failure(self, command: Command, error: Exception) -> None:
        refusal = self.services.record_failure(error)
        self.services.send(
            ResponseType.ERROR,
            commands.encode_error(command.correlation_id, refusal.error_code, refusal.message),
        )

    # ---- handlers -------------------------------------------------------------------------------

    def _add_publication(self, command: AddPublication, *, is_exclusive: bool) -> Steps:
        uri = ChannelUri.parse(command.channel)
        if uri.is_spy:
            raise Refusal(
                ErrorCode.INVALID_CHANNEL,
                f"aeron-spy: is for subscriptions, not for the publication {command.channel}",
            )
        stream: IpcStream | NetworkStream
        if uri.is_ipc:
            stream = yield from self.ipc.add(command, uri, is_exclusive=is_exclusive)
        else:
            stream = yield from self.network.add(command, uri, is_exclusive=is_exclusive)
        self.clients.register(command.client_id)
        self.index.add_link(command.client_id, command.correlation_id, stream)
        stream.add_client(command)
        if isinstance(stream, IpcStream):
            self.subscriptions.link_ipc(stream)
        else:
            self.subscriptions.link_spies(stream)

    def _add_subscription(self, command: AddSubscription) -> Steps:
        uri = ChannelUri.parse(command.channel)
        subscription = yield from self.subscriptions.add(command, uri)
        self.clients.register(command.client_id)
        self.subscriptions.announce(subscription)

    def _send_destination(self, command: Destination | RemoveDestinationById) -> None:
        stream = self.index.by_client_link(command.client_id, command.registration_id)
        if stream is None:
            raise Refusal(
                ErrorCode.UNKNOWN_PUBLICATION,
                f"client {command.client_id} has no publication of registration "
                f"{command.registration_id}",
            )
        # Publications with control-mode=manual are refused when they are added.
        raise generic(f"channel does not allow manual control of destinations: {stream.channel}")

    def _receive_destination(self, command: Destination) -> None:
        subscription = self.subscriptions.get(command.registration_id)
        if subscription is None:
            raise unknown_subscription(command.client_id, command.registration_id)
        raise Refusal(
            ErrorCode.INVALID_CHANNEL,
            f"channel does not allow manual control of destinations: {subscription.channel}",
        )

    def _terminate(self, command: TerminateDriver) -> None:
        if self.services.settings.termination_validator == "allow":
            self._request_stop()

    def _reject_image(self, command: RejectImage) -> None:
        check_reason(command.reason)
        image = self.images.by_registration(command.image_id)
        if image is not None:
            image.reject(command.reason)
        else:
            stream = self.index.by_registration(command.image_id)
            if isinstance(stream, NetworkStream):
                raise not_supported("rejecting the image of a spy", stream.channel)
            if stream is None or not isinstance(stream, IpcStream):
                raise generic(f"there is no image {command.image_id} to reject")
            self.services.count(SystemCounter.IMAGES_REJECTED)
            stream.reject(command.position, command.reason)
        self.services.send(
            ResponseType.OPERATION_SUCCESS, commands.encode_id(command.correlation_id)
        )

    def _release_client(self, client_id: int) -> None:
        self.index.release_client(client_id)
        self.subscriptions.release_client(client_id)

    # ---- events of the agents -------------------------------------------------------------------

    def _handle_events(self) -> int:
        plane = self.services.plane
        for count in range(_EVENTS_PER_CYCLE):
            event = plane.poll_event()
            if event is None:
                return count
            self._on_event(event)
        return _EVENTS_PER_CYCLE

    def _on_event(self, event: tuple[Any, ...]) -> None:
        kind, native = event[0], event[1]
        if kind == DriverEvent.RELEASED:
            self._on_released(native)
        elif kind == DriverEvent.SETUP:
            self._advance(self.images.create(native, SetUp(event[2:])), None)
        elif kind == DriverEvent.SUBSCRIBER_ADDED:
            stream = self._stream_of(native)
            if stream is not None:
                stream.on_joined(event[2], event[3])
        elif kind == DriverEvent.SUBSCRIBER_REMOVED:
            stream = self._stream_of(native)
            if stream is not None:
                stream.on_left(event[2])
        elif kind == DriverEvent.FIRST_LOSS:
            self.images.on_first_loss(native, event[2])
        elif kind == DriverEvent.ERROR_FRAME:
            stream = self.index.by_native(native)
            if isinstance(stream, NetworkStream):
                stream.on_error_frame(*event[2:])
        elif kind == DriverEvent.SOCKET_ERROR:
            self.endpoints.on_socket_error(native, event[2], event[3])

    def _stream_of(self, native: object) -> Stream | None:
        return self.index.by_native(native) or self.images.by_native(native)

    def _on_released(self, native: object) -> None:
        stream = self.index.on_released(native)
        if stream is not None:
            stream.release()
            if isinstance(stream, NetworkStream):
                stream.endpoint.publications.discard(stream)
                self.endpoints.close_unused_send(stream.endpoint)
        elif not self.endpoints.on_released(native):
            self.images.on_released(native)

    # ---- timers ---------------------------------------------------------------------------------

    def _on_time_event(self) -> None:
        self.clients.on_time_event()
        for stream in list(self.index.ipc):
            if stream.on_time_event():
                self.subscriptions.link_ipc(stream)
        for publication in list(self.index.network):
            publication.on_time_event()
        self.network.check_resolution()
        for image in list(self.images.streams):
            image.on_time_event(self.endpoints)
        self.images.free_done()
        self._check_blocked_commands()
        self._retry_deletions()
        if self.services.log_files.is_taken_over:
            self._on_taken_over()

    def _check_blocked_commands(self) -> None:
        """A client that died while it wrote a command must not stop those of the others."""
        services = self.services
        ring = services.cnc.to_driver_ring
        position, since_ns = self._consumed
        head = ring.head_position
        if head != position or ring.tail_position == head or self._is_busy:
            self._consumed = (head, services.now_ns)
        elif services.now_ns > since_ns + services.settings.client_liveness_timeout_ns:
            if ring.unblock():
                services.count(SystemCounter.UNBLOCKED_COMMANDS)
            self._consumed = (head, services.now_ns)

    def _on_taken_over(self) -> None:
        """Another driver began in our directory while this one was stopped: nothing is ours now."""
        if self.is_taken_over:
            return
        self.is_taken_over = True
        print(
            f"pillion: another driver has taken {self.services.settings.aeron_dir} over while this "
            f"one (pid {os.getpid()}) was stopped: it ends",
            file=sys.stderr,
        )
        self._request_stop()

    def _retry_deletions(self) -> None:
        services = self.services
        for _ in range(min(len(services.undeleted), services.settings.resource_free_limit)):
            path, length, references = services.undeleted.pop(0)
            services.delete_log(path, length, references)

    # ---- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        """The agents have stopped: close the sockets, delete the logs."""
        services = self.services
        services.resources.close()
        for stream in (*self.index.all(), *self.images.streams):
            references: list[Any] = [stream.native]
            stream.native = None
            try:
                services.log_files.delete(stream.log_path, references)
            except OSError as error:
                services.record_failure(error)
        self.endpoints.close()
