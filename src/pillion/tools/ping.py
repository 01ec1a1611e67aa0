"""`pillion ping`: round-trip times, one message after the other or at a fixed rate."""

from __future__ import annotations

import argparse
import struct
import time
from typing import TYPE_CHECKING, Any

from pillion.tools.console import (
    EXIT_INCOMPLETE,
    EXIT_TIMED_OUT,
    CommandError,
    add_client_arguments,
    connect,
    make_parser,
    positive_seconds,
    print_json,
    termination_as_exit,
    whole_number,
)
from pillion.tools.histogram import Histogram
from pillion.tools.waiting import IDLE_CHOICES, Idle, make_idle

if TYPE_CHECKING:
    from pillion.client.client import Client

PING_CHANNEL = "aeron:udp?endpoint=localhost:20123"
PONG_CHANNEL = "aeron:udp?endpoint=localhost:20124"
PING_STREAM_ID = 1002
PONG_STREAM_ID = 1003
# When it was meant to be sent (ns), its number, and which run it belongs to.
STAMP = struct.Struct("<qqq")

DETAILS = """
Sends messages to `pillion pong` (or another driver's pong) and measures how long each takes to
come back. Without --rate the next message leaves when the last one is back. With --rate messages
leave on schedule whether or not the last one is back, and their time counts from the schedule, so
that a stall is seen in every message that it delayed (no coordinated omission).

Times are microseconds. With two processors or fewer leave --idle alone: who spins keeps the
driver from running.
"""

EXAMPLES = """
  pillion pong                                       in one terminal
  pillion ping --count 100000                        in another
  pillion ping --rate 1000 --count 10000 --histogram
  pillion ping -c aeron:ipc -C aeron:ipc --json
  pillion pong -c aeron:udp?endpoint=0.0.0.0:20123 -C aeron:udp?endpoint=a:20124    on host b
  pillion ping -c aeron:udp?endpoint=b:20123 -C aeron:udp?endpoint=0.0.0.0:20124    on host a
"""


def run(arguments: list[str]) -> int:
    args = _parser().parse_args(arguments)
    with termination_as_exit(), connect(args, "ping") as client:
        pinger = Pinger(client, args)
        pinger.await_connected()
        pinger.measure(args.warm_up, 0.0)
        histogram, lost = pinger.measure(args.count, args.rate)
    result: dict[str, Any] = {
        **histogram.summary(),
        "lost": lost,
        "length": args.length,
        "rate": args.rate,
    }
    if args.json:
        print_json(result)
    else:
        if args.histogram:
            print(histogram.format_table())
        print(format_result(result))
    return EXIT_INCOMPLETE if lost else 0


def format_result(result: dict[str, Any]) -> str:
    """The summary as one line."""
    names = ("min", "p50", "p90", "p99", "p99.9", "max")
    times = "  ".join(f"{name} {result[f'{name}_us']:.1f}" for name in names)
    lost = f", {result['lost']} lost" if result["lost"] else ""
    return f"{result['count']} round trips of {result['length']} bytes{lost}, us: {times}"


def add_ping_pong_arguments(parser: argparse.ArgumentParser) -> None:
    """The two channels, and how to wait."""
    parser.add_argument("-c", "--channel", default=PING_CHANNEL, metavar="URI", help="ping (default: %(default)s)")
    parser.add_argument("-s", "--stream", type=int, default=PING_STREAM_ID, metavar="ID", help="its stream id")
    parser.add_argument(
        "-C",
        "--pong-channel",
        default=PONG_CHANNEL,
        metavar="URI",
        help="pong (default: %(default)s)",
    )
    parser.add_argument("-S", "--pong-stream", type=int, default=PONG_STREAM_ID, metavar="ID", help="its stream id")
    parser.add_argument(
        "--idle",
        choices=IDLE_CHOICES,
        default="backoff",
        help="what to do while nothing arrives (default: %(default)s)",
    )
    add_client_arguments(parser)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("ping", "Measure round-trip times.", DETAILS, EXAMPLES)
    add_ping_pong_arguments(parser)
    parser.add_argument(
        "-n",
        "--count",
        type=whole_number(1),
        default=10_000,
        metavar="N",
        help="round trips to measure (default: %(default)s)",
    )
    parser.add_argument(
        "-w",
        "--warm-up",
        type=whole_number(0),
        default=1_000,
        metavar="N",
        help="round trips before that (default: %(default)s)",
    )
    parser.add_argument(
        "-L",
        "--length",
        type=whole_number(STAMP.size),
        default=32,
        metavar="BYTES",
        help="message length (default: %(default)s)",
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=0.0,
        metavar="PER_SECOND",
        help="messages a second (default: 0, one after the other)",
    )
    parser.add_argument(
        "--timeout",
        type=positive_seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long to wait for a pong, and for each message (default: %(default)s)",
    )
    parser.add_argument("--histogram", action="store_true", help="print the percentile table too")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


