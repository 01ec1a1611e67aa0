"""The client's conductor: commands to the driver, its events, keep-alive.

One re-entrant lock guards all state here. Whoever needs the conductor takes the lock: its own thread every
`idle_sleep`, the application's threads while they wait for an answer (so an answer is seen as soon as it is there), or
`Client.invoke`. Publications, subscriptions and images never take it to move data. Handlers are called with the lock
held, so they must not wait for another thread that needs the client; they may use the client themselves.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pillion.client.counter import Counter
from pillion.client.image import Image
from pillion.client.publication import ExclusivePublication, Publication
from pillion.client.subscription import Subscription
from pillion.errors import (
    BufferFullError,
    ClientTimeoutError,
    ClosedError,
    ConductorServiceTimeoutError,
    DriverTimeoutError,
    ForkedError,
    LappedError,
    LogFileError,
    MalformedCommandError,
    PillionError,
    RegistrationError,
)
from pillion.memory.cnc import CncFile
from pillion.memory.log_buffer import LogBuffer
from pillion.protocol import commands
from pillion.protocol.commands import (
    AvailableImage,
    CounterEvent,
    ErrorEvent,
    IdEvent,
    NextSessionId,
    PublicationErrorEvent,
    PublicationReady,
    SubscriptionReady,
    UnavailableImage,
)
from pillion.protocol.ids import CommandType, CounterType, ResponseType, SystemCounter

if TYPE_CHECKING:
    from pillion.client.client import ClientSettings

_DESTINATION_COMMANDS = {
    "add_destination": CommandType.ADD_DESTINATION,
    "remove_destination": CommandType.REMOVE_DESTINATION,
    "add_rcv_destination": CommandType.ADD_RCV_DESTINATION,
    "remove_rcv_destination": CommandType.REMOVE_RCV_DESTINATION,
}


class ClientConductor:
    """State shared by everything one client made. Thread-safe."""

    def __init__(self, cnc: CncFile, settings: ClientSettings) -> None:
        self.cnc = cnc
        self.settings = settings
        self.lock = threading.RLock()
        self.ring = cnc.to_driver_ring
        self.receiver = cnc.to_clients_receiver()
        self.counters = cnc.counters_reader()
        self.client_id: int = self.ring.next_correlation_id()
        self.pid = os.getpid()
        self.closed: PillionError | None = None
        self.is_invoked = settings.use_conductor_agent_invoker
        self._answers: dict[int, Any] = {}
        self._expected: dict[int, Callable[[Any], Any]] = {}
        self._publications: dict[int, Publication | ExclusivePublication] = {}
        self._subscriptions: dict[int, Subscription] = {}
        self._images: dict[tuple[int, int], Image] = {}
        self._counters: dict[int, Counter] = {}
        self._heartbeat_id = -1
        now = time.monotonic_ns()
        self._last_keepalive_ns = now - settings.keepalive_interval_ns
        self._last_service_ns = now
        self._in_handler = False

    # ---- the duty cycle ---------------------------------------------------------------------------------------------

    def do_work(self) -> int:
        """Handle what the driver said, keep alive. Raises nothing: errors go to the error handler."""
        with self.lock:
            if self.closed is not None or self._in_handler:
                return 0
            now = time.monotonic_ns()
            if now - self._last_service_ns > self.cnc.client_liveness_timeout_ns:
                self.terminate(ConductorServiceTimeoutError(
                    f"the client's conductor did not run for {(now - self._last_service_ns) / 1e9:.1f} s, the driver "
                    f"tolerates {self.cnc.client_liveness_timeout_ns / 1e9:.1f} s (client liveness timeout)"))
                return 0
            self._last_service_ns = now
            work = self._receive_events()
            if now - self._last_keepalive_ns >= self.settings.keepalive_interval_ns:
                self._last_keepalive_ns = now
                self._keep_alive()
                work += 1
            return work

    def _receive_events(self) -> int:
        count = 0
        while self.closed is None:
            try:
                event = self.receiver.receive()
            except LappedError as error:
                self._on_error(error)
                continue
            if event is None:
                break
            count += 1
            try:
                self._on_event(event[0], commands.decode_event(*event))
            except KeyError:
                continue                            # an event of a later protocol
            except (MalformedCommandError, LogFileError) as error:
                self._on_error(error)
        return count

    def _keep_alive(self) -> None:
        heartbeat = self.ring.consumer_heartbeat_ms
        now_ms = time.time_ns() // 1_000_000
        if heartbeat == -1 or now_ms > heartbeat + self.settings.driver_timeout_ns // 1_000_000:
            why = "was shut down" if heartbeat == -1 else f"last lived {(now_ms - heartbeat) / 1000:.1f} s ago"
            self.terminate(DriverTimeoutError(f"the driver of {self.settings.aeron_dir} (pid {self.cnc.pid}) {why}"))
            return
        if self._heartbeat_id < 0:
            self._heartbeat_id = self.counters.find_by_type_and_registration(CounterType.CLIENT_HEARTBEAT, self.client_id)
            if self._heartbeat_id >= 0:
                from pillion.version import __version__

                self.counters.append_to_label(
                    self._heartbeat_id, f" name={self.settings.client_name[:100]} version={__version__} commit=")
        elif not (
            self.counters.is_allocated(self._heartbeat_id)
            and self.counters.type_id(self._heartbeat_id) == CounterType.CLIENT_HEARTBEAT
            and self.counters.registration_id(self._heartbeat_id) == self.client_id
        ):
            self.terminate(ClientTimeoutError(f"the driver dropped client {self.client_id}: it did not keep alive in time"))
            return
        if self._heartbeat_id >= 0:
            self.counters.set_value(self._heartbeat_id, now_ms)

    def idle(self, attempt: int) -> None:
        """Wait a little, the longer the more attempts there were; the conductor runs meanwhile if nobody else runs it."""
        if self.is_invoked:
            self.do_work()
        if attempt < 100:
            return
        # Not sleep(0): that sleeps on CPython, for the kernel's timer slack, a hundred times as long.
        if attempt < 200:
            os.sched_yield()
        else:
            time.sleep(min((attempt - 199) * 1e-6, 0.001))

    # ---- events -----------------------------------------------------------------------------------------------------

    def _on_event(self, type_id: int, event: Any) -> None:
        if isinstance(event, AvailableImage):
            self._on_available_image(event)
        elif isinstance(event, UnavailableImage):
            self._on_unavailable_image(event)
        elif isinstance(event, PublicationErrorEvent):
            for publication in list(self._publications.values()):
                if publication.original_registration_id == event.registration_id:
                    self._on_error(RegistrationError(
                        f"publication on {publication.channel} stream {event.stream_id}: {event.message}",
                        error_code=event.error_code, correlation_id=event.registration_id))
                    break
        elif type_id == ResponseType.CLIENT_TIMEOUT:
            if event.correlation_id == self.client_id:
                self.terminate(ClientTimeoutError(f"the driver timed out client {self.client_id}"))
        elif type_id == ResponseType.UNAVAILABLE_COUNTER:
            self._call(self.settings.on_unavailable_counter, self.counters, event.correlation_id, event.counter_id)
        else:
            self._on_answer(type_id, event)

    def _on_answer(self, type_id: int, event: Any) -> None:
        make = self._expected.pop(event.correlation_id, None)
        if make is not None:
            if isinstance(event, ErrorEvent):
                self._answers[event.correlation_id] = RegistrationError(
                    event.message, error_code=event.error_code, correlation_id=event.correlation_id)
            else:
                try:
                    self._answers[event.correlation_id] = make(event)
                except (PillionError, OSError, ValueError) as error:
                    self._answers[event.correlation_id] = error
        if type_id == ResponseType.COUNTER_READY:
            self._call(self.settings.on_available_counter, self.counters, event.correlation_id, event.counter_id)

    def _on_available_image(self, event: AvailableImage) -> None:
        subscription = self._subscriptions.get(event.subscription_id)
        key = (event.subscription_id, event.image_id)
        if subscription is None or key in self._images:
            return
        log = LogBuffer.open(event.log_file_name, pre_touch=self.settings.pre_touch_mapped_memory)
        image = Image(log, self.counters, event.position_counter_id, event.image_id, subscription,
                      event.subscription_id, event.source_identity)
        self._images[key] = image
        subscription._add_image(image)
        self._call(subscription.on_available_image or self.settings.on_available_image, image)

    def _on_unavailable_image(self, event: UnavailableImage) -> None:
        image = self._images.pop((event.subscription_id, event.image_id), None)
        if image is not None:
            subscription = self._subscriptions.get(event.subscription_id)
            if subscription is not None:
                subscription._remove_image(image)
            self._retire(image)

    def _retire(self, image: Image) -> None:
        image._close()
        self._call(image.subscription.on_unavailable_image or self.settings.on_unavailable_image, image)

    def _call(self, handler: Callable[..., Any] | None, *args: Any) -> None:
        if handler is not None:
            try:
                handler(*args)
            except Exception as error:
                self._on_error(error)

    def _on_error(self, error: Exception) -> None:
        handler = self.settings.on_error
        if handler is None:
            import sys

            print(f"pillion client {self.client_id}: {type(error).__name__}: {error}", file=sys.stderr)
            return
        try:
            handler(error)
        except Exception:
            import traceback

            traceback.print_exc()

    # ---- commands ---------------------------------------------------------------------------------------------------

    def check_open(self) -> None:
        if os.getpid() != self.pid:
            raise ForkedError("this client belongs to the parent process: connect again in the child")
        if self.closed is not None:
            raise ClosedError(f"the client is closed: {self.closed}") from (
                None if type(self.closed) is ClosedError else self.closed)

    def send(self, command: CommandType, message: bytes) -> None:
        """Write a command; yields up to ten times when the ring is full, then `BufferFullError`."""
        for _ in range(10):
            if self.ring.write(command, message):
                return
            os.sched_yield()
        raise BufferFullError(f"the command buffer of {self.settings.aeron_dir} is full: its driver (pid {self.cnc.pid}) "
                              "is overloaded or stopped")

    def submit(self, command: CommandType, encode: Callable[[int], bytes], make: Callable[[Any], Any]) -> int:
        """Send a command with a fresh correlation id; `make` turns the answer into the result. Returns the id."""
        with self.lock:
            self.check_open()
            correlation_id: int = self.ring.next_correlation_id()
            message = encode(correlation_id)
            self._expected[correlation_id] = make
            try:
                self.send(command, message)
            except BaseException:
                del self._expected[correlation_id]
                raise
            return correlation_id

    def poll_answer(self, correlation_id: int) -> Any:
        """The result of a command if it is there, None if not; raises what the driver refused it with."""
        self.do_work()
        with self.lock:
            if correlation_id in self._answers:
                answer = self._answers.pop(correlation_id)
                if isinstance(answer, Exception):
                    raise answer
                return answer
            self.check_open()
            return None

    def wait(self, correlation_id: int, what: str) -> Any:
        """Wait for the answer of a command, at most the driver timeout."""
        deadline = time.monotonic_ns() + self.settings.driver_timeout_ns
        pause = 20e-6
        while True:
            answer = self.poll_answer(correlation_id)
            if answer is not None:
                return answer
            if time.monotonic_ns() > deadline:
                with self.lock:
                    self._expected.pop(correlation_id, None)
                raise DriverTimeoutError(f"the driver of {self.settings.aeron_dir} (pid {self.cnc.pid}) did not answer "
                                         f"{what} within {self.settings.driver_timeout_ns / 1e9:.1f} s")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.001)

    def submit_publication(self, channel: str, stream_id: int, exclusive: bool) -> int:
        kind: type[Publication] | type[ExclusivePublication] = ExclusivePublication if exclusive else Publication

        def make(event: PublicationReady) -> Publication | ExclusivePublication:
            log = LogBuffer.open(event.log_file_name, pre_touch=self.settings.pre_touch_mapped_memory)
            publication = kind(self, log, self.counters, channel, event.correlation_id, event.registration_id,
                               event.limit_counter_id, event.status_counter_id)
            self._publications[event.correlation_id] = publication
            return publication

        command = CommandType.ADD_EXCLUSIVE_PUBLICATION if exclusive else CommandType.ADD_PUBLICATION
        return self.submit(command, lambda cid: commands.encode_add_publication(self.client_id, cid, stream_id, channel), make)

    def submit_subscription(self, channel: str, stream_id: int, on_available: Callable[[Image], None] | None,
                            on_unavailable: Callable[[Image], None] | None) -> int:
        def make(event: SubscriptionReady) -> Subscription:
            subscription = Subscription(self, channel, stream_id, event.correlation_id, event.status_counter_id,
                                        on_available, on_unavailable)
            self._subscriptions[event.correlation_id] = subscription
            return subscription

        return self.submit(CommandType.ADD_SUBSCRIPTION,
                           lambda cid: commands.encode_add_subscription(self.client_id, cid, stream_id, channel), make)

    def submit_counter(self, type_id: int, key: bytes, label: str) -> int:
        def make(event: CounterEvent) -> Counter:
            counter = Counter(self, self.counters, event.correlation_id, event.counter_id, is_static=False)
            self._counters[event.correlation_id] = counter
            return counter

        return self.submit(CommandType.ADD_COUNTER,
                           lambda cid: commands.encode_add_counter(self.client_id, cid, type_id, key, label), make)

    def submit_static_counter(self, registration_id: int, type_id: int, key: bytes, label: str) -> int:
        return self.submit(
            CommandType.ADD_STATIC_COUNTER,
            lambda cid: commands.encode_add_static_counter(self.client_id, cid, registration_id, type_id, key, label),
            lambda event: Counter(self, self.counters, registration_id, event.counter_id, is_static=True))

    def next_session_id(self, stream_id: int) -> int:
        if self.counters.value(SystemCounter.CONTROL_PROTOCOL_VERSION) < 1 << 16:
            import random

            return random.randint(-(2**31), 2**31 - 1)
        correlation_id = self.submit(
            CommandType.GET_NEXT_SESSION_ID,
            lambda cid: commands.encode_get_next_session_id(self.client_id, cid, stream_id),
            lambda event: event)
        event: NextSessionId = self.wait(correlation_id, "get next session id")
        return event.session_id

    def destination(self, owner: Any, action: str, channel: str) -> int:
        """Add or remove a destination of a publication or subscription; the id of the command."""
        registration_id = getattr(owner, "original_registration_id", owner.registration_id)
        correlation_id = self.submit(
            _DESTINATION_COMMANDS[action],
            lambda cid: commands.encode_destination(self.client_id, cid, registration_id, channel),
            lambda event: event)
        answer: IdEvent = self.wait(correlation_id, action.replace("_", " "))
        return answer.correlation_id

    def reject_image(self, image_id: int, position: int, reason: str) -> None:
        if len(reason.encode()) > commands.MAX_REASON_LENGTH:
            raise ValueError(f"reason of {len(reason.encode())} bytes, the largest is {commands.MAX_REASON_LENGTH}")
        correlation_id = self.submit(
            CommandType.REJECT_IMAGE,
            lambda cid: commands.encode_reject_image(self.client_id, cid, image_id, position, reason),
            lambda event: event)
        self.wait(correlation_id, "reject image")

    def _release(self, command: CommandType, encode: Callable[[int], bytes]) -> None:
        """A command whose success nobody waits for; its failure goes to the error handler by nobody either."""
        if self.closed is None and os.getpid() == self.pid:
            try:
                self.send(command, encode(self.ring.next_correlation_id()))
            except BufferFullError as error:
                self._on_error(error)

    def release_publication(self, publication: Any, revoke: bool) -> None:
        with self.lock:
            if self._publications.pop(publication.registration_id, None) is not None:
                flags = commands.REVOKE_FLAG if revoke else 0
                self._release(CommandType.REMOVE_PUBLICATION, lambda cid: commands.encode_remove_publication(
                    self.client_id, cid, publication.registration_id, flags))

    def release_subscription(self, subscription: Subscription) -> None:
        with self.lock:
            images = subscription._close()
            for image in images:
                self._images.pop((subscription.registration_id, image.correlation_id), None)
                self._retire(image)
            if self._subscriptions.pop(subscription.registration_id, None) is not None:
                self._release(CommandType.REMOVE_SUBSCRIPTION, lambda cid: commands.encode_remove(
                    self.client_id, cid, subscription.registration_id))

    def release_counter(self, counter: Counter) -> None:
        with self.lock:
            if self._counters.pop(counter.registration_id, None) is not None:
                self._release(CommandType.REMOVE_COUNTER, lambda cid: commands.encode_remove(
                    self.client_id, cid, counter.registration_id))

    def channel_status(self, status_id: int) -> int:
        return 1 if status_id < 0 else self.counters.value(status_id)

    def local_socket_addresses(self, status_id: int) -> list[str]:
        """The addresses of the type-14 counters that belong to a channel status counter."""
        if status_id < 0 or self.counters.value(status_id) != 1:
            return []
        found = []
        for record in self.counters.scan():
            if record.type_id == CounterType.LOCAL_SOCKET_ADDRESS and (
                int.from_bytes(record.key[:4], "little", signed=True) == status_id
            ):
                length = int.from_bytes(record.key[4:8], "little", signed=True)
                if 0 < length <= 104:
                    found.append(record.key[8:8 + length].decode("utf-8", "replace"))
        return found

    # ---- the end ----------------------------------------------------------------------------------------------------

    def terminate(self, reason: PillionError) -> None:
        """Close everything without another word to the driver; the reason goes to the error handler."""
        if self._shut(reason):
            self._on_error(reason)
            self._call(self.settings.on_close)

    def close(self) -> None:
        """Orderly: tell the driver that this client goes; it releases what the client had."""
        with self.lock:
            if self.closed is None and os.getpid() == self.pid:
                try:
                    self.send(CommandType.CLIENT_CLOSE, commands.encode_client_command(self.client_id))
                except BufferFullError as error:
                    self._on_error(error)
            if self._shut(ClosedError("it was closed")):
                self._call(self.settings.on_close)

    def _shut(self, reason: PillionError) -> bool:
        if self.closed is not None:
            return False
        self.closed = reason
        for publication in self._publications.values():
            publication._close()
        for subscription in self._subscriptions.values():
            for image in subscription._close():
                self._retire(image)
        for counter in self._counters.values():
            counter._close()
        for table in (self._publications, self._subscriptions, self._images, self._counters, self._expected):
            table.clear()  # type: ignore[attr-defined]
        return True

    def forget_after_fork(self) -> None:
        """In a forked child: nothing here is ours; the lock may be held by a thread that does not exist."""
        self.lock = threading.RLock()
        self._in_handler = False
        self.settings.on_close = None
        self.settings.on_unavailable_image = None
        for subscription in self._subscriptions.values():
            subscription._close()
        for publication in self._publications.values():
            publication._close()
        for counter in self._counters.values():
            counter._close()
        self.closed = ForkedError("this client belongs to the parent process: connect again in the child")
