"""The to-clients broadcast buffer against sections 4 and 10.3 of the shared-memory format."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_tools import fill, forked, get, put, take

from pillion.errors import LappedError
from pillion.memory.broadcast import BroadcastReceiver, BroadcastTransmitter
from pillion.memory.mapped_file import MappedFile

TRAILER = 128
INTENT, TAIL, LATEST = 0, 8, 16
PADDING = -1


class Broadcast:
    """A buffer with its transmitter, and receivers on demand."""

    def __init__(self, capacity: int = 1024) -> None:
        self.owner = MappedFile.anonymous(capacity + TRAILER)
        self.capacity = capacity
        self.transmitter = BroadcastTransmitter(self.owner, 0, capacity + TRAILER)

    def receiver(self) -> BroadcastReceiver:
        return BroadcastReceiver(self.owner, 0, self.capacity + TRAILER)

    def trailer(self, field: int) -> int:
        return get(self.owner, "q", self.capacity + field)

    def set_trailer(self, field: int, value: int) -> None:
        put(self.owner, "q", self.capacity + field, value)

    def start_at(self, position: int) -> None:
        for field in (INTENT, TAIL, LATEST):
            self.set_trailer(field, position)
        self.transmitter = BroadcastTransmitter(self.owner, 0, self.capacity + TRAILER)


@pytest.mark.parametrize("kind", [BroadcastReceiver, BroadcastTransmitter])
@pytest.mark.parametrize(
    ("offset", "length"), [(0, 128), (0, 129), (0, 1000), (0, -1), (-8, 1152), (4, 1152), (4096, 1152)]
)
def test_refuses_what_is_no_buffer(kind: type, offset: int, length: int) -> None:
    with pytest.raises(ValueError, match="broadcast"):
        kind(MappedFile.anonymous(4096), offset, length)


def test_golden_buffer() -> None:
    golden = bytes.fromhex(
        "14000000080f0000010000000000000036000000000000004700000003 0f0000"
        "0200000000000000020000000000000026c9a5f8e9030000310000002e000000"
        "1b0000006d642f7075626c69636174696f6e732f322e6c6f6762756666657200"
        "14000000080f00000300000000000000390000000000000014000000070f0000"
        "0400000000000000370000000000000053000000020f00000500000000000000"
        "26c9a5f8e903000004000000000000003d000000150000006d642f696d616765"
        "732f352e6c6f676275666665720000000f0000003132372e302e302e313a3334"
        "3230380000000000"
    )
    broadcast = Broadcast()
    receiver = broadcast.receiver()
    messages = []
    at = 0
    while at < len(golden):
        length, kind = struct.unpack_from("<ii", golden, at)
        messages.append((kind, golden[at + 8 : at + length]))
        at += (length + 7) & ~7
    for kind, message in messages:
        broadcast.transmitter.transmit(kind, message)
    assert take(broadcast.owner, 0, len(golden)) == golden
    assert [broadcast.trailer(field) for field in (INTENT, TAIL, LATEST)] == [232, 232, 144]
    assert [receiver.receive() for _ in range(6)] == [*messages, None]


def test_starts_at_the_newest_message() -> None:
    broadcast = Broadcast()
    for number in range(1, 5):
        broadcast.transmitter.transmit(number, b"x" * number)
    late = broadcast.receiver()
    assert late.receive() == (4, b"xxxx")
    assert late.receive() is None


def test_every_receiver_gets_everything() -> None:
    broadcast = Broadcast()
    receivers = [broadcast.receiver() for _ in range(3)]
    for number in range(1, 100):
        broadcast.transmitter.transmit(number, bytes(number % 60))
        for receiver in receivers:
            assert receiver.receive() == (number, bytes(number % 60))
            assert receiver.receive() is None


def test_largest_message_and_refusals() -> None:
    broadcast = Broadcast(1024)
    receiver = broadcast.receiver()
    assert broadcast.transmitter.max_message_length == 128
    broadcast.transmitter.transmit(1, b"x" * 128)
    assert receiver.receive() == (1, b"x" * 128)
    with pytest.raises(ValueError, match="129 bytes"):
        broadcast.transmitter.transmit(1, b"x" * 129)
    for kind in (0, -1):
        with pytest.raises(ValueError, match=f"type {kind}"):
            broadcast.transmitter.transmit(kind, b"")
    assert broadcast.trailer(TAIL) == 136


@pytest.mark.parametrize("left", [8, 16, 64, 128])
def test_wraps_with_padding(left: int) -> None:
    broadcast = Broadcast(1024)
    broadcast.start_at(1024 * 3 - left)
    receiver = broadcast.receiver()
    broadcast.transmitter.transmit(5, b"y" * 128)
    assert struct.unpack("<ii", take(broadcast.owner, 1024 - left, 8)) == (left, PADDING)
    assert broadcast.trailer(INTENT) == broadcast.trailer(TAIL) == 1024 * 3 + 136
    assert broadcast.trailer(LATEST) == 1024 * 3, "the newest record, not the padding"
    assert receiver.receive() == (5, b"y" * 128)
    assert receiver.receive() is None


def test_record_that_ends_exactly_at_the_end() -> None:
    broadcast = Broadcast(1024)
    broadcast.start_at(1024 - 24)
    receiver = broadcast.receiver()
    broadcast.transmitter.transmit(5, b"y" * 16)
    broadcast.transmitter.transmit(6, b"z")
    assert broadcast.trailer(LATEST) == 1024
    assert [receiver.receive(), receiver.receive()] == [(5, b"y" * 16), (6, b"z")]


def test_lapped_then_goes_on_from_the_newest() -> None:
    broadcast = Broadcast(256)
    receiver = broadcast.receiver()
    for number in range(1, 30):
        broadcast.transmitter.transmit(number, b"x" * 16)
    with pytest.raises(LappedError, match="1 times"):
        receiver.receive()
    assert receiver.lapped_count == 1
    assert receiver.receive() == (29, b"x" * 16)
    assert receiver.receive() is None


def test_the_last_moment_before_being_lapped() -> None:
    broadcast = Broadcast(256)
    receiver = broadcast.receiver()
    # cursor 0: intact as long as 0 + 256 > intent.
    for _ in range(10):
        broadcast.transmitter.transmit(1, b"x" * 16)
    assert broadcast.trailer(INTENT) == 240
    assert receiver.receive() == (1, b"x" * 16)
    again = Broadcast(256)
    receiver = again.receiver()
    for _ in range(8):
        again.transmitter.transmit(1, b"x" * 24)
    assert again.trailer(INTENT) == 256
    with pytest.raises(LappedError):
        receiver.receive()


def test_announced_overwrite_counts_as_lapped() -> None:
    broadcast = Broadcast(256)
    receiver = broadcast.receiver()
    broadcast.transmitter.transmit(1, b"x" * 16)
    broadcast.set_trailer(INTENT, 256)
    with pytest.raises(LappedError):
        receiver.receive()


@pytest.mark.parametrize("length", [0, 7, -1, -(2**31), 1025, 2**31 - 1])
def test_hostile_length_counts_as_lapped(length: int) -> None:
    broadcast = Broadcast(1024)
    receiver = broadcast.receiver()
    broadcast.transmitter.transmit(1, b"x")
    broadcast.transmitter.transmit(2, b"y")
    put(broadcast.owner, "i", 0, length)
    with pytest.raises(LappedError):
        receiver.receive()
    assert receiver.receive() == (2, b"y")


@given(
    st.binary(max_size=1024),
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 5000), min_size=3, max_size=3),
)
def test_hostile_contents_never_escape(contents: bytes, trailer: list[int]) -> None:
    broadcast = Broadcast(1024)
    fill(broadcast.owner, 0, contents)
    early = broadcast.receiver()
    for field, value in zip((INTENT, TAIL, LATEST), trailer, strict=True):
        broadcast.set_trailer(field, value)
    for receiver in (early, broadcast.receiver()):
        for _ in range(20):
            try:
                found = receiver.receive()
            except LappedError:
                continue
            if found is None:
                break
            assert len(found[1]) <= 1024 - 8
    broadcast.transmitter.transmit(1, b"x" * 100)


@given(st.lists(st.binary(max_size=32), max_size=100), st.integers(0, 2**40))
def test_everything_arrives_in_order(messages: list[bytes], start: int) -> None:
    broadcast = Broadcast(256)
    broadcast.start_at(start * 8)
    receiver = broadcast.receiver()
    for number, message in enumerate(messages, 1):
        broadcast.transmitter.transmit(number, message)
        assert receiver.receive() == (number, message)
    assert receiver.receive() is None
    assert receiver.lapped_count == 0


def test_a_receiver_in_another_process_sees_whole_messages_or_is_lapped() -> None:
    broadcast = Broadcast(1024)
    count = 30_000

    def receive() -> None:
        receiver = broadcast.receiver()
        last = 0
        while last < count:
            try:
                found = receiver.receive()
            except LappedError:
                continue
            if found is None:
                os.sched_yield()
                continue
            (number,) = struct.unpack_from("<q", found[1])
            assert number > last
            assert found == (number, struct.pack("<q", number) * (1 + number % 16))
            last = number

    with forked(receive, receive):
        for number in range(1, count + 1):
            message = struct.pack("<q", number) * (1 + number % 16)
            broadcast.transmitter.transmit(number, message)


def test_the_smallest_buffer_takes_a_header_and_no_more() -> None:
    owner = MappedFile.anonymous(8 + 128)
    transmitter = BroadcastTransmitter(owner, 0, 8 + 128)
    transmitter.transmit(7, b"")
    assert take(owner, 0, 8) == struct.pack("<ii", 8, 7)
    with pytest.raises(ValueError, match="1 bytes"):
        transmitter.transmit(1, b"x")
    assert take(owner, 8 + 24, 128 - 24) == bytes(128 - 24)