class Pinger:
    """Sends stamped messages and records when they come back."""

    def __init__(self, client: Client, args: argparse.Namespace):
        self.subscription = client.add_subscription(args.pong_channel, args.pong_stream)
        self.publication = client.add_exclusive_publication(args.channel, args.stream)
        self.message = bytearray(args.length)
        self.timeout_ns = int(args.timeout * 1e9)
        self.idle: Idle = make_idle(args.idle)
        self.args = args
        self.run_id = time.time_ns()
        self.histogram = Histogram()
        self.received = 0
        if args.length > self.publication.max_message_length:
            raise CommandError(
                f"--length {args.length} is above the longest message of {self.publication.max_message_length} bytes"
            )
        self.handler: Any = self._on_pong
        if args.length > self.publication.max_payload_length:
            from pillion.client.assembler import FragmentAssembler

            self.handler = FragmentAssembler(self._on_pong)

    def await_connected(self) -> None:
        deadline_ns = time.monotonic_ns() + self.timeout_ns
        attempt = 0
        while not (self.publication.is_connected and self.subscription.is_connected):
            if time.monotonic_ns() > deadline_ns:
                raise CommandError(
                    f"no pong on {self.args.channel} stream {self.args.stream}, answering on "
                    f"{self.args.pong_channel} stream {self.args.pong_stream}, within "
                    f"{self.args.timeout} s: start `pillion pong`",
                    EXIT_TIMED_OUT,
                )
            attempt += 1
            self.idle(attempt)

    def measure(self, count: int, rate: float) -> tuple[Histogram, int]:
        """`count` round trips; their histogram and how many did not come back."""
        self.histogram = Histogram()
        self.received = 0
        self.run_id += 1
        if rate > 0:
            self._at_rate(count, int(1e9 / rate))
        else:
            self._one_by_one(count)
        return self.histogram, count - self.received

    def _on_pong(self, buffer: Any, header: Any) -> None:
        if len(buffer) >= STAMP.size:
            intended_ns, _, run_id = STAMP.unpack_from(buffer)
            if run_id == self.run_id:
                self.histogram.record(time.monotonic_ns() - intended_ns)
                self.received += 1

    def _one_by_one(self, count: int) -> None:
        for number in range(count):
            sent_ns = time.monotonic_ns()
            self._send(sent_ns, number)
            if not self._await(number + 1, sent_ns + self.timeout_ns):
                return

    def _await(self, received: int, deadline_ns: int) -> bool:
        poll, handler = self.subscription.poll, self.handler
        attempt = 0
        while self.received < received:
            if poll(handler, 10):
                attempt = 0
                continue
            attempt += 1
            if attempt & 63 == 0 and time.monotonic_ns() > deadline_ns:
                return False
            self.idle(attempt)
        return True

    def _at_rate(self, count: int, interval_ns: int) -> None:
        poll, handler = self.subscription.poll, self.handler
        next_ns = time.monotonic_ns() + interval_ns
        number = attempt = 0
        while number < count:
            work = poll(handler, 10)
            if time.monotonic_ns() >= next_ns:
                self._send(next_ns, number)
                number += 1
                next_ns += interval_ns
                attempt = 0
            elif work:
                attempt = 0
            else:
                attempt += 1
                # A long sleep would miss the schedule: our own fault, and measured as such.
                if next_ns - time.monotonic_ns() > 2_000_000 or attempt < 40:
                    self.idle(attempt)
        self._await(count, time.monotonic_ns() + self.timeout_ns)

    def _send(self, intended_ns: int, number: int) -> None:
        STAMP.pack_into(self.message, 0, intended_ns, number, self.run_id)
        publication = self.publication
        attempt = 0
        while publication.offer(self.message) < 0:
            if not publication.is_connected:
                raise CommandError(f"pong went away after {self.received} round trips", EXIT_INCOMPLETE)
            if time.monotonic_ns() > intended_ns + self.timeout_ns:
                raise CommandError(
                    f"pong took nothing for {self.args.timeout} s, after {self.received} round trips",
                    EXIT_TIMED_OUT,
                )
            # Keep taking pongs: a full way back would block the way there.
            self.subscription.poll(self.handler, 10)
            attempt += 1
            self.idle(attempt)
