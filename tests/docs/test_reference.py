"""What the reference writes down by hand has to be what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from snippets import ROOT

import pillion
from pillion.driver.settings import SETTINGS
from pillion.parameters import PARAMETERS

REFERENCE = ROOT / "docs" / "reference"
# Read where a counter's label is made, and nowhere else.
ONLY_IN_LABELS = {"resolver_name"}


def names_of(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", text)


def test_each_channel_parameter_has_its_row() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (REFERENCE / "channels.md").read_text(), re.MULTILINE)
    found = [name for row in rows for name in names_of(row)]
    assert sorted(found) == sorted(PARAMETERS)


def test_settings_without_effect_are_named() -> None:
    page = (REFERENCE / "settings.md").read_text()
    listed = re.search(r"nothing\s+in\s+this\s+version:\n\n((?:- .*\n(?:  .*\n)*)+)", page)
    assert listed is not None
    sources = [path.read_text() for path in (ROOT / "src" / "pillion" / "driver").glob("*.py")]
    used = {name for source in sources for name in re.findall(r"\bsettings\.(\w+)", source)}
    unused = {name for name in SETTINGS if name not in used} | ONLY_IN_LABELS
    assert {SETTINGS[name].property_name for name in unused} == set(names_of(listed[1]))


def test_public_names_are_explained() -> None:
    text = (REFERENCE / "api.md").read_text() + (REFERENCE / "errors.md").read_text()
    missing = [name for name in pillion.__all__ if not name.startswith("_") and not re.search(rf"\b{name}\b", text)]
    assert not missing


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(page: str) -> None:
    """Sphinx checks the links of its own pages, not of these."""
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text())
    assert not [link for link in links if "://" not in link and not Path(ROOT, link).exists()]


def test_named_modules_exist() -> None:
    """Of the architecture page: every path in backticks that looks like a module of ours."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    paths = {name.partition(" ")[0] for name in names_of(text) if re.fullmatch(r"[\w/]+\.(py|pxd)", name)}
    assert len(paths) > 30
    homes = (ROOT, ROOT / "src" / "pillion")
    assert not [path for path in sorted(paths) if not any((home / path).exists() for home in homes)]


def test_named_functions_exist() -> None:
    """Of the architecture page: every `name` or `Class.name` that is said to be in a file just behind it."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    pairs = re.findall(r"`([\w.]+)`(?: struct)? \(`([\w/]+\.(?:py|pxd))`", text)
    assert len(pairs) > 12
    for name, path in pairs:
        source = (ROOT / "src" / "pillion" / path).read_text()
        for part in name.split("."):
            assert re.search(rf"\b{part}\b", source) or part in ("Subscription", "Client"), f"{name} in {path}"
