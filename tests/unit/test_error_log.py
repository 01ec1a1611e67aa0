"""The distinct error log against sections 6.1 and 10.7 of the shared-memory format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_tools import fill, get, put, take

from pillion.memory.error_log import MAX_ALIKE, MAX_TEXT_LENGTH, DistinctErrorLog, ErrorRecord, read_errors
from pillion.memory.mapped_file import MappedFile


class Log:
    """A log of `length` bytes at offset 64, on a clock that tests set."""

    def __init__(self, length: int = 1024) -> None:
        self.owner = MappedFile.anonymous(length + 128)
        self.length = length
        self.now_ms = 1000
        self.log = DistinctErrorLog(self.owner, 64, length, lambda: self.now_ms)

    def read(self, since_ms: int = 0) -> list[ErrorRecord]:
        return read_errors(self.owner, 64, self.length, since_ms)


def test_golden_first_entry() -> None:
    log = Log()
    log.now_ms = 0x01A20573E15E
    text = "onPublication: " + "x" * 149
    assert log.log.record(1, text)
    stored = f"(1) {text}".encode()
    assert len(stored) == 168
    golden = bytes.fromhex("c0000000010000005ee17305a20100005ee17305a2010000") + stored
    assert take(log.owner, 64, 192) == golden
    # The next starts at 192; one of 146 bytes there is followed by one at 344.
    assert log.log.record(1, "y" * (146 - 24 - 4))
    assert get(log.owner, "i", 64 + 192) == 146
    assert log.log.record(1, "z")
    assert get(log.owner, "i", 64 + 344) == 24 + 5


def test_same_error_is_counted() -> None:
    log = Log()
    for n in range(6500):
        log.now_ms = 1000 + n
        assert log.log.record(11, "the same")
    assert log.read() == [ErrorRecord(6500, 1000, 7499, "(11) the same")]


def test_distinct_by_code_and_by_text() -> None:
    log = Log()
    for code, text in ((1, "a"), (2, "a"), (1, "b"), (1, "a")):
        log.log.record(code, text)
    assert [(found.count, found.text) for found in log.read()] == [(2, "(1) a"), (1, "(2) a"), (1, "(1) b")]


def test_full_log_drops_the_new_and_counts_the_known() -> None:
    log = Log(64)
    assert log.log.record(1, "x" * 36), "24 + 4 + 36 bytes are exactly all there is"
    assert not log.log.record(2, "y")
    assert log.log.record(1, "x" * 36)
    assert [found.count for found in log.read()] == [2]
    assert take(log.owner, 128, 64) == bytes(64), "nothing behind the log is touched"


def test_one_byte_too_many() -> None:
    log = Log(64)
    assert not log.log.record(1, "x" * 37)
    assert log.read() == []


def test_since() -> None:
    log = Log()
    log.log.record(1, "old")
    log.now_ms = 2000
    log.log.record(1, "new")
    assert [found.text for found in log.read(1001)] == ["(1) new"]
    log.now_ms = 3000
    log.log.record(1, "old")
    assert [found.text for found in log.read(2500)] == ["(1) old"]


def test_text_that_is_none_is_recorded_all_the_same() -> None:
    log = Log()
    assert log.log.record(1, "file \udcff")
    assert log.read()[0].text == "(1) file ?"


@pytest.mark.parametrize("length", [1, 23, -1, -(2**31), 1025, 2**31 - 1])
def test_hostile_length_ends_the_list(length: int) -> None:
    log = Log()
    log.log.record(1, "first")
    log.log.record(2, "second")
    put(log.owner, "i", 64 + 40, length)
    assert [found.text for found in log.read()] == ["(1) first"]


@pytest.mark.parametrize(("offset", "length"), [(-8, 64), (4, 64), (0, 4096), (4096, 8), (0, -1)])
def test_refuses_to_lie_outside(offset: int, length: int) -> None:
    owner = MappedFile.anonymous(2048)
    with pytest.raises(ValueError, match="error log"):
        DistinctErrorLog(owner, offset, length, lambda: 0)
    with pytest.raises(ValueError, match="error log"):
        read_errors(owner, offset, length)


@given(st.binary(max_size=512))
def test_hostile_contents_never_escape(contents: bytes) -> None:
    log = Log(512)
    fill(log.owner, 64, contents)
    assert sum(24 + len(found.text.encode("utf-8", "replace")) // 3 for found in log.read()) <= 512


def test_texts_that_differ_in_numbers_only_are_bounded() -> None:
    log = Log(64 * 1024)
    for available in range(10_000):
        assert log.log.record(12, f"needs 100 bytes, {available} are left")
    found = log.read()
    assert len(found) == MAX_ALIKE
    assert found[0] == ErrorRecord(1, 1000, 1000, "(12) needs 100 bytes, 0 are left")
    assert [each.count for each in found] == [1] * (MAX_ALIKE - 1) + [10_000 - MAX_ALIKE + 1]
    assert log.log.record(12, "needs 100 bytes, 3 are left"), "a text that is there is counted as itself"
    assert log.read()[3].count == 2
    assert log.log.record(11, "needs 100 bytes, 99999 are left"), "another code is another error"
    assert len(log.read()) == MAX_ALIKE + 1


@pytest.mark.parametrize("character", ["x", "\u00e9", "\U0001f600"])
def test_a_long_text_is_cut(character: str) -> None:
    log = Log(64 * 1024)
    fits = "x" * (MAX_TEXT_LENGTH - len("(1) "))
    assert log.log.record(1, fits)
    assert log.read()[0].text == f"(1) {fits}"
    for end in ("a", "b"):
        assert log.log.record(1, character * MAX_TEXT_LENGTH + end)
    assert len(log.read()) == 2
    text = log.read()[1].text
    assert text.endswith(" ...")
    assert MAX_TEXT_LENGTH - 4 <= len(text.encode()) <= MAX_TEXT_LENGTH
    assert set(text[4:-4]) == {character}
    assert log.read()[1].count == 2
