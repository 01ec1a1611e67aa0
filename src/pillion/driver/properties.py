"""Properties files: `name=value` or `name: value` a line, as both reference drivers read them.

Blank lines and lines that start with `#` or `!` are comments, also between continued lines; a
trailing backslash continues on the next line; white space is dropped around the name and before the
value. Names are returned in their environment form, so that `aeron.term.buffer.length` and
`AERON_TERM_BUFFER_LENGTH` are one setting; the last of two wins.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from pillion.errors import SettingError


def environment_name(name: str) -> str:
    """`aeron.term.buffer.length` as `AERON_TERM_BUFFER_LENGTH`."""
    return name.replace(".", "_").upper()


def read_properties(path: str | os.PathLike[str]) -> dict[str, str]:
    """The properties of a file (a path or a `file://` URL) by environment name.

    Raises `SettingError` that names the file and line, for a file that cannot be read too.
    """
    text = os.fspath(path)
    name = text.removeprefix("file://")
    try:
        with open(name, encoding="utf-8") as file:
            return parse_properties(file, source=name)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(
            f"properties file {name!r} cannot be read: {error}", value=name, source=name
        ) from error


def parse_properties(lines: Iterable[str], *, source: str = "properties") -> dict[str, str]:
    """The properties in `lines` by environment name; raises `SettingError` with the line number."""
    properties = {}
    for number, line in _logical_lines(lines):
        ends = [end for end in (line.find("="), line.find(":")) if end >= 0]
        name = line[: min(ends)].strip() if ends else ""
        if not name:
            why = "has no name" if ends else "has neither '=' nor ':'"
            raise SettingError(
                f"{source} line {number}: {line!r} {why}: write name=value",
                value=line,
                source=f"{source}:{number}",
            )
        properties[environment_name(name)] = line[min(ends) + 1 :].lstrip()
    return properties


def _logical_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    pending, first = "", 0
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip("\r\n").lstrip()
        if not line or line[0] in "#!":
            continue
        first = first or number
        if line.endswith("\\"):
            pending += line[:-1]
            continue
        yield first, pending + line
        pending, first = "", 0
    if pending:
        yield first, pending
