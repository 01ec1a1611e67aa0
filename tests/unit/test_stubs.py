"""The type stubs of the compiled modules, as far as `stubtest` (make lint) cannot check them at run time.

A type checker looks only at the `.pyi` of a compiled module, so nothing else would notice one that is wrong.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _compiled_sources() -> list[Path]:
    """The sources of COMPILED_MODULES. Parsed, because importing setup.py runs it."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COMPILED_MODULES":
            return [ROOT / "src" / f"{name.replace('.', '/')}.py" for name in ast.literal_eval(node.value)]
    raise AssertionError("setup.py assigns no COMPILED_MODULES")


COMPILED = _compiled_sources()


def _functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Every `__init__` and property setter of a file, by qualified name."""
    classes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
    for node in classes:
        for item in node.body:
            if isinstance(item, ast.FunctionDef):
                setters = [text for text in map(ast.unparse, item.decorator_list) if text.endswith(".setter")]
                if item.name == "__init__" or setters:
                    yield f"{node.name}.{setters[0] if setters else item.name}", item


def _signature(function: ast.FunctionDef) -> str:
    """Argument names, kinds and defaults, without types; numbers by value, so that 0o600 is 384."""
    for argument in ast.walk(function.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return ast.unparse(function.args)


def test_every_compiled_module_has_a_stub_and_no_other() -> None:
    assert {path.with_suffix(".pyi") for path in COMPILED} == set((ROOT / "src").rglob("*.pyi"))


def test_ruff_makes_its_exceptions_for_the_compiled_modules_and_no_other() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        exceptions = tomllib.load(file)["tool"]["ruff"]["lint"]["per-file-ignores"]
    assert {ROOT / name for name, rules in exceptions.items() if "F821" in rules} == set(COMPILED)


@pytest.mark.parametrize("source", COMPILED, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_constructors_and_setters_of_the_stub_are_those_of_the_source(source: Path) -> None:
    real = {name: _signature(function) for name, function in _functions(source)}
    stub = {name: _signature(function) for name, function in _functions(source.with_suffix(".pyi"))}
    assert stub == real
