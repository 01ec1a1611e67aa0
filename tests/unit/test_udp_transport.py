"""Kernel sockets: addresses, errors, readiness of many, and loss on purpose."""

from __future__ import annotations

import errno
import socket
import time

import pytest
from plane_tools import MS, Reader, Side, drain

from pillion.driver.events import DriverEvent, decode_address
from pillion.driver.streams import SendEndpoint
from pillion.driver.udp.transport import UdpTransport, encode_address, format_address

DEADLINE = 20.0


@pytest.fixture
def side(tmp_path):
    made = Side(tmp_path)
    yield made
    made.close()


def work_until(side, condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        side.now_ns = time.monotonic_ns()
        side.do_work()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_addresses_that_cannot_be_used_are_named():
    first = UdpTransport(bind=("127.0.0.1", 0))
    with pytest.raises(OSError, match=r"cannot bind to 127\.0\.0\.1:\d+: Address already in use") as caught:
        UdpTransport(bind=first.local_address)
    assert caught.value.errno == errno.EADDRINUSE
    with pytest.raises(OSError, match=r"cannot connect to 255\.255\.255\.255:9"):
        UdpTransport(bind=("127.0.0.1", 0), connect=("255.255.255.255", 9))
    with pytest.raises(ValueError, match="address"):
        UdpTransport()
    first.close()


@pytest.mark.parametrize(("host", "port", "text"), [("127.0.0.1", 40123, "127.0.0.1:40123"), ("::1", 9, "[::1]:9")])
def test_addresses_there_and_back(host, port, text):
    assert decode_address(encode_address(host, port)) == (host, port)
    assert format_address(host, port) == text


def test_an_address_of_another_family():
    with pytest.raises(ValueError, match="family"):
        decode_address(bytes([1, 0]) + bytes(14))


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_stream_over_loopback(side, host, connected):
    if host == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    receive = side.udp(bind=(host, 0))
    if connected:
        found = side.add_publication(side.udp(connect=receive.local_address))
    else:
        found = side.add_publication(side.udp(bind=(host, 0)), destination=encode_address(*receive.local_address))
    side.add_subscription(receive)
    work_until(side, lambda: side.images and found.log.is_connected)
    reader = Reader(side.images[0].images[0])
    messages = [bytes([n % 256]) * (n * 7 % 3000) for n in range(300)]
    received = []
    waiting = list(messages)

    def exchange():
        while waiting and found.publication.offer(waiting[0]) > 0:
            waiting.pop(0)
        received.extend(reader.read())
        return len(received) == len(messages)

    work_until(side, exchange)
    assert received == messages


def test_more_sockets_than_are_tried_one_by_one(side):
    pairs = []
    for number in range(9):
        receive = side.udp(bind=("127.0.0.1", 0))
        pairs.append(side.add_publication(side.udp(connect=receive.local_address), session_id=5000 + number))
        side.add_subscription(receive, receiver_id=number)
    work_until(side, lambda: len(side.images) == 9 and all(found.log.is_connected for found in pairs))
    for number, found in enumerate(pairs):
        assert found.publication.offer(b"%d" % number) > 0
    received = {}

    def collect():
        for found in side.images:
            for message in drain(found.images[0]):
                received[found.log.session_id] = message
        return len(received) == 9

    work_until(side, collect)
    assert received == {5000 + number: b"%d" % number for number in range(9)}


@pytest.mark.parametrize("direction", ["send", "receive", "both"])
def test_loss_on_purpose(side, direction):
    receive = side.udp(bind=("127.0.0.1", 0))
    send = side.udp(connect=receive.local_address)
    for seed, transport in enumerate((receive, send)):
        transport.set_loss(drop=0.1, duplicate=0.1, reorder=0.1, seed=seed + 5, direction=direction)
    found = side.add_publication(send)
    side.add_subscription(receive)
    work_until(side, lambda: side.images and found.log.is_connected)
    reader = Reader(side.images[0].images[0])
    waiting = [number.to_bytes(4, "little") * 300 for number in range(200)]
    messages = list(waiting)
    received = []

    def exchange():
        while waiting and found.publication.offer(waiting[0]) > 0:
            waiting.pop(0)
        received.extend(reader.read())
        return len(received) == len(messages)

    work_until(side, exchange)
    assert received == messages
    assert found.value("snd_naks") > 0


def test_the_mask_spares_other_frames(side):
    receive = side.udp(bind=("127.0.0.1", 0))
    receive.set_loss(drop=1.0, mask=1 << 1, direction="receive")
    found = side.add_publication(side.udp(connect=receive.local_address))
    side.add_subscription(receive)
    work_until(side, lambda: side.images and found.log.is_connected)
    assert found.publication.offer(b"never arrives") > 0
    work_until(side, lambda: found.stream.sender_position == 64)
    for _ in range(50):
        side.do_work()
    assert drain(side.images[0].images[0]) == []
    with pytest.raises(ValueError, match="direction"):
        receive.set_loss(direction="up")


def test_a_transport_has_one_place_to_send_to(side):
    with pytest.raises(ValueError, match="either connected or"):
        SendEndpoint(side.udp(connect=("127.0.0.1", 9)), encode_address("127.0.0.1", 9))
    with pytest.raises(ValueError, match="either connected or"):
        SendEndpoint(side.udp(bind=("127.0.0.1", 0)))
    with pytest.raises(ValueError, match="not a socket address"):
        SendEndpoint(side.udp(bind=("127.0.0.1", 0)), bytes(29))


def test_errors_of_a_socket_are_reported_once_a_second(side):
    send = side.udp(bind=("127.0.0.1", 0), connect=("127.0.0.1", 9))
    found = side.add_publication(send)
    send.socket.shutdown(socket.SHUT_RDWR)              # from now on sending is EPIPE
    now = time.monotonic_ns()
    for _ in range(12):
        now += 101 * MS
        side.step(now)
    first, second = side.take(DriverEvent.SOCKET_ERROR)
    assert first == (DriverEvent.SOCKET_ERROR, found.endpoint, errno.EPIPE, 1)
    assert second[2] == errno.EPIPE
    assert 9 <= second[3] <= 11


def test_nobody_listening_is_not_an_error(side):
    found = side.add_publication(side.udp(connect=("127.0.0.1", 9)))
    now = time.monotonic_ns()
    for _ in range(10):
        now += 101 * MS
        side.step(now)
    assert side.take(DriverEvent.SOCKET_ERROR) == []
    assert found.stream.sender_position == 0
