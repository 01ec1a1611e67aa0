"""Programs of peers and drivers as processes that are ended whatever happens, and spoken to line by line."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from pillion.tools.console import DeferredStop

#: What a step may take at most. Nothing here waits so long unless something is wrong.
DEADLINE_S = 120.0
#: Entered by whoever runs processes.
STOP = DeferredStop(signal.SIGHUP)


class PeerFailure(Exception):
    """A program ended, or said nothing, or something else than what was expected. Says what it wrote."""


class Process:
    """A program with JSON lines on stdout, for the time of the `with` block."""

    _process: subprocess.Popen[bytes]

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]):
        self.name = name
        self._command = command
        self._environment = dict(environment)
        self._pending = b""

    def __enter__(self) -> Self:
        self._errors = tempfile.TemporaryFile()  # closed with the process
        try:
            # Else a signal could find a process that nobody knows of yet, and leave it behind.
            with STOP.held():
                self.started_ns = time.monotonic_ns()
                # A session of its own: Ctrl-C reaches the runner alone, which ends the others in order.
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    env=self._environment,
                    start_new_session=True,
                )
        except BaseException:
            self.close()
            raise
        return self

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()[-2000:]

    def fail(self, what: str) -> PeerFailure:
        code = self._process.poll()
        ended = "" if code is None else f", it ended with {code}"
        return PeerFailure(f"{self.name}: {what}{ended}; it wrote: {self.errors() or 'nothing'}")

    def expect(self, event: str, timeout_s: float = DEADLINE_S) -> dict[str, Any]:
        """The next line, which must be this event. Raises `PeerFailure`."""
        deadline = time.monotonic() + timeout_s
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise self.fail(f"no {event!r} within {timeout_s} s")
            data = os.read(descriptor, 65536)
            if not data:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(5)
                raise self.fail(f"it went before {event!r}")
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        try:
            fields: dict[str, Any] = json.loads(line)
        except ValueError:
            raise self.fail(f"{line!r} in place of {event!r}") from None
        if fields.get("event") != event:
            raise self.fail(f"{fields} in place of {event!r}")
        return fields

    def go(self) -> None:
        """Let it begin."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"go\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self.fail("it went before it was told to go") from None

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far; the resolution is a clock tick."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def finish(self, timeout_s: float = 30.0) -> None:
        """End its stdin, after which it is to go by itself."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)

    def stop(self, timeout_s: float = 30.0) -> None:
        """SIGTERM, and SIGKILL if that does not help."""
        if self.is_running:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def close(self) -> None:
        streams: list[IO[bytes] | None] = [self._errors]
        if hasattr(self, "_process"):
            self.stop()
            streams += [self._process.stdin, self._process.stdout]
        for stream in streams:
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
