"""Runs every block of Python in the documentation, and the blocks of shell that say so."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from snippets import PAGES, SNIPPETS, Snippet

from pillion.tools.main import COMMANDS

TIMEOUT_S = 60
_OPTION = re.compile(r"(?<!\S)(-[A-Za-z]|--[a-z-]+)\b")

SINGLE = [each for each in SNIPPETS if each.language == "python" and not each.group]
GROUPS = sorted({each.group for each in SNIPPETS if each.group})
SHELL = [each for each in SNIPPETS if each.language == "shell"]


def start(snippet: Snippet, directory: Path) -> subprocess.Popen[str]:
    if snippet.language == "shell":
        command = ["bash", "-euo", "pipefail", "-c", snippet.text]
    else:
        script = directory / f"snippet-{snippet.line}.py"
        script.write_text(snippet.text, encoding="utf-8")
        command = [sys.executable, "-W", "error", str(script)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def check(snippet: Snippet, process: subprocess.Popen[str]) -> None:
    with process:
        try:
            output, errors = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
    assert process.returncode == 0, f"{snippet.name}\n{output}\n{errors}"
    if snippet.output is not None:
        assert output.rstrip() == snippet.output.rstrip(), snippet.name


@pytest.mark.parametrize("snippet", SINGLE, ids=lambda snippet: snippet.name)
def test_python(snippet: Snippet, workplace: Path, with_free_ports: Callable[[Snippet], Snippet]) -> None:
    snippet = with_free_ports(snippet)
    check(snippet, start(snippet, workplace))


@pytest.mark.parametrize("group", GROUPS)
def test_together(group: str, workplace: Path, with_free_ports: Callable[[Snippet], Snippet]) -> None:
    """The programs of a group are started in the order of the page and have to end by themselves."""
    running: list[tuple[Snippet, subprocess.Popen[str]]] = []
    try:
        for snippet in map(with_free_ports, SNIPPETS):
            if snippet.group == group:
                running.append((snippet, start(snippet, workplace)))
        for snippet, process in running:
            check(snippet, process)
    finally:
        for _, process in running:
            with process:
                process.kill()


@pytest.mark.parametrize(
    "snippet", [each for each in SHELL if each.is_marked and not each.group], ids=lambda snippet: snippet.name
)
def test_shell(snippet: Snippet, workplace: Path, with_free_ports: Callable[[Snippet], Snippet]) -> None:
    snippet = with_free_ports(snippet)
    check(snippet, start(snippet, workplace))


def test_commands_and_their_options_exist() -> None:
    """Also in the blocks of shell that cannot be run here."""
    helps: dict[str, str] = {}
    for snippet in SHELL:
        for line in snippet.text.replace("\\\n", " ").splitlines():
            for call in re.findall(r"(?:^|[|;&]\s*|\$\()pillion ([^|;&]*)", line.partition("  #")[0]):
                command, _, rest = call.partition(" ")
                if command.startswith("-"):
                    continue
                assert command in COMMANDS, f"{snippet.name}: {line}"
                if command not in helps:
                    done = subprocess.run(
                        [sys.executable, "-m", "pillion", command, "--help"],
                        capture_output=True, text=True, check=True, timeout=TIMEOUT_S,
                    )
                    helps[command] = done.stdout
                for option in _OPTION.findall(re.sub(r"'[^']*'|\"[^\"]*\"", "", rest)):
                    if not option.startswith("-D"):
                        assert re.search(rf"(?<!\S){option}\b", helps[command]), f"{snippet.name}: {option}"


def test_pages_are_found() -> None:
    assert {"README.md", "CONTRIBUTING.md", "index.md", "tutorial.md"} <= {page.name for page in PAGES}
    assert len(SINGLE) > 15


def test_pages_hold_no_unknown_fences() -> None:
    """A misspelt language would leave a snippet out."""
    known = {"python", "shell", "output", "text", "ini", "dockerfile", "", "markdown", "yaml"}
    assert {each.language for each in SNIPPETS} <= known
