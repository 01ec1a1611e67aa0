"""Appends to a log, without a driver: sections 7.8 to 7.10 and 10.6 of the shared-memory format, golden data frames."""

from __future__ import annotations

import os
import struct
import threading
from pathlib import Path

import pytest
from golden_frames import GOLDEN
from hypothesis import given
from hypothesis import strategies as st
from log_tools import FAR, TERM, Log, Writer, new_writer
from memory_tools import forked, take

from pillion.errors import ClosedError

NOT_CONNECTED, BACK_PRESSURED, ADMIN_ACTION, CLOSED, MAX_POSITION_EXCEEDED = -1, -2, -3, -4, -5
LARGEST = TERM << 31


@pytest.fixture(params=["concurrent", "exclusive"])
def exclusive(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "exclusive")


# ---- golden ---------------------------------------------------------------------------------------------------------


def golden(section: str) -> bytes:
    return next(bytes.fromhex(data) for name, (data, _) in GOLDEN.items() if name.startswith(f"{section} "))


def test_golden_stream(tmp_path: Path, exclusive: bool) -> None:
    writer = new_writer(tmp_path, exclusive=exclusive)
    offer = writer.publication.offer
    assert offer(b"Hello, Aeron!") == 64
    assert offer(b"with rsv", reserved_value=0x1122334455667788) == 128
    assert offer(b"") == 160
    for n in range(3):
        assert offer(b"m%dxxxxxxxxxxxxxxxxxxxx" % n) == 160 + 64 * (n + 1)
    message = bytes(n % 256 for n in range(3072))
    assert offer(message) == 352 + 1408 + 1408 + 352
    term = writer.log.term(0)
    at = 0
    for section in ("6.14", "6.15", "6.16", "6.17"):
        expected = golden(section)
        assert term[at : at + len(expected)] == expected, section
        at += len(expected)
    for section, length in (("6.18", 1376), ("6.19", 1376), ("6.20", 320)):
        start = golden(section)
        assert term[at : at + len(start)] == start, section
        assert term[at + 32 : at + 32 + length] == message[:length]
        message = message[length:]
        at += 32 + length
    assert at == 3520
    assert not any(term[at:])


def test_golden_end_of_a_term(tmp_path: Path, exclusive: bool) -> None:
    start = TERM - 64
    writer = new_writer(tmp_path, exclusive=exclusive, term_id=7, term_offset=start)
    assert writer.publication.offer(bytes(33)) == ADMIN_ACTION
    assert writer.log.term(0)[start : start + 32] == golden("6.21")
    assert writer.log.tails()[1] == (8, 0)
    assert writer.publication.offer(bytes(33)) == TERM + 96
    assert writer.log.frame(1, 0).term_id == 8


def test_golden_data_data_pad(tmp_path: Path, exclusive: bool) -> None:
    writer = new_writer(
        tmp_path, exclusive=exclusive, term_id=7, term_offset=65_280, session_id=1111, stream_id=4004
    )
    assert writer.publication.offer(b"AB") == 65_344
    assert writer.publication.offer(b"CDE") == 65_408
    assert writer.publication.offer(bytes(200)) == ADMIN_ACTION
    assert writer.log.term(0)[65_280 : 65_280 + 160] == golden("6.22")


