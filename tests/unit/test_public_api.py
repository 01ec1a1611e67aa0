"""The public API: every name resolves, is documented, is lazy, and survives being used wrongly."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import pillion

# What the design promises at the least.
PROMISED = """MediaDriver connect Client Publication ExclusivePublication Subscription Image Counter BufferClaim
FragmentAssembler FragmentBuffer Header PillionError NOT_CONNECTED BACK_PRESSURED ADMIN_ACTION CLOSED
MAX_POSITION_EXCEEDED ABORT BREAK COMMIT CONTINUE __version__"""
NAMES = sorted(pillion.__all__)


def test_all_is_what_resolves() -> None:
    assert set(PROMISED.split()) <= set(pillion.__all__)
    assert len(set(pillion.__all__)) == len(pillion.__all__)
    assert set(pillion._HOMES) | {"__version__"} == set(pillion.__all__)
    assert set(pillion.__all__) <= set(dir(pillion))


@pytest.mark.parametrize("name", NAMES)
def test_name_resolves(name: str) -> None:
    value = getattr(pillion, name)
    assert getattr(pillion, name) is value


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(pillion.__file__).read_text())
    declared = {
        alias.name: f"{node.module}"
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert declared == {name: f"pillion.{home}" for name, home in pillion._HOMES.items()}


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = pillion.Nonsense


def _documented() -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name in NAMES:
        try:
            value = getattr(pillion, name)
        except (ImportError, AttributeError):
            continue            # reported by test_name_resolves
        if inspect.isclass(value) or callable(value):
            found.append((name, value))
        if inspect.isclass(value) and value.__module__.startswith("pillion"):
            for attribute in dir(value):
                if attribute.startswith("_"):
                    continue
                member = inspect.getattr_static(value, attribute)
                # Plain attributes of compiled classes cannot have a docstring.
                if callable(member) or isinstance(member, property):
                    found.append((f"{name}.{attribute}", member))
    return found


def test_everything_public_is_documented() -> None:
    inherited = {name for kind in (BaseException, int) for name in dir(kind)}
    missing = [
        name
        for name, value in _documented()
        if name.rpartition(".")[2] not in inherited and not (inspect.getdoc(value) or "").strip()
    ]
    assert not missing, f"without a docstring: {', '.join(missing)}"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_importing_the_package_loads_neither_client_nor_driver() -> None:
    result = run(
        "import sys, pillion\n"
        "print([name for name in sys.modules if name.startswith(('pillion.client', 'pillion.driver'))])"
    )
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.parametrize(("name", "other"), [("Client", "driver"), ("MediaDriver", "client")])
def test_one_side_does_not_load_the_other(name: str, other: str) -> None:
    result = run(
        f"import sys, pillion\npillion.{name}\n"
        f"print([name for name in sys.modules if name.startswith('pillion.{other}')])"
    )
    assert result.stdout.strip() == "[]", result.stderr


# What a user may do to every public class without knowing it: make one by hand, and touch everything it has.
ABUSE = """
import pillion
kind = pillion.{name}
made = []
for make in (kind, lambda: kind.__new__(kind)):
    try:
        made.append(make())
    except Exception:
        pass
for thing in made:
    for attribute in dir(thing):
        if attribute in ("__class__", "__init_subclass__", "__subclasshook__"):
            continue
        try:
            value = getattr(thing, attribute)
        except Exception:
            continue
        if callable(value):
            for arguments in ((), (0,), (b"x",), (lambda *a: None,), (lambda *a: None, 10)):
                try:
                    value(*arguments)
                except Exception:
                    pass
    for use in (len, bytes, memoryview, repr, hash, iter, list):
        try:
            use(thing)
        except Exception:
            pass
print("survived")
"""


@pytest.mark.parametrize(
    "name",
    ["BufferClaim", "Client", "Counter", "ExclusivePublication", "FragmentAssembler", "FragmentBuffer", "Header",
     "Image", "Publication", "Subscription"],
)  # fmt: skip
def test_an_object_made_by_hand_does_not_crash(name: str) -> None:
    result = run(ABUSE.format(name=name))
    assert result.returncode == 0, f"{name}: died with {result.returncode}\n{result.stderr[-2000:]}"
    assert result.stdout.strip().endswith("survived")
