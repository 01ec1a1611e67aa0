"""The benchmarks' arithmetic and the order in which they measure, with peers that are not there."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks" / "programs")]

import common  # noqa: E402
from benchmarks import report, stats  # noqa: E402
from benchmarks.measuring import LOOPBACK, Measured, is_ready  # noqa: E402
from benchmarks.peers import ALL  # noqa: E402
from benchmarks.peers.base import Peer  # noqa: E402
from benchmarks.probe import classify, state_of  # noqa: E402
from benchmarks.rows import ROWS, Row  # noqa: E402
from benchmarks.runner import Plan, order_of, run_row  # noqa: E402

NEAR, FAR = 100.0, 450.0


def peer(name, reason=""):
    return Peer(name, name, list, absence=lambda: reason)


def row(**changes):
    fields = {
        "name": "row", "title": "A row", "kind": "throughput", "media": "ipc", "peers": ("a", "b"), "unit": "x/s",
        "higher_is_better": True, "compared": (("a", "b"),), "target": 1.5,
    }  # fmt: skip
    return Row(**{**fields, **changes})


class Taker:
    """Gives what each peer's list has next: (value, state), or an exception; remembers who was asked."""

    def __init__(self, **scripts):
        self.scripts = {name: iter(script) for name, script in scripts.items()}
        self.asked = []

    def __call__(self, row, peer):
        self.asked.append(peer.name)
        step = next(self.scripts[peer.name])
        if isinstance(step, Exception):
            raise step
        value, before, after = step
        return Measured(value, before, after, {})


def steady(value, reading=NEAR):
    return [(value, reading, reading)] * 50


def sample(peer, number, value, state="near"):
    return stats.Sample(peer, number, value, state)


def test_percentiles_are_the_nearest_ranks():
    ordered = list(range(1, 1001))
    assert [common.percentile(ordered, permille) for permille in (1, 500, 990, 999, 1000)] == [1, 500, 990, 999, 1000]
    assert common.percentile([7], 500) == 7
    assert common.percentile([1, 2, 3], 500) == 2
    assert common.percentile([1, 2, 3, 4], 500) == 2


def test_latency_summary_sorts_what_it_gets():
    found = common.latency_summary([30, 10, 20, 1000])
    assert found == {"count": 4, "min": 10, "p50": 20, "p90": 1000, "p99": 1000, "p99.9": 1000, "max": 1000}


@pytest.mark.parametrize(
    ("reading", "state"),
    [(219.9, "near"), (220.0, "far"), (1999.9, "far"), (2000.0, "disturbed"), (None, "unknown")],
)
def test_a_reading_is_classified(reading, state):
    assert classify(reading) == state


@pytest.mark.parametrize(
    ("before", "after", "state"),
    [
        (NEAR, NEAR, "near"),
        (FAR, FAR, "far"),
        (NEAR, FAR, "mixed"),
        (FAR, 1e8, "disturbed"),
        (None, None, "unknown"),
    ],
)
def test_the_state_of_a_sample_needs_both_readings(before, after, state):
    assert state_of(before, after) == state


def test_ratios_compare_samples_of_one_state_only():
    ours = [sample("a", 0, 30.0), sample("a", 1, 90.0, "far"), sample("a", 2, 50.0), sample("a", 3, 1.0, "mixed")]
    theirs = [sample("b", 0, 10.0), sample("b", 1, 30.0), sample("b", 2, 20.0), sample("b", 3, 1.0, "mixed")]
    (found,) = stats.ratios(ours, theirs)
    assert found["state"] == "near"
    assert math.isclose(found["of_medians"], 40.0 / 20.0)
    assert found["paired"] == [3.0, 2.5]
    assert found["paired_median"] == 2.75
    assert found["samples"] == [2, 3]


def test_the_state_with_most_pairs_comes_first():
    ours = [sample("a", number, 2.0, "far" if number < 3 else "near") for number in range(5)]
    theirs = [sample("b", number, 1.0, "far" if number < 3 else "near") for number in range(5)]
    assert [ratio["state"] for ratio in stats.ratios(ours, theirs)] == ["far", "near"]


def test_without_a_common_state_there_is_no_ratio():
    assert stats.ratios([sample("a", 0, 1.0)], [sample("b", 0, 1.0, "far")]) == []


def test_each_round_turns_the_order_around():
    peers = [peer("a"), peer("b"), peer("c")]
    assert ["".join(each.name for each in order_of(peers, number)) for number in range(3)] == ["abc", "cba", "abc"]


def test_peers_alternate_until_each_has_its_samples():
    take = Taker(a=steady(3.0), b=steady(1.0))
    result = run_row(row(), [peer("a"), peer("b")], take, Plan(samples=5, max_rounds=10))
    assert "".join(take.asked) == "abba" * 2 + "ab"
    (comparison,) = result.ratios()
    assert comparison["states"][0]["paired"] == [3.0] * 5
    assert comparison["meets"] is True


def test_rounds_go_on_until_there_are_enough_samples_of_one_state():
    moved = [(3.0, NEAR, FAR), (3.0, FAR, FAR), *steady(3.0)]
    take = Taker(a=moved, b=steady(1.0))
    result = run_row(row(), [peer("a"), peer("b")], take, Plan(samples=3, max_rounds=9))
    assert [each.state for each in result.of("a")] == ["mixed", "far", "near", "near", "near"]


def test_rounds_end_when_they_are_used_up():
    take = Taker(a=steady(3.0, FAR), b=steady(1.0, NEAR))
    result = run_row(row(), [peer("a"), peer("b")], take, Plan(samples=2, max_rounds=4))
    assert (len(result.of("a")), len(result.of("b")), result.ratios()) == (4, 4, [])


