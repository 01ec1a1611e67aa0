"""What tests of every kind use: short time-outs, waiting for a condition, free ports, who is running."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

#: Time-outs short enough to wait for in a test.
FAST: dict[str, Any] = {
    "timer_interval_ns": 20_000_000,
    "client_liveness_timeout_ns": 1_000_000_000,
    "image_liveness_timeout_ns": 1_000_000_000,
    "publication_unblock_timeout_ns": 1_500_000_000,
    "publication_connection_timeout_ns": 1_000_000_000,
    "publication_linger_timeout_ns": 200_000_000,
    "status_message_timeout_ns": 50_000_000,
    "counters_free_to_reuse_timeout_ns": 100_000_000,
    "term_buffer_length": 256 * 1024,
    "ipc_term_buffer_length": 256 * 1024,
    "untethered_window_limit_timeout_ns": 300_000_000,
    "untethered_linger_timeout_ns": 300_000_000,
    "untethered_resting_timeout_ns": 300_000_000,
}


def wait_until(condition: Callable[[], Any], what: str, timeout: float = 20.0) -> Any:
    """What `condition` returns once it is true; fails after a generous time."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"did not happen within {timeout} s: {what}")
        time.sleep(0.001)


def free_port(host: str = "127.0.0.1") -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def processes_that_name(directory: str) -> list[str]:
    """The command lines of all processes that have it among their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_text()
        except OSError:
            continue
        if directory in command:
            found.append(command.replace("\0", " "))
    return found
