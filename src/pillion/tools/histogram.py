"""Counts of durations by size: a fixed array, three significant digits, no object per sample."""

from __future__ import annotations

import array
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

# Values below 2^11 have a bucket each; each doubling above is split into 2^10 buckets.
_PRECISION_BITS = 11
_HALF = 1 << (_PRECISION_BITS - 1)
_MAX_BITS = 42
MAX_VALUE_NS = (1 << _MAX_BITS) - 1


class Percentile(NamedTuple):
    """A line of the percentile table: `value_ns` is not exceeded by `fraction` of all samples."""

    value_ns: int
    fraction: float
    total_count: int


def bucket_of(value_ns: int) -> int:
    """The index of the bucket that counts `value_ns`."""
    shift = value_ns.bit_length() - _PRECISION_BITS
    return value_ns if shift <= 0 else shift * _HALF + (value_ns >> shift)


def highest_of(bucket: int) -> int:
    """The largest value that `bucket` counts."""
    if bucket < 2 * _HALF:
        return bucket
    shift, low = divmod(bucket, _HALF)
    shift -= 1
    return ((low + _HALF + 1) << shift) - 1


class Histogram:
    """Counts of durations of 0 ns to more than an hour; larger ones count as the largest."""

    def __init__(self) -> None:
        self.counts = array.array("q", bytes(8 * (bucket_of(MAX_VALUE_NS) + 1)))
        self.count = 0
        self.total_ns = 0
        self.max_ns = 0
        self.min_ns = MAX_VALUE_NS

    def record(self, value_ns: int) -> None:
        value_ns = min(max(value_ns, 0), MAX_VALUE_NS)
        self.counts[bucket_of(value_ns)] += 1
        self.count += 1
        self.total_ns += value_ns
        if value_ns > self.max_ns:
            self.max_ns = value_ns
        if value_ns < self.min_ns:
            self.min_ns = value_ns

    @property
    def mean_ns(self) -> float:
        return self.total_ns / self.count if self.count else 0.0

    def percentile(self, percent: float) -> int:
        """The value in ns that `percent` of the samples do not exceed; 0 without samples."""
        # Rounded up, so that the 100th percentile of n samples is the nth.
        wanted = max(1, -int(-self.count * percent // 100))
        for bucket, reached in enumerate(accumulate(self.counts)):
            if reached >= wanted:
                return min(highest_of(bucket), self.max_ns)
        return 0

    def percentiles(self, ticks_per_half: int = 5) -> Iterator[Percentile]:
        """The percentile table: `ticks_per_half` lines a halving of the distance to 100 %."""
        if not self.count:
            return
        next_fraction = 0.0
        reached = 0
        for bucket, count in enumerate(self.counts):
            if not count:
                continue
            reached += count
            fraction = reached / self.count
            value_ns = min(highest_of(bucket), self.max_ns)
            while next_fraction <= fraction and reached < self.count:
                yield Percentile(value_ns, next_fraction, reached)
                halvings = int(1 / (1 - next_fraction)).bit_length()
                next_fraction += 1 / (ticks_per_half << halvings)
        yield Percentile(self.max_ns, 1.0, self.count)

    def summary(self) -> dict[str, float]:
        """What one wants to know, in microseconds."""
        values = {f"p{percent:g}": self.percentile(percent) for percent in (50, 90, 99, 99.9)}
        values |= {"min": self.min_ns if self.count else 0, "max": self.max_ns}
        named = {f"{name}_us": round(value / 1000, 3) for name, value in values.items()}
        return {"count": self.count, "mean_us": round(self.mean_ns / 1000, 3), **named}

    def format_table(self) -> str:
        """The percentile table as text, values in microseconds, as HdrHistogram prints it."""
        lines = ["       Value   Percentile   TotalCount 1/(1-Percentile)", ""]
        for value_ns, fraction, total in self.percentiles():
            inverse = f"{1 / (1 - fraction):13.2f}" if fraction < 1 else ""
            lines.append(f"{value_ns / 1000:12.3f} {fraction:12.6f} {total:12d} {inverse}".rstrip())
        lines.append(f"#[Mean    = {self.mean_ns / 1000:12.3f}]")
        lines.append(f"#[Max     = {self.max_ns / 1000:12.3f}, Total count = {self.count:12d}]")
        return "\n".join(lines)
