"""Nothing that can be reached from the public interface crashes the interpreter, whatever is called, in whatever order,
after whatever was closed or killed. The scenarios are in `abuse.py`; objects that nobody set up are in
`tests/unit/test_client_objects.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCENARIOS = {
    "after_each_was_closed": 0,
    "after_the_client_was_closed": 0,
    "after_the_driver_was_closed": 0,
    "after_the_driver_was_killed": 0,
    "with_views_alone": 0,
    "with_wrong_arguments": 0,
    "with_callbacks_that_end_it": 0,
    "with_limits_at_the_end_of_numbers": 0,
    "in_a_forked_child": 0,
    "with_an_invoked_driver_in_a_forked_child": 0,
    "with_threads_that_use_and_close": 0,
    "with_threads_that_add_and_remove": 0,
    "with_threads_while_the_driver_closes": 0,
    "with_threads_that_invoke_one_driver": 0,
    "in_signal_handlers": 0,
    "with_signal_handlers_that_close": 0,
    "at_exit_with_everything_open": 0,
    "at_exit_of_a_dedicated_driver": 0,
    "at_exit_by_an_exception": 3,
    # Python ends itself by the signal, once everything is closed.
    "at_exit_by_a_signal": -2,
    "at_exit_with_an_embedded_driver": 0,
    "at_exit_while_adding": 0,
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_abuse(scenario: str, aeron_dir: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(Path(__file__).with_name("abuse.py")), scenario, aeron_dir],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == SCENARIOS[scenario], done.stderr
    assert done.stdout.endswith("done\n"), done.stdout + done.stderr
    assert "Fatal Python error" not in done.stderr
    if scenario.startswith("at_exit"):
        assert not os.path.exists(aeron_dir) or not os.listdir(aeron_dir), "the driver took its files along"