def test_a_row_that_does_not_depend_on_the_place_of_the_processors_compares_everything():
    take = Taker(a=[(1.0, NEAR, FAR)] * 2, b=[(2.0, FAR, 1e8)] * 2)
    result = run_row(row(is_topological=False), [peer("a"), peer("b")], take, Plan(samples=2))
    assert {each.state for each in result.samples} == {"any"}
    assert result.ratios()[0]["states"][0]["of_medians"] == 0.5


@pytest.mark.parametrize(
    ("higher", "target", "ours", "meets"),
    [
        (True, 1.5, 1.5, True),
        (True, 1.5, 1.49, False),
        (False, 1.0, 1.0, True),
        (False, 1.0, 1.01, False),
        (True, None, 9.0, None),
    ],
)
def test_a_target_is_met_or_missed(higher, target, ours, meets):
    take = Taker(a=steady(ours), b=steady(1.0))
    result = run_row(row(higher_is_better=higher, target=target), [peer("a"), peer("b")], take, Plan(samples=1))
    assert result.ratios()[0]["meets"] is meets


def test_who_is_absent_is_named_with_the_reason_and_the_others_go_on():
    take = Taker(a=steady(1.0))
    result = run_row(row(), [peer("a"), peer("b", "run `make peers`")], take, Plan(samples=2))
    assert result.absent == {"b": "run `make peers`"}
    assert len(result.of("a")) == 2
    assert result.ratios() == []


def test_who_fails_is_left_out_of_the_rest():
    take = Taker(a=steady(1.0), b=[(1.0, NEAR, NEAR), RuntimeError("it went")])
    result = run_row(row(), [peer("a"), peer("b")], take, Plan(samples=4))
    assert result.failed == {"b": "RuntimeError: it went"}
    assert (len(result.of("a")), len(result.of("b"))) == (4, 1)


def test_the_reports_name_every_sample_that_was_compared_and_every_absence():
    take = Taker(a=steady(3_000_000.0), b=steady(1_000_000.0))
    peers = [peer("a"), peer("b"), peer("c", "not installed")]
    found = run_row(row(), peers, take, Plan(samples=2)).as_dict()
    machine = {
        "processors": [0, 1], "processor": "a processor", "memory_gib": 8.0, "kernel": "Linux", "commit": "abc",
        "load_at_start": [0.0, 0.0, 0.0], "driver_threading": {"pillion": "shared", "c": ""}, "pinned": False,
        "scale": 1.0, "rate": 0.0, "term_length": "16m", "probe": "none",
        "driver_settings": {"pillion": {"AERON_MTU_LENGTH": "8k"}},
        "peers": {"a": {"title": "A", "versions": {"python": "3.11"}, "waits": "it spins"}},
    }  # fmt: skip
    results = {"date": "today", "pillion": "0.1.0", "machine": machine, "warnings": ["it was busy"], "rows": [found]}
    results = json.loads(json.dumps(results))
    for text in (report.format_table(results), report.format_markdown(results)):
        for words in (
            "a / b", "3.00 (3.00 to 3.00)", "wanted >= 1.5: met", "c: absent: not installed", "it was busy",
            "AERON_MTU_LENGTH=8k", "python 3.11; it spins", "3,000,000",
        ):  # fmt: skip
            assert words in text


def test_every_row_has_peers_that_can_do_it():
    for each in ROWS.values():
        for name in each.peers:
            assert ALL[name].takes_part_in(each.kind, each.media), f"{name} cannot do {each.name}"
        assert {name for pair in each.compared for name in pair} <= set(each.peers)
        assert each.work


def test_every_channel_says_its_term_length():
    assert row(media="ipc").channels(LOOPBACK, (1, 2), "1m") == ("aeron:ipc?term-length=1m",) * 2
    there, back = row(media="udp").channels(LOOPBACK, (1, 2))
    assert ("127.0.0.1:1|term-length=4m|mtu=1408" in there, "127.0.0.1:2|" in back) == (True, True)


def test_a_driver_is_ready_once_its_version_is_there(tmp_path):
    assert not is_ready(tmp_path)
    (tmp_path / "cnc.dat").write_bytes(bytes(8))
    assert not is_ready(tmp_path)
    (tmp_path / "cnc.dat").write_bytes(bytes([0, 2, 0, 0, 0, 0, 0, 0]))
    assert is_ready(tmp_path)


class EchoLater:
    """A link that gives every message back `delay` polls after it was offered."""

    def __init__(self, delay):
        self.delay, self.flying, self.polls = delay, [], 0

    def offer(self, message):
        self.flying.append((self.polls + self.delay, bytes(message)))
        return True

    def poll(self, handler):
        self.polls += 1
        due = [message for at, message in self.flying if at <= self.polls]
        self.flying = [each for each in self.flying if each[0] > self.polls]
        for message in due:
            handler(message, None)
        return len(due)


def test_at_a_rate_a_message_counts_from_when_it_was_due(monkeypatch):
    """A stall of 100 intervals shows in all the messages that were due in it, not in one."""
    ticks = iter(range(0, 10**9, 1000))
    now = [0]

    def clock():
        now[0] = next(ticks) + stalled[0]
        return now[0]

    stalled = [0]
    link = EchoLater(1)

    def offer(message):
        if not stalled[0] and len(latencies) and now[0] > 2_000_000:
            stalled[0] = 10_000_000
        return link.offer(message)

    latencies = [0] * 300
    monkeypatch.setattr(common.time, "monotonic_ns", clock)
    common.schedule(300, 100_000, bytearray(8), latencies, offer, link.poll)
    late = [latency for latency in latencies if latency > 1_000_000]
    assert 80 < len(late) < 120
    assert max(late) > 9_000_000
