"""The C client, or the C driver, in a process of its own through `pyaeron`: `offer` returns True or a falsy code.

`poll` is told not to reassemble, as our `Subscription.poll` does not: no message here has more than one fragment.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from array import array
from itertools import repeat
from types import SimpleNamespace
from typing import Any

import common
import pyaeron


class Pyaeron:
    def _connect(self, options: SimpleNamespace) -> None:
        self.client = pyaeron.connect(dir=options.dir)
        self.message = bytearray(options.length)
        self.idle = os.sched_yield if options.yields else None

    def _await_connected(self, *streams: Any) -> None:
        while not all(stream.is_connected for stream in streams):
            os.sched_yield()

    def open_publisher(self, options: SimpleNamespace) -> None:
        self._connect(options)
        self.publication = self.client.add_exclusive_publication(options.channel, options.stream)
        self._await_connected(self.publication)

    def publish(self, count: int) -> None:
        offer, message, idle = self.publication.offer, bytes(self.message), self.idle
        for _ in repeat(None, count):
            while not offer(message):
                if idle:
                    idle()

    def open_subscriber(self, options: SimpleNamespace) -> dict[str, Any]:
        self._connect(options)
        self.subscription = self.client.add_subscription(options.channel, options.stream)
        self.handler = common.HANDLERS[options.handler]
        return {}

    def receive(self, count: int) -> tuple[int, int]:
        poll, handler, limit, idle = self.subscription.poll, self.handler, common.FRAGMENT_LIMIT, self.idle
        first = 0
        while not first:
            first = poll(handler, limit, assemble=False)
            if not first and idle:
                idle()
        start_ns = time.monotonic_ns()
        received = first
        while received < count:
            fragments = poll(handler, limit, assemble=False)
            if fragments:
                received += fragments
            elif idle:
                idle()
        return received - first, time.monotonic_ns() - start_ns

    def open_ping(self, options: SimpleNamespace) -> None:
        self._connect(options)
        self.subscription = self.client.add_subscription(options.pong_channel, options.pong_stream)
        self.publication = self.client.add_exclusive_publication(options.channel, options.stream)
        self._await_connected(self.subscription, self.publication)

    def ping(self, count: int, latencies_ns: array[int]) -> None:
        offer, poll, handler = self.publication.offer, self.subscription.poll, common.empty_handler
        message, clock, idle = bytes(self.message), time.monotonic_ns, self.idle
        for index in range(count):
            sent_ns = clock()
            while not offer(message):
                if idle:
                    idle()
            while not poll(handler, 10, assemble=False):
                if idle:
                    idle()
            latencies_ns[index] = clock() - sent_ns

    def ping_at(self, count: int, interval_ns: float, latencies_ns: array[int]) -> None:
        poll, offer, idle = self.subscription.poll, self.publication.offer, self.idle

        def poll_once(handler: Any) -> int:
            fragments: int = poll(handler, 10, assemble=False)
            if not fragments and idle:
                idle()
            return fragments

        common.schedule(count, interval_ns, self.message, latencies_ns, lambda buffer: offer(buffer) is True, poll_once)

    def open_pong(self, options: SimpleNamespace) -> dict[str, Any]:
        self._connect(options)
        self.subscription = self.client.add_subscription(options.channel, options.stream)
        self.publication = self.client.add_exclusive_publication(options.pong_channel, options.pong_stream)
        return {}

    def pong(self, count: int) -> None:
        poll, offer, idle = self.subscription.poll, self.publication.offer, self.idle

        def handler(buffer: Any, header: Any) -> None:
            while not offer(buffer):
                if idle:
                    idle()

        answered = 0
        while answered < count:
            fragments = poll(handler, 10, assemble=False)
            if fragments:
                answered += fragments
            elif idle:
                idle()

    def hold(self, options: SimpleNamespace) -> None:
        self._connect(options)
        self.streams: list[Any] = []
        for stream_id in range(options.stream, options.stream + options.streams):
            self.streams.append(self.client.add_subscription(options.channel, stream_id))
            self.streams.append(self.client.add_publication(options.channel, stream_id))
        self._await_connected(*self.streams)

    def close(self) -> None:
        self.client.close()


def run_driver(directory: str, threading_mode: str) -> None:
    """The C driver until SIGTERM; its threads are native ones, and Python waits in the kernel meanwhile."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    start_ns = time.monotonic_ns()
    driver = pyaeron.MediaDriver(dir=directory, threading=threading_mode)
    common.say("driver", started_ms=(time.monotonic_ns() - start_ns) / 1e6)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    driver.close()


if __name__ == "__main__":
    if sys.argv[1] == "driver":
        run_driver(**json.loads(sys.argv[2]))
    else:
        common.run(Pyaeron(), {"pyaeron": pyaeron.__version__, "aeron C": pyaeron.aeron_version})
