"""Directives that let the code describe itself: settings, counters, error codes, the commands' own help.

A page that uses one of them cannot fall behind the code, because it is made of it whenever the pages are built.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

# Defaults that depend on the machine, in the words of a reader of another machine.
MACHINE_DEPENDENT = {
    "aeron_dir": "/dev/shm/aeron-USER",
    "threading_mode": "shared below four processors, else dedicated",
}


def cell(text: str) -> nodes.paragraph:
    """A paragraph in which `...` is code."""
    paragraph = nodes.paragraph()
    for number, piece in enumerate(text.split("`")):
        paragraph += nodes.literal(text=piece) if number % 2 else nodes.Text(piece)
    return paragraph


def table(header: Sequence[str], rows: Iterable[Sequence[str]], widths: Sequence[int]) -> nodes.table:
    group = nodes.tgroup(cols=len(header))
    group += [nodes.colspec(colwidth=width) for width in widths]
    head, body = nodes.thead(), nodes.tbody()
    for parent, lines in ((head, [header]), (body, rows)):
        for line in lines:
            row = nodes.row()
            for text in line:
                entry = nodes.entry()
                entry += cell(text)
                row += entry
            parent += row
    group += [head, body]
    result = nodes.table(classes=["colwidths-given"])
    result += group
    return result


class Settings(Directive):
    """Every setting of a driver, from the table the driver itself reads."""

    def run(self) -> list[nodes.Node]:
        from pillion.driver.settings import describe_settings

        rows = []
        for row in describe_settings():
            default = MACHINE_DEPENDENT.get(row.name, row.default or "unset")
            unit = "" if row.unit in ("", "text", "bool", "name") else f" ({row.unit})"
            rows.append((f"`{row.name}`", f"`{row.property_name}`", f"{default}{unit}", row.doc))
        return [table(("Keyword", "Property", "Default", "What it is for"), rows, (22, 30, 14, 34))]


class Help(Directive):
    """What `pillion COMMAND --help` prints; without an argument, what `pillion --help` prints."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        environment = {**os.environ, "COLUMNS": "90", "NO_COLOR": "1"}
        command = [sys.executable, "-m", "pillion", *self.arguments, "--help"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)
        text = done.stdout.rstrip()
        block = nodes.literal_block(text, text)
        block["language"] = "text"
        return [block]


class SystemCounters(Directive):
    """The counters of the driver as a whole, with the labels that it gives them."""

    def run(self) -> list[nodes.Node]:
        from pillion.protocol.ids import SystemCounter, system_counter_labels

        labels = system_counter_labels("MODE", "VERSION")
        rows = [(str(int(each)), f"`{each.name}`", labels[each]) for each in SystemCounter]
        return [table(("Id", "Name", "Label"), rows, (6, 40, 54))]


class ErrorCodes(Directive):
    """The error codes of the control protocol; the body says what each is for, a line `NAME: words` a code."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        from pillion.errors import ErrorCode

        meanings = dict(line.split(": ", 1) for line in self.content if line.strip())
        names = {each.name for each in ErrorCode}
        if set(meanings) != names:
            raise self.error(f"the codes that are explained and those that exist differ: {set(meanings) ^ names}")
        rows = [(str(int(each)), f"`{each.name}`", meanings[each.name]) for each in ErrorCode]
        return [table(("Code", "Name", "When"), rows, (8, 36, 56))]


def drop_self(app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None,
              returns: str | None) -> tuple[str | None, str | None] | None:
    """Signatures of compiled methods begin with `self`, which nobody passes."""
    if signature is None or not signature.startswith("(self"):
        return None
    return "(" + signature.removeprefix("(self").removeprefix(", "), returns


def show_type(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """The docstring of a compiled property begins with a line `name: type`."""
    own_name = name.rpartition(".")[2]
    if lines and lines[0].startswith(f"{own_name}: "):
        kind = lines.pop(0).partition(": ")[2]
        lines[0:0] = [f"`{kind}`", ""] if not lines or not lines[0].strip() else [f"`{kind}`:"]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("pillion-settings", Settings)
    app.add_directive("pillion-help", Help)
    app.add_directive("pillion-system-counters", SystemCounters)
    app.add_directive("pillion-error-codes", ErrorCodes)
    app.connect("autodoc-process-signature", drop_self)
    app.connect("autodoc-process-docstring", show_type)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
