"""`connect` and `Client`: what an application holds."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pillion.client.conductor import ClientConductor
from pillion.client.counter import Counter
from pillion.client.image import Image
from pillion.client.publication import ExclusivePublication, Publication
from pillion.client.subscription import Subscription
from pillion.directory import default_aeron_dir
from pillion.errors import CncFileError, CncNotReadyError, DriverTimeoutError, SettingError
from pillion.memory.cnc import CncFile
from pillion.protocol import commands
from pillion.protocol.ids import CommandType

if TYPE_CHECKING:
    from pillion.memory.counters import CountersReader

Handler = Callable[..., Any]


@dataclass(slots=True)
class ClientSettings:
    """Settings of a client; durations in ns."""

    aeron_dir: str
    client_name: str = ""
    driver_timeout_ns: int = 10_000_000_000
    keepalive_interval_ns: int = 500_000_000
    idle_sleep_ns: int = 4_000_000
    use_conductor_agent_invoker: bool = False
    pre_touch_mapped_memory: bool = False
    on_available_image: Handler | None = None
    on_unavailable_image: Handler | None = None
    on_available_counter: Handler | None = None
    on_unavailable_counter: Handler | None = None
    on_error: Handler | None = None
    on_close: Handler | None = None


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for client in list(_clients):
        client._conductor.forget_after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)


def attach(aeron_dir: str, timeout_ns: int) -> CncFile:
    """The cnc file of a living driver of `aeron_dir`, waited for up to `timeout_ns`.

    Raises `DriverTimeoutError` that says what was found instead, `DriverIncompatibleError` at once.
    """
    deadline = time.monotonic_ns() + timeout_ns
    while True:
        try:
            cnc = CncFile.open(aeron_dir)
            heartbeat = cnc.to_driver_ring.consumer_heartbeat_ms
            now_ms = time.time_ns() // 1_000_000
            if heartbeat != 0 and heartbeat >= now_ms - timeout_ns // 1_000_000:
                return cnc
            if heartbeat == -1:
                found = f"the driver of {aeron_dir} (pid {cnc.pid}) was shut down"
            else:
                found = f"the driver of {aeron_dir} (pid {cnc.pid}) last lived {(now_ms - heartbeat) / 1000:.1f} s ago"
            pause = 0.1
        except FileNotFoundError:
            found, pause = f"there is no driver in {aeron_dir}", 0.016
        except PermissionError as error:
            found, pause = f"{error.filename} cannot be opened: {error.strerror}", 0.1
        except CncNotReadyError as error:
            found, pause = str(error), 0.001
        if time.monotonic_ns() > deadline:
            raise DriverTimeoutError(
                f"{found}; waited {timeout_ns / 1e9:.1f} s. Start one with `pillion driver --dir {aeron_dir}`, or use "
                "pillion.connect(embedded=True)")
        time.sleep(min(pause, max(0.0, (deadline - time.monotonic_ns()) / 1e9) + 0.001))


class Client:
    """A connection to a driver. Thread-safe; close it, or use it as a context manager."""

    def __init__(self, settings: ClientSettings, driver: Any = None) -> None:
        self._driver = driver
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._conductor = ClientConductor(attach(settings.aeron_dir, settings.driver_timeout_ns), settings)
        _clients.add(self)
        if not settings.use_conductor_agent_invoker:
            self._thread = threading.Thread(
                target=_run_conductor, args=(self._conductor, self._stop, settings.idle_sleep_ns / 1e9),
                name=f"pillion-client-{self._conductor.client_id}", daemon=True)
            self._thread.start()

    # ---- making things ----------------------------------------------------------------------------------------------

    def add_publication(self, channel: str, stream_id: int) -> Publication:
        """A publication shared with whoever adds the same channel and stream. Waits for the driver's answer.

        Raises `RegistrationError` with the driver's reason and code, `DriverTimeoutError`, `ClosedError`.
        """
        result: Publication = self._add(self.async_add_publication(channel, stream_id), f"add publication {channel}")
        return result

    def add_exclusive_publication(self, channel: str, stream_id: int) -> ExclusivePublication:
        """A publication of our own, with one writer and a session of its own. Raises as `add_publication`."""
        result: ExclusivePublication = self._add(
            self.async_add_exclusive_publication(channel, stream_id), f"add exclusive publication {channel}")
        return result

    def add_subscription(self, channel: str, stream_id: int, on_available_image: Handler | None = None,
                         on_unavailable_image: Handler | None = None) -> Subscription:
        """A subscription; its images come and go with the publishers. Raises as `add_publication`."""
        result: Subscription = self._add(
            self.async_add_subscription(channel, stream_id, on_available_image, on_unavailable_image),
            f"add subscription {channel}")
        return result

    def add_counter(self, type_id: int, label: str, key: bytes = b"") -> Counter:
        """A counter of our own. `type_id` >= 1000 for applications, `label` up to 380 and `key` up to 112 bytes."""
        _check_counter(type_id, label, key)
        result: Counter = self._add(self._conductor.submit_counter(type_id, key, label), f"add counter {label!r}")
        return result

    def add_static_counter(self, type_id: int, registration_id: int, label: str, key: bytes = b"") -> Counter:
        """A counter that outlives this client; the same for everybody who names the same type and registration id."""
        _check_counter(type_id, label, key)
        result: Counter = self._add(
            self._conductor.submit_static_counter(registration_id, type_id, key, label), f"add static counter {label!r}")
        return result

    def async_add_publication(self, channel: str, stream_id: int) -> int:
        """Ask only; `poll_async` with the number returned gives the publication when it is there."""
        return self._conductor.submit_publication(_channel(channel), _int32(stream_id), False)

    def async_add_exclusive_publication(self, channel: str, stream_id: int) -> int:
        return self._conductor.submit_publication(_channel(channel), _int32(stream_id), True)

    def async_add_subscription(self, channel: str, stream_id: int, on_available_image: Handler | None = None,
                               on_unavailable_image: Handler | None = None) -> int:
        return self._conductor.submit_subscription(
            _channel(channel), _int32(stream_id), on_available_image, on_unavailable_image)

    def poll_async(self, registration_id: int) -> Any:
        """The result of an `async_add_...`, None while the driver has not answered; raises what it refused with."""
        return self._conductor.poll_answer(registration_id)

    def _add(self, correlation_id: int, what: str) -> Any:
        return self._conductor.wait(correlation_id, what)

    # ---- the rest ---------------------------------------------------------------------------------------------------

    @property
    def client_id(self) -> int:
        """This client's number, unique in the driver."""
        return self._conductor.client_id

    @property
    def aeron_dir(self) -> str:
        return self._conductor.settings.aeron_dir

    @property
    def counters(self) -> CountersReader:
        """Every counter of the driver."""
        return self._conductor.counters

    @property
    def is_closed(self) -> bool:
        return self._conductor.closed is not None

    def next_correlation_id(self) -> int:
        """A number nobody else of this driver gets."""
        self._conductor.check_open()
        return self._conductor.ring.next_correlation_id()

    def next_session_id(self, stream_id: int) -> int:
        """A session id that is free on `stream_id`."""
        return self._conductor.next_session_id(_int32(stream_id))

    def terminate_driver(self, token: bytes = b"") -> None:
        """Ask the driver to stop; it does if its termination validator allows it. There is no answer."""
        self._conductor.check_open()
        self._conductor.send(CommandType.TERMINATE_DRIVER, commands.encode_terminate_driver(self.client_id, token))

    def invoke(self) -> int:
        """One duty cycle of the conductor, for `use_conductor_agent_invoker=True`; what it did, 0 for nothing."""
        return self._conductor.do_work()

    do_work = invoke

    def close(self) -> None:
        """Close everything this client made, and its embedded driver. Again does nothing."""
        self._conductor.close()
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread() and (
            os.getpid() == self._conductor.pid
        ):
            self._thread.join(5.0)
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self._stop.set()

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else "open"
        return f"Client(id {self.client_id}, {self.aeron_dir!r}, {state})"


