"""A driver for the snippets, and free ports in place of the ones that the pages name."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from snippets import Snippet

import pillion

DRIVER_TIMEOUT_S = 30
# The ports that pages use in examples.
_PORT = re.compile(r"\b(401\d\d|2012\d)\b")


@pytest.fixture(scope="session")
def driver_directory() -> Iterator[str]:
    """Where the driver lives that snippets find when they name none. It has small logs."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    base = tempfile.mkdtemp(prefix="pillion-docs-", dir=memory)
    directory = os.path.join(base, "aeron")
    process = subprocess.Popen(
        [
            sys.executable, "-m", "pillion", "driver", "--dir", directory, "--threading", "shared",
            "-Daeron.ipc.term.buffer.length=1m", "-Daeron.term.buffer.length=1m",
        ]
    )
    try:
        pillion.connect(directory, driver_timeout=DRIVER_TIMEOUT_S).close()
        yield directory
    finally:
        process.terminate()
        try:
            process.wait(DRIVER_TIMEOUT_S)
        finally:
            process.kill()
            shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def workplace(driver_directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to be in, the driver in the environment, and a `pillion` on the path."""
    command = tmp_path / "bin" / "pillion"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pillion "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("AERON_DIR", driver_directory)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def with_free_ports() -> Callable[[Snippet], Snippet]:
    """Replaces each port of the pages by a free one, the same one for the whole test."""
    ports: dict[str, str] = {}

    def free(match: re.Match[str]) -> str:
        if match[0] not in ports:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(("127.0.0.1", 0))
                ports[match[0]] = str(probe.getsockname()[1])
        return ports[match[0]]

    def change(snippet: Snippet) -> Snippet:
        output = None if snippet.output is None else _PORT.sub(free, snippet.output)
        return replace(snippet, text=_PORT.sub(free, snippet.text), output=output)

    return change
