"""Results as JSON, as a table for the terminal, as the page of the documentation, and as a plot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.peers.base import ROOT

PAGE = ROOT / "docs" / "_benchmarks.md"
_LATENCIES = ("min_us", "p50_us", "p90_us", "p99_us", "p99.9_us", "max_us")


def write_json(path: Path, results: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


def format_value(value: float) -> str:
    """Three figures that mean something, thousands apart."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def format_settings(machine: dict[str, Any]) -> list[str]:
    """The settings, a line each."""
    processors = ", ".join(map(str, machine["processors"]))
    threading = ", ".join(f"{kind} {mode or 'by itself'}" for kind, mode in machine["driver_threading"].items())
    lines = [
        f"processors {processors}: {machine['processor']}; {machine['memory_gib']} GiB; {machine['kernel']}",
        f"commit {machine['commit']}; load at the start {machine['load_at_start'][0]:.1f}",
        f"drivers' threading: {threading}; clients {'' if machine['pinned'] else 'not '}pinned; "
        f"counts times {machine['scale']:g}; round trips "
        + (f"at {machine['rate']:g} a second" if machine["rate"] else "one after the other"),
    ]
    lines.append(f"terms: {machine['term_length']}")
    for kind, settings in machine["driver_settings"].items():
        if settings:
            lines.append(f"{kind} driver: {', '.join(f'{name}={value}' for name, value in settings.items())}")
    lines.append(f"topology probe: {machine['probe']}")
    for name, peer in machine["peers"].items():
        versions = ", ".join(f"{key} {value}" for key, value in peer["versions"].items())
        lines.append(f"{name}: {versions}; {peer['waits']}")
    return lines


def _peer_cells(row: dict[str, Any]) -> Iterator[list[str]]:
    for name, peer in row["peers"].items():
        for state, found in peer["states"].items():
            yield [
                name,
                state,
                str(found["count"]),
                *(format_value(found[key]) for key in ("median", "min", "max")),
            ]


def _latency_cells(row: dict[str, Any]) -> Iterator[list[str]]:
    for name, peer in row["peers"].items():
        for state, found in peer["states"].items():
            if "p50_us" in found:
                yield [name, state, *(format_value(found[key]) for key in _LATENCIES)]


def _verdict(row: dict[str, Any], comparison: dict[str, Any]) -> str:
    if row["target"] is None:
        return ""
    sign = ">=" if row["higher_is_better"] else "<="
    return f"wanted {sign} {row['target']:g}: {'met' if comparison['meets'] else 'missed'}"


def _ratio_cells(row: dict[str, Any]) -> Iterator[list[str]]:
    for comparison in row["ratios"]:
        for number, state in enumerate(comparison["states"]):
            paired = state["paired"]
            spread = f"{state['paired_median']:.2f} ({min(paired):.2f} to {max(paired):.2f})" if paired else "-"
            yield [
                f"{comparison['ours']} / {comparison['theirs']}",
                state["state"],
                f"{state['of_medians']:.2f}",
                spread,
                str(len(paired)),
                _verdict(row, comparison) if number == 0 else "",
            ]


def _notes(row: dict[str, Any]) -> Iterator[str]:
    first = next(iter(row["peers"].items()), None)
    if row["limit"] is not None and first is not None:
        name, peer = first
        met = "met" if peer["median"] <= row["limit"] else "missed"
        yield f"{name}: wanted at most {row['limit']:g} {row['unit']}: {met}"
    for name, peer in row["peers"].items():
        for state, found in peer["states"].items():
            if "bare_ms" in found:
                alone = f", the driver alone {found['driver_alone_ms']:.1f} ms" if "driver_alone_ms" in found else ""
                yield f"{name} ({state}): of that the interpreter or virtual machine {found['bare_ms']:.1f} ms{alone}"
    for kind in ("absent", "failed"):
        for name, reason in row[kind].items():
            yield f"{name}: {kind}: {reason}"


def _tables(row: dict[str, Any]) -> Iterator[tuple[list[str], list[list[str]]]]:
    unit = row["unit"]
    yield ["peer", "state", "samples", f"median {unit}", "min", "max"], list(_peer_cells(row))
    latencies = list(_latency_cells(row))
    if latencies:
        yield ["peer", "state", *(name.replace("_us", " us") for name in _LATENCIES)], latencies
    yield ["ratio", "state", "of medians", "paired: median (range)", "pairs", "verdict"], list(_ratio_cells(row))


def _align(header: list[str], rows: list[list[str]]) -> Iterator[str]:
    widths = [max(len(line[column]) for line in [header, *rows]) for column in range(len(header))]
    for line in [header, *rows]:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield "  " + "  ".join(cells).rstrip()


def format_table(results: dict[str, Any]) -> str:
    """Everything for the terminal."""
    lines = [*format_settings(results["machine"]), *(f"WARNING: {text}" for text in results["warnings"])]
    for row in results["rows"]:
        lines += ["", f"{row['name']}: {row['title']}", f"  {row['work']}"]
        for header, rows in _tables(row):
            if rows:
                lines += ["", *_align(header, rows)]
        lines += [f"  {note}" for note in _notes(row)]
    return "\n".join(lines)


def format_markdown(results: dict[str, Any]) -> str:
    """Everything for the documentation, which includes it."""
    lines = [f"Measured on {results['date']}, Pillion {results['pillion']}.", ""]
    lines += [f"- {text}" for text in format_settings(results["machine"])]
    lines += [f"- **{text}**" for text in results["warnings"]]
    for row in results["rows"]:
        lines += ["", f"### {row['title']}", "", f"`{row['name']}`: {row['work']}."]
        for header, rows in _tables(row):
            if rows:
                lines += ["", f"| {' | '.join(header)} |", f"|{'|'.join('---' for _ in header)}|"]
                lines += [f"| {' | '.join(cells)} |" for cells in rows]
        notes = [f"- {note}" for note in _notes(row)]
        lines += ["", *notes] if notes else []
    return "\n".join(lines) + "\n"


def write_docs(results: dict[str, Any]) -> Path:
    """Put the table where docs/benchmarks.md includes it from."""
    PAGE.write_text(format_markdown(results))
    return PAGE


def write_plot(results: dict[str, Any], path: Path) -> str:
    """A dot a sample, coloured by state, a panel a row; "" or why there is none."""
    try:
        import matplotlib
    except ImportError:
        return "matplotlib is not installed (pip install matplotlib)"
    matplotlib.use("agg")
    from matplotlib import pyplot

    rows = [row for row in results["rows"] if row["samples"]]
    if not rows:
        return "there are no samples"
    figure, panels = pyplot.subplots(len(rows), 1, figsize=(9, 2.4 * len(rows)), squeeze=False)
    for row, panel in zip(rows, panels[:, 0], strict=True):
        for state in sorted({sample["state"] for sample in row["samples"]}):
            alike = [sample for sample in row["samples"] if sample["state"] == state]
            panel.scatter([s["value"] for s in alike], [s["peer"] for s in alike], label=state, alpha=0.6)
        panel.set_title(row["title"], fontsize=9)
        panel.set_xlabel(row["unit"])
        panel.set_xlim(left=0)
        panel.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
    return ""
