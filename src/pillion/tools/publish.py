"""`pillion publish`: a file, lines or records go to a stream, and its end is told."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from pillion.protocol.ids import CounterType
from pillion.tools.console import (
    EXIT_INCOMPLETE,
    EXIT_TIMED_OUT,
    CommandError,
    Traffic,
    add_client_arguments,
    add_stream_arguments,
    connect,
    idle,
    make_parser,
    open_or_standard,
    positive_seconds,
    print_json,
    say,
    termination_as_exit,
    whole_number,
)
from pillion.tools.framing import FORMATS, make_splitter

if TYPE_CHECKING:
    from pillion.client.client import Client
    from pillion.client.publication import ExclusivePublication

DETAILS = """
Waits for a subscriber, sends the input, and waits at its end until everything was consumed (shared
memory) or sent (UDP), then closes the stream, which ends `pillion subscribe`. The driver answers
requests for lost data for its linger time (5 s) after that; with --embedded this command waits.

formats (the same on both sides):
  lines     a message is a line; the subscriber writes it with a newline (default)
  records   a message has its length before it, 4 bytes little-endian
  raw       the bytes as they come: what comes out is what went in
"""

EXAMPLES = """
  pillion publish -c aeron:ipc < words.txt
  tail -f app.log | pillion publish -c aeron:udp?endpoint=collector:40123
  pillion publish --format raw -c 'aeron:udp?endpoint=b:40123|mtu=8k' disk.img    on one machine
  pillion subscribe --format raw -c aeron:udp?endpoint=b:40123 -o disk.img        on the other
  seq 1000000 | pillion publish -c aeron:ipc --json
