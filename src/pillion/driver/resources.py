"""The resource agent: slow work that must not run where streams and commands are served.

It looks names up, opens sockets, makes and deletes log files. The conductor hands it a call and
gets the result back in a later cycle; calls run one at a time, in order.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from pillion.driver.aeron_directory import owner_of
from pillion.errors import DirectoryError
from pillion.memory.log_buffer import LogBuffer, LogSpec
from pillion.memory.mapped_file import free_space

Call = Callable[[], Any]
Done = Callable[[Any, Exception | None], None]
Outcome = tuple[Done, Any, Exception | None]


class Resources(Protocol):
    """Where slow calls run."""

    def submit(self, call: Call, done: Done) -> None:
        """Run `call`; `done(result, error)` follows from `drain`."""

    def drain(self) -> int:
        """Hand out what has finished; how many."""

    def close(self) -> None:
        """Finish what was submitted and stop."""


class InlineResources:
    """Runs each call at once, in the caller's thread: for simulations."""

    def __init__(self) -> None:
        self._finished: deque[Outcome] = deque()

    def submit(self, call: Call, done: Done) -> None:
        self._finished.append((done, *_outcome(call)))

    def drain(self) -> int:
        return _hand_out(self._finished)

    def close(self) -> None:
        self.drain()


class ThreadResources:
    """Runs calls in a thread of its own, which starts with the first call."""

    def __init__(self, wake: Callable[[], None], name: str = "pillion-resources") -> None:
        self._wake = wake
        self._name = name
        self._calls: queue.SimpleQueue[tuple[Call, Done] | None] = queue.SimpleQueue()
        self._finished: deque[Outcome] = deque()
        self._thread: threading.Thread | None = None

    def submit(self, call: Call, done: Done) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._calls.put((call, done))

    def _run(self) -> None:
        while True:
            item = self._calls.get()
            if item is None:
                return
            call, done = item
            # deque.append is atomic: the conductor pops at the other end.
            self._finished.append((done, *_outcome(call)))
            # Drop what the call holds now, not at the next one: a log is unmapped here.
            del item, call, done
            self._wake()

    def drain(self) -> int:
        return _hand_out(self._finished)

    def close(self) -> None:
        if self._thread is not None:
            self._calls.put(None)
            self._thread.join()
            self._thread = None
        self.drain()


def _hand_out(finished: deque[Outcome]) -> int:
    count = 0
    while finished:
        done, result, error = finished.popleft()
        done(result, error)
        count += 1
    return count


def _outcome(call: Call) -> tuple[Any, Exception | None]:
    try:
        return call(), None
    except Exception as error:
        return None, error


class LogFiles:
    """Makes and deletes the log files of one driver. Only the resource agent calls it.

    A sparse file takes no space until its pages are written, and a page that cannot be had then is
    a SIGBUS. So what every log may still grow by is kept in mind, and a log that would not fit
    beside them is refused with the numbers.
    """

    def __init__(self, directory: str, *, check_storage: bool, file_mode: int) -> None:
        self._directory = directory
        self._owner = owner_of(directory)
        self._check_storage = check_storage
        self._file_mode = file_mode
        self._lengths: dict[str, int] = {}

    def room(self) -> int:
        """Bytes that no log may grow into yet."""
        return free_space(self._directory) - self._unwritten()

    def create(self, kind: str, registration_id: int, spec: LogSpec) -> tuple[LogBuffer, int]:
        """`<kind>/<registration id>.logbuffer`, and the bytes the file system has left beside it.

        Raises `DirectoryError` with what is needed and available.
        """
        if self.is_taken_over:
            raise DirectoryError(
                f"another driver has taken {self._directory} over: this one is at its end",
                path=self._directory,
            )
        path = os.path.join(self._directory, kind, f"{registration_id}.logbuffer")
        available = self.room()
        if self._check_storage and available < spec.file_length:
            raise DirectoryError(
                f"the log {path} needs {spec.file_length} bytes, {max(available, 0)} are left: use "
                "a shorter term-length, close streams, or enlarge the file system (a container's "
                "--shm-size)",
                path=path,
                needed=spec.file_length,
                available=available,
            )
        log = LogBuffer.create(path, spec, mode=self._file_mode)
        self._lengths[path] = spec.file_length
        return log, available

    def delete(self, path: str, references: list[Any]) -> None:
        """Unlink a log and drop the last references to its mapping here, where it may take long."""
        self._lengths.pop(path, None)
        try:
            # Registration ids begin anew with every driver: a log of this name may be another's.
            if not self.is_taken_over:
                os.unlink(path)
        except FileNotFoundError:
            pass
        finally:
            references.clear()

    @property
    def is_taken_over(self) -> bool:
        """Whether another driver began in this directory, as it may when this one was stopped."""
        owner = owner_of(self._directory)
        return owner is not None and owner != self._owner

    def _unwritten(self) -> int:
        total = 0
        for path, length in self._lengths.items():
            try:
                total += max(length - os.stat(path).st_blocks * 512, 0)
            except OSError:
                continue
        return total