def _run_conductor(conductor: ClientConductor, stop: threading.Event, pause: float) -> None:
    while not stop.wait(pause) and conductor.closed is None:
        conductor.do_work()


def _channel(channel: object) -> str:
    text = str(channel)
    if not text.startswith(("aeron:", "aeron-spy:")):
        from pillion.errors import ChannelError

        raise ChannelError(f"channel {text!r} does not start with 'aeron:' or 'aeron-spy:'", channel=text, parameter="scheme")
    if len(text.encode()) > 4095:
        raise ValueError(f"channel of {len(text.encode())} bytes, the longest is 4095")
    return text


def _int32(stream_id: int) -> int:
    if not isinstance(stream_id, int):
        raise TypeError(f"stream_id={stream_id!r} must be an int")
    if not -(2**31) <= stream_id < 2**31:
        raise ValueError(f"stream_id={stream_id} does not fit 32 bits")
    return stream_id


def _check_counter(type_id: int, label: str, key: bytes) -> None:
    _int32(type_id)
    if len(label.encode()) > 380:
        raise ValueError(f"label of {len(label.encode())} bytes, the longest is 380")
    if len(key) > 112:
        raise ValueError(f"key of {len(key)} bytes, the longest is 112")


def connect(aeron_dir: str | os.PathLike[str] | None = None, *, embedded: bool = False, client_name: str = "",
            driver_timeout: float = 10.0, keepalive_interval: float = 0.5, use_conductor_agent_invoker: bool = False,
            pre_touch_mapped_memory: bool = False, on_available_image: Handler | None = None,
            on_unavailable_image: Handler | None = None, on_available_counter: Handler | None = None,
            on_unavailable_counter: Handler | None = None, on_error: Handler | None = None,
            on_close: Handler | None = None, **driver_settings: Any) -> Client:
    """Connect to the driver of `aeron_dir` (None: AERON_DIR or the platform's default).

    `embedded=True` starts a private driver that goes with the client; `driver_settings` are its settings. Timeouts in
    seconds. Raises `DriverTimeoutError` if no living driver is found within `driver_timeout`, `DriverIncompatibleError`.

    >>> with pillion.connect(embedded=True) as client:
    ...     publication = client.add_publication("aeron:ipc", 10)
    """
    if driver_timeout <= 0:
        raise SettingError(f"driver_timeout={driver_timeout} must be positive", setting="driver_timeout", value=driver_timeout)
    if driver_settings and not embedded:
        raise TypeError(f"unexpected arguments {sorted(driver_settings)}: driver settings need embedded=True")
    driver = None
    if embedded:
        from pillion.driver.media_driver import embedded_driver

        driver = embedded_driver(None if aeron_dir is None else os.fspath(aeron_dir), driver_settings)
    settings = ClientSettings(
        aeron_dir=driver.aeron_dir if driver is not None else os.fspath(aeron_dir) if aeron_dir else default_aeron_dir(),
        client_name=client_name or os.environ.get("AERON_CLIENT_NAME", ""),
        driver_timeout_ns=int(driver_timeout * 1e9),
        keepalive_interval_ns=int(keepalive_interval * 1e9),
        use_conductor_agent_invoker=use_conductor_agent_invoker,
        pre_touch_mapped_memory=pre_touch_mapped_memory,
        on_available_image=on_available_image,
        on_unavailable_image=on_unavailable_image,
        on_available_counter=on_available_counter,
        on_unavailable_counter=on_unavailable_counter,
        on_error=on_error,
        on_close=on_close,
    )
    try:
        return Client(settings, driver)
    except (CncFileError, DriverTimeoutError):
        if driver is not None:
            driver.close()
        raise


__all__ = ["Client", "ClientSettings", "Image", "attach", "connect"]
