"""`MediaDriver`: one driver, embedded in a process or alone in its own.

Owns everything: the directory, the shared files, the agents' threads and the conductor's thread.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from typing import Any

from pillion.driver.aeron_directory import (
    DIRECTORY_MODE,
    FILE_MODE,
    prepare_directory,
    remove_directory,
)
from pillion.driver.conductor import Conductor
from pillion.driver.data_plane import DataPlane
from pillion.driver.resources import LogFiles, ThreadResources
from pillion.driver.services import Clock, Randomness, Services
from pillion.driver.settings import DriverSettings
from pillion.driver.transports import TransportOpener
from pillion.driver.udp_channel import default_resolver
from pillion.errors import ClosedError, ErrorCode
from pillion.memory.cnc import LOSS_REPORT_FILE, CncFile
from pillion.memory.loss_report import LossReport
from pillion.memory.mapped_file import MappedFile
from pillion.protocol.ids import (
    CONTROL_PROTOCOL_VERSION,
    CounterType,
    SystemCounter,
    system_counter_labels,
)
from pillion.units import format_duration
from pillion.version import __version__

SHUT_DOWN_HEARTBEAT_MS = -1
_BUSY_PAUSE_S = 0.0002
_LONGEST_WAIT_NS = 1_000_000_000

_drivers: weakref.WeakSet[MediaDriver] = weakref.WeakSet()


class MediaDriver:
    """A running media driver; close it, or use it as a context manager.

    `settings` as made by `DriverSettings.load`, or keywords that name settings (`aeron_dir`,
    `threading_mode`, ...; `pillion driver --list-settings` has all), which win over the environment.
    Raises `ActiveDriverError` where a living driver owns the directory, `DirectoryError` with the
    bytes that are missing, `SettingError`. Thread-safe, except `invoke`.

    >>> with pillion.MediaDriver(aeron_dir="/dev/shm/aeron-example") as driver:
    ...     client = pillion.connect(driver.aeron_dir)
    """

    def __init__(self, settings: DriverSettings | None = None, **keywords: Any) -> None:
        if settings is not None and keywords:
            raise TypeError("give either settings or keywords, not both")
        self.settings = DriverSettings.load(**keywords) if settings is None else settings
        self.aeron_dir = self.settings.aeron_dir
        self._pid = os.getpid()
        self._stop_requested = False
        self._is_closed = False
        self._closing = threading.Lock()
        self._thread: threading.Thread | None = None
        _check_socket_buffers(self.settings)
        self._clock = Clock(time.monotonic_ns, lambda: time.time_ns() // 1_000_000)
        prepare_directory(
            self.aeron_dir,
            driver_timeout_ms=self.settings.driver_timeout_ms,
            delete_on_start=self.settings.dir_delete_on_start,
            warn_if_exists=self.settings.dir_warn_if_exists,
            epoch_ms=self._clock.epoch_ms,
        )
        try:
            self._build()
        except BaseException:
            # Half a driver is worse than none: clients would wait for it.
            remove_directory(self.aeron_dir)
            raise
        self._start()
        _drivers.add(self)

    def _build(self) -> None:
        settings = self.settings
        cnc = CncFile.create(
            self.aeron_dir,
            to_driver_length=settings.conductor_buffer_length,
            to_clients_length=settings.clients_buffer_length,
            counter_values_length=settings.counters_buffer_length,
            error_log_length=settings.error_buffer_length,
            client_liveness_timeout_ns=settings.client_liveness_timeout_ns,
            page_size=settings.file_page_size,
            start_ms=self._clock.epoch_ms(),
            pid=self._pid,
            mode=FILE_MODE,
        )
        report_length = _align(settings.loss_report_buffer_length, settings.file_page_size)
        report = MappedFile.create(
            os.path.join(self.aeron_dir, LOSS_REPORT_FILE),
            report_length,
            sparse=False,
            mode=FILE_MODE,
            touch=False,
        )
        counters = cnc.counters_manager(settings.counters_free_to_reuse_timeout_ns // 1_000_000)
        _allocate_system_counters(counters, settings)
        counters.set_value(SystemCounter.BYTES_MAPPED, len(cnc.mapped) + report_length)
        self._cnc = cnc
        self._plane = DataPlane(
            counters=counters,
            ring=cnc.to_driver_ring,
            threading_mode=settings.threading_mode,
            heartbeat_interval_ns=settings.timer_interval_ns,
            idle={
                "conductor": settings.conductor_idle,
                "sender": settings.sender_idle,
                "receiver": settings.receiver_idle,
                "shared": settings.shared_idle,
                "sharednetwork": settings.sharednetwork_idle,
            },
            cycle_threshold_ns={
                "sender": settings.sender_cycle_threshold_ns,
                "receiver": settings.receiver_cycle_threshold_ns,
            },
            status_message_timeout_ns=settings.status_message_timeout_ns,
        )
        transports = TransportOpener(settings)
        self._services = Services(
            settings=settings,
            clock=self._clock,
            random=Randomness(),
            cnc=cnc,
            counters=counters,
            to_clients=cnc.to_clients_transmitter(),
            error_log=cnc.error_log(self._clock.epoch_ms),
            loss_report=LossReport(report),
            plane=self._plane,
            resources=ThreadResources(self._plane.wake),
            log_files=LogFiles(
                self.aeron_dir,
                check_storage=settings.perform_storage_checks,
                file_mode=FILE_MODE,
            ),
            resolver=default_resolver,
            open_transport=transports.open,
        )
        self._conductor = Conductor(self._services, self.request_stop)

    def _start(self) -> None:
        ring = self._cnc.to_driver_ring
        ring.next_correlation_id()  # 0 is never handed out
        ring.consumer_heartbeat_ms = self._clock.epoch_ms()
        self._plane.start()
        if self.settings.threading_mode != "invoker":
            self._thread = threading.Thread(
                target=self._run, name="pillion-conductor", daemon=True
            )
            self._thread.start()
        self._cnc.publish_version()
        if self.settings.print_configuration:
            print(self.settings.format_configuration(), flush=True)

    # ---- running --------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop_requested:
            self._cycle()

    def _cycle(self) -> None:
        if self._work():
            return
        if self._conductor.is_busy:
            # Commands wait too, so only time wakes us.
            time.sleep(_BUSY_PAUSE_S)
        else:
            self._plane.wait(min(self._conductor.idle_ns, _LONGEST_WAIT_NS))
        self._conductor.restart_cycle_time()

    def _work(self) -> int:
        try:
            return self._conductor.do_work()
        except Exception as error:
            import traceback

            # A driver does not die of one command or event: it logs what went wrong and goes on.
            where = traceback.format_exc(limit=-3)
            self._services.record(
                ErrorCode.GENERIC_ERROR,
                f"internal error, please report it: {type(error).__name__}: {error}\n{where}",
            )
            return 0

    def invoke(self) -> int:
        """One duty cycle of everything, for `threading_mode="invoker"`; what it did, 0 for nothing.

        One thread calls it, again and again. Raises `ClosedError` once closed.
        """
        if self._is_closed:
            raise ClosedError(f"the driver of {self.aeron_dir} is closed")
        if self._thread is not None:
            raise ValueError(
                f"threading_mode={self.settings.threading_mode!r} runs by itself: "
                "invoke() is for threading_mode='invoker'"
            )
        return self._work() + self._plane.do_work()

    def request_stop(self) -> None:
        """Make `run_until_stopped` return. From any thread, and from a signal handler."""
        self._stop_requested = True
        self._plane.wake()

    def run_until_stopped(self) -> None:
        """Wait in the main thread until `request_stop`, or a client's permitted terminate request.

        In invoker mode this is the duty cycle. The driver is not closed by it.
        """
        if self._thread is not None:
            self._thread.join()
            return
        while not self._stop_requested:
            if not self.invoke():
                self._plane.wait(_LONGEST_WAIT_NS // 1000)

    @property
    def is_closed(self) -> bool:
        """True once `close` was called."""
        return self._is_closed

    def close(self) -> None:
        """Stop the agents, free everything, tell the clients. Again does nothing."""
        if os.getpid() != self._pid:
            return  # a forked child has the object, not the driver
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
            self.request_stop()
            if self._thread is not None and self._thread is not threading.current_thread():
                self._thread.join()
            self._plane.close()
            self._conductor.close()
            self._cnc.to_driver_ring.consumer_heartbeat_ms = SHUT_DOWN_HEARTBEAT_MS
            if self.settings.dir_delete_on_shutdown:
                remove_directory(self.aeron_dir)
            _drivers.discard(self)

    def __enter__(self) -> MediaDriver:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else self.settings.threading_mode
        return f"MediaDriver({self.aeron_dir!r}, {state})"


def _close_all() -> None:
    for driver in list(_drivers):
        try:
            driver.close()
        except Exception as error:
            print(f"pillion: {driver!r} did not close: {error}", file=sys.stderr)


# Before the interpreter goes: agents write into memory that Python owns.
atexit.register(_close_all)


def _allocate_system_counters(counters: Any, settings: DriverSettings) -> None:
    labels = system_counter_labels(
        settings.threading_mode.upper(),
        __version__,
        format_duration(settings.conductor_cycle_threshold_ns),
        format_duration(settings.name_resolver_threshold_ns),
    )
    labels[SystemCounter.RESOLUTION_CHANGES] += settings.resolver_name
    for counter_id, label in enumerate(labels):
        counters.allocate(
            CounterType.SYSTEM,
            counter_id.to_bytes(4, "little"),
            label,
            registration_id=counter_id,
            owner_id=-1,
        )
    counters.set_value(SystemCounter.AERON_VERSION, _encoded_version())
    counters.set_value(SystemCounter.CONTROL_PROTOCOL_VERSION, CONTROL_PROTOCOL_VERSION)


def _encoded_version() -> int:
    major, minor, patch = (int(part) for part in __version__.split(".")[:3])
    return major << 16 | minor << 8 | patch


def _align(length: int, page_size: int) -> int:
    return (length + page_size - 1) & ~(page_size - 1)


def _check_socket_buffers(settings: DriverSettings) -> None:
    """Refuse settings that no socket could serve; warn where the system gives less than asked."""
    import socket

    from pillion.errors import SettingError

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for option, name, asked in (
            (socket.SO_SNDBUF, "SO_SNDBUF", settings.socket_so_sndbuf),
            (socket.SO_RCVBUF, "SO_RCVBUF", settings.socket_so_rcvbuf),
        ):
            if asked:
                probe.setsockopt(socket.SOL_SOCKET, option, asked)
            actual = probe.getsockopt(socket.SOL_SOCKET, option)
            if actual < asked:
                print(
                    f"WARNING: Could not get desired {name}, adjust OS buffer to match "
                    f"AERON_SOCKET_{name}: attempted={asked}, actual={actual}",
                    file=sys.stderr,
                )
            needed = ("mtu_length", settings.mtu_length)
            if option == socket.SO_RCVBUF:
                needed = ("initial_window_length", settings.initial_window_length)
            if needed[1] > actual:
                raise SettingError(
                    f"{needed[0]}={needed[1]} is greater than the socket's {name}={actual}: "
                    f"raise socket_{name.lower()} or lower {needed[0]}",
                    setting=needed[0],
                    value=needed[1],
                )


def embedded_driver(aeron_dir: str | None, keywords: dict[str, Any]) -> MediaDriver:
    """A private driver, in a directory of its own that goes with it."""
    if aeron_dir is None:
        import tempfile

        base = "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()
        aeron_dir = tempfile.mkdtemp(prefix="aeron-embedded-", dir=base)
        os.chmod(aeron_dir, DIRECTORY_MODE)
        keywords = {"dir_delete_on_shutdown": True, **keywords}
    return MediaDriver(aeron_dir=aeron_dir, **keywords)
