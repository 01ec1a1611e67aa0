"""The demo's yardstick: the same file and the same round trips over plain sockets.

`sockets.py ROLE ...`: a server prints its port first; who measures prints JSON at its end.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time

from pillion.tools.histogram import Histogram

BLOCK_LENGTH = 256 * 1024
HOST = "127.0.0.1"
TIMEOUT_S = 60.0


def listen() -> socket.socket:
    """The one connection that comes; Nagle's delay is off, as in any program that cares."""
    with socket.create_server((HOST, 0)) as server:
        server.settimeout(TIMEOUT_S)
        print(server.getsockname()[1], flush=True)
        connection, _ = server.accept()
    connection.settimeout(TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def connect(port: str) -> socket.socket:
    connection = socket.create_connection((HOST, int(port)), TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def tcp_send(port: str, path: str) -> None:
    source = os.open(path, os.O_RDONLY)
    with connect(port) as connection:
        while data := os.read(source, BLOCK_LENGTH):
            connection.sendall(data)
    print("{}")


def tcp_receive(path: str) -> None:
    output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    received = first_ns = last_ns = 0
    with listen() as connection:
        while data := connection.recv(BLOCK_LENGTH):
            first_ns = first_ns or time.monotonic_ns()
            received += os.write(output, data)
            last_ns = time.monotonic_ns()
    seconds = max(last_ns - first_ns, 1) / 1e9
    print(json.dumps({"bytes": received, "bytes_per_second": received / seconds}))


def tcp_pong() -> None:
    with listen() as connection:
        while data := connection.recv(65536):
            connection.sendall(data)
    print("{}")


def tcp_ping(port: str, count: str, warm_up: str, length: str) -> None:
    with connect(port) as connection:
        message = bytes(int(length))

        def round_trip() -> None:
            connection.sendall(message)
            left = len(message)
            while left:
                left -= len(connection.recv(left))

        measure(round_trip, int(count), int(warm_up))


def udp_pong() -> None:
    """Ends on an empty datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.settimeout(TIMEOUT_S)
        server.bind((HOST, 0))
        print(server.getsockname()[1], flush=True)
        while True:
            data, source = server.recvfrom(65536)
            if not data:
                break
            server.sendto(data, source)
    print("{}")


def udp_ping(port: str, count: str, warm_up: str, length: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(TIMEOUT_S)
        client.connect((HOST, int(port)))
        message = bytes(int(length))

        def round_trip() -> None:
            client.send(message)
            client.recv(65536)

        measure(round_trip, int(count), int(warm_up))
        client.send(b"")


def measure(round_trip, count: int, warm_up: int) -> None:  # type: ignore[no-untyped-def]
    for _ in range(warm_up):
        round_trip()
    histogram = Histogram()
    for _ in range(count):
        sent_ns = time.monotonic_ns()
        round_trip()
        histogram.record(time.monotonic_ns() - sent_ns)
    print(json.dumps(histogram.summary()))


ROLES = {
    "tcp-send": tcp_send,
    "tcp-receive": tcp_receive,
    "tcp-pong": tcp_pong,
    "tcp-ping": tcp_ping,
    "udp-pong": udp_pong,
    "udp-ping": udp_ping,
}

if __name__ == "__main__":
    ROLES[sys.argv[1]](*sys.argv[2:])
