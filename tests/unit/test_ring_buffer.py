"""The to-driver ring buffer against sections 3 and 10.2 of the shared-memory format."""

from __future__ import annotations

import os
import signal
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_tools import fill, forked, get, put, take

from pillion.memory.mapped_file import MappedFile
from pillion.memory.ring_buffer import ManyToOneRingBuffer

TRAILER = 768
TAIL, HEAD_CACHE, HEAD, CORRELATION, HEARTBEAT = 128, 256, 384, 512, 640
PADDING = -1


class Ring:
    """A ring of `capacity` bytes and the memory it lies in."""

    def __init__(self, capacity: int = 1024) -> None:
        self.owner = MappedFile.anonymous(capacity + TRAILER)
        self.capacity = capacity
        self.buffer = ManyToOneRingBuffer(self.owner, 0, capacity + TRAILER)

    def trailer(self, field: int) -> int:
        return get(self.owner, "q", self.capacity + field)

    def set_trailer(self, field: int, value: int) -> None:
        put(self.owner, "q", self.capacity + field, value)

    def move_to(self, position: int) -> None:
        """Where the ring is after `position` bytes were written and read."""
        for field in (TAIL, HEAD_CACHE, HEAD):
            self.set_trailer(field, position)

    def messages(self) -> bytes:
        return take(self.owner, 0, self.capacity)


