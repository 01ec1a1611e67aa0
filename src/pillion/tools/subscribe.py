"""`pillion subscribe`: what a stream brings goes to a file or to stdout, up to its end."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from pillion.tools.console import (
    EXIT_INCOMPLETE,
    EXIT_TIMED_OUT,
    CommandError,
    DeferredStop,
    Traffic,
    add_client_arguments,
    add_stream_arguments,
    connect,
    idle,
    make_parser,
    open_or_standard,
    positive_seconds,
    print_json,
    whole_number,
    write_all,
)
from pillion.tools.framing import FORMATS, make_joiner

if TYPE_CHECKING:
    from pillion.client.fragment import FragmentBuffer, Header
    from pillion.client.image import Image

DETAILS = """
Waits for publishers and writes what they send, until every stream that came has ended and was
written: the way back of `pillion publish`, whose help explains the formats. A stream that stops
without an end (its publisher's machine is gone) ends the command with exit code 5.

lines and records take messages of many publishers at once; raw takes one stream after the other.
"""

EXAMPLES = """
  pillion subscribe -c aeron:ipc
  pillion subscribe -c aeron:udp?endpoint=0.0.0.0:40123 --follow >> all.log
  pillion subscribe --format raw -c aeron:udp?endpoint=0.0.0.0:40123 -o copy.tar
  pillion subscribe -c aeron:ipc --count 10 | sort
  pillion subscribe -c aeron:udp?endpoint=0.0.0.0:40123 --once
"""

_FRAGMENT_LIMIT = 256
# A publisher that waits for its end to be consumed sees our position only as long as we are here.
_COUNT_LINGER_S = 0.1


def run(arguments: list[str]) -> int:
    args = _parser().parse_args(arguments)
    creation = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with (
        open_or_standard(args.output, sys.stdout, creation) as output,
        DeferredStop() as stop,
        connect(args, "subscribe") as client,
    ):
        arrived: deque[Image] = deque()
        client.add_subscription(args.channel, args.stream, on_available_image=arrived.append)
        traffic = Traffic("received", quiet=args.quiet)
        receiver = Receiver(args, arrived, output, traffic, stop)
        try:
            receiver.receive()
        finally:
            traffic.finish()
            if args.json:
                print_json(
                    {**traffic.summary(), "channel": args.channel, "stream_id": args.stream},
                    to_stderr=args.output == "-",
                )
        if args.count is not None:
            time.sleep(_COUNT_LINGER_S)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("subscribe", "Write what a stream brings to a file or to stdout.", DETAILS, EXAMPLES)
    add_stream_arguments(parser)
    parser.add_argument("-f", "--format", choices=FORMATS, default="lines", help="as the publisher has it")
    parser.add_argument("-o", "--output", default="-", metavar="FILE", help="output (default: -, which is stdout)")
    ends = parser.add_mutually_exclusive_group()
    ends.add_argument("--once", action="store_true", help="take the first stream only")
    ends.add_argument("--follow", action="store_true", help="go on when a stream has ended: more may come")
    parser.add_argument(
        "-n",
        "--count",
        type=whole_number(1),
        metavar="N",
        help="stop after N messages, or when the streams have ended before",
    )
    parser.add_argument(
        "--timeout",
        type=positive_seconds,
        metavar="SECONDS",
        help="give up when nothing arrives for so long (default: never)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print a summary at the end, on stderr if the data goes to stdout",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress on a terminal")
    add_client_arguments(parser)
    return parser


class Receiver:
    """Takes images as they arrive, writes what they bring, and knows when all have ended."""

    def __init__(
        self,
        args: argparse.Namespace,
        arrived: deque[Image],
        output: int,
        traffic: Traffic,
        stop: DeferredStop,
    ) -> None:
        from pillion.client.assembler import FragmentAssembler

        self.args = args
        self.arrived = arrived
        self.output = output
        self.traffic = traffic
        self.stop = stop
        self.messages: list[bytes] = []
        self.images: list[Image] = []
        self.ended = 0
        self.join = make_joiner(args.format)
        # Raw takes fragments as they are: their borders mean nothing.
        self.handler: Any = self._take
        if args.format != "raw":
            self.handler = FragmentAssembler(self._take)
        # Where order matters, one stream after the other.
        self.one_at_a_time = args.format == "raw" or args.once

    def _take(self, buffer: FragmentBuffer, header: Header) -> None:
        self.messages.append(bytes(buffer))

    def receive(self) -> None:
        """Until everything has ended; raises `CommandError` for a stream that was cut off."""
        attempt = 0
        last = time.monotonic()
        while not self._is_complete():
            # What was polled counts as consumed: it is written before anything ends us.
            with self.stop.held():
                work = self._poll()
                self._write()
            if work:
                attempt = 0
                last = time.monotonic()
                continue
            self._retire()
            timeout = self.args.timeout
            if timeout is not None and time.monotonic() - last > timeout:
                raise CommandError(
                    f"nothing arrived on {self.args.channel} stream {self.args.stream} for {timeout} s",
                    EXIT_TIMED_OUT,
                )
            attempt += 1
            idle(attempt)

    def _is_complete(self) -> bool:
        count: int | None = self.args.count
        if count is not None and self.traffic.messages >= count:
            return True
        if self.args.follow or not self.ended:
            return False
        return self.args.once or not (self.images or self.arrived)

    def _poll(self) -> int:
        while self.arrived:
            self.images.append(self.arrived.popleft())
        limit = _FRAGMENT_LIMIT
        if self.args.count is not None:
            # A fragment is at most one message: never more of them than are still wanted.
            limit = min(limit, self.args.count - self.traffic.messages)
        work = 0
        for image in self.images[:1] if self.one_at_a_time else self.images:
            work += image.poll(self.handler, limit)
            if self.args.count is not None and work:
                break
        return work

    def _retire(self) -> None:
        """Let go of images that brought all they had."""
        for image in self.images[:1] if self.one_at_a_time else list(self.images):
            # In this order: the client's thread may close the image in between, after its end.
            is_closed = image.is_closed
            over = image.is_end_of_stream
            if not over and not is_closed:
                continue
            if not over or image.is_publication_revoked:
                raise CommandError(
                    f"the stream of session {image.session_id} from {image.source_identity} was "
                    f"cut off at position {image.position:,}, before its end",
                    EXIT_INCOMPLETE,
                )
            self.images.remove(image)
            self.ended += 1

    def _write(self) -> None:
        if self.messages:
            taken, self.messages = self.messages, []
            self.traffic.add(len(taken), sum(map(len, taken)))
            write_all(self.output, self.join(taken))
