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

from pillion.clock import SYSTEM_CLOCK
from pillion.driver.aeron_directory import (
    DIRECTORY_MODE,
    prepare_directory,
    remove_directory,
    start_lock,
)
from pillion.driver.assembly import build_driver
from pillion.driver.resources import ThreadResources
from pillion.driver.services import Randomness
from pillion.driver.settings import DriverSettings
from pillion.driver.transports import TransportOpener
from pillion.driver.udp_channel import default_resolver
from pillion.errors import ClosedError, ErrorCode, ForkedError

_BUSY_PAUSE_S = 0.0002
_LONGEST_WAIT_NS = 1_000_000_000

_drivers: weakref.WeakSet[MediaDriver] = weakref.WeakSet()


class MediaDriver:
    """A running media driver; close it, or use it as a context manager.

    `settings` as made by `DriverSettings.load`, or keywords that name settings (`aeron_dir`,
    `threading_mode`, ...; `pillion driver --list-settings` has all), which win over the environment.
    Raises `ActiveDriverError` where a living driver owns the directory, `DirectoryError` with the
    bytes that are missing, `SettingError`. Thread-safe.

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
        self._is_forked = False
        # Held by a cycle in invoker mode and by `close`: neither frees what the other uses. Re-entrant, because a
        # signal handler may close what is being closed or invoked.
        self._running = threading.RLock()
        self._is_invoking = False
        self._thread: threading.Thread | None = None
        _check_socket_buffers(self.settings)
        with start_lock(self.aeron_dir, self.settings.driver_timeout_ms):
            prepare_directory(
                self.aeron_dir,
                driver_timeout_ms=self.settings.driver_timeout_ms,
                delete_on_start=self.settings.dir_delete_on_start,
                warn_if_exists=self.settings.dir_warn_if_exists,
                epoch_ms=SYSTEM_CLOCK.epoch_ms,
            )
            try:
                self._parts = build_driver(
                    self.settings,
                    clock=SYSTEM_CLOCK,
                    random=Randomness(),
                    make_resources=ThreadResources,
                    open_transport=TransportOpener(self.settings).open,
                    resolver=default_resolver,
                    request_stop=self.request_stop,
                )
            except BaseException:
                # Half a driver is worse than none: clients would wait for it.
                remove_directory(self.aeron_dir)
                raise
            self._start()
        _drivers.add(self)

    def _start(self) -> None:
        self._conductor = self._parts.conductor
        self._plane = self._parts.plane
        self._plane.start()
        if self.settings.threading_mode != "invoker":
            self._thread = threading.Thread(
                target=self._run, name="pillion-conductor", daemon=True
            )
            self._thread.start()
        self._parts.cnc.publish_version()
        if self.settings.print_configuration:
            print(self.settings.format_configuration(), flush=True)

    # ---- running --------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop_requested:
            self._cycle()
        if self._conductor.is_taken_over:
            # Nobody may come to close us: our clients are to know.
            self._parts.stop()

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
            self._parts.services.record(
                ErrorCode.GENERIC_ERROR,
                f"internal error, please report it: {type(error).__name__}: {error}\n{where}",
            )
            return 0

    def invoke(self) -> int:
        """One duty cycle of everything, for `threading_mode="invoker"`; what it did, 0 for nothing.

        Call it again and again. While another thread is at it, or called from within itself, it does
        nothing. Raises `ClosedError` once closed, and when another driver has taken the directory
        over while this one was not run; `ForkedError` in a forked child.
        """
        self._check_process()
        if self._is_closed:
            raise ClosedError(f"the driver of {self.aeron_dir} is closed")
        if self._thread is not None:
            raise ValueError(
                f"threading_mode={self.settings.threading_mode!r} runs by itself: "
                "invoke() is for threading_mode='invoker'"
            )
        if not self._running.acquire(blocking=False):
            return 0
        try:
            return 0 if self._is_invoking or self._is_closed else self._invoke()
        finally:
            self._running.release()

    def _invoke(self) -> int:
        if self._conductor.is_taken_over:
            self.close()
            raise ClosedError(f"another driver has taken {self.aeron_dir} over: this one is closed")
        self._is_invoking = True
        try:
            work = self._plane.do_work()
            # A signal handler may have closed the driver.
            if not self._is_closed and self._plane.is_conductor_due(self._conductor.timer_ns):
                self._conductor.restart_cycle_time()
                work += self._work()
            return work
        finally:
            self._is_invoking = False

    def request_stop(self) -> None:
        """Make `run_until_stopped` return. From any thread, and from a signal handler."""
        self._stop_requested = True
        self._plane.wake()

    def run_until_stopped(self) -> None:
        """Wait in the main thread until `request_stop`, or a client's permitted terminate request.

        In invoker mode this is the duty cycle. The driver is not closed by it. Raises `ForkedError`
        in a forked child, which has no driver.
        """
        self._check_process()
        if self._thread is not None:
            self._thread.join()
            return
        while not self._stop_requested:
            if not self.invoke():
                self._plane.wait(_LONGEST_WAIT_NS // 1000)

    def _check_process(self) -> None:
        if self._is_forked:
            raise ForkedError(
                f"the driver of {self.aeron_dir} belongs to the parent process, {self._pid}"
            )

    @property
    def is_closed(self) -> bool:
        """True once `close` was called."""
        return self._is_closed

    def close(self) -> None:
        """Stop the agents, free everything, tell the clients. Again does nothing."""
        if self._is_forked:
            return  # a forked child has the object, not the driver
        with self._running:
            if self._is_closed:
                return
            self._is_closed = True
            self.request_stop()
            if self._thread is not None and self._thread is not threading.current_thread():
                self._thread.join()
            self._parts.close()
            if self.settings.dir_delete_on_shutdown and not self._parts.is_taken_over:
                remove_directory(self.aeron_dir)
            _drivers.discard(self)

    def __enter__(self) -> MediaDriver:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else self.settings.threading_mode
        return f"MediaDriver({self.aeron_dir!r}, {state})"


def _forget_in_child() -> None:
    for driver in list(_drivers):
        driver._is_forked = True


os.register_at_fork(after_in_child=_forget_in_child)


def _close_all() -> None:
    for driver in list(_drivers):
        try:
            driver.close()
        except Exception as error:
            print(f"pillion: {driver!r} did not close: {error}", file=sys.stderr)


# Before the interpreter goes: agents write into memory that Python owns.
atexit.register(_close_all)


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
