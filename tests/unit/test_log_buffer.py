"""Log buffers against sections 7 and 10.5 to 10.6 of the shared-memory format: everything but appends."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_tools import TERM, Log, changed
from memory_tools import put, take

from pillion.errors import DirectoryError, LogFileError
from pillion.memory.log_buffer import LOG_IMAGE, NO_END, LogBuffer, log_file_length

HEADER = struct.Struct("<iBBHiiiiq")


def frame(offset: int, payload: bytes, *, term_id: int = 7, flags: int = 0xC0, kind: int = 1) -> bytes:
    header = HEADER.pack(32 + len(payload), 0, flags, kind, offset, 0x12345678, 1001, term_id, 0)
    return (header + payload).ljust((32 + len(payload) + 31) & ~31, b"\0")


# ---- creation and opening -------------------------------------------------------------------------------------------


def test_golden_publication_metadata(tmp_path: Path) -> None:
    log = Log.create(
        tmp_path, initial_term_id=0x3F73B64A, session_id=-123_352_794, correlation_id=2,
        publication_window_length=32_768, os_default_socket_sndbuf_length=212_992,
        os_default_socket_rcvbuf_length=212_992, linger_timeout_ns=5_000_000_000,
        untethered_window_limit_timeout_ns=5_000_000_000,
        untethered_resting_timeout_ns=10_000_000_000, untethered_linger_timeout_ns=5_000_000_000,
        signal_eos=True,
    )  # fmt: skip
    log.buffer.is_connected = True
    put(log.file, "q", log.metadata, 0x3F73B64A_00000100)
    golden = {
        0x000: "000100004ab6733f 0000000048b6733f 0000000049b6733f 0000000000000000",
        0x080: "ffffffffffffff7f 0100000000000000",
        0x100: "0200000000000000 4ab6733f20000000 8005000000000100 0010000000800000",
        0x120: "0000000000000000 0040030000000000 0000000000400300 0000000000000000",
        0x140: "0000000000c00100 0000000026c9a5f8 e90300004ab6733f 0000000000000000",
        0x1C0: "ffffffffffffffff ffffffffffffffff 00f2052a01000000 00f2052a01000000",
        0x1E0: "00e40b5402000000 0000000001010000 0000000000f2052a 01000000",
    }
    _check_metadata(log, golden)
    assert len(log.file) == 200_704


def test_golden_image_metadata(tmp_path: Path) -> None:
    log = Log.create(
        tmp_path, initial_term_id=0x3F73B64A, session_id=-123_352_794, correlation_id=5,
        log_type=LOG_IMAGE, receiver_window_length=131_072, entity_tag=0, response_correlation_id=0,
        os_default_socket_sndbuf_length=212_992, os_default_socket_rcvbuf_length=212_992,
        untethered_resting_timeout_ns=10_000_000_000, untethered_linger_timeout_ns=5_000_000_000,
        rejoin=True, reliable=True, tether=True,
    )  # fmt: skip
    log.buffer.active_transport_count = 1
    golden = {
        0x000: "00" * 32,
        0x080: "ffffffffffffff7f 0000000001000000",
        0x100: "0500000000000000 4ab6733f20000000 8005000000000100 0010000000000000",
        0x120: "0000020000000000 0040030000000000 0000000000400300 0000000000000000",
        0x140: "0000000000c00100 0000000026c9a5f8 e90300004ab6733f 0000000000000000",
        0x1C0: "00" * 32,
        0x1E0: "00e40b5402000000 0000010101000001 0002000000f2052a 01000000",
    }
    _check_metadata(log, golden)


def _check_metadata(log: Log, golden: dict[int, str]) -> None:
    at = 0
    for offset, text in golden.items():
        assert not any(take(log.file, log.metadata + at, offset - at)), f"zero up to {offset:#x}"
        expected = bytes.fromhex(text)
        assert take(log.file, log.metadata + offset, len(expected)).hex(" ") == expected.hex(" "), hex(offset)
        at = offset + len(expected)
    assert not any(take(log.file, log.metadata + at, 4096 - at))


def test_every_other_field_of_the_metadata(tmp_path: Path) -> None:
    log = Log.create(
        tmp_path, socket_sndbuf_length=1, os_max_socket_sndbuf_length=2, socket_rcvbuf_length=3,
        os_max_socket_rcvbuf_length=4, max_resend=5, group=True, is_response=True, rejoin=True,
        reliable=True, sparse=False, signal_eos=True, spies_simulate_connection=True, tether=True,
        log_type=1, entity_tag=6, response_correlation_id=7,
    )  # fmt: skip

    def at(layout: str, offset: int) -> tuple[Any, ...]:
        return struct.unpack(f"<{layout}", take(log.file, log.metadata + offset, struct.calcsize(f"<{layout}")))

    assert at("8i", 288) == (0, 1, 0, 2, 3, 0, 4, 5)
    assert at("qq", 448) == (6, 7)
    assert at("10B", 488) == (1, 1, 1, 1, 0, 1, 1, 1, 0, 1)
    log.buffer.is_publication_revoked = True
    assert at("B", 496) == (1,)
    assert log.buffer.is_publication_revoked
    log.buffer.end_of_stream_position = 640
    assert at("q", 128) == (640,)
    log.buffer.active_transport_count = 3
    assert at("i", 140) == (log.buffer.active_transport_count,) == (3,)
    assert not log.buffer.is_connected


def test_fresh_log(tmp_path: Path) -> None:
    log = Log.create(tmp_path)
    assert log.tails() == [(7, 0), (5, 0), (6, 0)]
    assert log.buffer.active_term_count == 0
    assert log.buffer.producer_position == 0
    assert log.buffer.end_of_stream_position == NO_END
    assert (log.buffer.session_id, log.buffer.stream_id) == (0x12345678, 1001)
    assert (log.buffer.term_length, log.buffer.mtu_length, log.buffer.position_bits) == (TERM, 1408, 16)
    assert (log.buffer.initial_term_id, log.buffer.correlation_id) == (7, 42)
    assert "stream 1001" in repr(log.buffer)
    assert (tmp_path / "1.logbuffer").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("initial", "term_id", "offset", "tails"),
    [
        (100, 101, 64, [(0x64, 0), (0x65, 64), (0x63, 0)]),
        (100, 100, 0, [(100, 0), (98, 0), (99, 0)]),
        (100, 103, 96, [(103, 96), (101, 0), (102, 0)]),
        (2**31 - 1, -(2**31), 32, [(2**31 - 1, 0), (-(2**31), 32), (2**31 - 2, 0)]),
        (0, 2**31 - 1, TERM, [(2**31 - 2, 0), (2**31 - 1, TERM), (2**31 - 3, 0)]),
    ],
)
def test_start_position(
    tmp_path: Path, initial: int, term_id: int, offset: int, tails: list[tuple[int, int]]
) -> None:
    log = Log.create(tmp_path, initial_term_id=initial, term_id=term_id, term_offset=offset)
    count = (term_id - initial) % 2**32
    assert log.tails() == tails
    assert log.buffer.active_term_count == count
    assert log.buffer.producer_position == count * TERM + offset


@pytest.mark.parametrize(
    "changes",
    [
        {"term_length": 65_535}, {"term_length": 32_768}, {"term_length": 2**31},
        {"term_length": 3 * TERM}, {"page_size": 2048}, {"page_size": 5000}, {"mtu_length": 32},
        {"mtu_length": 1400}, {"mtu_length": 65_536}, {"term_id": 6}, {"term_offset": 33},
        {"term_offset": TERM + 32}, {"term_offset": -32},
    ],
)  # fmt: skip
def test_a_spec_that_is_no_log_leaves_no_file(tmp_path: Path, changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        Log.create(tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


def test_no_space_is_an_exception_with_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        f_bavail, f_frsize = 3, 4096

    monkeypatch.setattr(os, "statvfs", lambda path: Full)
    with pytest.raises(DirectoryError) as caught:
        Log.create(tmp_path)
    assert (caught.value.needed, caught.value.available) == (200_704, 3 * 4096)


@pytest.mark.parametrize("sparse", [True, False])
def test_a_file_system_that_is_too_small(small_file_system: Path, sparse: bool) -> None:
    with pytest.raises(DirectoryError, match=r"needs \d+ bytes"):
        Log.create(small_file_system, term_length=2**20, sparse=sparse)
    assert os.listdir(small_file_system) == []
    Log.create(small_file_system, sparse=sparse)


@pytest.mark.parametrize(
    ("term_length", "page_size", "expected"),
    [(TERM, 4096, 200_704), (TERM, 2 * 1024 * 1024, 2 * 1024 * 1024), (2**30, 4096, 3 * 2**30 + 4096)],
)
def test_file_length(term_length: int, page_size: int, expected: int) -> None:
    assert log_file_length(term_length, page_size) == expected
    assert changed(term_length=term_length, page_size=page_size).file_length == expected


def test_metadata_is_found_from_the_end(tmp_path: Path) -> None:
    log = Log.create(tmp_path, page_size=65_536)
    assert len(log.file) == 4 * 65_536
    opened = LogBuffer.open(str(tmp_path / "1.logbuffer"), pre_touch=True)
    assert opened.term_length == TERM
    assert opened.correlation_id == 42


def test_the_largest_sparse_log(tmp_path: Path) -> None:
    log = Log.create(tmp_path, term_length=2**30, term_id=7 + 2**31 - 1 - 2**32, term_offset=2**30 - 32)
    assert log.buffer.position_bits == 30
    assert log.buffer.producer_position == (2**31 - 1) * 2**30 + 2**30 - 32
    assert (tmp_path / "1.logbuffer").stat().st_blocks * 512 < 2**20


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (276, 0), (276, -1), (276, 65_537), (276, 32_768), (276, 131_072), (276, -(2**31)),
        (280, 0), (280, 4095), (280, 2048), (280, -4096), (280, 65_536), (280, -(2**31)),
        (272, 0), (272, 32), (272, 1400), (272, -1408), (272, 65_536),
    ],
)  # fmt: skip
def test_corrupt_metadata_is_refused(tmp_path: Path, offset: int, value: int) -> None:
    log = Log.create(tmp_path)
    put(log.file, "i", log.metadata + offset, value)
    with pytest.raises(LogFileError, match=r"1\.logbuffer"):
        LogBuffer.open(str(tmp_path / "1.logbuffer"))


@pytest.mark.parametrize("length", [0, 1, 4096, 196_608, 200_703, 200_705, 204_800])
def test_a_file_of_another_length_is_refused(tmp_path: Path, length: int) -> None:
    Log.create(tmp_path)
    path = tmp_path / "1.logbuffer"
    path.write_bytes(path.read_bytes()[:length].ljust(length, b"\0"))
    with pytest.raises(LogFileError):
        LogBuffer.open(str(path))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LogFileError, match="No such file"):
        LogBuffer.open(str(tmp_path / "none"))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(LogFileError, match="regular"):
        LogBuffer.open(str(tmp_path / "fifo"))
    with pytest.raises(TypeError, match=r"LogBuffer\.create"):
        LogBuffer()


@pytest.mark.parametrize("index", [-1, 3])
def test_raw_tail_of_no_partition(tmp_path: Path, index: int) -> None:
    with pytest.raises(IndexError):
        Log.create(tmp_path).buffer.raw_tail(index)


# ---- positions and rotation -----------------------------------------------------------------------------------------


def test_tail_overflow_is_clamped(tmp_path: Path) -> None:
    log = Log.create(tmp_path)
    log.set_tail(0, 7, TERM + 5000)
    assert log.buffer.producer_position == TERM
    log.set_tail(0, 7, 0xFFFFFFE0)
    assert log.buffer.producer_position == TERM


def test_rotation_is_idempotent(tmp_path: Path) -> None:
    log = Log.create(tmp_path)
    log.set_tail(0, 7, TERM + 64)
    assert log.buffer.rotate(0, 7)
    assert log.tails() == [(7, TERM + 64), (8, 0), (6, 0)]
    assert log.buffer.active_term_count == 1
    log.set_tail(1, 8, 96)
    assert not log.buffer.rotate(0, 7), "somebody else rotated already"
    assert log.tails() == [(7, TERM + 64), (8, 96), (6, 0)]
    assert log.buffer.producer_position == TERM + 96


def test_rotation_that_was_left_half_done(tmp_path: Path) -> None:
    log = Log.create(tmp_path)
    log.set_tail(1, 8, 0)
    assert log.buffer.producer_position == 0
    assert log.buffer.rotate(0, 7)
    assert log.buffer.active_term_count == 1


@pytest.mark.parametrize("initial", [0, 2**31 - 2, 2**31 - 1, -1, -(2**31)])
def test_rotation_through_the_wrap_of_term_ids(tmp_path: Path, initial: int) -> None:
    log = Log.create(tmp_path, initial_term_id=initial)
    term_id = initial
    for count in range(9):
        assert log.buffer.producer_position == count * TERM
        log.set_tail(count % 3, term_id, TERM)
        assert log.buffer.producer_position == (count + 1) * TERM
        assert log.buffer.rotate(count, term_id)
        term_id = (term_id + 1 + 2**31) % 2**32 - 2**31
        assert log.tails()[(count + 1) % 3] == (term_id, 0)


def test_positions_near_the_largest(tmp_path: Path) -> None:
    log = Log.create(tmp_path, initial_term_id=-5, term_id=2**31 - 6, term_offset=TERM - 32)
    assert log.buffer.active_term_count == 2**31 - 1
    assert log.buffer.producer_position == (TERM << 31) - 32


# ---- cleaning -------------------------------------------------------------------------------------------------------


def test_clean_zeroes_up_to_the_target(tmp_path: Path) -> None:
    log = Log.create(tmp_path)
    log.fill(0, 0, b"\xff" * TERM)
    assert log.buffer.clean(64, 640) == 640
    assert log.term(0) == b"\xff" * 64 + bytes(576) + b"\xff" * (TERM - 640)
    assert log.buffer.clean(640, 640) == 640
    assert log.buffer.clean(640, 32) == 640


def test_clean_stops_at_the_end_of_a_term(tmp_path: Path) -> None:
    log = Log.create(tmp_path)
    for partition in range(3):
        log.fill(partition, 0, b"\xff" * TERM)
    assert log.buffer.clean(TERM - 32, 5 * TERM) == TERM
    assert log.term(0) == b"\xff" * (TERM - 32) + bytes(32)
    assert log.buffer.clean(TERM, 5 * TERM) == 2 * TERM
    assert log.term(1) == bytes(TERM)
    assert log.term(2) == b"\xff" * TERM


@pytest.mark.parametrize("target", [1, 4, 7, 31, 33, 2**62 + 1])
def test_clean_always_moves_on(tmp_path: Path, target: int) -> None:
    log = Log.create(tmp_path)
    for partition in range(3):
        log.fill(partition, 0, b"\xff" * TERM)
    position = log.buffer.clean(0, target)
    assert min(target, TERM) <= position <= TERM
    assert position % 32 == 0
    assert log.term(1) == b"\xff" * TERM


@pytest.mark.parametrize("position", [-32, 4, -(2**63)])
def test_positions_that_are_none(tmp_path: Path, position: int) -> None:
    buffer = Log.create(tmp_path).buffer
    for call in (
        lambda: buffer.clean(position, 64),
        lambda: buffer.scan_available(position, 64),
        lambda: buffer.find_contiguous(position, 64),
        lambda: buffer.find_gap(position, 64),
    ):
        with pytest.raises(ValueError, match="position="):
            call()


# ---- scan, insert, gaps ---------------------------------------------------------------------------------------------


def test_scan_walks_whole_frames(tmp_path: Path) -> None:
    log = Log.create(tmp_path)
    log.fill(0, 0, frame(0, b"x" * 32) + frame(64, b"y" * 100))
    scan = log.buffer.scan_available
    assert scan(0, 1408) == (64 + 160, 0)
    assert scan(0, 224) == (224, 0)
    assert scan(0, 223) == (64, 0), "a frame that does not fit is left"
    assert scan(0, 63) == (0, 0)
    assert scan(64, 1408) == (160, 0)
    assert scan(224, 1408) == (0, 0)
    log.put("i", 0, 64, -132)
    assert scan(0, 1408) == (64, 0), "what is not committed is not there"


def test_scan_ends_with_padding(tmp_path: Path) -> None:
    log = Log.create(tmp_path)
    log.fill(0, TERM - 256, frame(TERM - 256, b""))
    log.fill(0, TERM - 224, HEADER.pack(224, 0, 0xC0, 0, TERM - 224, 1, 1, 7, 0))
    assert log.buffer.scan_available(TERM - 256, 1408) == (64, 192)
    assert log.buffer.scan_available(TERM - 224, 1408) == (32, 192)
    assert log.buffer.scan_available(TERM - 256, 63) == (32, 0), "no room for the header of the padding"


@pytest.mark.parametrize("length", [65, 100_000, 2**31 - 1, -1, -(2**31)])
def test_scan_does_not_leave_the_term(tmp_path: Path, length: int) -> None:
    log = Log.create(tmp_path)
    log.fill(0, TERM - 64, frame(TERM - 64, b""))
    log.put("i", 0, TERM - 64, length)
    assert log.buffer.scan_available(TERM - 64, 2**31 - 1) == (0, 0)


def test_insert_puts_a_packet_where_it_belongs(tmp_path: Path) -> None:
    log = Log.create(tmp_path, log_type=LOG_IMAGE)
    packet = frame(64, b"a" * 40, term_id=8) + frame(160, b"b", term_id=8)
    assert log.buffer.insert_packet(8, 64, packet)
    assert take(log.file, TERM + 64, len(packet)) == packet
    other = frame(64, b"z" * 40, term_id=8)
    assert not log.buffer.insert_packet(8, 64, other), "a duplicate"
    assert take(log.file, TERM + 64, len(packet)) == packet, "what is there stays"


def test_insert_at_the_end_of_a_term(tmp_path: Path) -> None:
    log = Log.create(tmp_path, log_type=LOG_IMAGE)
    assert log.buffer.insert_packet(7, TERM - 32, frame(TERM - 32, b""))
    assert log.term(1) == bytes(TERM)
    for offset, packet in ((TERM - 32, frame(0, b"x")), (TERM, frame(0, b"")), (-32, frame(0, b"")),
                           (4, frame(4, b"")), (0, b"short"), (0, b"")):  # fmt: skip
        assert not log.buffer.insert_packet(8, offset, packet)
    assert not log.buffer.insert_packet(6, 0, frame(0, b"")), "before the initial term"
    assert log.term(1) == bytes(TERM)


def test_gap_fill(tmp_path: Path) -> None:
    log = Log.create(tmp_path, log_type=LOG_IMAGE)
    log.fill(1, 256, frame(256, b"", term_id=8))
    assert not log.buffer.fill_gap(8, 64, 224), "there is something in it"
    assert log.buffer.fill_gap(8, 64, 192)
    found = log.frame(1, 64)
    assert (found.length, found.flags, found.type, found.term_id) == (192, 0xC0, 0, 8)
    assert (found.session_id, found.stream_id, found.reserved_value) == (0x12345678, 1001, 0)
    assert not log.buffer.fill_gap(8, 64, 192)
    for offset, length in ((TERM - 32, 64), (-32, 32), (0, 0), (0, -32), (4, 32), (TERM, 32)):
        assert not log.buffer.fill_gap(8, offset, length)
    assert not log.buffer.fill_gap(6, 0, 32)


def test_find_contiguous_and_gap(tmp_path: Path) -> None:
    log = Log.create(tmp_path, log_type=LOG_IMAGE)
    log.fill(0, 0, frame(0, b"x" * 32))
    log.fill(0, 128, frame(128, b""))
    buffer = log.buffer
    assert buffer.find_contiguous(0, 160) == 64
    assert buffer.find_gap(64, 160) == 64
    assert buffer.find_gap(64, 96) == 32, "at most to the limit"
    assert buffer.find_gap(0, 160) == 0
    assert buffer.find_gap(160, 160) == 0
    assert buffer.find_gap(192, 160) == 0
    log.fill(0, 64, frame(64, b"y" * 30))
    assert buffer.find_contiguous(0, 160) == 160
    assert buffer.find_contiguous(0, 100) == 64, "never beyond the limit"
    assert buffer.find_contiguous(160, 160) == 160


def test_contiguous_over_the_end_of_a_term(tmp_path: Path) -> None:
    log = Log.create(tmp_path, log_type=LOG_IMAGE)
    log.fill(0, TERM - 64, frame(TERM - 64, b"x" * 32))
    log.fill(1, 0, frame(0, b"y", term_id=8))
    assert log.buffer.find_contiguous(TERM - 64, TERM + 64) == TERM + 64
    assert log.buffer.find_gap(TERM - 128, 2 * TERM) == 64
    assert log.buffer.find_gap(TERM + 64, 5 * TERM) == TERM - 64, "at most to the end of the term"
    log.put("i", 0, TERM - 64, 65)
    assert log.buffer.find_contiguous(TERM - 64, TERM + 64) == TERM - 64


@given(
    st.lists(
        st.tuples(st.integers(0, TERM // 32 - 1), st.integers(-(2**31), 2**31 - 1)), max_size=30
    ),
    st.integers(0, 3 * TERM // 32).map(lambda slot: slot * 32),
    st.integers(0, 4 * TERM),
)
def test_walks_stay_inside_whatever_the_lengths(
    tmp_path: Path, lengths: list[tuple[int, int]], position: int, limit: int
) -> None:
    path = tmp_path / "1.logbuffer"
    path.unlink(missing_ok=True)
    log = Log.create(tmp_path)
    for slot, length in lengths:
        for partition in range(3):
            log.put("i", partition, slot * 32, length)
    left = TERM - position % TERM
    available, padding = log.buffer.scan_available(position, min(limit, 2**31 - 1))
    assert 0 <= available <= left
    assert 0 <= available + padding <= left
    assert position <= log.buffer.find_contiguous(position, max(limit, position))
    assert 0 <= log.buffer.find_gap(position, limit) <= left


# ---- unblock --------------------------------------------------------------------------------------------------------


def test_unblock_a_frame_with_a_negative_length(tmp_path: Path) -> None:
    log = Log.create(tmp_path)
    log.set_tail(0, 7, 192)
    log.put("i", 0, 0, -100)
    log.fill(0, 128, frame(128, b"x" * 10))
    assert log.buffer.unblock(0)
    golden = bytes.fromhex("6400000000c00000 00000000 78563412 e9030000 07000000") + bytes(8)
    assert log.term(0)[:32] == golden


def test_unblock_a_claim_without_a_header(tmp_path: Path) -> None:
    log = Log.create(tmp_path)
    log.set_tail(0, 7, 0x120 + 64)
    log.fill(0, 0x120, frame(0x120, b"x"))
    assert log.buffer.unblock(0xC0)
    assert log.term(0)[0xC0:0xE0].hex().startswith("6000000000c00000c0000000")
    assert log.buffer.find_contiguous(0xC0, 0x160) == 0x160


def test_unblock_the_whole_rest_of_a_term(tmp_path: Path) -> None:
    log = Log.create(tmp_path)
    log.set_tail(0, 7, TERM + 0x160)
    assert log.buffer.unblock(0x160)
    assert log.term(0)[0x160:0x180].hex().startswith("a0fe000000c0000060010000")
    assert log.tails() == [(7, TERM + 0x160), (8, 0), (6, 0)], "the old tail keeps its overflow"
    assert log.buffer.active_term_count == 1


def test_unblock_a_missing_rotation(tmp_path: Path) -> None:
    log = Log.create(tmp_path)
    log.set_tail(0, 7, TERM + 96)
    assert log.buffer.unblock(TERM)
    assert log.buffer.active_term_count == 1
    assert log.tails()[1] == (8, 0)


def test_unblock_leaves_what_is_not_blocked(tmp_path: Path) -> None:
    log = Log.create(tmp_path)
    assert not log.buffer.unblock(0), "nothing claimed"
    log.set_tail(0, 7, 64)
    assert not log.buffer.unblock(0), "claimed, and nothing behind it says that others went on"
    log.fill(0, 0, frame(0, b"x"))
    assert not log.buffer.unblock(0), "committed"
    assert log.buffer.producer_position == 64


def test_unblock_where_no_frame_can_start(tmp_path: Path) -> None:
    log = Log.create(tmp_path)
    log.set_tail(0, 7, 192)
    before = bytes(log.file)
    assert not log.buffer.unblock(4)
    with pytest.raises(ValueError, match="position=-32"):
        log.buffer.unblock(-32)
    assert bytes(log.file) == before


def test_unblock_does_not_touch_what_nobody_claimed(tmp_path: Path) -> None:
    log = Log.create(tmp_path)
    log.set_tail(0, 7, TERM - 32)
    before = bytes(log.file)
    assert not log.buffer.unblock(TERM - 32), "the last slot of the term is free"
    assert not log.buffer.unblock(5 * TERM), "and so is a term to come"
    assert bytes(log.file) == before


@pytest.mark.parametrize("length", [-(2**31), -(TERM + 32)])
def test_unblock_a_hostile_length(tmp_path: Path, length: int) -> None:
    log = Log.create(tmp_path)
    log.set_tail(0, 7, 192)
    log.put("i", 0, 32, length)
    assert not log.buffer.unblock(32)
    assert log.get("i", 0, 32) == length


def test_unblock_in_a_later_partition(tmp_path: Path) -> None:
    log = Log.create(tmp_path, term_id=9, term_offset=0)
    log.set_tail(2, 9, 128)
    log.put("i", 2, 0, -33)
    assert log.buffer.unblock(2 * TERM)
    assert log.frame(2, 0)[:4] == (0, 33, 0xC0, 0)
    assert log.frame(2, 0).term_id == 9
