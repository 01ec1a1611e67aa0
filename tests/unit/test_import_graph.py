"""The arrows between the rooms: tools -> client, driver -> memory -> protocol, and never between client and driver."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import pillion

SOURCE = Path(pillion.__file__).parent
# Small plain modules beside the rooms, which every room may use; they use nothing but each other.
COMMON = frozenset({"address", "channel", "clock", "directory", "errors", "idle", "parameters", "units", "version"})
ROOMS: dict[str, frozenset[str]] = {
    "protocol": COMMON,
    "memory": COMMON | {"protocol"},
    "client": COMMON | {"memory", "protocol"},
    "driver": COMMON | {"memory", "protocol"},
    "connecting": COMMON | {"client", "driver"},
    "tools": COMMON | {"memory", "protocol", "client", "driver", "connecting"},
}
# Above the rooms: what users import.
TOP = COMMON | frozenset(ROOMS)


def room_of(module: str) -> str:
    """`memory` of `pillion.memory.cnc`; "" for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports_of_python(path: Path, module: str) -> set[str]:
    """Every pillion module that a `.py` file imports or cimports, wherever in the file."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (base, node.module or "") if part)
            names = [f"{base}.{alias.name}" for alias in node.names]
        for name in names:
            name = name.removeprefix("cython.cimports.")
            if name.split(".")[0] == "pillion":
                found.add(name)
    return found


def imports_of_declarations(path: Path) -> set[str]:
    """Every pillion module that a `.pxd` file cimports."""
    text = re.sub(r"#.*", "", path.read_text())
    found = set(re.findall(r"^\s*from\s+(pillion[\w.]*)\s+c?import\b", text, re.MULTILINE))
    found.update(re.findall(r"^\s*c?import\s+(pillion[\w.]*)", text, re.MULTILINE))
    return found


def imports() -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for path in sorted(SOURCE.rglob("*.p*")):
        if path.suffix not in (".py", ".pxd", ".pyi") or "__pycache__" in path.parts:
            continue
        parts = ("pillion", *path.relative_to(SOURCE).with_suffix("").parts)
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found = imports_of_declarations(path) if path.suffix == ".pxd" else imports_of_python(path, module)
        graph.setdefault(module, set()).update(found)
    return graph


GRAPH = imports()


def test_the_graph_is_seen() -> None:
    assert "pillion.memory.mapped_file.MappedFile" in GRAPH["pillion.memory.cnc"]
    assert "pillion.protocol.layouts.CncMetadata" in GRAPH["pillion.memory.cnc"], "cimports count"
    assert "pillion.memory.mapped_file" in GRAPH["pillion.memory.cnc"], "and those of the .pxd"
    assert {room_of(module) for module in GRAPH} >= set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms(room: str) -> None:
    wrong = [
        f"{module} imports {target}"
        for module, targets in GRAPH.items()
        if room_of(module) == room
        for target in sorted(targets)
        if room_of(target) not in ROOMS[room] | {room}
    ]
    assert not wrong, "\n".join(wrong)


def test_common_modules_use_only_each_other() -> None:
    wrong = [
        f"{module} imports {target}"
        for module, targets in GRAPH.items()
        if room_of(module) in COMMON
        for target in sorted(targets)
        if room_of(target) not in COMMON
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_imports_what_is_above_it() -> None:
    wrong = [
        f"{module} imports {target}"
        for module, targets in GRAPH.items()
        if room_of(module) in TOP
        for target in sorted(targets)
        if room_of(target) not in TOP and target != "pillion.__version__"
    ]
    assert not wrong, "\n".join(wrong)


def test_every_target_exists() -> None:
    for module, targets in GRAPH.items():
        for target in targets:
            known = target in GRAPH or target.rpartition(".")[0] in GRAPH
            assert known, f"{module} imports {target}"
