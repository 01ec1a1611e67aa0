"""The demo, made small: it ends with its table, and it leaves nothing behind when interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support import processes_that_name

DEMO = Path(__file__).resolve().parents[2] / "demo" / "demo.py"
DEADLINE_S = 200

pytestmark = pytest.mark.timeout(DEADLINE_S + 60)


@pytest.fixture
def demo(aeron_dir):
    """A running small demo whose files are in `aeron_dir`."""
    process = subprocess.Popen(
        [sys.executable, str(DEMO), "--mib", "2", "--round-trips", "100"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": aeron_dir},
    )
    yield process
    if process.poll() is None:
        process.terminate()
        process.communicate(timeout=DEADLINE_S)


def test_small_demo_ends_with_its_table(demo, aeron_dir):
    out, err = demo.communicate(timeout=DEADLINE_S)
    assert (demo.returncode, err) == (0, "")
    table = out[out.index("throughput") :]
    rows = ["shared memory", "Pillion, UDP ", "5 % faults", "TCP socket", "UDP socket"]
    assert [table.index(row) for row in rows] == sorted(table.index(row) for row in rows)
    assert table.count(" same\n") == 4
    assert os.listdir(aeron_dir) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_demo_leaves_nothing_behind(demo, aeron_dir, number, code):
    while "over shared memory" not in (line := demo.stdout.readline()):
        assert line, "the demo ended by itself"
    demo.send_signal(number)
    demo.communicate(timeout=DEADLINE_S)
    assert demo.returncode == code
    assert os.listdir(aeron_dir) == []
    assert processes_that_name(aeron_dir) == []
