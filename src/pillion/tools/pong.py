"""`pillion pong`: sends back whatever arrives, for `pillion ping` and every other Aeron ping."""

from __future__ import annotations

import argparse
from typing import Any

from pillion.tools.console import connect, make_parser, termination_as_exit
from pillion.tools.ping import EXAMPLES, add_ping_pong_arguments
from pillion.tools.waiting import make_idle

DETAILS = """
Answers every message of the ping channel with the same bytes on the pong channel, until SIGINT or
SIGTERM. What cannot be sent back because nobody listens any more is dropped.
"""


def run(arguments: list[str]) -> int:
    args = _parser().parse_args(arguments)
    wait = make_idle(args.idle)
    with termination_as_exit(), connect(args, "pong") as client:
        subscription = client.add_subscription(args.channel, args.stream)
        publication = client.add_exclusive_publication(args.pong_channel, args.pong_stream)
        handler = make_echo(publication, wait)
        attempt = 0
        while True:
            if subscription.poll(handler, 10):
                attempt = 0
            else:
                attempt += 1
                wait(attempt)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("pong", "Send back whatever arrives.", DETAILS, EXAMPLES)
    add_ping_pong_arguments(parser)
    return parser


def make_echo(publication: Any, wait: Any) -> Any:
    """A handler that offers each message to `publication` until it is taken or nobody listens."""
    from pillion.client.assembler import FragmentAssembler
    from pillion.client.publication import ADMIN_ACTION, BACK_PRESSURED

    def echo(buffer: Any, header: Any) -> None:
        attempt = 0
        while publication.offer(buffer) in (ADMIN_ACTION, BACK_PRESSURED):
            attempt += 1
            wait(attempt)

    return FragmentAssembler(echo)
