"""ZeroMQ through pyzmq: PUSH and PULL for throughput, PAIR for round trips, blocking in the kernel as it does."""

from __future__ import annotations

import time
from array import array
from itertools import repeat
from types import SimpleNamespace
from typing import Any

import common
import zmq


class ZeroMq:
    def _bind(self, kind: int, options: SimpleNamespace) -> dict[str, Any]:
        self.context = zmq.Context()
        self.socket = self.context.socket(kind)
        self.message = bytes(options.length)
        if options.media == "ipc":
            self.socket.bind(f"ipc://{options.dir}/zmq")
            return {"port": 0}
        return {"port": self.socket.bind_to_random_port("tcp://127.0.0.1")}

    def _connect(self, kind: int, options: SimpleNamespace) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(kind)
        self.message = bytes(options.length)
        self.socket.connect(f"ipc://{options.dir}/zmq" if options.media == "ipc" else f"tcp://127.0.0.1:{options.port}")

    def open_publisher(self, options: SimpleNamespace) -> None:
        self._connect(zmq.PUSH, options)

    def publish(self, count: int) -> None:
        send, message = self.socket.send, self.message
        for _ in repeat(None, count):
            send(message)

    def open_subscriber(self, options: SimpleNamespace) -> dict[str, Any]:
        self.handler = common.HANDLERS[options.handler]
        return self._bind(zmq.PULL, options)

    def receive(self, count: int) -> tuple[int, int]:
        recv, handler = self.socket.recv, self.handler
        handler(recv(), None)
        start_ns = time.monotonic_ns()
        for _ in repeat(None, count - 1):
            handler(recv(), None)
        return count - 1, time.monotonic_ns() - start_ns

    def open_ping(self, options: SimpleNamespace) -> None:
        self._connect(zmq.PAIR, options)

    def ping(self, count: int, latencies_ns: array[int]) -> None:
        send, recv, message, clock = self.socket.send, self.socket.recv, self.message, time.monotonic_ns
        for index in range(count):
            sent_ns = clock()
            send(message)
            recv()
            latencies_ns[index] = clock() - sent_ns

    def ping_at(self, count: int, interval_ns: float, latencies_ns: array[int]) -> None:
        raise NotImplementedError("ZeroMQ takes part one message after the other only")

    def open_pong(self, options: SimpleNamespace) -> dict[str, Any]:
        return self._bind(zmq.PAIR, options)

    def pong(self, count: int) -> None:
        send, recv = self.socket.send, self.socket.recv
        for _ in repeat(None, count):
            send(recv())

    def hold(self, options: SimpleNamespace) -> None:
        raise NotImplementedError("ZeroMQ has no driver that could be idle")

    def close(self) -> None:
        self.socket.close(linger=0)
        self.context.term()


if __name__ == "__main__":
    common.run(ZeroMq(), {"pyzmq": zmq.__version__, "libzmq": zmq.zmq_version()})