"""

READ_LENGTH = 256 * 1024
# Larger messages gain nothing, and a small one is soon there.
MAX_BLOCK_LENGTH = 64 * 1024
# Beyond the driver's linger and liveness: it takes longer only if the driver is in trouble.
_LINGER_LIMIT_S = 60.0


def run(arguments: list[str]) -> int:
    args = _parser().parse_args(arguments)
    with (
        open_or_standard(args.file, sys.stdin, os.O_RDONLY) as source,
        termination_as_exit(),
        connect(args, "publish") as client,
    ):
        publication = client.add_exclusive_publication(args.channel, args.stream)
        traffic = Traffic("sent", quiet=args.quiet)
        sender = Sender(publication, traffic, args.timeout)
        try:
            sender.await_subscriber()
            block_length = min(args.block, publication.max_message_length)
            split = make_splitter(args.format, publication.max_message_length, block_length)
            while data := os.read(source, READ_LENGTH):
                sender.send(split(data, False))
            sender.send(split(b"", True))
            await_consumed(client, publication, args.timeout)
        finally:
            traffic.finish()
            publication.close()
        if args.embedded:
            await_linger(client, publication)
        if args.json:
            print_json(
                {
                    **traffic.summary(),
                    "back_pressured": sender.back_pressured,
                    "channel": args.channel,
                    "stream_id": args.stream,
                    "session_id": publication.session_id,
                }
            )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("publish", "Send a file, lines or records to a stream.", DETAILS, EXAMPLES)
    parser.add_argument("file", nargs="?", default="-", help="input (default: -, which is stdin)")
    add_stream_arguments(parser)
    parser.add_argument("-f", "--format", choices=FORMATS, default="lines", help="see above")
    parser.add_argument(
        "--block",
        type=whole_number(1),
        default=MAX_BLOCK_LENGTH,
        metavar="BYTES",
        help="longest message of the raw format (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=positive_seconds,
        metavar="SECONDS",
        help="give up when nobody subscribes, or nothing moves, for so long (default: never)",
    )
    parser.add_argument("--json", action="store_true", help="print a summary on stdout at the end")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress on a terminal")
    add_client_arguments(parser)
    return parser


class Sender:
    """Offers messages and waits as long as it must."""

    def __init__(self, publication: ExclusivePublication, traffic: Traffic, timeout: float | None):
        self.publication = publication
        self.traffic = traffic
        self.timeout = timeout
        self.back_pressured = 0

    def await_subscriber(self) -> None:
        """Wait until somebody subscribes; raises `CommandError` after the time-out."""
        started = time.monotonic()
        attempt = 0
        told = not sys.stderr.isatty()
        while not self.publication.is_connected:
            attempt += 1
            idle(attempt)
            waited = time.monotonic() - started
            if not told and waited > 1:
                say(f"waiting for a subscriber of {self._stream()} ...")
                told = True
            if self.timeout is not None and waited > self.timeout:
                raise CommandError(
                    f"nobody subscribed to {self._stream()} within {self.timeout} s: start "
                    "`pillion subscribe` with the same channel and stream",
                    EXIT_TIMED_OUT,
                )

    def send(self, messages: list[bytes | memoryview]) -> None:
        """Send all of `messages` in order."""
        offer = self.publication.offer
        length = 0
        for message in messages:
            if offer(message) < 0:
                self._send_patiently(message)
            length += len(message)
        self.traffic.add(len(messages), length)

    def _send_patiently(self, message: bytes | memoryview) -> None:
        from pillion.client.publication import ADMIN_ACTION, BACK_PRESSURED

        publication = self.publication
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        attempt = 0
        self.back_pressured += 1
        while (result := publication.offer(message)) < 0:
            if result not in (ADMIN_ACTION, BACK_PRESSURED):
                raise CommandError(self._lost(), EXIT_INCOMPLETE)
            if deadline is not None and time.monotonic() > deadline:
                raise CommandError(
                    f"the subscribers of {self._stream()} took nothing for {self.timeout} s",
                    EXIT_TIMED_OUT,
                )
            attempt += 1
            idle(attempt)

    def _stream(self) -> str:
        return f"{self.publication.channel} stream {self.publication.stream_id}"

    def _lost(self) -> str:
        if self.publication.is_closed:
            return f"the client was closed after {self.traffic.messages:,} messages"
        if self.publication.is_connected or self.publication.position > 0:
            return f"the subscriber of {self._stream()} went away after {self.traffic.messages:,} messages"
        return f"nobody subscribes to {self._stream()}"


def consumed_position(client: Client, publication: ExclusivePublication) -> int | None:
    """How far the slowest subscriber of this machine, or else the sender, is; None without one.

    Over the network nobody tells who consumed what: sent is what can be known.
    """
    local, sent = [], []
    for record in client.counters.scan():
        session_id = int.from_bytes(record.key[8:12], "little", signed=True)
        stream_id = int.from_bytes(record.key[12:16], "little", signed=True)
        if (session_id, stream_id) != (publication.session_id, publication.stream_id):
            continue
        if record.type_id == CounterType.SENDER_POSITION:
            sent.append(record.value)
        elif record.type_id == CounterType.SUBSCRIBER_POSITION:
            local.append(record.value)
    return min(sent or local, default=None)


def await_consumed(client: Client, publication: ExclusivePublication, timeout: float | None) -> None:
    """Wait for the end of the stream to arrive; raises `CommandError` if the subscribers leave."""
    end = publication.position
    reached: int | None = 0
    moved = time.monotonic()
    attempt = 0
    while reached is None or reached < end:
        connected = publication.is_connected
        position = consumed_position(client, publication)
        if position is not None and position != reached:
            reached, moved = position, time.monotonic()
            continue
        if not connected:
            raise CommandError(
                f"the subscriber of {publication.channel} stream {publication.stream_id} left "
                f"before the last {end - (reached or 0):,} bytes were seen to be consumed",
                EXIT_INCOMPLETE,
            )
        if timeout is not None and time.monotonic() - moved > timeout:
            raise CommandError(
                f"the last {end - (reached or 0):,} bytes were not consumed: nothing moved for {timeout} s",
                EXIT_TIMED_OUT,
            )
        attempt += 1
        idle(attempt)


def await_linger(client: Client, publication: ExclusivePublication) -> None:
    """Wait until the driver let go of a closed publication: until then it resends what was lost."""
    deadline = time.monotonic() + _LINGER_LIMIT_S
    attempt = 0
    while time.monotonic() < deadline and any(
        record.type_id == CounterType.SENDER_POSITION and record.registration_id == publication.original_registration_id
        for record in client.counters.scan()
    ):
        attempt += 1
        idle(attempt)
