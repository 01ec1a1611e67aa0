"""The loss report against sections 6.2 and 10.7 of the shared-memory format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_tools import fill, get, put, take

from pillion.memory.loss_report import LossReport, read_losses
from pillion.memory.mapped_file import MappedFile

CHANNEL, SOURCE = "aeron:udp?endpoint=127.0.0.1:43301", "127.0.0.1:46333"


def test_golden_entry() -> None:
    owner = MappedFile.anonymous(4096)
    report = LossReport(owner)
    first_ms, last_ms = 0x01A2057668BA, 0x01A2057669E6
    session_id = 0x515D8792
    assert report.create_entry(217_088, first_ms, session_id, 1001, CHANNEL, SOURCE) is not None
    put(owner, "q", 0, 152)
    put(owner, "q", 24, last_ms)
    golden = bytes.fromhex(
        "98000000000000000050030000000000 ba687605a2010000e6697605a2010000"
        "92875d51e903000022000000 6165726f6e3a7564703f656e64706f696e743d3132372e302e302e313a3433333031"
        "00000f000000 3132372e302e302e313a3436333333"
    )
    assert len(golden) == 99
    assert take(owner, 0, 99) == golden
    assert read_losses(owner) == [(152, 217_088, first_ms, last_ms, session_id, 1001, CHANNEL, SOURCE)]
    report.create_entry(1, 2, 3, 4, "c", "s")
    assert get(owner, "q", 128) == 1, "entries start at multiples of 64"


def test_entries_in_order_until_full() -> None:
    owner = MappedFile.anonymous(4096)
    report = LossReport(owner)
    made = 0
    while report.create_entry(made, 5, made, 7, "c" * 20, "s" * 20) is not None:
        made += 1
    assert made == 4096 // 128
    assert [(found.bytes_lost, found.session_id) for found in read_losses(owner)] == [(n, n) for n in range(made)]


def test_entry_that_fits_exactly_and_one_that_does_not() -> None:
    owner = MappedFile.anonymous(128)
    assert LossReport(owner).create_entry(1, 1, 1, 1, "c" * 40, "s" * 41) is None
    assert take(owner, 0, 128) == bytes(128)
    assert LossReport(owner).create_entry(1, 1, 1, 1, "c" * 40, "s" * 40) is not None
    assert read_losses(owner)[0].source == "s" * 40


@given(st.text(max_size=100), st.text(max_size=60))
def test_any_text_comes_back(channel: str, source: str) -> None:
    owner = MappedFile.anonymous(4096)
    report = LossReport(owner)
    for _ in range(2):
        assert report.create_entry(1, 2, -3, -4, channel, source) is not None
    expected = (1, 1, 2, 2, -3, -4, channel, source)
    assert read_losses(owner) == [expected, expected]


@pytest.mark.parametrize("length", [-1, -(2**31), 4096, 2**31 - 1])
@pytest.mark.parametrize("offset", [40, 44 + 36])
def test_hostile_lengths_end_the_list(length: int, offset: int) -> None:
    owner = MappedFile.anonymous(4096)
    LossReport(owner).create_entry(1, 2, 3, 4, CHANNEL, SOURCE)
    put(owner, "i", offset, length)
    assert read_losses(owner) == []


def test_short_files_hold_nothing() -> None:
    for length in (1, 44, 47, 48):
        assert read_losses(MappedFile.anonymous(length)) == []


@given(st.binary(max_size=512))
def test_hostile_contents_never_escape(contents: bytes) -> None:
    owner = MappedFile.anonymous(512)
    fill(owner, 0, contents)
    assert len(read_losses(owner)) <= 8
