"""Child processes of `life_child.py`, stopped and gone on with, and their lines."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

DEADLINE_S = 60.0


class Child:
    """A role of `life_child.py` in a process of its own; whatever happens, it ends with the `with` block."""

    def __init__(self, role: str, *arguments: object) -> None:
        self.role = role
        program = str(Path(__file__).with_name("life_child.py"))
        self._process = subprocess.Popen(
            [sys.executable, program, role, *(str(each) for each in arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
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

    def next(self) -> dict[str, Any]:
        """The next line it writes."""
        try:
            line = self._lines.get(timeout=DEADLINE_S)
        except queue.Empty:
            raise AssertionError(f"{self.role} said nothing for {DEADLINE_S} s") from None
        assert line is not None, f"{self.role} ended with {self._process.wait(DEADLINE_S)}"
        fields: dict[str, Any] = json.loads(line)
        return fields

    def expect(self, event: str) -> dict[str, Any]:
        """The next line it writes, which must be this one."""
        fields = self.next()
        assert fields["event"] == event, f"{self.role}: {fields}"
        return fields

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        """SIGSTOP, and wait until the process is stopped."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(DEADLINE_S)

    def finish(self) -> int:
        """Let it end, and the code it ended with."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        return self._process.wait(DEADLINE_S)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.go_on()
        self.kill()
        self._reader.join(DEADLINE_S)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
