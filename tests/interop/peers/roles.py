"""What a Python peer process does, whatever the library: its options, its JSON lines, its loops.

A publisher says `ready`, publishes, says `published` and stays until its standard input is closed. A subscriber says
`ready`, takes `count` messages, says `received` with their digest and goes; with `--hang` it stays as a publisher does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Protocol

from messages import Digest, message

# Larger messages are offered in `claim` mode as well: a claim is one frame.
LARGEST_CLAIM = 1000
Handler = Callable[[bytes, int], None]


class Library(Protocol):
    """What a library must be able to do to take part. `offer` and `claim` return 1, or a code that means: again."""

    def open_publication(self, directory: str, channel: str, stream_id: int, exclusive: bool) -> None: ...

    def offer(self, payload: bytes, reserved_value: int) -> int: ...

    def claim(self, payload: bytes) -> int: ...

    def open_subscription(self, directory: str, channel: str, stream_id: int, handler: Handler) -> None: ...

    def poll(self) -> int: ...

    def close(self) -> None: ...


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def pause(attempts: int) -> None:
    """Give way to the other side at once, and leave it the processor when it takes long."""
    time.sleep(0 if attempts < 20 else 50e-6)


def publish(library: Library, args: argparse.Namespace) -> None:
    library.open_publication(args.dir, args.channel, args.stream, args.mode == "exclusive")
    say(event="ready", pid=os.getpid())
    deadline = time.monotonic() + args.timeout
    for index in range(args.count):
        payload = message(index, args.largest)
        attempts = 0
        while True:
            if args.mode == "claim" and len(payload) <= LARGEST_CLAIM:
                code = library.claim(payload)
            else:
                code = library.offer(payload, 0 if args.mode == "claim" else index)
            if code > 0:
                break
            if time.monotonic() > deadline:
                say(event="failed", index=index, code=code)
                sys.exit(1)
            attempts += 1
            pause(attempts)
    say(event="published", count=args.count)
    sys.stdin.read()
    library.close()


def subscribe(library: Library, args: argparse.Namespace) -> None:
    digest = Digest()
    reserved = 0

    def on_message(payload: bytes, reserved_value: int) -> None:
        nonlocal reserved
        digest.add(payload)
        reserved += reserved_value

    library.open_subscription(args.dir, args.channel, args.stream, on_message)
    say(event="ready", pid=os.getpid())
    deadline = time.monotonic() + args.timeout
    attempts = 0
    while digest.count < args.count and time.monotonic() < deadline:
        if library.poll():
            attempts = 0
        else:
            attempts += 1
            pause(attempts)
    say(event="received", count=digest.count, reserved=reserved, digest=digest.hexdigest())
    if args.hang:
        sys.stdin.read()
    library.close()


def arguments(*roles: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=roles)
    parser.add_argument("--dir", required=True)
    parser.add_argument("--channel", default="aeron:ipc")
    parser.add_argument("--stream", type=int, default=1001)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--largest", type=int, default=0)
    parser.add_argument("--mode", choices=["concurrent", "exclusive", "claim"], default="concurrent")
    parser.add_argument("--timeout", type=float, default=60.0)
    parser.add_argument("--hang", action="store_true")
    return parser.parse_args()


def run(library: Library, args: argparse.Namespace) -> None:
    {"publish": publish, "subscribe": subscribe}[args.role](library, args)
