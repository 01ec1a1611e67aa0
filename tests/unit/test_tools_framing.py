"""Lines, records and raw bytes become messages and bytes again."""

from __future__ import annotations

import random

import pytest

from pillion.tools.framing import FORMATS, FramingError, make_joiner, make_splitter


def split_in_pieces(kind, data, pieces, max_length=1 << 20, block_length=7):
    split = make_splitter(kind, max_length, block_length)
    messages = []
    at = 0
    for length in pieces:
        messages += split(data[at : at + length], False)
        at += length
    return [bytes(message) for message in messages + list(split(data[at:], False) + split(b"", True))]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("seed", range(5))
def test_what_is_split_is_joined_again_however_it_arrives(kind, seed):
    rng = random.Random(seed)
    payloads = [rng.randbytes(rng.randrange(40)).replace(b"\n", b".") for _ in range(50)]
    data = make_joiner(kind)(payloads)
    pieces = [rng.randrange(1, 60) for _ in range(rng.randrange(30))]
    messages = split_in_pieces(kind, data, pieces)
    assert make_joiner(kind)(messages) == data
    if kind != "raw":
        assert messages == payloads


def test_last_line_counts_without_its_newline():
    assert split_in_pieces("lines", b"a\n\nb\nlast", []) == [b"a", b"", b"b", b"last"]
    assert split_in_pieces("lines", b"", []) == []
    assert split_in_pieces("lines", b"\n", []) == [b""]


def test_lines_may_hold_any_other_byte():
    assert split_in_pieces("lines", b"\x00\r\xff\n", [1, 1]) == [b"\x00\r\xff"]


def test_raw_blocks_are_as_long_as_asked():
    assert [len(block) for block in split_in_pieces("raw", bytes(16), [], block_length=7)] == [7, 7, 2]


def test_longest_line_that_works_and_shortest_that_does_not():
    assert split_in_pieces("lines", b"x\n" + b"y" * 10, [], max_length=10)[1] == b"y" * 10
    with pytest.raises(FramingError, match="line 2 has 11 bytes"):
        split_in_pieces("lines", b"x\n" + b"y" * 11 + b"\n", [], max_length=10)


def test_line_that_never_ends_is_found_before_it_fills_memory():
    split = make_splitter("lines", 10, 7)
    split(b"a\nb\n", False)
    with pytest.raises(FramingError, match="line 3"):
        split(b"z" * 11, False)


def test_longest_record_that_works_and_shortest_that_does_not():
    assert split_in_pieces("records", b"\x0a\0\0\0" + b"y" * 10, [], max_length=10) == [b"y" * 10]
    with pytest.raises(FramingError, match="record 2 has 11 bytes"):
        split_in_pieces("records", b"\0\0\0\0" + b"\x0b\0\0\0", [], max_length=10)


@pytest.mark.parametrize("data", [b"\x01", b"\x01\0\0", b"\x02\0\0\0a"])
def test_records_that_end_in_the_middle(data):
    with pytest.raises(FramingError, match="ends inside record 1"):
        split_in_pieces("records", data, [])
