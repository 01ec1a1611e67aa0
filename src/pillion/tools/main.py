"""`pillion COMMAND`: picks the command's module, runs it, turns what goes wrong into one line.

A module is imported when its command is used, because the driver has to start fast. Each has a
`run(arguments) -> int` that returns the exit code.
"""

from __future__ import annotations

import os
import sys

COMMANDS = {
    "driver": "run a media driver",
    "publish": "send a file, lines or records to a stream",
    "subscribe": "write what a stream brings to a file or to stdout",
    "ping": "measure round-trip times against `pillion pong`",
    "pong": "send back whatever arrives",
    "stat": "show the driver's counters, once or live",
    "errors": "show the driver's distinct errors",
    "loss": "show which streams lost data, and from where",
}

EXAMPLES = """first steps, each in a terminal of its own:
  pillion driver
  pillion subscribe --channel aeron:ipc
  echo hello | pillion publish --channel aeron:ipc
  pillion stat --watch"""


def usage() -> str:
    lines = [f"  {name:<10} {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "usage: pillion COMMAND [OPTION]...",
            "",
            "Reliable, ordered, flow-controlled messages over shared memory and UDP (Aeron).",
            "",
            "commands:",
            *lines,
            "",
            EXAMPLES,
            "",
            "`pillion COMMAND --help` explains a command; `pillion --version` prints the version.",
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    command = given[0] if given else ""
    if command in ("-h", "--help", "help"):
        print(usage())
        return 0
    if command in ("-v", "--version", "version"):
        from pillion.version import __version__

        print(f"pillion {__version__}")
        return 0
    if command not in COMMANDS:
        print(_unknown(command) if command else usage(), file=sys.stderr)
        return 2
    return _run(command, given[1:])


def _unknown(command: str) -> str:
    import difflib

    near = difflib.get_close_matches(command, COMMANDS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(COMMANDS)}"
    return f"pillion: {command!r} is no command: {hint}"


def _run(command: str, arguments: list[str]) -> int:
    from importlib import import_module

    from pillion.errors import DriverTimeoutError, PillionError, SettingError
    from pillion.tools.console import (
        EXIT_FAILED,
        EXIT_INTERRUPTED,
        EXIT_NO_DRIVER,
        EXIT_USAGE,
        CommandError,
    )

    try:
        code: int = import_module(f"pillion.tools.{command}").run(arguments)
        return code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Who read us has enough. Python would complain again when it flushes stdout at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 128 + 13
    except CommandError as error:
        message, code = str(error), error.exit_code
    except DriverTimeoutError as error:
        message, code = str(error), EXIT_NO_DRIVER
    except SettingError as error:
        message, code = str(error), EXIT_USAGE
    except (PillionError, OSError, ValueError) as error:
        message, code = str(error), EXIT_FAILED
    # One line, also for a foreign driver whose words come in several.
    print(f"pillion {command}: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
