"""How sizes, durations and numbers are written in channels, settings and properties.

Shared by `pillion.channel` and the settings of client and driver. Every parser takes the text as
it stands (no white space is trimmed) and raises a plain `ValueError` that says what would be right;
the caller adds where the text came from.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

INT32_MIN = -(2**31)
INT32_MAX = 2**31 - 1
INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1

MICROSECOND_NS = 1_000
MILLISECOND_NS = 1_000_000
SECOND_NS = 1_000_000_000

_SIZES = {"": 1, "k": KIB, "kb": KIB, "kib": KIB, "m": MIB, "mb": MIB, "mib": MIB}
_SIZES |= {"g": GIB, "gb": GIB, "gib": GIB}
# "m" alone is milliseconds: the reference reads it so, and channels in use rely on it.
_DURATIONS = {"": 1, "ns": 1, "us": MICROSECOND_NS, "ms": MILLISECOND_NS, "m": MILLISECOND_NS}
_DURATIONS |= {"s": SECOND_NS}
# The longest channel is shorter, and int() refuses (and takes long over) much longer ones.
_LONGEST_NUMBER = 4096


def _number(digits: str) -> int | None:
    if digits.isascii() and digits.isdigit() and len(digits) <= _LONGEST_NUMBER:
        return int(digits)
    return None


def _scaled(text: str, units: dict[str, int]) -> int | None:
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    scale = units.get(text[len(digits) :].lower())
    number = _number(digits)
    return None if scale is None or number is None else number * scale


def parse_size(text: str) -> int:
    """Bytes of `4096`, `64k`, `16m` or `1g` (either case; `kb` and `kib` mean `k`)."""
    size = _scaled(text, _SIZES)
    if size is None:
        raise ValueError("is not a size: write a whole number of bytes, or one with k, m or g")
    if size > INT64_MAX:
        raise ValueError("is larger than any size can be")
    return size


def parse_duration_ns(text: str) -> int:
    """Nanoseconds of `10s`, `200ms`, `100us` or `1000ns` (either case; no suffix: nanoseconds).

    More than 64 bits hold is read as the longest duration there is.
    """
    duration = _scaled(text, _DURATIONS)
    if duration is None:
        raise ValueError("is not a duration: write a whole number with ns, us, ms or s")
    return min(duration, INT64_MAX)


def parse_int(text: str, low: int = INT64_MIN, high: int = INT64_MAX) -> int:
    """A decimal or 0x number within `low`..`high`, with an optional sign."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    number: int | None
    if digits[:2] in ("0x", "0X"):
        hexadecimal = digits[2:]
        is_hex = hexadecimal.isalnum() and hexadecimal.isascii() and len(hexadecimal) <= 16
        try:
            number = int(hexadecimal, 16) if is_hex else None
        except ValueError:
            number = None
    else:
        number = _number(digits)
    if number is None:
        raise ValueError("is not a whole number")
    if text[0] == "-":
        number = -number
    if not low <= number <= high:
        raise ValueError(f"is outside {low}..{high}")
    return number


def parse_bool(text: str) -> bool:
    """`true` or `false`, in either case."""
    lowered = text.lower()
    if lowered not in ("true", "false"):
        raise ValueError("is neither true nor false")
    return lowered == "true"


def format_size(size: int) -> str:
    """`size` bytes with the largest of g, m, k that divides it: `65536` is `64k`."""
    for suffix, scale in (("g", GIB), ("m", MIB), ("k", KIB)):
        if size and size % scale == 0:
            return f"{size // scale}{suffix}"
    return str(size)


def format_duration(duration_ns: int) -> str:
    """`duration_ns` with the largest of s, ms, us, ns that divides it: `200_000_000` is `200ms`."""
    units = (("s", SECOND_NS), ("ms", MILLISECOND_NS), ("us", MICROSECOND_NS))
    for suffix, scale in units:
        if duration_ns % scale == 0:
            return f"{duration_ns // scale}{suffix}"
    return f"{duration_ns}ns"


def is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0
