"""Sizes, durations, numbers and booleans against section 1.1 of the channel URIs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillion.units import (
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    format_duration,
    format_size,
    is_power_of_two,
    parse_bool,
    parse_duration_ns,
    parse_int,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), ("1", 1), ("4096", 4096), ("64k", 65_536), ("64K", 65_536), ("16m", 2**24), ("16M", 2**24),
        ("1g", 2**30), ("1G", 2**30), ("8589934591g", 8_589_934_591 * 2**30), ("007", 7),
        (str(INT64_MAX), INT64_MAX), ("64kb", 65_536), ("1KiB", 1024),
    ],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "k", "-1", "+1", "1.5k", "1 k", " 1", "1 ", "1t", "kk", "1kk", "0x10", "one", "\u0661", "\u00b2",
     "9223372036854775808", "8589934592g", "1_000", "1" * 5000],
)  # fmt: skip
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "duration_ns"),
    [
        ("0", 0), ("1000", 1000), ("1000ns", 1000), ("1000NS", 1000), ("100us", 100_000), ("200ms", 200_000_000),
        ("200Ms", 200_000_000), ("5m", 5_000_000), ("10s", 10_000_000_000), ("10S", 10_000_000_000),
        ("9223372036854775807", INT64_MAX), ("9223372036854775808", INT64_MAX), ("99999999999s", INT64_MAX),
    ],
)  # fmt: skip
def test_durations(text: str, duration_ns: int) -> None:
    assert parse_duration_ns(text) == duration_ns


@pytest.mark.parametrize("text", ["", "s", "abc", "5x", "-1s", "1.5s", "1 s", "1h", "5sec", "\u0661s", "0x1s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration_ns(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("-5", -5), ("+5", 5), ("0x10", 16), ("0X1f", 31), ("-0x10", -16), ("2147483647", INT32_MAX),
     ("-2147483648", INT32_MIN), ("007", 7)],
)  # fmt: skip
def test_numbers(text: str, number: int) -> None:
    assert parse_int(text, INT32_MIN, INT32_MAX) == number


@pytest.mark.parametrize(
    "text",
    ["", "-", "+", "0x", "0xg", "1.0", "1e3", " 1", "1 ", "1k", "--1", "+-1", "1_0", "0x1_0", "\u0661", "0x-1",
     "2147483648", "-2147483649", "4294967296", "0xffffffffff", "9" * 5000],
)  # fmt: skip
def test_no_numbers(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a whole number|is outside"):
        parse_int(text, INT32_MIN, INT32_MAX)


def test_numbers_of_64_bits() -> None:
    assert parse_int(str(INT64_MAX)) == INT64_MAX
    assert parse_int(str(INT64_MIN)) == INT64_MIN
    assert parse_int("0x7fffffffffffffff") == INT64_MAX
    for text in (str(INT64_MAX + 1), str(INT64_MIN - 1), "0xffffffffffffffff"):
        with pytest.raises(ValueError, match="is outside"):
            parse_int(text)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), ("TRUE", True), ("False", False)])
def test_booleans(text: str, value: bool) -> None:
    assert parse_bool(text) is value


@pytest.mark.parametrize("text", ["", "yes", "1", "maybe", "true ", "t"])
def test_no_booleans(text: str) -> None:
    with pytest.raises(ValueError, match="neither true nor false"):
        parse_bool(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (1, "1"), (1023, "1023"), (1024, "1k"), (1536, "1536"), (65_536, "64k"), (2**20, "1m"), (2**30, "1g"),
     (2**40, "1024g"), (2**20 + 1024, "1025k")],
)  # fmt: skip
def test_format_size(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [(0, "0s"), (1, "1ns"), (1000, "1us"), (1500, "1500ns"), (10**6, "1ms"), (2 * 10**8, "200ms"), (5 * 10**9, "5s")],
)
def test_format_duration(duration_ns: int, text: str) -> None:
    assert format_duration(duration_ns) == text


@given(st.integers(0, INT64_MAX))
def test_round_trips(value: int) -> None:
    assert parse_size(format_size(value)) == value
    assert parse_duration_ns(format_duration(value)) == value
    assert parse_int(str(value)) == parse_int(hex(value)) == value
    assert parse_int(f"-{value}") == -value


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    parsers: list[Callable[[str], Any]] = [parse_size, parse_duration_ns, parse_int, parse_bool]
    for parse in parsers:
        with suppress(ValueError):
            assert parse(text) is not None


def test_powers_of_two() -> None:
    assert [value for value in range(-4, 20) if is_power_of_two(value)] == [1, 2, 4, 8, 16]
