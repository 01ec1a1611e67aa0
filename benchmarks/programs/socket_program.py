"""Plain sockets in Python, the yardstick: UDP and TCP, blocking in the kernel or spinning.

Over TCP a message is a fixed number of bytes; the sender makes a call a message, the receiver takes what there is and
hands each message to the handler. UDP has no flow control: it takes part in round trips only.
"""

from __future__ import annotations

import socket
import time
from array import array
from itertools import repeat
from types import SimpleNamespace
from typing import Any

import common

HOST = "127.0.0.1"
RECEIVE_LENGTH = 256 * 1024


class TcpSockets:
    def _open(self, options: SimpleNamespace, connection: socket.socket) -> None:
        # Nagle's delay off, as in any program that cares about round trips; spinning is not to block.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, int(options.no_delay))
        connection.setblocking(not options.spins)
        self.connection, self.message, self.spins = connection, bytes(options.length), options.spins

    def _listen(self, options: SimpleNamespace) -> dict[str, Any]:
        self.options, self.server = options, socket.create_server((HOST, 0))
        return {"port": self.server.getsockname()[1]}

    def _accept(self) -> None:
        if self.server is not None:
            connection, _ = self.server.accept()
            self.server.close()
            self.server = None
            self._open(self.options, connection)

    def open_publisher(self, options: SimpleNamespace) -> None:
        self._open(options, socket.create_connection((HOST, options.port)))

    def publish(self, count: int) -> None:
        send, message = self.connection.sendall, self.message
        for _ in repeat(None, count):
            send(message)

    def open_subscriber(self, options: SimpleNamespace) -> dict[str, Any]:
        self.handler = common.HANDLERS[options.handler]
        return self._listen(options)

    def receive(self, count: int) -> tuple[int, int]:
        self._accept()
        recv_into, length, handler = self.connection.recv_into, len(self.message), self.handler
        buffer = bytearray(RECEIVE_LENGTH + length)
        view = memoryview(buffer)
        start_ns = first = received = rest = 0
        while received < count:
            end = rest + recv_into(view[rest:])
            if end == rest:
                raise EOFError(f"the sender went after {received} of {count} messages")
            whole = end - end % length
            for offset in range(0, whole, length):
                handler(view[offset : offset + length], None)
            buffer[: end - whole] = buffer[whole:end]
            rest = end - whole
            received += whole // length
            if not start_ns:
                start_ns, first = time.monotonic_ns(), received
        return received - first, time.monotonic_ns() - start_ns

    def open_ping(self, options: SimpleNamespace) -> None:
        self._open(options, socket.create_connection((HOST, options.port)))

    def _echo(self) -> Any:
        """A function that waits for one message and returns it."""
        recv, length, spins = self.connection.recv, len(self.message), self.spins

        def take() -> bytes:
            data = b""
            while len(data) < length:
                try:
                    part = recv(length - len(data))
                except BlockingIOError:
                    if not spins:
                        raise
                    continue
                if not part:
                    raise EOFError("the other side went")
                data += part
            return data

        return take

    def ping(self, count: int, latencies_ns: array[int]) -> None:
        send, take, message, clock = self.connection.send, self._echo(), self.message, time.monotonic_ns
        for index in range(count):
            sent_ns = clock()
            send(message)
            take()
            latencies_ns[index] = clock() - sent_ns

    def ping_at(self, count: int, interval_ns: float, latencies_ns: array[int]) -> None:
        raise NotImplementedError("sockets take part one message after the other only")

    def open_pong(self, options: SimpleNamespace) -> dict[str, Any]:
        return self._listen(options)

    def pong(self, count: int) -> None:
        self._accept()
        send, take = self.connection.send, self._echo()
        for _ in repeat(None, count):
            send(take())

    def hold(self, options: SimpleNamespace) -> None:
        raise NotImplementedError("sockets have no driver that could be idle")

    def close(self) -> None:
        self.connection.close()


class UdpSockets(TcpSockets):
    """Ping is connected, pong answers whoever asks first."""

    def open_publisher(self, options: SimpleNamespace) -> None:
        raise NotImplementedError("plain UDP has no flow control: it takes part in round trips only")

    def open_ping(self, options: SimpleNamespace) -> None:
        self._open_udp(options)
        self.connection.connect((HOST, options.port))

    def _open_udp(self, options: SimpleNamespace) -> None:
        self.connection = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.connection.setblocking(not options.spins)
        self.message, self.spins = bytes(options.length), options.spins

    def open_pong(self, options: SimpleNamespace) -> dict[str, Any]:
        self._open_udp(options)
        self.connection.bind((HOST, 0))
        return {"port": self.connection.getsockname()[1]}

    def _echo(self) -> Any:
        recv = self.connection.recv
        if not self.spins:
            return lambda: recv(2048)

        def take() -> bytes:
            while True:
                try:
                    return recv(2048)
                except BlockingIOError:
                    pass

        return take

    def pong(self, count: int) -> None:
        recvfrom, sendto = self.connection.recvfrom, self.connection.sendto
        answered = 0
        while answered < count:
            try:
                data, source = recvfrom(2048)
            except BlockingIOError:
                continue
            sendto(data, source)
            answered += 1


if __name__ == "__main__":
    import json
    import sys

    kind = json.loads(sys.argv[2]).get("protocol", "tcp") if len(sys.argv) > 2 else "tcp"
    common.run({"tcp": TcpSockets, "udp": UdpSockets}[kind](), {})
