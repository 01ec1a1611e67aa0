"""Processes of an interop run: where each peer's program is, and talking to it line by line."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
ROOT = HERE.parents[1] / ".cache" / "peers"
JAVA_OPENS = [
    "--add-opens",
    "java.base/jdk.internal.misc=ALL-UNNAMED",
    "--add-opens",
    "java.base/sun.nio.ch=ALL-UNNAMED",
]
DEADLINE = 60.0
# For everything but the tests that wait for a time-out: no machine is too busy for these.
PATIENT_TIMEOUTS = {
    "AERON_DRIVER_TIMEOUT": "60000",
    "AERON_CLIENT_LIVENESS_TIMEOUT": "60s",
    "AERON_IMAGE_LIVENESS_TIMEOUT": "30s",
    "AERON_PUBLICATION_CONNECTION_TIMEOUT": "30s",
    "AERON_PUBLICATION_UNBLOCK_TIMEOUT": "120s",
}


def absence(kind: str) -> str:
    """Why peers of this kind cannot run here; "" if they can."""
    if kind == "pillion":
        return ""
    name = {"c": "pyaeron", "java": "java"}[kind]
    try:
        status: dict[str, str] = json.loads((ROOT / "status.json").read_text())
    except FileNotFoundError:
        return f"{ROOT / 'status.json'} does not exist: run `make peers`"
    return status.get(name, f"{name} is not in {ROOT / 'status.json'}: run `make peers`")


def java_properties(environment: Mapping[str, str]) -> list[str]:
    """The -D options that say what the AERON_* variables say to the other drivers."""
    return [f"-D{name.lower().replace('_', '.')}={value}" for name, value in environment.items()]


def command(kind: str, role: str, settings: Mapping[str, str]) -> list[str]:
    if kind == "c":
        return [str(ROOT / "pyaeron" / "bin" / "python"), str(PEERS / "pyaeron_peer.py"), role]
    if kind == "java":
        jars = [str(ROOT / "classes"), *sorted(map(str, (ROOT / "jars").glob("*.jar")))]
        return [
            "java",
            *JAVA_OPENS,
            *java_properties(settings),
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-cp",
            os.pathsep.join(jars),
            "Peer",
            role,
        ]
    if role == "driver":
        return [sys.executable, "-m", "pillion.tools.main", "driver"]
    if "\n" in role:  # a program of the test's own
        return [sys.executable, "-c", role]
    return [sys.executable, str(PEERS / "pillion_peer.py"), role]


class Process:
    """A peer with its JSON lines on stdout. Ends with the `with` block, whatever happened in it."""

    def __init__(self, kind: str, role: str, *options: object, settings: Mapping[str, str] | None = None) -> None:
        settings = PATIENT_TIMEOUTS if settings is None else settings
        self.name = f"{kind} {role.split()[0]}"
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the process
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._process = subprocess.Popen(
            [*command(kind, role, settings), *map(str, options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **settings},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-3000:]

    def expect(self, event: str, timeout: float = DEADLINE) -> dict[str, Any]:
        """The next line, which must be this event."""
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"{self.name}: no {event!r} within {timeout} s; it wrote: {self.errors()}") from None
        if line is None:
            code = self._process.wait(timeout=DEADLINE)
            raise AssertionError(f"{self.name} ended with {code} before {event!r}; it wrote: {self.errors()}")
        fields: dict[str, Any] = json.loads(line)
        assert fields["event"] == event, f"{self.name}: {line}; it wrote: {self.errors()}"
        return fields

    def finish(self, timeout: float = DEADLINE) -> None:
        """Let it go (its standard input ends) and require that it goes well."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        code = self._process.wait(timeout=timeout)
        assert code == 0, f"{self.name} ended with {code}; it wrote: {self.errors()}"

    def kill(self) -> None:
        """SIGKILL: nothing of it gets to clean up."""
        self._process.kill()
        self._process.wait(timeout=DEADLINE)

    def freeze(self) -> None:
        """SIGSTOP: it is there and does nothing, until `stop`."""
        self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not help."""
        if self.is_running:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill()

    def close(self) -> None:
        self.stop()
        self._reader.join(timeout=DEADLINE)
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def wait_until(what: str, condition: Callable[[], Any], timeout: float = DEADLINE) -> Any:
    """Poll until the condition is true; what it gave."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited {timeout} s for: {what}"
        time.sleep(0.005)
    return result
