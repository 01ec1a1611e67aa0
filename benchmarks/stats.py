"""Medians and ratios of samples. No I/O; nothing here knows what was measured."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

#: The states of a sample that are never compared with anything: the machine moved, or somebody else was at work.
INCOMPARABLE = ("mixed", "disturbed")


@dataclass
class Sample:
    """One measurement of one peer: the row's value, where in the run it was taken, the state of the machine."""

    peer: str
    round: int
    value: float
    state: str
    probe_before_ns: float | None = None
    probe_after_ns: float | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def summary(values: Sequence[float]) -> dict[str, float]:
    """Count, median, min and max of `values`."""
    return {
        "count": len(values),
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
    }


def ratio_within(ours: Sequence[Sample], theirs: Sequence[Sample], state: str) -> dict[str, Any] | None:
    """Ratio of our values to theirs among the samples of one state; None if either has none.

    `of_medians` is the ratio of the two medians. `paired` has a ratio for each round in which both samples were of
    that state: what drifts from round to round cancels there.
    """
    mine = {sample.round: sample.value for sample in ours if sample.state == state}
    other = {sample.round: sample.value for sample in theirs if sample.state == state}
    if not mine or not other:
        return None
    paired = [mine[number] / other[number] for number in sorted(mine.keys() & other.keys())]
    return {
        "state": state,
        "of_medians": statistics.median(mine.values()) / statistics.median(other.values()),
        "paired": paired,
        "paired_median": statistics.median(paired) if paired else None,
        "samples": [len(mine), len(other)],
    }


def ratios(ours: Sequence[Sample], theirs: Sequence[Sample]) -> list[dict[str, Any]]:
    """`ratio_within` for each comparable state, the one with the most pairs first."""
    states = {sample.state for sample in [*ours, *theirs]} - set(INCOMPARABLE)
    found = [ratio for state in sorted(states) if (ratio := ratio_within(ours, theirs, state)) is not None]
    return sorted(found, key=lambda ratio: (-len(ratio["paired"]), -min(ratio["samples"])))


def samples_in_one_state(samples: Sequence[Sample], peers: Sequence[str]) -> int:
    """How many samples each of `peers` has at least in the comparable state that is best for all of them."""
    counts = Counter((sample.state, sample.peer) for sample in samples)
    states = {sample.state for sample in samples} - set(INCOMPARABLE)
    return max((min(counts[state, peer] for peer in peers) for state in states), default=0) if peers else 0
