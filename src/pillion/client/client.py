"""`Client`: what an application holds."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import warnings
import weakref
from typing import TYPE_CHECKING, Any

from pillion.client.attach import attach, is_driver_active, request_driver_termination
from pillion.client.conductor import ClientConductor
from pillion.client.counter import Counter
from pillion.client.handlers import PublicationErrorFrame
from pillion.client.publication import ExclusivePublication, Publication
from pillion.client.registrar import Registrar
from pillion.client.settings import UNSET, ClientSettings, Handler, Unset
from pillion.client.subscription import Subscription
from pillion.errors import ChannelError, SettingError

if TYPE_CHECKING:
    from pillion.memory.counters import CountersReader

MAX_CHANNEL_LENGTH = 4095
MAX_LABEL_LENGTH = 380
MAX_KEY_LENGTH = 112
_JOIN_TIMEOUT = 5.0
_EXIT_TIMEOUT = 1.0
_NOT_KEPT = "the client was closed because its Client object was not kept"

_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _forget_in_child() -> None:
    for client in list(_clients):
        client._conductor.forget_after_fork()


def _close_at_exit() -> None:
    """Say goodbye to the drivers; otherwise they would wait for the client liveness timeout."""
    for client in list(_clients):
        lock = client._conductor.lock
        if lock.acquire(timeout=_EXIT_TIMEOUT):  # not if a handler hangs
            try:
                client.close()
            finally:
                lock.release()


os.register_at_fork(after_in_child=_forget_in_child)
atexit.register(_close_at_exit)


class Client:
    """A connection to a driver. Thread-safe; close it, or use it as a context manager.

    Everything it made is closed with it. Keep it as long as what it made: one that is forgotten
    is closed, with a `ResourceWarning`. A forked child cannot use its parent's client: everything
    raises `ForkedError`.
    """

    def __init__(self, settings: ClientSettings, driver: Any = None) -> None:
        self._stop = threading.Event()
        self._is_stopping = False
        self._thread: threading.Thread | None = None
        self._driver = driver
        cnc = attach(settings.aeron_dir, settings.driver_timeout_ns, settings.clock)
        if settings.keepalive_interval_ns >= cnc.client_liveness_timeout_ns:
            interval = settings.keepalive_interval_ns / 1e9
            raise SettingError(
                f"keepalive_interval={interval} s must be shorter than the client liveness timeout "
                f"of the driver, {cnc.client_liveness_timeout_ns / 1e9} s",
                setting="keepalive_interval",
                value=interval,
            )
        self._conductor = Registrar(cnc, settings)
        _clients.add(self)
        if not settings.use_conductor_agent_invoker:
            self._thread = threading.Thread(
                target=_run_conductor,
                args=(self._conductor, self._stop, settings.idle_sleep_ns / 1e9),
                name=f"pillion-client-{self._conductor.client_id}",
                daemon=True,
            )
            self._thread.start()

    # Making things.

    def add_publication(self, channel: str, stream_id: int) -> Publication:
        """A publication shared with whoever adds the same channel and stream.

        Waits for the driver's answer, and asks again while the driver is still closing what the
        channel used before. Raises `RegistrationError` with the driver's reason and code,
        `DriverTimeoutError`, `ClosedError`, and `ChannelError` for what is no channel.
        """
        result: Publication = self._conductor.obtain(lambda: self.async_add_publication(channel, stream_id))
        return result

    def add_exclusive_publication(self, channel: str, stream_id: int) -> ExclusivePublication:
        """A publication of our own, with one writer and a session of its own.

        Raises as `add_publication`.
        """
        result: ExclusivePublication = self._conductor.obtain(
            lambda: self.async_add_exclusive_publication(channel, stream_id)
        )
        return result

    def add_subscription(
        self,
        channel: str,
        stream_id: int,
        on_available_image: Handler | Unset | None = UNSET,
        on_unavailable_image: Handler | Unset | None = UNSET,
    ) -> Subscription:
        """A subscription; its images come and go with the publishers.

        The handlers get the image; those of `connect` are used where none is given, and None is
        none. Raises as `add_publication`.
        """
        result: Subscription = self._conductor.obtain(
            lambda: self.async_add_subscription(channel, stream_id, on_available_image, on_unavailable_image)
        )
        return result

    def add_counter(self, type_id: int, label: str, key: bytes = b"") -> Counter:
        """A counter of our own.

        `type_id` is 1000 or more for applications, `label` has up to 380 and `key` up to 112
        bytes. Raises `ValueError`, and as `add_publication`.
        """
        _check_counter(type_id, label, key)
        result: Counter = self._conductor.wait(self._conductor.submit_counter(type_id, bytes(key), label))
        return result

    def add_static_counter(self, type_id: int, registration_id: int, label: str, key: bytes = b"") -> Counter:
        """A counter that outlives this client.

        It is the same for everybody who names the same type and registration id. Raises as
        `add_counter`, `RegistrationError` also if there is such a counter that is not static.
        """
        _check_counter(type_id, label, key)
        if not isinstance(registration_id, int):
            raise TypeError(f"registration_id={registration_id!r} must be an int")
        if not -(2**63) <= registration_id < 2**63:
            raise ValueError(f"registration_id={registration_id} does not fit 64 bits")
        result: Counter = self._conductor.wait(
            self._conductor.submit_static_counter(registration_id, type_id, bytes(key), label)
        )
        return result

    def async_add_publication(self, channel: str, stream_id: int) -> int:
        """Ask only; `poll_async` with the number returned gives the publication when there."""
        return self._conductor.submit_publication(_channel(channel), _int32(stream_id), False)

    def async_add_exclusive_publication(self, channel: str, stream_id: int) -> int:
        """Ask only, as `async_add_publication`."""
        return self._conductor.submit_publication(_channel(channel), _int32(stream_id), True)

    def async_add_subscription(
        self,
        channel: str,
        stream_id: int,
        on_available_image: Handler | Unset | None = UNSET,
        on_unavailable_image: Handler | Unset | None = UNSET,
    ) -> int:
        """Ask only, as `async_add_publication`."""
        return self._conductor.submit_subscription(
            _channel(channel), _int32(stream_id), on_available_image, on_unavailable_image
        )

    def async_add_counter(self, type_id: int, label: str, key: bytes = b"") -> int:
        """Ask only, as `async_add_publication`."""
        _check_counter(type_id, label, key)
        return self._conductor.submit_counter(type_id, bytes(key), label)

    def poll_async(self, registration_id: int) -> Any:
        """The result of an `async_...` call, None while the driver has not answered.

        Gives a result once. Raises, once, what the driver refused it with, or
        `DriverTimeoutError` when the driver timeout has passed without an answer. For destinations
        the result is the registration id itself.
        """
        return self._conductor.poll_answer(registration_id)

    def cancel_async(self, registration_id: int) -> bool:
        """Give up what was asked for, or close what came of it; False if there is neither."""
        return self._conductor.cancel(registration_id)

    def is_command_active(self, registration_id: int) -> bool:
        """True while the driver has not answered that command of this client."""
        self._conductor.do_work()
        return self._conductor.is_active(registration_id)

    @property
    def has_active_commands(self) -> bool:
        """True while the driver has not answered everything this client asked."""
        with self._conductor.lock:
            return self._conductor.requests.has_active

    # Handlers that come and go.

    def add_available_counter_handler(self, handler: Handler) -> int:
        """Call `handler(counters, registration_id, counter_id)` for counters made from now on.

        Returns a registration id for `remove_available_counter_handler`.
        """
        return self._conductor.available_counter_handlers.add(self.next_correlation_id(), handler)

    def remove_available_counter_handler(self, handler: int | Handler) -> bool:
        """By registration id or by handler; False if it is not there."""
        return self._conductor.available_counter_handlers.remove(handler)

    def add_unavailable_counter_handler(self, handler: Handler) -> int:
        """Call `handler(counters, registration_id, counter_id)` for counters that go."""
        return self._conductor.unavailable_counter_handlers.add(self.next_correlation_id(), handler)

    def remove_unavailable_counter_handler(self, handler: int | Handler) -> bool:
        """By registration id or by handler; False if it is not there."""
        return self._conductor.unavailable_counter_handlers.remove(handler)

    def add_close_handler(self, handler: Handler) -> int:
        """Call `handler()` when this client closes or had to end."""
        return self._conductor.close_handlers.add(self.next_correlation_id(), handler)

    def remove_close_handler(self, handler: int | Handler) -> bool:
        """By registration id or by handler; False if it is not there."""
        return self._conductor.close_handlers.remove(handler)

    # The rest.

    @property
    def client_id(self) -> int:
        """This client's number, unique in the driver."""
        return self._conductor.client_id

    @property
    def aeron_dir(self) -> str:
        """The directory of the driver this client talks to."""
        return self._conductor.settings.aeron_dir

    @property
    def settings(self) -> ClientSettings:
        """What `connect` was given, with the defaults filled in."""
        return self._conductor.settings

    @property
    def counters(self) -> CountersReader:
        """Every counter of the driver. Raises `ClosedError` when the client is closed."""
        return self._conductor.counters

    @property
    def is_closed(self) -> bool:
        """True once it was closed, by its owner or because the driver is gone."""
        return self._conductor.closed is not None

    def next_correlation_id(self) -> int:
        """A number nobody else of this driver gets."""
        with self._conductor.lock:
            self._conductor.check_open()
            return self._conductor.proxy.next_correlation_id()

    def next_session_id(self, stream_id: int) -> int:
        """A session id that is free on `stream_id`."""
        return self._conductor.next_session_id(_int32(stream_id))

    def terminate_driver(self, token: bytes = b"") -> None:
        """Ask the driver to stop; it does if its termination validator allows it. No answer.

        `token` is for the validator, up to an eighth of the command buffer. Raises `ValueError`.
        """
        if not isinstance(token, (bytes, bytearray, memoryview)):
            raise TypeError(f"token={token!r} must be bytes")
        with self._conductor.lock:
            self._conductor.check_open()
            self._conductor.proxy.terminate_driver(bytes(token))

    def invoke(self) -> int:
        """One duty cycle of the conductor, for `use_conductor_agent_invoker=True`.

        Returns what it did, 0 for nothing. Call it more often than the keep-alive interval.
        """
        return self._conductor.do_work()

    do_work = invoke

    def close(self) -> None:
        """Close everything this client made, and its embedded driver. Again does nothing."""
        self._conductor.close()
        # An event's lock is not re-entrant, and this may be a signal handler that interrupts the line itself.
        is_stopping, self._is_stopping = self._is_stopping, True
        if not is_stopping:
            self._stop.set()
        is_ours = os.getpid() == self._conductor.pid
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread() and is_ours:
            thread.join(_JOIN_TIMEOUT)
        driver, self._driver = self._driver, None
        if driver is not None and is_ours:
            driver.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        # Nothing that may wait: the collector calls this wherever it likes. The conductor's own
        # thread, which has no reference to us, does the rest where there is one.
        with contextlib.suppress(AttributeError):
            self._stop.set()
            if not self.is_closed:
                warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
                if self._thread is None and self._conductor.lock.acquire(blocking=False):
                    try:
                        self._conductor.close(_NOT_KEPT)
                    finally:
                        self._conductor.lock.release()

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else "open"
        return f"Client(id {self.client_id}, {self.aeron_dir!r}, {state})"