@pytest.mark.parametrize("length", [768, 768 + 7, 768 + 1000, 100, 0, -1])
def test_refuses_a_length_that_is_no_ring(length: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        ManyToOneRingBuffer(MappedFile.anonymous(4096), 0, length)


@pytest.mark.parametrize("offset", [-8, 4, 4096 - 1024, 4096])
def test_refuses_to_lie_outside_its_memory(offset: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        ManyToOneRingBuffer(MappedFile.anonymous(4096), offset, 1024 + TRAILER + 0)


def test_golden_add_publication_command() -> None:
    ring = Ring()
    record = bytes.fromhex(
        "42000000 01000000 0100000000000000 0200000000000000 e9030000 22000000"
        "6165726f6e3a7564703f656e64706f696e743d3132372e302e302e313a3433313031 000000000000"
    )
    assert ring.buffer.write(1, record[8:66])
    assert take(ring.owner, 0, 72) == record
    assert ring.trailer(TAIL) == 72
    assert ring.buffer.read_one() == (1, record[8:66])
    assert take(ring.owner, 0, 72) == bytes(72), "what was consumed must be zero"
    assert ring.trailer(HEAD) == 72
    assert ring.trailer(HEAD_CACHE) == 0, "only refreshed when space looks short"


def test_trailer_fields() -> None:
    ring = Ring()
    assert [ring.buffer.next_correlation_id() for _ in range(3)] == [0, 1, 2]
    assert ring.trailer(CORRELATION) == 3
    ring.buffer.consumer_heartbeat_ms = 1_795_387_751_382
    assert ring.trailer(HEARTBEAT) == ring.buffer.consumer_heartbeat_ms == 1_795_387_751_382
    ring.buffer.consumer_heartbeat_ms = -1
    assert ring.trailer(HEARTBEAT) == -1
    ring.set_trailer(HEAD, 8)
    ring.set_trailer(TAIL, 16)
    assert (ring.buffer.head_position, ring.buffer.tail_position) == (8, 16)


def test_empty_message_and_largest_message() -> None:
    ring = Ring(1024)
    assert ring.buffer.max_message_length == 128
    assert ring.buffer.write(7, b"")
    assert ring.buffer.write(8, b"x" * 128)
    assert ring.buffer.read_one() == (7, b"")
    assert ring.buffer.read_one() == (8, b"x" * 128)
    assert ring.buffer.read_one() is None
    with pytest.raises(ValueError, match="129 bytes, the ring takes 128"):
        ring.buffer.write(8, b"x" * 129)


@pytest.mark.parametrize("type_id", [0, -1, -(2**31)])
def test_refuses_type_ids_below_one(type_id: int) -> None:
    with pytest.raises(ValueError, match="below 1"):
        Ring().buffer.write(type_id, b"")


def test_takes_any_contiguous_buffer() -> None:
    ring = Ring()
    assert ring.buffer.write(1, memoryview(bytearray(b"abc")))
    assert ring.buffer.read_one() == (1, b"abc")
    with pytest.raises(BufferError):
        ring.buffer.write(1, memoryview(b"abcdef")[::2])
    with pytest.raises(TypeError):
        ring.buffer.write(1, "text")
    assert ring.trailer(TAIL) == 16, "a message that was refused claims nothing"


def test_full_by_bytes_then_room_again() -> None:
    ring = Ring(256)
    for _ in range(8):
        assert ring.buffer.write(1, b"x" * 24)
    assert not ring.buffer.write(1, b"")
    assert ring.trailer(TAIL) == 256
    assert ring.buffer.read_one() == (1, b"x" * 24)
    assert ring.buffer.write(2, b"y" * 24)
    assert ring.trailer(HEAD_CACHE) == 32, "the producer refreshed its view of the head"
    assert not ring.buffer.write(2, b"y" * 24)
    assert [ring.buffer.read_one()[0] for _ in range(8)] == [1] * 7 + [2]


def test_pads_the_end_that_is_too_short() -> None:
    ring = Ring(1024)
    ring.move_to(1024 * 5 + 1000)
    assert ring.buffer.write(3, b"m" * 30)
    assert struct.unpack("<ii", take(ring.owner, 1000, 8)) == (24, PADDING)
    assert take(ring.owner, 0, 8) == struct.pack("<ii", 38, 3)
    assert ring.trailer(TAIL) == 1024 * 6 + 40
    assert ring.buffer.read_one() == (3, b"m" * 30)
    assert ring.trailer(HEAD) == 1024 * 6 + 40
    assert ring.messages() == bytes(1024)


def test_padding_of_exactly_eight_bytes() -> None:
    ring = Ring(1024)
    ring.move_to(1016)
    assert ring.buffer.write(3, b"12345678")
    assert struct.unpack("<ii", take(ring.owner, 1016, 8)) == (8, PADDING)
    assert ring.buffer.read_one() == (3, b"12345678")


def test_record_that_ends_exactly_at_the_end_needs_no_padding() -> None:
    ring = Ring(1024)
    ring.move_to(1024 - 24)
    assert ring.buffer.write(3, b"x" * 16)
    assert ring.trailer(TAIL) == 1024
    assert ring.buffer.write(4, b"y")
    assert [ring.buffer.read_one(), ring.buffer.read_one()] == [(3, b"x" * 16), (4, b"y")]


def test_full_because_the_record_does_not_fit_before_the_head() -> None:
    ring = Ring(256)
    # 16 bytes free at the end and 16 at the start: a record of 24 fits neither.
    ring.set_trailer(HEAD, 16)
    ring.set_trailer(HEAD_CACHE, 16)
    ring.set_trailer(TAIL, 240)
    assert not ring.buffer.write(1, b"x" * 16)
    assert ring.trailer(TAIL) == 240, "a refused write must not claim"
    assert ring.buffer.write(1, b"x" * 8)


def test_record_being_written_stops_the_consumer() -> None:
    ring = Ring()
    ring.set_trailer(TAIL, 32)
    put(ring.owner, "i", 0, -20)
    fill(ring.owner, 24, struct.pack("<ii", 8, 5))
    assert ring.buffer.read_one() is None
    assert ring.trailer(HEAD) == 0
    put(ring.owner, "i", 4, 9)
    put(ring.owner, "i", 0, 20)
    assert ring.buffer.read_one() == (9, bytes(12))
    assert ring.buffer.read_one() == (5, b"")


def test_aborted_claims_are_skipped() -> None:
    ring = Ring()
    for at in (0, 16):
        fill(ring.owner, at, struct.pack("<ii", 16, PADDING))
    fill(ring.owner, 32, struct.pack("<ii", 8, 5))
    ring.set_trailer(TAIL, 40)
    assert ring.buffer.read_one() == (5, b"")
    assert ring.trailer(HEAD) == 40


@pytest.mark.parametrize(
    ("length", "why"),
    [
        (1, "shorter than its header"),
        (7, "shorter than its header"),
        (104, "beyond what is claimed"),
        (2000, "beyond the ring"),
        (2**31 - 1, "beyond everything"),
    ],
)
def test_hostile_length_is_skipped_and_reported(length: int, why: str) -> None:
    ring = Ring()
    fill(ring.owner, 0, struct.pack("<ii", length, 1))
    ring.set_trailer(TAIL, 96)
    assert ring.buffer.read_one() == (0, b""), why
    assert ring.buffer.read_one() is None
    assert ring.buffer.head_position == 96
    assert ring.buffer.write(1, b"after"), "the ring works on"
    assert ring.buffer.read_one() == (1, b"after")


def test_hostile_length_at_the_end_of_the_ring() -> None:
    ring = Ring(1024)
    ring.move_to(1000)
    fill(ring.owner, 1000, struct.pack("<ii", 64, 1))
    ring.set_trailer(TAIL, 1064)
    assert ring.buffer.read_one() == (0, b"")
    assert ring.buffer.head_position == 1024


def test_length_beyond_the_tail_does_not_move_the_head() -> None:
    ring = Ring()
    fill(ring.owner, 0, struct.pack("<ii", 16, 1))
    assert ring.buffer.read_one() is None
    assert ring.buffer.head_position == 0
    ring.set_trailer(TAIL, -8)
    assert ring.buffer.read_one() is None


@given(st.lists(st.binary(max_size=32), max_size=80), st.integers(0, 2**20))
def test_fifo_whatever_is_written(messages: list[bytes], start: int) -> None:
    ring = Ring(256)
    ring.move_to(start * 8)
    expected: list[tuple[int, bytes]] = []
    for number, message in enumerate(messages, 1):
        while not ring.buffer.write(number, message):
            assert ring.buffer.read_one() == expected.pop(0)
        expected.append((number, message))
    while expected:
        assert ring.buffer.read_one() == expected.pop(0)
    assert ring.buffer.read_one() is None
    assert ring.messages() == bytes(256)
    assert ring.buffer.head_position == ring.buffer.tail_position


@given(st.binary(max_size=1024), st.lists(st.integers(-(2**63), 2**63 - 1), min_size=5, max_size=5))
def test_hostile_contents_never_escape(contents: bytes, trailer: list[int]) -> None:
    ring = Ring(1024)
    fill(ring.owner, 0, contents)
    for field, value in zip((TAIL, HEAD_CACHE, HEAD, CORRELATION, HEARTBEAT), trailer, strict=True):
        ring.set_trailer(field, value)
    for _ in range(200):
        found = ring.buffer.read_one()
        if found is None:
            break
        assert len(found[1]) <= 1024
    ring.buffer.unblock()
    ring.buffer.write(1, b"x" * 100)


# ---- unblock --------------------------------------------------------------------------------------------------------


def test_unblock_does_nothing_when_nothing_is_blocked() -> None:
    ring = Ring()
    assert not ring.buffer.unblock()
    assert ring.buffer.write(1, b"x")
    assert not ring.buffer.unblock(), "a complete record is not blocked"
    assert ring.buffer.read_one() == (1, b"x")


def test_unblock_a_record_with_a_header_only() -> None:
    ring = Ring()
    put(ring.owner, "i", 0, -13)
    ring.set_trailer(TAIL, 16)
    assert ring.buffer.write(2, b"next")
    assert ring.buffer.read_one() is None
    assert ring.buffer.unblock()
    assert struct.unpack("<ii", take(ring.owner, 0, 8)) == (13, PADDING)
    assert ring.buffer.read_one() == (2, b"next")


def test_unblock_a_claim_without_a_header() -> None:
    ring = Ring()
    ring.set_trailer(TAIL, 48)
    assert ring.buffer.write(2, b"next")
    assert ring.buffer.unblock()
    assert struct.unpack("<ii", take(ring.owner, 0, 8)) == (48, PADDING)
    assert ring.buffer.read_one() == (2, b"next")


def test_unblock_waits_while_nothing_follows_the_claim() -> None:
    ring = Ring()
    ring.set_trailer(TAIL, 48)
    assert not ring.buffer.unblock()
    assert take(ring.owner, 0, 48) == bytes(48)


def test_unblock_stops_at_a_record_being_written() -> None:
    ring = Ring()
    ring.set_trailer(TAIL, 80)
    put(ring.owner, "i", 48, -20)
    assert ring.buffer.unblock()
    assert struct.unpack("<ii", take(ring.owner, 0, 8)) == (48, PADDING)
    assert ring.buffer.read_one() is None
    assert ring.buffer.head_position == 48
    assert ring.buffer.unblock(), "and now the other one"
    assert ring.buffer.read_one() is None
    assert ring.buffer.head_position == 72


def test_unblock_before_the_wrap() -> None:
    ring = Ring(256)
    ring.move_to(192)
    # A claim of 32 bytes that nobody wrote, then a padding record to the end and a message at the start.
    ring.set_trailer(TAIL, 224)
    assert ring.buffer.write(2, b"x" * 32)
    assert ring.buffer.unblock()
    assert struct.unpack("<ii", take(ring.owner, 192, 8)) == (32, PADDING)
    assert ring.buffer.read_one() == (2, b"x" * 32)


def test_unblock_a_producer_that_died_before_its_padding() -> None:
    ring = Ring(256)
    ring.move_to(240)
    # It claimed 16 bytes of padding and 32 bytes at the start, and wrote neither. Somebody wrote behind it.
    ring.set_trailer(TAIL, 256 + 32)
    assert not ring.buffer.unblock(), "nothing shows yet that others went on"
    assert ring.buffer.write(2, b"next")
    assert ring.buffer.unblock()
    assert struct.unpack("<ii", take(ring.owner, 240, 8)) == (16, PADDING)
    assert ring.buffer.read_one() is None
    assert ring.buffer.unblock()
    assert ring.buffer.read_one() == (2, b"next")


def test_unblock_when_the_ring_is_full() -> None:
    ring = Ring(256)
    ring.move_to(64)
    ring.set_trailer(TAIL, 64 + 32)
    while ring.buffer.write(1, b"x" * 24):
        pass
    assert ring.buffer.tail_position - ring.buffer.head_position == 256
    assert ring.buffer.unblock()
    assert struct.unpack("<ii", take(ring.owner, 64, 8)) == (32, PADDING)
    assert [ring.buffer.read_one() for _ in range(8)] == [(1, b"x" * 24)] * 7 + [None]


@pytest.mark.parametrize("length", [-(2**31), -5000, -300, -1])
def test_unblock_never_pads_beyond_what_is_claimed(length: int) -> None:
    ring = Ring()
    ring.set_trailer(TAIL, 24)
    put(ring.owner, "i", 0, length)
    assert ring.buffer.unblock()
    assert ring.buffer.read_one() is None
    assert 8 <= ring.buffer.head_position <= 24


# ---- processes ------------------------------------------------------------------------------------------------------


def test_concurrent_producers_of_several_processes() -> None:
    producers, count = 3, 2000
    ring = Ring(4096)

    def produce(number: int) -> None:
        for sequence in range(count):
            message = struct.pack("<qq", number, sequence) * (1 + sequence % 7)
            while not ring.buffer.write(number + 1, message):
                os.sched_yield()

    received: list[list[int]] = [[] for _ in range(producers)]
    with forked(*(lambda n=n: produce(n) for n in range(producers))):
        while sum(map(len, received)) < producers * count:
            found = ring.buffer.read_one()
            if found is None:
                os.sched_yield()
                continue
            type_id, message = found
            number, sequence = struct.unpack_from("<qq", message)
            assert type_id == number + 1
            assert message == struct.pack("<qq", number, sequence) * (1 + sequence % 7)
            received[number].append(sequence)
    assert received == [list(range(count))] * producers
    assert ring.messages() == bytes(4096)


def test_correlation_ids_of_several_processes_are_distinct() -> None:
    ring = Ring()
    count = 20_000

    def draw() -> None:
        for _ in range(count):
            ring.buffer.next_correlation_id()

    with forked(draw, draw, draw):
        pass
    assert ring.buffer.next_correlation_id() == 3 * count


def test_a_killed_producer_does_not_block_the_others_for_ever() -> None:
    ring = Ring(4096)

    def produce_for_ever() -> None:
        while True:
            if not ring.buffer.write(1, b"x" * 100):
                os.sched_yield()

    read = 0
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            try:
                produce_for_ever()
            finally:
                os._exit(1)
        target = read + 500
        while read < target:
            read += ring.buffer.read_one() is not None
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        while not ring.buffer.write(2, b"alive"):
            if ring.buffer.read_one() is None:
                ring.buffer.unblock()
        while True:
            found = ring.buffer.read_one()
            if found == (2, b"alive"):
                break
            if found is None:
                assert ring.buffer.unblock()
            else:
                assert found == (1, b"x" * 100)
