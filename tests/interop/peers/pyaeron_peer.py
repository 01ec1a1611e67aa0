"""The real C client and driver in a process of their own, through `pyaeron`. One JSON object a line on stdout.

The driver takes its settings from the AERON_* environment.
"""

from __future__ import annotations

import os
import signal

import pyaeron
import roles


class PyaeronLibrary:
    """`pyaeron` 0.1.0: `offer` gives True or a falsy code, `try_claim` a claim (1 byte or more) or such a code."""

    def open_publication(self, directory: str, channel: str, stream_id: int, exclusive: bool) -> None:
        self.client = pyaeron.connect(dir=directory)
        add = self.client.add_exclusive_publication if exclusive else self.client.add_publication
        self.publication = add(channel, stream_id)

    def offer(self, payload: bytes, reserved_value: int) -> int:
        result = self.publication.offer(payload, reserved_value=reserved_value)
        return 1 if result is True else result.value

    def claim(self, payload: bytes) -> int:
        if not payload:
            return self.offer(payload, 0)
        claim = self.publication.try_claim(len(payload))
        if not isinstance(claim, pyaeron.BufferClaim):
            return claim.value
        claim.buffer[:] = payload
        claim.commit()
        return 1

    def open_subscription(self, directory: str, channel: str, stream_id: int, handler: roles.Handler) -> None:
        self.client = pyaeron.connect(dir=directory)
        self.subscription = self.client.add_subscription(channel, stream_id)
        self.handler = lambda buffer, header: handler(bytes(buffer), header.reserved_value)

    def poll(self) -> int:
        return self.subscription.poll(self.handler, 64)

    def close(self) -> None:
        self.client.close()


def driver(directory: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    media_driver = pyaeron.MediaDriver(dir=directory)
    roles.say(event="ready", pid=os.getpid())
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    media_driver.close()


if __name__ == "__main__":
    args = roles.arguments("driver", "publish", "subscribe")
    if args.role == "driver":
        driver(args.dir)
    else:
        roles.run(PyaeronLibrary(), args)
