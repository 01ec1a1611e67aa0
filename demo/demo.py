"""Move a real file and time round trips: over shared memory, over UDP, over UDP that loses data.

Everything runs in processes of its own, as in real use: a driver, a publisher and a subscriber, all
of them the `pillion` command. Beside it, in the same run, the same file over a plain TCP socket and
the same round trips over plain UDP and TCP sockets. What arrives is compared by its SHA-256.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pillion.tools.console import DeferredStop

HERE = Path(__file__).resolve().parent
DEFAULT_MIB = 64
# Terms that fit beside each other into the 64 MB of /dev/shm that containers have.
IPC_CHANNEL = "aeron:ipc?term-length=8m|mtu=65504"
UDP_CHANNEL = "aeron:udp?endpoint=127.0.0.1:{port}|term-length=4m|mtu=8k"
FAULTS = "drop=0.03|duplicate=0.01|reorder=0.01|seed=1"
FAULT_TYPES = "0x2"  # data frames; control frames get through, as they are few
ROUND_TRIPS = 5_000
# A lost message with none behind it is missed at the next heartbeat only, 100 ms later.
ROUND_TRIPS_WITH_FAULTS = 300
WARM_UP = 500
MESSAGE_LENGTH = 32
LONGEST_STEP_S = 100
# Two copies of the file, and the logs of the streams.
ROOM_NEEDED = 256 * 1024 * 1024


class Row(NamedTuple):
    """A line of the table."""

    name: str
    transfer: dict[str, Any] | None
    retransmits: int | None
    round_trips: dict[str, Any]


class Failure(Exception):
    """Ends the demo with a line that says why."""


class Processes:
    """Every process this demo started; none of them outlives it."""

    def __init__(self, stop: DeferredStop) -> None:
        self._stop = stop
        self._running: list[subprocess.Popen[str]] = []

    def start(self, *command: str) -> subprocess.Popen[str]:
        # A session of its own: Ctrl-C reaches us alone, and we end the others in order.
        # Held: interrupted between its start and our list, it would outlive us.
        with self._stop.held():
            process = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            self._running.append(process)
        return process

    def pillion(self, *arguments: str) -> subprocess.Popen[str]:
        return self.start("-m", "pillion", *arguments)

    def finish(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """The JSON that a process prints at its end; raises `Failure` with its words."""
        try:
            out, err = process.communicate(timeout=LONGEST_STEP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            err = f"{err.strip()} (ended after {LONGEST_STEP_S} s)"
        self._running.remove(process)
        if process.returncode:
            command = " ".join(str(part) for part in process.args[1:])  # type: ignore[index]
            raise Failure(f"{command}: exit code {process.returncode}: {err.strip()}")
        result: dict[str, Any] = json.loads(out)
        return result

    def stop(self, process: subprocess.Popen[str]) -> None:
        process.terminate()
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        self._running.remove(process)

    def close(self) -> None:
        for process in list(reversed(self._running)):
            self.stop(process)


class Demo:
    """The steps; `directory` holds the files."""

    def __init__(self, processes: Processes, directory: Path, length: int, round_trips: int):
        self.processes = processes
        self.directory = directory
        self.length = length
        self.round_trips = round_trips
        self.input = directory / "input"
        self.output = directory / "output"
        self.digest = ""

    def make_input(self) -> str:
        """Write the input from this interpreter's own library; what it was made from."""
        library = Path(sysconfig.get_path("stdlib"))
        files = sorted(path for path in library.rglob("*") if path.is_file())
        digest = hashlib.sha256()
        left = self.length
        with open(self.input, "wb") as output:
            while left:
                before = left
                for path in files:
                    data = path.read_bytes()[:left] if os.access(path, os.R_OK) else b""
                    output.write(data)
                    digest.update(data)
                    left -= len(data)
                    if not left:
                        break
                if left == before:
                    raise Failure(f"{library} has nothing to read")
        self.digest = digest.hexdigest()
        return str(library)

    def check_output(self, name: str) -> None:
        with open(self.output, "rb") as output:
            found = hashlib.file_digest(output, "sha256").hexdigest()
        if found != self.digest:
            length = self.output.stat().st_size
            raise Failure(f"{name}: {length} bytes arrived, SHA-256 {found}, not {self.digest}")
        self.output.unlink()

    @contextmanager
    def driver(self, *options: str):  # type: ignore[no-untyped-def]
        """A driver in a process of its own; its directory."""
        directory = str(self.directory / "aeron")
        process = self.processes.pillion("driver", "--dir", directory, "--delete-on-shutdown", *options)
        try:
            yield directory
        finally:
            ended = process.poll() is not None
            self.processes.stop(process)
            if ended:
                said = process.stderr.read() if process.stderr and not process.stderr.closed else ""
                print(f"the driver ended early: {said}", file=sys.stderr)

    def measure(self, name: str, directory: str, channels: list[str], round_trips: int) -> Row:
        """Transfer the file and time round trips over the three `channels` of one driver."""
        before = counters(directory)
        transfer = self.transfer(name, directory, channels[0])
        after = counters(directory)
        trips = self.ping(directory, channels[1], channels[2], round_trips)
        retransmits = after["Retransmits sent"] - before["Retransmits sent"]
        return Row(name, transfer, retransmits, trips)

    def transfer(self, name: str, directory: str, channel: str) -> dict[str, Any]:
        common = ["--dir", directory, "--channel", channel, "--format", "raw", "--json"]
        waits = ["--timeout", "30", "--driver-timeout", "10"]
        subscriber = self.processes.pillion("subscribe", *common, *waits, "--output", str(self.output))
        publisher = self.processes.pillion("publish", *common, *waits, str(self.input))
        self.processes.finish(publisher)
        result = self.processes.finish(subscriber)
        self.check_output(name)
        return result

    def ping(self, directory: str, there: str, back: str, count: int) -> dict[str, Any]:
        common = ["--dir", directory, "-c", there, "-C", back, "--driver-timeout", "10"]
        pong = self.processes.pillion("pong", *common)
        ping = self.processes.pillion(
            *("ping", *common, "--json", "--count", str(count), "--length", str(MESSAGE_LENGTH)),
            *("--warm-up", str(min(WARM_UP, count // 10)), "--timeout", "30"),
        )
        result = self.processes.finish(ping)
        self.processes.stop(pong)
        return result

    def plain(self, kind: str) -> dict[str, Any]:
        """Round trips over plain sockets of `kind`, tcp or udp."""
        server, port = self.start_server(f"{kind}-pong")
        count = [str(self.round_trips), str(WARM_UP), str(MESSAGE_LENGTH)]
        client = self.processes.start(str(HERE / "sockets.py"), f"{kind}-ping", port, *count)
        result = self.processes.finish(client)
        self.processes.finish(server)
        return result

    def plain_tcp(self) -> Row:
        server, port = self.start_server("tcp-receive", str(self.output))
        client = self.processes.start(str(HERE / "sockets.py"), "tcp-send", port, str(self.input))
        self.processes.finish(client)
        transfer = self.processes.finish(server)
        self.check_output("TCP")
        return Row("plain TCP socket", transfer, None, self.plain("tcp"))

    def start_server(self, *arguments: str) -> tuple[subprocess.Popen[str], str]:
        server = self.processes.start(str(HERE / "sockets.py"), *arguments)
        assert server.stdout is not None
        return server, server.stdout.readline().strip()


def counters(directory: str) -> dict[str, int]:
    """The driver's system counters by label, once it is there."""
    from pillion.client.client import attach
    from pillion.protocol.ids import CounterType

    cnc = attach(directory, 10_000_000_000)
    return {
        record.label: record.value for record in cnc.counters_reader().scan() if record.type_id == CounterType.SYSTEM
    }


def udp_channels(first_port: int) -> list[str]:
    return [UDP_CHANNEL.format(port=first_port + number) for number in range(3)]


def run(demo: Demo) -> list[Row]:
    """Every step, with a word on stdout before it."""
    rows = []
    trips = demo.round_trips
    with demo.driver() as directory:
        step("over shared memory")
        rows.append(demo.measure("Pillion, shared memory", directory, [IPC_CHANNEL] * 3, trips))
        step("over UDP")
        rows.append(demo.measure("Pillion, UDP", directory, udp_channels(40_121), trips))
    step("over UDP, with 5 % of datagrams dropped, doubled or reordered")
    with demo.driver("--loss", f"{FAULTS}|mask={FAULT_TYPES}") as directory:
        rows.append(
            demo.measure(
                "Pillion, UDP, 5 % faults",
                directory,
                udp_channels(40_131),
                min(trips, ROUND_TRIPS_WITH_FAULTS),
            )
        )
        if not rows[-1].retransmits:
            raise Failure("no retransmission was counted: the faults did not happen")
    step("over plain sockets")
    rows.append(demo.plain_tcp())
    rows.append(Row("plain UDP socket", None, None, demo.plain("udp")))
    return rows


def step(what: str) -> None:
    print(f"  {what} ...", flush=True)


def format_table(rows: list[Row]) -> str:
    """Throughput, retransmissions, round trips, a line each."""
    times = ("p50_us", "p99_us", "p99.9_us")
    lines = [
        f"{'':26}{'throughput':>12}{'retransmits':>13}   {'round trip in us':>30}",
        f"{'':26}{'MiB/s':>12}{'':>13}   {'p50':>10}{'p99':>10}{'p99.9':>10}   SHA-256",
    ]
    for row in rows:
        rate, same = "-", "-"
        if row.transfer is not None:
            rate = f"{row.transfer['bytes_per_second'] / 2**20:,.0f}"
            same = "same"
        retransmits = "-" if row.retransmits is None else f"{row.retransmits:,}"
        trips = "".join(f"{row.round_trips[name]:>10,.1f}" for name in times)
        lines.append(f"{row.name:26}{rate:>12}{retransmits:>13}   {trips}   {same}")
    return "\n".join(lines)


def working_directory() -> Path:
    """A fresh directory where TMPDIR says, in memory if there is room, or where else it may be."""
    base = os.environ.get("TMPDIR")
    if not base and os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free > ROOM_NEEDED:
        base = "/dev/shm"
    return Path(tempfile.mkdtemp(prefix="pillion-demo-", dir=base))


def main() -> int:
    parser = argparse.ArgumentParser(description="Move a file and time round trips.")
    parser.add_argument("--mib", type=int, default=DEFAULT_MIB, help="length of the file")
    parser.add_argument("--round-trips", type=int, default=ROUND_TRIPS, help="how many to time")
    args = parser.parse_args()
    started = time.monotonic()
    with ExitStack() as stack:
        stop = stack.enter_context(DeferredStop())
        directory = working_directory()
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        processes = Processes(stop)
        stack.callback(processes.close)
        demo = Demo(processes, directory, args.mib << 20, args.round_trips)
        try:
            source = demo.make_input()
            print(
                f"Moving {args.mib} MiB made from {source} between two processes and "
                f"timing round trips of {MESSAGE_LENGTH} bytes\n(Python "
                f"{sys.version.split()[0]}, {len(os.sched_getaffinity(0))} processors)"
            )
            rows = run(demo)
        except Failure as failure:
            print(f"demo: {failure}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\ndemo: interrupted, cleaning up", file=sys.stderr)
            return 130
    print(f"\n{format_table(rows)}\n\nDone in {time.monotonic() - started:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
