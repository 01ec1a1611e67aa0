"""A benchmark made tiny: every step of a run happens, and nothing is left behind. Its figures mean nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support import processes_that_name

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 200

pytestmark = pytest.mark.timeout(DEADLINE_S + 60)


def start(directory, *arguments):
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "benchmarks", "--max-rounds", "1", "--json", f"{directory}/out.json", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": directory},
    )


def test_a_tiny_run_has_every_sample_in_its_results(aeron_dir):
    process = start(
        aeron_dir, "--samples", "1", "--scale", "0.001", "--rows", "ipc,ipc-rtt,udp-rtt,start,context",
        "--peers", "pillion,pillion-invoker,udp,tcp",
    )  # fmt: skip
    out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (0, ""), out
    results = json.loads(Path(aeron_dir, "out.json").read_text())
    samples = {row["name"]: row["peers"] for row in results["rows"]}
    assert list(samples) == ["ipc", "ipc-rtt", "udp-rtt", "start", "context"]
    assert set(samples["ipc"]) == {"pillion", "tcp"}
    assert set(samples["udp-rtt"]) == {"pillion", "pillion-invoker", "udp", "tcp"}
    assert all(peer["median"] > 0 for row in samples.values() for peer in row.values())
    assert "pillion-invoker" in out
    assert os.listdir(aeron_dir) == ["out.json"]


def test_a_row_with_a_network_of_its_own(aeron_dir, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import network

    reason = network.why_absent()
    if reason:
        pytest.skip(reason)
    before = set(os.listdir("/run/netns"))
    process = start(aeron_dir, "--samples", "1", "--scale", "0.001", "--rows", "udp-veth", "--peers", "pillion,udp")
    out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (0, ""), out
    (row,) = json.loads(Path(aeron_dir, "out.json").read_text())["rows"]
    assert set(row["peers"]) == {"pillion"}
    assert row["peers"]["pillion"]["median"] > 0, row
    assert set(os.listdir("/run/netns")) == before


def test_costs_of_calls(aeron_dir):
    out = Path(aeron_dir, "calls.json")
    command = [sys.executable, "-m", "benchmarks.calls", "--rounds", "1", "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=DEADLINE_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    medians = json.loads(out.read_text())["medians"]["pillion"]
    assert set(medians) == {"loop", "offer", "handler", "poll"}
    assert min(medians.values()) > 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_nothing_behind(aeron_dir, number, code):
    process = start(aeron_dir, "--samples", "1", "--rows", "ipc-rtt", "--peers", "pillion", "--scale", "1000")
    while not any(" ping " in command for command in processes_that_name(aeron_dir)):
        assert process.poll() is None, process.communicate()
    process.send_signal(number)
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == code
    assert os.listdir(aeron_dir) == []
    assert processes_that_name(aeron_dir) == []
