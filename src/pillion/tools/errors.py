"""`pillion errors`: the driver's distinct errors, also of a saved error log."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pillion.tools.console import make_parser, print_json
from pillion.tools.inspection import add_inspection_arguments, format_time, open_cnc

if TYPE_CHECKING:
    from pillion.memory.error_log import ErrorRecord

DETAILS = """
A driver notes each distinct error once, with how often it was seen, and when first and last. A log
that a driver saved beside its directory when it was started again is read with --file.
"""

EXAMPLES = """
  pillion errors
  pillion errors --json | tail -1
  pillion errors --file /dev/shm/aeron-joe-2026-11-22-22-43-02-542-error.log
"""


def run(arguments: list[str]) -> int:
    args = _parser().parse_args(arguments)
    records = _read(args)
    if args.json:
        for record in records:
            print_json(record._asdict())
    else:
        print(format_errors(records))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("errors", "Show the driver's distinct errors.", DETAILS, EXAMPLES)
    add_inspection_arguments(parser)
    parser.add_argument("--file", metavar="FILE", help="read a saved error log")
    parser.add_argument(
        "--offset",
        type=int,
        default=0,
        metavar="BYTES",
        help="where the log begins in it (default: %(default)s)",
    )
    return parser


def _read(args: argparse.Namespace) -> list[ErrorRecord]:
    found: list[ErrorRecord]
    if args.file is None:
        found = open_cnc(args).read_errors()
        return found
    from pillion.memory.error_log import read_errors
    from pillion.memory.mapped_file import MappedFile

    mapped = MappedFile.open(args.file, read_only=True)
    if not 0 <= args.offset <= len(mapped):
        raise ValueError(f"--offset {args.offset} is outside the {len(mapped)} bytes of {args.file}")
    found = read_errors(mapped, args.offset, len(mapped) - args.offset)
    return found


def format_errors(records: list[ErrorRecord]) -> str:
    """Errors as the Aeron tools print them."""
    blocks = [
        f"***\n{record.count} observations from {format_time(record.first_ms)} to "
        f"{format_time(record.last_ms)} for:\n {record.text}\n"
        for record in records
    ]
    return "\n".join([*blocks, f"{len(records)} distinct errors observed."])
