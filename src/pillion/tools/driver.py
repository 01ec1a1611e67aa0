"""`pillion driver`: a media driver in a process of its own. Imports little, to start fast."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable

from pillion.driver.properties import environment_name, read_properties
from pillion.driver.settings import DriverSettings, describe_settings
from pillion.tools.console import CommandError, add_directory_argument, make_parser

DETAILS = """
The driver does the sending, receiving and recovering for every client on this machine that names
its directory. It runs until SIGINT or SIGTERM, or until a client asks it to stop and
aeron.driver.termination.validator=allow lets it. It prints nothing unless something is wrong.

Settings go by the names of the Aeron drivers: -Daeron.mtu.length=8k, the same line in a properties
file, or AERON_MTU_LENGTH=8k in the environment. The options of this command count most, then
properties files (the last one first), then -D, then the environment. --list-settings lists all.
"""

EXAMPLES = """
  pillion driver                                  the default directory
  pillion driver --dir /dev/shm/aeron-test --delete-on-shutdown
  pillion driver -Daeron.mtu.length=8k -Daeron.rcv.initial.window.length=2m
  pillion driver low-latency.properties
  pillion driver --loss 'drop=0.05|reorder=0.01|seed=1'     for trying what loss does
"""


def run(arguments: list[str]) -> int:
    args = _parser().parse_args(arguments)
    if args.list_settings:
        print(settings_table())
        return 0
    settings = load_settings(args)
    # Until there is a driver to stop, a signal ends its construction.
    on_stop(lambda: sys.exit(0))
    from pillion.driver.media_driver import MediaDriver

    with MediaDriver(settings) as driver:
        on_stop(driver.request_stop)
        driver.run_until_stopped()
    return 0


def on_stop(stop: Callable[[], object]) -> None:
    """Call `stop` when this process is told to end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda signum, frame: stop())


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("driver", "Run a media driver.", DETAILS, EXAMPLES)
    add_directory_argument(parser)
    parser.add_argument(
        "-D",
        dest="defines",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="set a property; can be given again",
    )
    parser.add_argument("properties", nargs="*", metavar="FILE", help="properties files, read in this order")
    parser.add_argument(
        "--threading",
        metavar="MODE",
        help="dedicated, shared_network, shared or invoker (default: by the processors there are)",
    )
    parser.add_argument(
        "--delete-on-start",
        action="store_true",
        help="delete the directory first, even if a living driver uses it",
    )
    parser.add_argument("--delete-on-shutdown", action="store_true", help="delete the directory at the end")
    parser.add_argument("--loss", metavar="RATES", help="lose, double and reorder datagrams at random")
    parser.add_argument("--print-configuration", action="store_true", help="print all settings at the start")
    parser.add_argument("--list-settings", action="store_true", help="print what can be set, and stop")
    return parser


def load_settings(args: argparse.Namespace) -> DriverSettings:
    """The settings of a command line; raises `SettingError`, or `CommandError` for a wrong -D."""
    properties: dict[str, str] = {}
    for define in args.defines:
        name, equals, value = define.partition("=")
        if not equals or not name:
            raise CommandError(f"malformed define: {define!r}: write -Dname=value", 2)
        properties[environment_name(name)] = value
    for path in args.properties:
        properties.update(read_properties(path))
    return DriverSettings.load(
        properties=properties,
        aeron_dir=args.dir,
        threading_mode=args.threading,
        loss=args.loss,
        # A flag that is not given leaves the word to properties and environment.
        dir_delete_on_start=args.delete_on_start or None,
        dir_delete_on_shutdown=args.delete_on_shutdown or None,
        print_configuration=args.print_configuration or None,
    )


def settings_table() -> str:
    """Every setting with its default and what it is for."""
    lines = []
    for row in describe_settings():
        default = row.default or "unset"
        lines.append(f"{row.property_name} = {default}   ({row.unit}; {row.environment_name})")
        lines.append(f"    {row.doc}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
