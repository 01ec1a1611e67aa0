"""The client's conductor: what the driver says, keep-alive, and the end.

One re-entrant lock guards all state here. Whoever needs the conductor takes the lock: its own
thread every `idle_sleep`, the application's threads while they wait for an answer (so an answer is
seen as soon as it is there), or `Client.invoke`. Publications, subscriptions and images never take
it to move data. Handlers are called with the lock held, so they must not wait for another thread
that needs the client; they may use the client themselves, and then the events that follow are
handled inside the handler. State is therefore complete before a handler is called, and every loop
that calls one walks over a copy.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pillion.client.counter import Counter
from pillion.client.driver_proxy import DriverProxy
from pillion.client.handlers import HandlerList, PublicationErrorFrame
from pillion.client.image import Image, new_image
from pillion.client.publication import ExclusivePublication, Publication
from pillion.client.requests import Requests
from pillion.client.settings import ClientSettings
from pillion.client.subscription import Subscription
from pillion.errors import (
    BufferFullError,
    ChannelEndpointError,
    ClientTimeoutError,
    ClosedError,
    ConductorServiceTimeoutError,
    DriverTimeoutError,
    ErrorCode,
    ForkedError,
    LappedError,
    PillionError,
)
from pillion.memory.cnc import CncFile
from pillion.memory.counters import CountersReader, CountersWriter
from pillion.memory.log_buffer import LogBuffer
from pillion.protocol import commands
from pillion.protocol.commands import (
    AvailableImage,
    ErrorEvent,
    PublicationErrorEvent,
    UnavailableImage,
)
from pillion.protocol.ids import CounterType, ResponseType
from pillion.version import __version__

_FORKED = "this client belongs to the parent process: connect again in the child"


class ClientConductor:
    """State shared by everything one client made. Thread-safe."""

    def __init__(self, cnc: CncFile, settings: ClientSettings) -> None:
        self.settings = settings
        self._clock = settings.clock
        self.pid = os.getpid()
        self.lock = threading.RLock()
        self.closed: PillionError | None = None
        self._counters: CountersReader | None = cnc.counters_reader()
        self._writer: CountersWriter | None = cnc.counters_writer()
        self.liveness_timeout_ns: int = cnc.client_liveness_timeout_ns
        self.driver_name = f"the driver of {settings.aeron_dir} (pid {cnc.pid})"
        self.proxy = DriverProxy(cnc.to_driver_ring, self.driver_name)
        self.client_id = self.proxy.client_id
        self.requests = Requests()
        self.available_counter_handlers = HandlerList(settings.on_available_counter)
        self.unavailable_counter_handlers = HandlerList(settings.on_unavailable_counter)
        self.close_handlers = HandlerList(settings.on_close)
        self.publications: dict[int, Publication | ExclusivePublication] = {}
        self.subscriptions: dict[int, Subscription] = {}
        self.own_counters: dict[int, Counter] = {}
        self._images: dict[tuple[int, int], Image] = {}
        self._receiver: Any = cnc.to_clients_receiver()
        self._heartbeat_id = -1
        now = self._clock.nano()
        self._last_keepalive_ns = now - settings.keepalive_interval_ns
        self._last_service_ns = now

    @property
    def counters(self) -> CountersReader:
        """Every counter of the driver. Raises `ClosedError` once the memory is given back."""
        if self._counters is None:
            self.check_open()
            raise ClosedError(str(self.closed))
        return self._counters

    @property
    def counters_writer(self) -> CountersWriter:
        """Not the application's, which could overwrite the driver's counters. Raises as `counters`."""
        if self._writer is None:
            self.check_open()
            raise ClosedError(str(self.closed))
        return self._writer

    # The duty cycle.

    def do_work(self) -> int:
        """Handle what the driver said, keep alive; 0 if there was nothing or somebody else does.

        Raises nothing: errors go to the error handler.
        """
        if not self.lock.acquire(blocking=False):
            return 0
        try:
            return self._service() if self.closed is None else 0
        except Exception as error:
            if self.closed is None or not isinstance(error, ClosedError):
                self.on_error(error)
            return 0  # closed in the middle of it, by a signal handler: that is no error
        finally:
            self.lock.release()

    def _service(self) -> int:
        now = self._clock.nano()
        silence_ns = now - self._last_service_ns
        if silence_ns > self.liveness_timeout_ns:
            self.terminate(
                ConductorServiceTimeoutError(
                    f"the client's conductor did not run for {silence_ns / 1e9:.1f} s, the driver "
                    f"tolerates {self.liveness_timeout_ns / 1e9:.1f} s (client liveness timeout)"
                )
            )
            return 0
        self._last_service_ns = now
        work = self._receive_events()
        if self.closed is None and now - self._last_keepalive_ns >= self.settings.keepalive_interval_ns:
            self._last_keepalive_ns = now
            self.proxy.send_unsent()
            self._keep_alive()
            work += 1
        return work

    def _receive_events(self) -> int:
        count = 0
        receiver = self._receiver  # good memory even if a handler closes the client meanwhile
        while self.closed is None:
            try:
                event = receiver.receive()
            except LappedError as error:
                # What was made and what went is not known any more.
                self.terminate(error)
                break
            if event is None:
                break
            count += 1
            try:
                self._on_event(event[0], commands.decode_event(*event))
            except KeyError:
                continue  # an event of a later protocol
            except Exception as error:
                self.on_error(error)
        return count

    def _keep_alive(self) -> None:
        heartbeat = self.proxy.consumer_heartbeat_ms
        now_ms = self._clock.epoch_ms()
        age_ms = now_ms - heartbeat
        if heartbeat == -1:
            self.terminate(DriverTimeoutError(f"{self.driver_name} was shut down"))
            return
        if age_ms > self.settings.driver_timeout_ns // 1_000_000:
            self.terminate(
                DriverTimeoutError(
                    f"{self.driver_name} last lived {age_ms / 1000:.1f} s ago, the driver timeout "
                    f"is {self.settings.driver_timeout_ns / 1e9:.1f} s"
                )
            )
            return
        if self._heartbeat_id < 0:
            self._find_heartbeat()
        elif not self._owns_heartbeat():
            self.terminate(
                ClientTimeoutError(f"{self.driver_name} dropped client {self.client_id}: it did not keep alive in time")
            )
            return
        if self._heartbeat_id >= 0:
            self.counters_writer.set_value(self._heartbeat_id, now_ms)

    def _find_heartbeat(self) -> None:
        """A client that never asked for anything has none, and the driver does not miss it."""
        self._heartbeat_id = self.counters.find_by_type_and_registration(CounterType.CLIENT_HEARTBEAT, self.client_id)
        if self._heartbeat_id >= 0:
            name = self.settings.client_name
            self.counters_writer.append_to_label(self._heartbeat_id, f" name={name} version={__version__} commit=")

    def _owns_heartbeat(self) -> bool:
        counter_id = self._heartbeat_id
        return (
            self.counters.is_allocated(counter_id)
            and self.counters.type_id(counter_id) == CounterType.CLIENT_HEARTBEAT
            and self.counters.registration_id(counter_id) == self.client_id
        )

    def idle(self, attempt: int) -> None:
        """Wait a little, the longer the more attempts there were.

        The conductor runs meanwhile where nobody else runs it, so that what is waited for is seen.
        """
        if self.settings.driver_agent_invoker is not None:
            self.settings.driver_agent_invoker()
        if self.settings.use_conductor_agent_invoker or attempt >= 200:
            self.do_work()
        if attempt >= 100:
            # Not sleep(0): CPython sleeps for the kernel's timer slack then, 50 us and more.
            if attempt < 200:
                os.sched_yield()
            else:
                time.sleep(min((attempt - 199) * 1e-6, 0.001))

    # Events.

    def _on_event(self, type_id: int, event: Any) -> None:
        if isinstance(event, AvailableImage):
            self._on_available_image(event)
        elif isinstance(event, UnavailableImage):
            self._on_unavailable_image(event)
        elif isinstance(event, PublicationErrorEvent):
            self._on_publication_error(event)
        elif isinstance(event, ErrorEvent) and (event.error_code == ErrorCode.CHANNEL_ENDPOINT_ERROR):
            self._on_channel_endpoint_error(event)
        elif type_id == ResponseType.CLIENT_TIMEOUT:
            if event.correlation_id == self.client_id:
                self.terminate(ClientTimeoutError(f"{self.driver_name} timed out client {self.client_id}"))
        elif type_id == ResponseType.UNAVAILABLE_COUNTER:
            # The driver will use the slot again: nobody may write it through our object any more.
            own = self.own_counters.pop(event.correlation_id, None)
            if own is not None:
                own._close()
            self._tell(self.unavailable_counter_handlers, event.correlation_id, event.counter_id)
        else:
            self.requests.on_answer(event)
            if type_id == ResponseType.COUNTER_READY:
                self._tell(self.available_counter_handlers, event.correlation_id, event.counter_id)

    def _on_available_image(self, event: AvailableImage) -> None:
        subscription = self.subscriptions.get(event.subscription_id)
        key = (event.subscription_id, event.image_id)
        if subscription is None or key in self._images:
            return
        log = LogBuffer.open(event.log_file_name, pre_touch=self.settings.pre_touch_mapped_memory)
        image = new_image(
            log,
            self.counters,
            event.position_counter_id,
            event.image_id,
            subscription,
            event.source_identity,
        )
        self._images[key] = image
        subscription._add_image(image)
        self.call(subscription.on_available_image, image)

    def _on_unavailable_image(self, event: UnavailableImage) -> None:
        image = self._images.pop((event.subscription_id, event.image_id), None)
        if image is not None:
            image.subscription._remove_image(image)
            self._retire(image)

    def _on_publication_error(self, event: PublicationErrorEvent) -> None:
        for publication in list(self.publications.values()):
            if publication.original_registration_id == event.registration_id:
                frame = PublicationErrorFrame.of(publication, event)
                self.call(self.settings.on_publication_error, frame)

    def _on_channel_endpoint_error(self, event: ErrorEvent) -> None:
        # The id is that of the channel's status counter: each user of the channel is told.
        for user in [*self.publications.values(), *self.subscriptions.values()]:
            if user.channel_status_id == event.correlation_id:
                self.on_error(
                    ChannelEndpointError(
                        f"{user.channel} stream {user.stream_id}: {event.message}",
                        status_indicator_id=event.correlation_id,
                    )
                )

    def _retire(self, image: Image) -> None:
        image._close()
        self.call(image.subscription.on_unavailable_image, image)

    # Handlers.

    def call(self, handler: Callable[..., Any] | None, *args: Any) -> None:
        if handler is not None:
            try:
                handler(*args)
            except Exception as error:
                self.on_error(error)

    def _tell(self, handlers: HandlerList, registration_id: int, counter_id: int) -> None:
        counters = self.counters
        for handler in handlers.all():
            self.call(handler, counters, registration_id, counter_id)

    def on_error(self, error: Exception) -> None:
        """Hand an error to the application's handler, or print it."""
        handler = self.settings.on_error
        if handler is None:
            text = f"pillion client {self.client_id}: {type(error).__name__}: {error}"
            # Closed, or in the middle of a print that a signal handler interrupts: nobody can be told.
            with suppress(OSError, ValueError, RuntimeError):
                print(text, file=sys.stderr)
            return
        try:
            handler(error)
        except Exception:
            traceback.print_exc()

    # Closing what it made.

    def check_open(self) -> None:
        """Raises `ForkedError`, or `ClosedError` with the reason."""
        if os.getpid() != self.pid:
            raise ForkedError(_FORKED)
        if self.closed is not None:
            if type(self.closed) is ClosedError:
                raise ClosedError(str(self.closed))
            raise ClosedError(f"the client had to end: {self.closed}") from self.closed

    def check_alive(self) -> None:
        """Raises as `check_open`, unless it was the application that closed the client."""
        if self.closed is not None and type(self.closed) is not ClosedError:
            self.check_open()

    @contextmanager
    def _releasing(self) -> Iterator[bool]:
        """With the lock; False where the driver need not, or cannot, be told."""
        if os.getpid() != self.pid:
            yield False
        else:
            with self.lock:
                yield self.closed is None

    def release_publication(self, publication: Any, revoke: bool) -> None:
        with self._releasing() as is_open:
            if self.publications.pop(publication.registration_id, None) is not None and is_open:
                self.proxy.remove_publication(publication.registration_id, revoke=revoke)

    def release_subscription(self, subscription: Subscription) -> None:
        with self._releasing() as is_open:
            images = subscription._close()
            known = self.subscriptions.pop(subscription.registration_id, None)
            for image in images:
                self._images.pop((subscription.registration_id, image.correlation_id), None)
            if known is not None and is_open:
                self.proxy.remove_subscription(subscription.registration_id)
            for image in images:
                self._retire(image)

    def release_counter(self, counter: Counter) -> None:
        with self._releasing() as is_open:
            known = self.own_counters.pop(counter.correlation_id, None)
            if known is not None and is_open and not counter.is_static:
                self.proxy.remove_counter(counter.registration_id)

    # The end.

    def terminate(self, reason: PillionError) -> None:
        """Close everything without another word to the driver; the reason goes to `on_error`."""
        if self._shut(reason):
            self.on_error(reason)
            self._tell_closed()
            self._release_memory()

    def close(self, why: str = "the client was closed") -> None:
        """Orderly: tell the driver that this client goes; it releases what the client had."""
        if os.getpid() != self.pid:
            return
        with self.lock:
            if self._shut(ClosedError(why)):
                try:
                    self.proxy.send_unsent()
                    self.proxy.close_client()
                except BufferFullError as error:
                    self.on_error(error)
                self._tell_closed()
                self._release_memory()

    def _shut(self, reason: PillionError) -> bool:
        if self.closed is not None:
            return False
        self.closed = reason
        for publication in self.publications.values():
            publication._close()
        images = [image for each in self.subscriptions.values() for image in each._close()]
        counters = list(self.own_counters.values())
        for counter in counters:
            counter._close()
        self.publications.clear()
        self.subscriptions.clear()
        self.own_counters.clear()
        self._images.clear()
        self.requests.clear()
        for image in images:
            self._retire(image)
        for counter in counters:
            if not counter.is_static:
                registration_id, counter_id = counter.registration_id, counter.counter_id
                self._tell(self.unavailable_counter_handlers, registration_id, counter_id)
        return True

    def _tell_closed(self) -> None:
        for handler in self.close_handlers.all():
            self.call(handler)
        self.close_handlers.clear()

    def _release_memory(self) -> None:
        """Whoever holds a view of it keeps it mapped; a closed client that is kept does not."""
        self._counters = None
        self._writer = None
        self._receiver = None
        self.proxy.detach()

    def forget_after_fork(self) -> None:
        """In a forked child: nothing here is ours; a thread that is not there may hold the lock."""
        self.lock = threading.RLock()
        for publication in self.publications.values():
            publication._close()
        for subscription in self.subscriptions.values():
            subscription._close()
        for counter in self.own_counters.values():
            counter._close()
        self.closed = ForkedError(_FORKED)
        self._release_memory()
