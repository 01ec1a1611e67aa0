"""The commands for real: each in a process of its own, with a `pillion driver` between them."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import pillion
from pillion.errors import DriverTimeoutError

PILLION = [sys.executable, "-m", "pillion"]
DEADLINE_S = 60
# Every test leaves its streams at once, so that the next one starts with none.
FAST = [
    "-Daeron.term.buffer.length=1m",
    "-Daeron.ipc.term.buffer.length=1m",
    "-Daeron.timer.interval=20ms",
    "-Daeron.publication.linger.timeout=200ms",
]


class Tool:
    """A running command. `finish` waits for its end and gives exit code, stdout and stderr."""

    def __init__(self, *arguments, env=None):
        self.process = subprocess.Popen(
            [*PILLION, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
        )

    def finish(self, data=None, *, send=None):
        if send is not None:
            self.process.send_signal(send)
        out, err = self.process.communicate(data, timeout=DEADLINE_S)
        return self.process.returncode, out, err.decode()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def tool():
    """Starts commands, and ends those that a test left running."""
    started = []

    def start(*arguments, **options):
        started.append(Tool(*arguments, **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture(scope="module")
def driver_dir():
    """The directory of a driver that serves all tests of this module."""
    base = tempfile.mkdtemp(prefix="pillion-tools-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    path = os.path.join(base, "aeron")
    driver = Tool("driver", "--dir", path, "--delete-on-shutdown", *FAST)
    try:
        wait_for_driver(path)
        yield path
        assert driver.finish(send=signal.SIGTERM) == (0, b"", "")
        assert not os.path.exists(path)
    finally:
        driver.close()
        shutil.rmtree(base, ignore_errors=True)


def wait_for_driver(path):
    pillion.connect(path, driver_timeout=DEADLINE_S).close()


def wait_until(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.005)


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def channel_of(kind):
    return "aeron:ipc" if kind == "ipc" else f"aeron:udp?endpoint=127.0.0.1:{free_port()}"


def transfer(tool, directory, data, *options, kind="ipc"):
    """Publish `data` to a subscriber; what each of them ended with."""
    common = ["--dir", directory, "--channel", channel_of(kind), *options]
    return both(tool("publish", *common), tool("subscribe", *common), data)


def both(publisher, subscriber, data):
    """What both end with; the subscriber is read meanwhile, since a pipe holds 64 KiB only."""
    with ThreadPoolExecutor(1) as reader:
        received = reader.submit(subscriber.finish)
        return publisher.finish(data), received.result()


@pytest.mark.parametrize("kind", ["ipc", "udp"])
@pytest.mark.parametrize("length", [0, 1, 5_000_003])
def test_raw_arrives_byte_for_byte(tool, driver_dir, kind, length):
    data = random.Random(length).randbytes(length)
    sent, received = transfer(tool, driver_dir, data, "--format", "raw", kind=kind)
    assert (sent[0], sent[2]) == (0, "")
    assert (received[0], received[2]) == (0, "")
    assert received[1] == data


@pytest.mark.parametrize("kind", ["ipc", "udp"])
def test_lines_arrive_in_order(tool, driver_dir, kind):
    data = b"".join(b"%d %s\n" % (n, b"x" * (n % 3000)) for n in range(2000)) + b"\nlast"
    sent, received = transfer(tool, driver_dir, data, kind=kind)
    assert (sent[0], received[0]) == (0, 0)
    assert received[1] == data + b"\n"


def test_records_arrive_as_they_were(tool, driver_dir):
    rng = random.Random(3)
    payloads = [rng.randbytes(rng.randrange(5000)) for _ in range(300)]
    data = b"".join(len(payload).to_bytes(4, "little") + payload for payload in payloads)
    sent, received = transfer(tool, driver_dir, data, "--format", "records")
    assert (sent[0], received[0]) == (0, 0)
    assert received[1] == data


def test_files_and_summaries(tool, driver_dir, tmp_path):
    (tmp_path / "in").write_bytes(b"one\ntwo\n")
    common = ["--dir", driver_dir, "--channel", "aeron:ipc", "--stream", "77", "--json"]
    subscriber = tool("subscribe", *common, "--output", str(tmp_path / "out"))
    code, out, _ = tool("publish", *common, str(tmp_path / "in")).finish()
    assert code == 0
    sent = json.loads(out)
    assert (sent["messages"], sent["bytes"], sent["stream_id"]) == (2, 6, 77)
    code, out, _ = subscriber.finish()
    assert code == 0
    assert json.loads(out)["messages"] == 2
    assert (tmp_path / "out").read_bytes() == b"one\ntwo\n"


def test_subscriber_stops_after_its_count(tool, driver_dir):
    channel = ["--dir", driver_dir, "--channel", channel_of("udp")]
    subscriber = tool("subscribe", *channel, "--count", "3")
    tool("publish", *channel).finish(b"".join(b"%d\n" % n for n in range(10)))
    assert subscriber.finish()[:2] == (0, b"0\n1\n2\n")


def test_subscriber_follows_one_stream_after_the_other_until_interrupted(tool, driver_dir):
    channel = ["--dir", driver_dir, "--channel", "aeron:ipc", "--stream", "78"]
    subscriber = tool("subscribe", *channel, "--follow")
    assert tool("publish", *channel).finish(b"first\n")[0] == 0
    assert tool("publish", *channel).finish(b"second\n")[0] == 0
    assert subscriber.finish(send=signal.SIGINT) == (130, b"first\nsecond\n", "")


def test_publisher_with_a_driver_of_its_own_lingers_until_all_has_arrived(tool, driver_dir):
    data = random.Random(9).randbytes(2_000_000)
    channel = channel_of("udp")
    subscriber = tool("subscribe", "--dir", driver_dir, "--channel", channel, "--format", "raw")
    publisher = tool(
        *("publish", "--embedded", "--channel", f"{channel}|term-length=64k", "--format", "raw"),
        env={**os.environ, "AERON_PUBLICATION_LINGER_TIMEOUT": "200ms"},
    )
    sent, received = both(publisher, subscriber, data)
    assert (sent[0], sent[2]) == (0, "")
    assert received[:2] == (0, data)


def test_publisher_gives_up_without_a_subscriber(tool, driver_dir):
    channel = ["--dir", driver_dir, "--channel", "aeron:ipc", "--stream", "79"]
    code, _, err = tool("publish", *channel, "--timeout", "0.2").finish(b"x\n")
    assert code == 4
    assert err == (
        "pillion publish: nobody subscribed to aeron:ipc stream 79 within 0.2 s: "
        "start `pillion subscribe` with the same channel and stream\n"
    )


def test_subscriber_gives_up_without_a_publisher(tool, driver_dir):
    channel = ["--dir", driver_dir, "--channel", "aeron:ipc", "--stream", "80"]
    code, _, err = tool("subscribe", *channel, "--timeout", "0.2").finish()
    assert (code, err.count("\n")) == (4, 1)
    assert "nothing arrived on aeron:ipc stream 80" in err


def test_publisher_notices_that_its_subscriber_was_stopped(tool, driver_dir):
    channel = ["--dir", driver_dir, "--channel", "aeron:ipc", "--stream", "81"]
    subscriber = tool("subscribe", *channel, "--format", "raw")
    publisher = tool("publish", *channel, "--format", "raw")
    publisher.process.stdin.write(b"x")
    publisher.process.stdin.flush()
    assert subscriber.process.stdout.read(1) == b"x"
    assert subscriber.finish(send=signal.SIGTERM)[0] == 143
    code, _, err = publisher.finish(bytes(8_000_000))
    assert code == 5
    assert "subscriber of aeron:ipc stream 81" in err


def test_wrong_channel_is_one_line(tool, driver_dir):
    code, _, err = tool("publish", "--dir", driver_dir, "--channel", "aeron:ipx").finish(b"")
    assert (code, err.count("\n")) == (1, 1)
    assert "aeron:ipx" in err


def test_ping_one_by_one_and_at_a_rate(tool, driver_dir):
    options = ["--dir", driver_dir, "-c", channel_of("udp"), "-C", channel_of("udp")]
    pong = tool("pong", *options)
    counts = ["--count", "200", "--warm-up", "20"]
    for rate in ("0", "2000"):
        code, out, err = tool("ping", *options, *counts, "--rate", rate, "--json").finish()
        assert (code, err) == (0, "")
        result = json.loads(out)
        assert (result["count"], result["lost"], result["rate"]) == (200, 0, float(rate))
        assert 0 < result["min_us"] <= result["p50_us"] <= result["p99.9_us"] <= result["max_us"]
    long = ["--count", "10", "--length", "5000", "--histogram"]
    code, out, _ = tool("ping", *options, *long).finish()
    assert code == 0
    assert b"Percentile" in out
    assert b"10 round trips of 5000 bytes, us: min" in out
    assert pong.finish(send=signal.SIGINT)[0] == 130


def test_ping_without_pong(tool, driver_dir):
    options = ["-c", "aeron:ipc", "-C", "aeron:ipc", "--timeout", "0.2"]
    code, _, err = tool("ping", "--dir", driver_dir, *options).finish()
    assert (code, err.count("\n")) == (4, 1)
    assert "start `pillion pong`" in err


def test_stat_shows_a_stream_that_there_is(tool, driver_dir):
    with pillion.connect(driver_dir) as client:
        subscription = client.add_subscription("aeron:ipc", 82)
        publication = client.add_publication("aeron:ipc", 82)
        wait_until(lambda: publication.is_connected and subscription.is_connected)
        assert publication.offer(b"x") > 0
        code, out, _ = tool("stat", "--dir", driver_dir, "--stream", "82", "--json").finish()
        assert code == 0
        counters = {each["type"]: each for each in json.loads(out)["counters"]}
        assert counters["subscriber_position"]["value"] == 0
        assert counters["publisher_limit"]["channel"] == "aeron:ipc"
        assert {each["session_id"] for each in counters.values()} == {publication.session_id}
        code, out, _ = tool("stat", "--dir", driver_dir).finish()
        lines = out.decode().splitlines()
        assert " - Aeron Stat (CnC v0.2.0), pid " in lines[0]
        assert lines[1] == "=" * 70
        assert lines[2].endswith(" - Bytes sent")
        assert any(f" {publication.session_id} 82 aeron:ipc" in line for line in lines)


def test_stat_watches_until_stopped(tool, driver_dir):
    watch = tool("stat", "--dir", driver_dir, "--watch", "--interval", "0.01", "--label", "NAKs")
    heads = 0
    while heads < 3:
        line = watch.process.stdout.readline()
        assert line, "the command ended by itself"
        heads += b"Aeron Stat" in line
    assert watch.finish(send=signal.SIGTERM)[0] == 143


def test_errors_shows_what_a_driver_refused(tool, driver_dir):
    tool("publish", "--dir", driver_dir, "--channel", "aeron:udp?endpoint=nowhere").finish(b"")
    code, out, _ = tool("errors", "--dir", driver_dir, "--json").finish()
    assert code == 0
    assert any("nowhere" in json.loads(line)["text"] for line in out.splitlines())


def test_loss_shows_which_stream_lost(tool, aeron_dir):
    path = os.path.join(aeron_dir, "lossy")
    driver = tool("driver", "--dir", path, "--loss", "drop=0.2|seed=3|mask=0x2")
    wait_for_driver(path)
    data = random.Random(5).randbytes(1_000_000)
    sent, received = transfer(tool, path, data, "--format", "raw", kind="udp")
    assert (sent[0], received[0]) == (0, 0)
    assert received[1] == data
    code, out, _ = tool("loss", "--dir", path, "--json").finish()
    assert code == 0
    (entry,) = [json.loads(line) for line in out.splitlines()]
    assert entry["bytes_lost"] > 0
    assert entry["stream_id"] == 1001
    assert driver.finish(send=signal.SIGINT)[0] == 0


def test_second_driver_in_a_directory_is_refused(tool, driver_dir):
    code, _, err = tool("driver", "--dir", driver_dir).finish()
    assert (code, err.count("\n")) == (1, 1)
    assert driver_dir in err


def test_driver_stops_when_a_client_may_ask(tool, aeron_dir):
    path = os.path.join(aeron_dir, "terminated")
    driver = tool("driver", "--dir", path, "-Daeron.driver.termination.validator=allow")
    wait_for_driver(path)
    with pillion.connect(path) as client:
        client.terminate_driver()
        assert driver.finish() == (0, b"", "")
    with pytest.raises(DriverTimeoutError, match="was shut down"):
        pillion.connect(path, driver_timeout=0.1)


def test_driver_goes_on_when_a_client_may_not_ask(driver_dir):
    with pillion.connect(driver_dir) as client:
        client.terminate_driver()
        # Commands are handled in order: the answer to the next one says that the driver goes on.
        client.add_subscription("aeron:ipc", 83).close()


def test_driver_prints_its_configuration_if_asked(tool, aeron_dir):
    path = os.path.join(aeron_dir, "printing")
    driver = tool("driver", "--dir", path, "--print-configuration", "-Daeron.mtu.length=8k")
    wait_for_driver(path)
    code, out, _ = driver.finish(send=signal.SIGTERM)
    assert code == 0
    assert f"    aeron.dir={path}\n" in out.decode()
    assert b"    aeron.mtu.length=8k\n" in out