def test_golden_exclusive_operations(tmp_path: Path) -> None:
    limit = 65_600 + 32_768
    writer = new_writer(
        tmp_path, exclusive=True, limit=limit, initial_term_id=100, term_id=101, term_offset=64, session_id=5
    )
    publication, log = writer.publication, writer.log
    log.buffer.is_connected = True
    assert publication.position == 65_600
    assert publication.offer(bytes(5)) == 65_664
    assert publication.offer(b"") == 65_696
    assert publication.offer(bytes(3000)) == 68_800
    claim = publication.try_claim(10)
    assert claim.position == 68_864
    claim.abort()
    claim = publication.try_claim(10)
    assert claim.position == 68_928
    assert publication.append_padding(100) == 69_088
    assert publication.offer(bytes(8192)) == 77_472
    with pytest.raises(ValueError, match="8193 bytes"):
        publication.offer(bytes(8193))
    results = [publication.offer(bytes(8192)) for _ in range(4)]
    assert results[-1] == BACK_PRESSURED
    assert min(results[:3]) > 0
    frames = [(f.offset, f.length, f.flags, f.type) for f in log.frames(1, 64, 3328)]
    assert frames == [
        (64, 37, 0xC0, 1), (128, 32, 0xC0, 1), (160, 1408, 0x80, 1), (1568, 1408, 0, 1),
        (2976, 280, 0x40, 1), (3264, 42, 0xC0, 0),
    ]  # fmt: skip
    assert log.get("i", 1, 3328) == -42
    assert log.frames(1, 3328) == []
    assert log.get("B", 1, 3328 + 5) == 0xC0
    assert log.get("H", 1, 3328 + 6) == 1
    rest = [(f.offset, f.length, f.flags, f.type) for f in log.frames(1, 3392)]
    assert rest[0] == (3392, 132, 0xC0, 0)
    assert rest[1:7] == [
        (3552, 1408, 0x80, 1), (4960, 1408, 0, 1), (6368, 1408, 0, 1), (7776, 1408, 0, 1),
        (9184, 1408, 0, 1), (10_592, 1344, 0x40, 1),
    ]  # fmt: skip
    assert publication.position == 65_536 + 37_088
    assert publication.available_window == limit - publication.position < 0
    claim.commit()
    assert log.frame(1, 3328).length == 42


# ---- codes ----------------------------------------------------------------------------------------------------------


def test_limit_gates_only_the_start(tmp_path: Path, exclusive: bool) -> None:
    writer = new_writer(tmp_path, exclusive=exclusive, limit=32)
    assert writer.publication.offer(bytes(8192)) > 8192
    assert writer.publication.offer(b"") == NOT_CONNECTED
    writer.log.buffer.is_connected = True
    assert writer.publication.offer(b"") == BACK_PRESSURED
    assert writer.publication.try_claim(1) == BACK_PRESSURED
    position = writer.publication.position
    writer.set_limit(position)
    assert writer.publication.offer(b"") == BACK_PRESSURED
    writer.set_limit(position + 1)
    assert writer.publication.offer(b"") == position + 32


def test_refusal_writes_nothing(tmp_path: Path, exclusive: bool) -> None:
    writer = new_writer(tmp_path, exclusive=exclusive, limit=0)
    before = bytes(writer.log.file)
    assert writer.publication.offer(bytes(100)) == NOT_CONNECTED
    assert writer.publication.try_claim(5) == NOT_CONNECTED
    assert bytes(writer.log.file) == before


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 1375, 1376, 1377, 2752, 2753, 8191, 8192])
def test_fragments_of_any_length(tmp_path: Path, exclusive: bool, length: int) -> None:
    writer = new_writer(tmp_path, exclusive=exclusive)
    message = bytes(n * 7 % 251 for n in range(length))
    position = writer.publication.offer(message, reserved_value=-9)
    frames = writer.log.frames(0)
    assert b"".join(frame.payload for frame in frames) == message
    assert frames[-1].offset + (frames[-1].length + 31) // 32 * 32 == position
    assert [frame.length for frame in frames[:-1]] == [1408] * (len(frames) - 1)
    flags = [frame.flags for frame in frames]
    assert flags == ([0xC0] if len(frames) == 1 else [0x80] + [0] * (len(frames) - 2) + [0x40])
    assert {frame.reserved_value for frame in frames} == {-9}


@given(st.lists(st.binary(max_size=3000), max_size=8))
def test_gathered_parts_are_one_message(tmp_path: Path, parts: list[bytes]) -> None:
    (tmp_path / "1.logbuffer").unlink(missing_ok=True)
    writer = new_writer(tmp_path)
    message = b"".join(parts)
    if len(message) > 8192:
        with pytest.raises(ValueError, match="largest"):
            writer.publication.offer(parts)
        return
    assert writer.publication.offer(parts) > 0
    assert b"".join(frame.payload for frame in writer.log.frames(0)) == message


