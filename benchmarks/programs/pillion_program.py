"""Our client in a process of its own: `offer` returns a position above 0, or a negative code."""

from __future__ import annotations

import os
import time
from array import array
from itertools import repeat
from types import SimpleNamespace
from typing import Any

import common

import pillion


class Pillion:
    """Publishes exclusively, as every Aeron peer here does: one writer needs no more."""

    def _connect(self, options: SimpleNamespace) -> None:
        self.driver: Any = None
        if options.invoker:
            # The driver runs in this thread: in each poll, and while the client waits for it.
            self.driver = pillion.MediaDriver(aeron_dir=options.dir, threading_mode="invoker")
            self.client = pillion.connect(options.dir, driver_agent_invoker=self.driver.invoke)
        else:
            self.client = pillion.connect(options.dir)
        self.message = bytearray(options.length)
        self.idle = os.sched_yield if options.yields else None

    def _poll(self, subscription: pillion.Subscription) -> Any:
        poll = subscription.poll
        if self.driver is None:
            return poll
        invoke = self.driver.invoke

        def poll_after_driver(handler: Any, limit: int) -> int:
            invoke()
            return poll(handler, limit)

        return poll_after_driver

    def _await_connected(self, *streams: Any) -> None:
        while not all(stream.is_connected for stream in streams):
            if self.driver is not None:
                self.driver.invoke()
            os.sched_yield()

    def open_publisher(self, options: SimpleNamespace) -> None:
        self._connect(options)
        self.publication = self.client.add_exclusive_publication(options.channel, options.stream)
        self._await_connected(self.publication)

    def publish(self, count: int) -> None:
        offer, message, idle = self.publication.offer, bytes(self.message), self.idle
        for _ in repeat(None, count):
            while offer(message) < 0:
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
            first = poll(handler, limit)
            if not first and idle:
                idle()
        start_ns = time.monotonic_ns()
        received = first
        while received < count:
            fragments = poll(handler, limit)
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
        offer, poll, handler = self.publication.offer, self._poll(self.subscription), common.empty_handler
        message, clock, idle = bytes(self.message), time.monotonic_ns, self.idle
        for index in range(count):
            sent_ns = clock()
            while offer(message) < 0:
                if idle:
                    idle()
            while not poll(handler, 10):
                if idle:
                    idle()
            latencies_ns[index] = clock() - sent_ns

    def ping_at(self, count: int, interval_ns: float, latencies_ns: array[int]) -> None:
        poll, offer, idle = self._poll(self.subscription), self.publication.offer, self.idle

        def poll_once(handler: Any) -> int:
            fragments: int = poll(handler, 10)
            if not fragments and idle:
                idle()
            return fragments

        common.schedule(count, interval_ns, self.message, latencies_ns, lambda buffer: offer(buffer) > 0, poll_once)

    def open_pong(self, options: SimpleNamespace) -> dict[str, Any]:
        self._connect(options)
        self.subscription = self.client.add_subscription(options.channel, options.stream)
        self.publication = self.client.add_exclusive_publication(options.pong_channel, options.pong_stream)
        return {}

    def pong(self, count: int) -> None:
        poll, offer, idle = self._poll(self.subscription), self.publication.offer, self.idle

        def handler(buffer: Any, header: Any) -> None:
            while offer(buffer) < 0:
                if idle:
                    idle()

        answered = 0
        while answered < count:
            fragments = poll(handler, 10)
            if fragments:
                answered += fragments
            elif idle:
                idle()
        # The driver in this thread sends the last answer now: nobody else will.
        while self.driver is not None and self.driver.invoke():
            pass

    def hold(self, options: SimpleNamespace) -> None:
        self._connect(options)
        self.streams: list[Any] = []
        for stream_id in range(options.stream, options.stream + options.streams):
            self.streams.append(self.client.add_subscription(options.channel, stream_id))
            self.streams.append(self.client.add_publication(options.channel, stream_id))
        self._await_connected(*self.streams)

    def close(self) -> None:
        self.client.close()
        if self.driver is not None:
            self.driver.close()


if __name__ == "__main__":
    common.run(Pillion(), {"pillion": pillion.__version__})
