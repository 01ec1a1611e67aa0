"""Runs a row: its peers in turn, each round in the other order, until there are enough samples of one state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import network
from benchmarks.peers.base import Peer
from benchmarks.probe import state_of
from benchmarks.rows import Row
from benchmarks.stats import INCOMPARABLE, Sample, ratios, samples_in_one_state, summary

#: takes one sample: (row, peer) -> Measured
Take = Callable[[Row, Peer], Any]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How many samples: at least `samples` of each peer, and up to `max_rounds` to have them in one state."""

    samples: int = 5
    max_rounds: int = 10
    near_below_ns: float = 220.0


@dataclass
class RowResult:
    """What a row gave: samples in the order they were taken, who was absent and why, who failed."""

    row: Row
    samples: list[Sample] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def of(self, peer: str) -> list[Sample]:
        return [sample for sample in self.samples if sample.peer == peer]

    @property
    def peers(self) -> list[str]:
        """Those with samples, in the order of the first round."""
        return list(dict.fromkeys(sample.peer for sample in self.samples))

    def ratios(self) -> list[dict[str, Any]]:
        """For each comparison of the row whose peers both have samples: its ratios, state by state."""
        found = []
        for ours, theirs in self.row.compared:
            by_state = ratios(self.of(ours), self.of(theirs))
            if by_state:
                found.append({"ours": ours, "theirs": theirs, "states": by_state, "meets": self._meets(by_state[0])})
        return found

    def _meets(self, ratio: dict[str, Any]) -> bool | None:
        if self.row.target is None:
            return None
        value: float = ratio["of_medians"]
        return value >= self.row.target if self.row.higher_is_better else value <= self.row.target

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.row.name,
            "title": self.row.title,
            "work": self.row.work,
            "unit": self.row.unit,
            "higher_is_better": self.row.higher_is_better,
            "target": self.row.target,
            "limit": self.row.limit,
            "peers": {peer: peer_summary(self.of(peer)) for peer in self.peers},
            "ratios": self.ratios(),
            "absent": self.absent,
            "failed": self.failed,
            "samples": [sample.as_dict() for sample in self.samples],
        }


def peer_summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """Over all samples of a peer, and state by state; the medians of the percentiles where there are any."""
    result: dict[str, Any] = {**summary([sample.value for sample in samples]), "states": {}}
    for state in sorted({sample.state for sample in samples}):
        alike = [sample for sample in samples if sample.state == state]
        found: dict[str, Any] = dict(summary([sample.value for sample in alike]))
        for name in alike[0].detail:
            found[name] = summary([sample.detail[name] for sample in alike])["median"]
        result["states"][state] = found
    return result


def order_of(peers: Sequence[Peer], number: int) -> list[Peer]:
    """A B, then B A, then A B: in two rounds each peer was as often early as late."""
    return list(peers) if number % 2 == 0 else list(reversed(peers))


def _rounds(result: RowResult, peers: Sequence[Peer], plan: Plan) -> Iterator[int]:
    """Round numbers until every peer has the samples wanted in one state, or the rounds are used up."""
    for number in range(max(plan.max_rounds, plan.samples)):
        names = [peer.name for peer in peers if peer.name not in result.failed]
        if not names or (number >= plan.samples and samples_in_one_state(result.samples, names) >= plan.samples):
            return
        yield number


def run_row(row: Row, peers: Sequence[Peer], take: Take, plan: Plan, tell: Tell = lambda line: None) -> RowResult:
    """Every sample of a row. A peer that fails is reported and left out of the rest."""
    result = RowResult(row)
    present = []
    nowhere = network.why_absent() if row.has_network else ""
    for peer in peers:
        reason = nowhere or peer.why_absent()
        if reason:
            result.absent[peer.name] = reason
            tell(f"  {peer.name}: absent: {reason}")
        else:
            present.append(peer)
    for number in _rounds(result, present, plan):
        for peer in order_of(present, number):
            if peer.name in result.failed:
                continue
            try:
                measured = take(row, peer)
            except Exception as error:
                result.failed[peer.name] = f"{type(error).__name__}: {error}"
                tell(f"  {peer.name}: failed: {error}")
                continue
            sample = _sample(row, peer, number, measured, plan)
            result.samples.append(sample)
            tell(_line(row, sample))
    return result


def _sample(row: Row, peer: Peer, number: int, measured: Any, plan: Plan) -> Sample:
    before_ns, after_ns = measured.before_ns, measured.after_ns
    state = state_of(before_ns, after_ns, plan.near_below_ns) if row.is_topological else "any"
    return Sample(peer.name, number, measured.value, state, before_ns, after_ns, measured.detail)


def _line(row: Row, sample: Sample) -> str:
    readings = (sample.probe_before_ns, sample.probe_after_ns)
    before, after = ("-" if ns is None else f"{ns:.0f}" if ns < 1e6 else "over 1e6" for ns in readings)
    tail = ""
    if "p99_us" in sample.detail:
        tail = f"  p99 {sample.detail['p99_us']:,.1f}  p99.9 {sample.detail['p99.9_us']:,.1f}"
    flag = "  <- not compared" if sample.state in INCOMPARABLE else ""
    return (
        f"  {sample.round + 1:2}  {sample.peer:20} {sample.value:>14,.1f} {row.unit}{tail}"
        f"   probe {before}, {after} ns: {sample.state}{flag}"
    )