def test_message_that_ends_exactly_at_the_end_of_a_term(tmp_path: Path, exclusive: bool) -> None:
    writer = new_writer(tmp_path, exclusive=exclusive, term_id=7, term_offset=TERM - 64)
    assert writer.publication.offer(bytes(32)) == TERM
    assert writer.publication.position == TERM
    assert writer.publication.offer(b"") == ADMIN_ACTION, "the rotation, without any padding"
    assert writer.publication.offer(b"") == TERM + 32
    assert writer.log.frame(0, TERM - 64).length == 64


def test_start_at_the_very_end_of_a_term(tmp_path: Path, exclusive: bool) -> None:
    writer = new_writer(tmp_path, exclusive=exclusive, initial_term_id=1, term_id=3, term_offset=TERM)
    assert writer.publication.position == 3 * TERM
    assert writer.publication.offer(b"x") == ADMIN_ACTION
    assert writer.publication.offer(b"x") == 3 * TERM + 64
    assert writer.log.frame(0, 0).term_id == 4


@pytest.mark.parametrize("initial", [0, 7, 2**31 - 2, -1])
def test_many_terms_through_the_wrap_of_ids(tmp_path: Path, exclusive: bool, initial: int) -> None:
    writer = new_writer(tmp_path, exclusive=exclusive, initial_term_id=initial)
    message = bytes(8000)
    position = rotations = clean = 0
    while position < 10 * TERM:
        result = writer.publication.offer(message)
        if result == ADMIN_ACTION:
            rotations += 1
            while clean < writer.publication.position - TERM:
                clean = writer.log.buffer.clean(clean, writer.publication.position - TERM)
            continue
        assert result > position
        position = result
        term_id = (initial + (position - 1) // TERM + 2**31) % 2**32 - 2**31
        offset = (position - 1) % TERM // 8192 * 8192
        assert writer.log.frame((position - 1) // TERM % 3, offset).term_id == term_id
    assert rotations == 9 or rotations == 10
    assert writer.publication.position == position == writer.log.buffer.producer_position


@pytest.mark.parametrize("start", [0, 2**30 - 2 * TERM, 2**45, 2**46 - 2 * TERM])
def test_a_position_kept_does_not_change(tmp_path: Path, exclusive: bool, start: int) -> None:
    """Around where the int of a position gets another digit: the int returned is made anew only for who keeps it."""
    initial = 7
    term_id = (initial + start // TERM + 2**31) % 2**32 - 2**31
    writer = new_writer(tmp_path, exclusive=exclusive, initial_term_id=initial, term_id=term_id, term_offset=0)
    offer = writer.publication.offer
    kept: list[int] = []
    clean = last = start
    while last < start + 4 * TERM:
        result = offer(bytes(480))
        if result == ADMIN_ACTION:
            clean = writer.log.buffer.clean(clean, writer.publication.position - TERM)
            continue
        assert result == writer.publication.position > last
        last = result + 0
        if last // 512 % 3 == 0:
            kept.append(result)
        # One that has no name, and is an element for a moment.
        assert [offer(b"")][0] in (ADMIN_ACTION, last + 32)
    assert len(kept) > 10
    assert kept == sorted(set(kept))


# ---- the largest position -------------------------------------------------------------------------------------------


def _near_the_end(tmp_path: Path, exclusive: bool, left: int, limit: int = FAR) -> Writer:
    """A log whose last term has `left` bytes left."""
    return new_writer(
        tmp_path, exclusive=exclusive, limit=limit, initial_term_id=7,
        term_id=7 + 2**31 - 1 - 2**32, term_offset=TERM - left,
    )  # fmt: skip


def test_the_last_message_of_a_stream(tmp_path: Path, exclusive: bool) -> None:
    writer = _near_the_end(tmp_path, exclusive, 64)
    assert writer.publication.max_possible_position == LARGEST
    assert writer.publication.offer(bytes(32)) == LARGEST
    for _ in range(3):
        assert writer.publication.offer(b"") == MAX_POSITION_EXCEEDED
    assert writer.publication.position == LARGEST


def test_a_small_message_never_overwrites_the_last_padding(tmp_path: Path, exclusive: bool) -> None:
    writer = _near_the_end(tmp_path, exclusive, 128)
    assert writer.publication.offer(bytes(200)) == MAX_POSITION_EXCEEDED
    padding = writer.log.term(writer.log.buffer.active_term_count % 3)[-128:]
    assert struct.unpack_from("<iBBH", padding) == (128, 0, 0xC0, 0)
    for length in (0, 10, 5000):
        assert writer.publication.offer(bytes(length)) == MAX_POSITION_EXCEEDED
        assert writer.publication.try_claim(min(length, 1000)) == MAX_POSITION_EXCEEDED
    assert writer.log.term(writer.log.buffer.active_term_count % 3)[-128:] == padding
    assert writer.publication.position == LARGEST


def test_the_tail_does_not_run_over_at_the_largest_position(tmp_path: Path) -> None:
    writer = _near_the_end(tmp_path, False, 32)
    for _ in range(10):
        assert writer.publication.offer(bytes(8000)) == MAX_POSITION_EXCEEDED
    tail = writer.log.tails()[writer.log.buffer.active_term_count % 3]
    assert tail[1] <= TERM + 2 * 8192, "not added to once the end is known"


def test_back_pressure_at_the_largest_position(tmp_path: Path, exclusive: bool) -> None:
    writer = _near_the_end(tmp_path, exclusive, 128, limit=0)
    writer.log.buffer.is_connected = True
    # position + align(32 + n) >= largest: no limit will ever let it through.
    assert writer.publication.offer(bytes(32)) == BACK_PRESSURED
    assert writer.publication.offer(bytes(64)) == BACK_PRESSURED
    assert writer.publication.offer(bytes(65)) == MAX_POSITION_EXCEEDED
    assert writer.publication.offer(bytes(96)) == MAX_POSITION_EXCEEDED
    writer.log.buffer.is_connected = False
    assert writer.publication.offer(bytes(32)) == NOT_CONNECTED


def test_the_second_to_last_term_still_rotates(tmp_path: Path, exclusive: bool) -> None:
    writer = new_writer(
        tmp_path, exclusive=exclusive, initial_term_id=7, term_id=7 + 2**31 - 2 - 2**32, term_offset=TERM - 64
    )
    assert writer.publication.offer(bytes(64)) == ADMIN_ACTION
    assert writer.publication.offer(bytes(64)) == LARGEST - TERM + 96


# ---- claims, padding, blocks ----------------------------------------------------------------------------------------


def test_claims(tmp_path: Path, exclusive: bool) -> None:
    writer = new_writer(tmp_path, exclusive=exclusive)
    first = writer.publication.try_claim(5)
    second = writer.publication.try_claim(1376)
    third = writer.publication.try_claim(0)
    assert [claim.position for claim in (first, second, third)] == [64, 1472, 1504]
    assert [len(claim) for claim in (first, second, third)] == [5, 1376, 0]
    assert writer.log.get("i", 0, 0) == -37
    assert writer.log.get("i", 0, 64) == -1408
    first.buffer[:] = b"hello"
    first.reserved_value = 99
    third.commit()
    assert writer.log.frames(0) == [], "the first still holds everything back"
    first.commit()
    second.abort()
    found = writer.log.frames(0)
    assert [(frame.length, frame.type) for frame in found] == [(37, 1), (1408, 0), (32, 1)]
    assert found[0].payload == b"hello"
    assert found[0].reserved_value == 99
    for length in (-1, 1377):
        with pytest.raises(ValueError, match=f"length={length}"):
            writer.publication.try_claim(length)


def test_a_claim_is_finished_once(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    claim = writer.publication.try_claim(5)
    claim.commit()
    for again in (claim.commit, claim.abort, lambda: claim.buffer, lambda: setattr(claim, "reserved_value", 1)):
        with pytest.raises(ClosedError):
            again()


def test_claims_as_context_managers_and_forgotten(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    with writer.publication.try_claim(1) as claim:
        claim.buffer[0] = 65
    with pytest.raises(ZeroDivisionError), writer.publication.try_claim(1):
        raise ZeroDivisionError
    writer.publication.try_claim(1)
    assert [frame.type for frame in writer.log.frames(0)] == [1, 0, 0]


def test_append_padding(tmp_path: Path) -> None:
    writer = new_writer(tmp_path, exclusive=True)
    writer.log.fill(0, 32, b"left as is")
    assert writer.publication.append_padding(100) == 160
    assert writer.log.frame(0, 0)[:4] == (0, 132, 0xC0, 0)
    assert writer.log.term(0)[32:42] == b"left as is"
    assert writer.publication.append_padding(0) == 192
    assert writer.publication.append_padding(8192) == 192 + 8224
    for length in (-1, 8193):
        with pytest.raises(ValueError, match=f"length={length}"):
            writer.publication.append_padding(length)


def test_offer_block(tmp_path: Path) -> None:
    source = new_writer(tmp_path, exclusive=True)
    for n in range(5):
        source.publication.offer(bytes([n]) * n * 10)
    block = source.log.term(0)[: source.publication.position]
    target = Writer(Log.create(tmp_path, "2.logbuffer"), exclusive=True)
    assert target.publication.offer_block(block) == len(block)
    assert target.log.term(0) == source.log.term(0)
    with pytest.raises(ValueError, match="does not continue"):
        target.publication.offer_block(block)
    for wrong in (b"", block[:31], block[:33], bytes(2 * TERM)):
        with pytest.raises(ValueError, match="block of"):
            target.publication.offer_block(wrong)
    target.set_limit(target.publication.position)
    assert target.publication.position == len(block)


def test_offer_block_at_the_end_of_a_term(tmp_path: Path) -> None:
    source = new_writer(tmp_path, exclusive=True, term_id=8, term_offset=0)
    source.publication.offer(b"first of the next term")
    block = source.log.term(1)[:64]
    target = Writer(Log.create(tmp_path, "2.logbuffer", term_id=7, term_offset=TERM), exclusive=True)
    assert target.publication.offer_block(block) == TERM + 64
    assert target.log.tails() == [(7, TERM + 32), (8, 64), (6, 0)]
    assert target.log.frame(1, 0).payload == b"first of the next term"


def test_closed(tmp_path: Path, exclusive: bool) -> None:
    writer = new_writer(tmp_path, exclusive=exclusive)
    writer.publication._close()
    assert writer.publication.is_closed
    assert writer.publication.offer(b"") == CLOSED
    assert writer.publication.offer([b"", b"x"]) == CLOSED
    assert writer.publication.try_claim(1) == CLOSED
    assert writer.publication.position == CLOSED
    assert not any(writer.log.term(0))


# ---- rotation in progress and hostile tails -------------------------------------------------------------------------


def test_rotation_in_progress_is_admin_action(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.log.set_tail(0, 10, 0)
    assert writer.publication.offer(b"") == ADMIN_ACTION
    assert not any(writer.log.term(0))


@given(st.integers(0, 2**63 - 1), st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1))
def test_hostile_metadata_never_leads_outside(tmp_path: Path, tail: int, count: int, limit: int) -> None:
    (tmp_path / "1.logbuffer").unlink(missing_ok=True)
    writer = new_writer(tmp_path, limit=limit)
    for partition in range(3):
        writer.log.set_tail(partition, (tail >> 32) - 2**30, tail & 0xFFFFFFFF)
    with memoryview(writer.log.file) as view:
        struct.pack_into("<i", view, writer.log.metadata + 24, count)
    before = take(writer.log.file, writer.log.metadata + 32, 4096 - 32)
    for publication in (writer.publication, writer.again(exclusive=True)):
        publication.offer(bytes(3000))
        publication.offer(b"x")
        publication.try_claim(100)
        assert isinstance(publication.position, int)
    assert take(writer.log.file, writer.log.metadata + 32, 4096 - 32) == before


# ---- concurrency ----------------------------------------------------------------------------------------------------


class Reader:
    """Follows a log, checks every message and lets the writers go on."""

    def __init__(self, writer: Writer, window: int) -> None:
        self.writer, self.window = writer, window
        self.position = self.clean = 0
        self.seen: dict[int, int] = {}
        self.fragments: list[bytes] = []

    def poll(self) -> int:
        log = self.writer.log
        partition = self.position // TERM % 3
        offset = self.position % TERM
        frames = log.frames(partition, offset)
        for frame in frames:
            self.position += (frame.length + 31) // 32 * 32
            assert frame.term_id == 7 + (self.position - 1) // TERM
            if frame.type == 1:
                self._take(frame.flags, frame.payload)
        while self.clean < self.position - TERM:
            self.clean = log.buffer.clean(self.clean, self.position - TERM)
        self.writer.set_limit(self.position + self.window)
        return len(frames)

    def _take(self, flags: int, payload: bytes) -> None:
        if flags & 0x80:
            assert not self.fragments, "messages are never interleaved"
        self.fragments.append(payload)
        if flags & 0x40:
            number, sequence = struct.unpack_from("<qq", self.fragments[0])
            assert b"".join(self.fragments) == message(number, sequence)
            assert self.seen.get(number, -1) == sequence - 1
            self.seen[number] = sequence
            self.fragments = []


def message(number: int, sequence: int) -> bytes:
    length = (1, 3, 20, 86, 87, 200, 500)[(number + sequence) % 7]
    return struct.pack("<qq", number, sequence) * length


def write(publication: object, number: int, count: int) -> None:
    for sequence in range(count):
        data = message(number, sequence)
        while publication.offer(data) < 0:  # type: ignore[attr-defined]
            os.sched_yield()


def test_concurrent_appends_of_several_processes(tmp_path: Path) -> None:
    writer = new_writer(tmp_path, limit=TERM // 2)
    writer.log.buffer.is_connected = True
    count, writers = 6000, 3
    reader = Reader(writer, TERM // 2)
    bodies = [lambda n=n: write(writer.again(), n, count) for n in range(writers)]
    with forked(*bodies):
        while reader.seen != dict.fromkeys(range(writers), count - 1):
            if not reader.poll():
                os.sched_yield()
    assert reader.position > 20 * TERM
    assert reader.position == writer.log.buffer.producer_position


def test_concurrent_appends_of_several_threads(tmp_path: Path) -> None:
    writer = new_writer(tmp_path, limit=TERM // 2)
    writer.log.buffer.is_connected = True
    count, writers = 2000, 3
    reader = Reader(writer, TERM // 2)
    threads = [threading.Thread(target=write, args=(writer.publication, n, count)) for n in range(writers)]
    for thread in threads:
        thread.start()
    while reader.seen != dict.fromkeys(range(writers), count - 1):
        if not reader.poll():
            os.sched_yield()
    for thread in threads:
        thread.join()
    assert reader.position == writer.log.buffer.producer_position


def test_exclusive_appends_followed_by_a_process(tmp_path: Path) -> None:
    writer = new_writer(tmp_path, exclusive=True, limit=TERM // 2)
    writer.log.buffer.is_connected = True
    reader = Reader(writer, TERM // 2)
    with forked(lambda: write(writer.again(exclusive=True), 0, 2000)):
        while reader.seen.get(0) != 1999:
            if not reader.poll():
                os.sched_yield()


def test_a_killed_writer_is_unblocked(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    claim = writer.publication.try_claim(100)
    assert writer.publication.offer(b"behind") > 0
    assert writer.log.frames(0) == []
    assert writer.log.buffer.unblock(0)
    assert [(frame.length, frame.type) for frame in writer.log.frames(0)] == [(132, 0), (38, 1)]
    claim.abort()
