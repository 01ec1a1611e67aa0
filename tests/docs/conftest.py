"""A driver for the snippets, and free ports in place of the ones that the pages name."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pillion

# The ports that pages use in examples.
_PORT = re.compile(r"\b(401\d\d|2012\d)\b")


def memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@pytest.fixture(scope="session")
def driver() -> Iterator[pillion.MediaDriver]:
    """The driver that snippets find where they name none, with small logs."""
    base = tempfile.mkdtemp(prefix="pillion-docs-", dir=memory())
    try:
        with pillion.MediaDriver(
            aeron_dir=os.path.join(base, "aeron"),
            threading_mode="shared",
            ipc_term_buffer_length="1m",
            term_buffer_length="1m",
        ) as running:
            yield running
    finally:
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def workplace(driver: pillion.MediaDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to be in, the driver in the environment, and a `pillion` on the path."""
    command = tmp_path / "bin" / "pillion"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pillion "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("AERON_DIR", driver.aeron_dir)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def with_free_ports() -> Iterator[Callable[[str], str]]:
    """Replaces each port of the pages by a free one, the same one for the whole test."""
    ports: dict[str, str] = {}
    sockets: list[socket.socket] = []

    def free(match: re.Match[str]) -> str:
        if match[0] not in ports:
            probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            probe.bind(("127.0.0.1", 0))
            sockets.append(probe)
            ports[match[0]] = str(probe.getsockname()[1])
        return ports[match[0]]

    def replace(text: str) -> str:
        changed = _PORT.sub(free, text)
        while sockets:
            sockets.pop().close()
        return changed

    yield replace
