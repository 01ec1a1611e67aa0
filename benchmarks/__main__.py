"""`python -m benchmarks`: choose rows and peers, measure, print the table, keep the JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import machine, report
from benchmarks.measuring import Conditions, Measured, Sampler
from benchmarks.peers import ALL
from benchmarks.peers.base import CACHE, Peer
from benchmarks.probe import NEAR_BELOW_NS, Probe
from benchmarks.process import STOP
from benchmarks.rows import ROWS, Row
from benchmarks.runner import Plan, run_row

RESULTS = CACHE / "results.json"
FEW_PROCESSORS = 4
DRIVERS = ("pillion", "c", "java")

DETAILS = """
Peers of a row are measured in turn, in the other order each round, and compared only among samples between which the
processors had not moved (the topology probe). benchmarks/README.md says how to read what comes out.
"""


def main(arguments: list[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    if args.list:
        print(_listing())
        return 0
    if args.read:
        results: dict[str, Any] = json.loads(args.read.read_text())
    else:
        # As an exception, so that every process and directory of the sample under way is cleaned up.
        with STOP:
            results = measure(args)
        report.write_json(args.json, results)
        print(f"\nwritten to {args.json}")
    print(f"\n{report.format_table(results)}")
    if args.write_docs:
        print(f"\nwritten to {report.write_docs(results)}")
    if args.plot:
        print(report.write_plot(results, args.plot) or f"written to {args.plot}")
    return 1 if any(row["failed"] for row in results["rows"]) else 0


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Every row chosen; returns the results, with a line on stdout for each sample."""
    conditions, probe = _conditions(args)
    plan = Plan(args.samples, args.max_rounds or 2 * args.samples, args.near_below)
    chosen = [(row, _peers_of(row, args.peers, conditions)) for row in (ROWS[name] for name in args.rows)]
    everyone = {peer.name: peer for _, peers in chosen for peer in peers}
    described = machine.describe(list(everyone.values()), conditions, probe)
    doubts = machine.warnings(described)
    print("\n".join([*report.format_settings(described), *(f"WARNING: {text}" for text in doubts)]), flush=True)
    rows = []
    for row, peers in chosen:
        print(f"\n{row.name}: {row.title}", flush=True)
        result = run_row(row, peers, partial(take, conditions), plan, partial(print, flush=True))
        rows.append(result.as_dict())
    from pillion.version import __version__

    return {
        "date": time.strftime("%Y-%m-%d"),
        "pillion": __version__,
        "machine": described,
        "warnings": doubts,
        "plan": {"samples": plan.samples, "max_rounds": plan.max_rounds, "near_below_ns": plan.near_below_ns},
        "rows": rows,
    }


def take(conditions: Conditions, row: Row, peer: Peer) -> Measured:
    """One sample."""
    return Sampler(row, peer, conditions).take()


def _conditions(args: argparse.Namespace) -> tuple[Conditions, Probe]:
    cpus = tuple(args.cpus or sorted(os.sched_getaffinity(0)))
    probe = Probe(CACHE, cpus[:2])
    # What Pillion takes by itself where processors are few, and what helps the others there.
    threading = dict.fromkeys(DRIVERS, "shared" if len(cpus) < FEW_PROCESSORS else "") | args.threading
    settings: dict[str, dict[str, str]] = {
        "pillion": dict(args.pillion_setting),
        "c": dict(args.c_setting),
        "java": dict(args.c_setting),
    }
    conditions = Conditions(
        probe.read,
        cpus,
        args.pin,
        threading,
        settings,
        term=args.term,
        scale=args.scale,
        rate=args.rate,
        idle_s=args.idle_seconds,
    )
    return conditions, probe


def _peers_of(row: Row, names: list[str] | None, conditions: Conditions) -> list[Peer]:
    chosen = [ALL[name] for name in (names or row.peers) if ALL[name].takes_part_in(row.kind, row.media)]
    if conditions.rate and row.kind == "round_trip":
        chosen = [peer for peer in chosen if peer.at_a_rate]
    if row.has_network:
        chosen = [peer for peer in chosen if peer.driver]
    return chosen


def _names(known: dict[str, Any]) -> Any:
    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return names

    return parse


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.startswith("AERON_"):
        raise argparse.ArgumentTypeError(f"{text!r} is not AERON_NAME=VALUE")
    return name, value


def _threading(text: str) -> dict[str, str]:
    if "=" not in text:
        return dict.fromkeys(DRIVERS, text)
    modes = dict(part.split("=", 1) for part in text.split(","))
    if modes.keys() - set(DRIVERS):
        raise argparse.ArgumentTypeError(f"{text!r} names other drivers than {', '.join(DRIVERS)}")
    return modes


def _cpus(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _samples(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} samples are none")
    return number


def _listing() -> str:
    lines = ["rows:"]
    for row in ROWS.values():
        lines += [f"  {row.name:14} {row.title}", f"  {'':14} peers: {', '.join(row.peers)}"]
    lines.append("peers:")
    for peer in ALL.values():
        reason = peer.why_absent()
        lines.append(f"  {peer.name:20} {peer.title}{f' (absent: {reason})' if reason else ''}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure Pillion beside its peers.", epilog=DETAILS
    )
    add = parser.add_argument
    add("--list", action="store_true", help="what there is to measure, and who is absent and why")
    add("--rows", type=_names(ROWS), default=list(ROWS), metavar="NAME,...", help="default: all of them")
    add("--peers", type=_names(ALL), metavar="NAME,...", help="in place of each row's own")
    add("--samples", type=_samples, default=5, metavar="N", help="of each peer in one state (default: %(default)s)")
    add("--max-rounds", type=_samples, metavar="N", help="stop there whatever the states were (default: twice N)")
    add("--json", type=Path, default=RESULTS, metavar="FILE", help="where the results go (default: %(default)s)")
    add("--read", type=Path, metavar="FILE", help="measure nothing, report these results")
    add("--write-docs", action="store_true", help=f"put the tables into {report.PAGE.name} of the documentation")
    add("--plot", type=Path, metavar="FILE", help="draw the samples (needs matplotlib)")
    add("--scale", type=float, default=1.0, metavar="X", help="multiply the number of messages")
    add("--term", default="", metavar="LENGTH", help="term length of all streams, such as 1m (default: by row)")
    add("--rate", type=float, default=0.0, metavar="N", help="round trips a second, timed from when they were due")
    add("--idle-seconds", type=float, default=10.0, metavar="S", help="of the idle rows (default: %(default)s)")
    add(
        "--threading",
        type=_threading,
        default={},
        metavar="MODE",
        help="of all drivers, or c=MODE,pillion=MODE; '' is the driver's own (default: shared below 4 processors)",
    )
    add("--pillion-setting", type=_setting, action="append", default=[], metavar="AERON_X=Y", help="of our driver")
    add("--c-setting", type=_setting, action="append", default=[], metavar="AERON_X=Y", help="of the C driver")
    add("--cpus", type=_cpus, metavar="A,B", help="the processors probed and pinned to (default: the first two)")
    add("--pin", action="store_true", help="pin the publisher to the first, the subscriber to the second")
    add("--near-below", type=float, default=NEAR_BELOW_NS, metavar="NS", help="probe: near below it, else far")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
