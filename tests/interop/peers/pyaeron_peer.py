"""The real C client and driver in a process of their own, through `pyaeron`. One JSON object a line on stdout."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time

import pyaeron
from messages import Digest, message


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def driver(args: argparse.Namespace) -> None:
    with pyaeron.MediaDriver(dir=args.dir):
        say(event="ready", pid=os.getpid())
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


def publish(args: argparse.Namespace) -> None:
    client = pyaeron.connect(dir=args.dir)
    add = client.add_exclusive_publication if args.mode == "exclusive" else client.add_publication
    publication = add(args.channel, args.stream)
    say(event="ready", pid=os.getpid())
    publication.await_connected(timeout=args.timeout)
    deadline = time.monotonic() + args.timeout
    for index in range(args.count):
        payload = message(index, args.largest)
        while True:
            if args.mode == "claim" and len(payload) <= 1000:
                claim = publication.try_claim(len(payload))
                if isinstance(claim, pyaeron.BufferClaim):
                    claim.buffer[:] = payload
                    claim.commit()
                    break
                code = claim
            else:
                code = publication.offer(payload)
                if int(code) > 0:
                    break
            if time.monotonic() > deadline:
                say(event="failed", index=index, code=int(code))
                sys.exit(1)
            time.sleep(0)
    say(event="published", count=args.count)
    if args.hang:
        signal.pause()
    # The subscriber says when it has everything, by closing our stdin.
    sys.stdin.read()
    publication.close()
    client.close()


def subscribe(args: argparse.Namespace) -> None:
    client = pyaeron.connect(dir=args.dir)
    subscription = client.add_subscription(args.channel, args.stream)
    say(event="ready", pid=os.getpid())
    digest = Digest()

    def handler(buffer: object, header: object) -> None:
        digest.add(bytes(buffer))  # type: ignore[call-overload]

    deadline = time.monotonic() + args.timeout
    while digest.count < args.count and time.monotonic() < deadline:
        if not subscription.poll(handler, 64):
            time.sleep(0)
    say(event="received", count=digest.count, digest=digest.hexdigest())
    if args.hang:
        signal.pause()
    subscription.close()
    client.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["driver", "publish", "subscribe"])
    parser.add_argument("--dir", required=True)
    parser.add_argument("--channel", default="aeron:ipc")
    parser.add_argument("--stream", type=int, default=1001)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--largest", type=int, default=0)
    parser.add_argument("--mode", choices=["concurrent", "exclusive", "claim"], default="concurrent")
    parser.add_argument("--timeout", type=float, default=60.0)
    parser.add_argument("--hang", action="store_true")
    args = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT} if args.role == "driver" else set())
    {"driver": driver, "publish": publish, "subscribe": subscribe}[args.role](args)


if __name__ == "__main__":
    main()