def _run_conductor(conductor: ClientConductor, stop: threading.Event, pause: float) -> None:
    while conductor.closed is None and not stop.wait(pause):
        conductor.do_work()
    if conductor.closed is None:
        conductor.close(_NOT_KEPT)


def _channel(channel: object) -> str:
    text = str(channel)
    if not text.startswith(("aeron:", "aeron-spy:")):
        raise ChannelError(
            f"channel {text!r} does not start with 'aeron:' or 'aeron-spy:'",
            channel=text,
            parameter="scheme",
        )
    length = len(text.encode())
    if length > MAX_CHANNEL_LENGTH:
        raise ChannelError(f"channel of {length} bytes, the longest is {MAX_CHANNEL_LENGTH}", channel=text)
    return text


def _int32(stream_id: int, name: str = "stream_id") -> int:
    if not isinstance(stream_id, int):
        raise TypeError(f"{name}={stream_id!r} must be an int")
    if not -(2**31) <= stream_id < 2**31:
        raise ValueError(f"{name}={stream_id} does not fit 32 bits")
    return stream_id


def _check_counter(type_id: int, label: str, key: bytes) -> None:
    _int32(type_id, "type_id")
    if not isinstance(label, str):
        raise TypeError(f"label={label!r} must be a str")
    if not isinstance(key, (bytes, bytearray, memoryview)):
        raise TypeError(f"key={key!r} must be bytes")
    if len(label.encode()) > MAX_LABEL_LENGTH:
        raise ValueError(f"label of {len(label.encode())} bytes, the longest is {MAX_LABEL_LENGTH}")
    if len(bytes(key)) > MAX_KEY_LENGTH:
        raise ValueError(f"key of {len(bytes(key))} bytes, the longest is {MAX_KEY_LENGTH}")


__all__ = [
    "Client",
    "ClientSettings",
    "PublicationErrorFrame",
    "attach",
    "is_driver_active",
    "request_driver_termination",
]
