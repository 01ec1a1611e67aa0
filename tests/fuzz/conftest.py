"""The fixture of every fuzz test, and where their tools are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "unit"))      # memory_tools, log_tools

from fuzzing import SECONDS, SEED, Fuzz


@pytest.fixture
def fuzz() -> Iterator[Fuzz]:
    """Rounds of fuzzing; PILLION_FUZZ_SECONDS (1) says for how long, PILLION_FUZZ_SEED from which seed."""
    run = Fuzz()
    yield run
    # Printed with the captured output of a test that failed.
    print(f"the last round had PILLION_FUZZ_SEED={run.seed}")


def pytest_report_header() -> str:
    return f"fuzzing from PILLION_FUZZ_SEED={SEED} for PILLION_FUZZ_SECONDS={SECONDS} a test"
