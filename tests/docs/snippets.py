"""The code blocks of the documentation, and how each is to be run.

A block of Python is run by itself. A comment above the fence says otherwise:

`<!-- run: with NAME -->` runs all blocks of that page with this name at once, each in a process of its own;
`<!-- run -->` above a block of shell runs it, with `pillion` on the path.

A fence of the kind `output` holds what the block before it prints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- run(?:: with (\S+))? -->\n+\Z")


@dataclass(frozen=True)
class Snippet:
    """One fenced block. `group` is shared by blocks that run at once, "" for one that runs alone."""

    page: str
    line: int
    language: str
    text: str
    is_marked: bool
    group: str
    output: str | None

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


def snippets_of(page: Path) -> list[Snippet]:
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix()
    found: list[Snippet] = []
    end = 0
    for match in _FENCE.finditer(text):
        between = text[end : match.start()]
        end = match.end()
        if match[1] == "output":
            found[-1] = replace(found[-1], output=match[2])
            continue
        mark = _MARK.search(between)
        line = text.count("\n", 0, match.start()) + 1
        group = f"{name} {mark[1]}" if mark and mark[1] else ""
        found.append(Snippet(name, line, match[1], match[2], mark is not None, group, None))
    return found


SNIPPETS = [snippet for page in PAGES if page.exists() for snippet in snippets_of(page)]
