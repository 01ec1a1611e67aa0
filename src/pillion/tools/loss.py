"""`pillion loss`: which streams lost data, how much, when, and where it came from."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from pillion.tools.console import directory_of, make_parser, print_json
from pillion.tools.inspection import add_inspection_arguments, format_time, open_cnc

if TYPE_CHECKING:
    from pillion.memory.loss_report import LossRecord

DETAILS = """
Reads the driver's loss report: a line for each stream that ever lost something, with how often,
how many bytes, when first and last, and the address that it came from. What was lost has been
asked for again; a stream that is not reliable went on without it.
"""

EXAMPLES = """
  pillion loss
  pillion loss --json
"""

HEADER = (
    "OBSERVATION_COUNT, TOTAL_BYTES_LOST, FIRST_OBSERVATION,LAST_OBSERVATION, SESSION_ID, STREAM_ID, CHANNEL, SOURCE"
)


def run(arguments: list[str]) -> int:
    args = _parser().parse_args(arguments)
    open_cnc(args)
    from pillion.memory.cnc import LOSS_REPORT_FILE
    from pillion.memory.loss_report import read_losses
    from pillion.memory.mapped_file import MappedFile

    path = os.path.join(directory_of(args), LOSS_REPORT_FILE)
    records = read_losses(MappedFile.open(path, read_only=True))
    if args.json:
        for record in records:
            print_json(record._asdict())
    else:
        print(format_losses(records))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("loss", "Show which streams lost data.", DETAILS, EXAMPLES)
    add_inspection_arguments(parser)
    return parser


def format_losses(records: list[LossRecord]) -> str:
    """Losses as the Aeron tools print them: lines of comma-separated values."""
    lines = [
        f"{record.count},{record.bytes_lost},{format_time(record.first_ms)},"
        f"{format_time(record.last_ms)},{record.session_id},{record.stream_id},"
        f"{record.channel},{record.source}"
        for record in records
    ]
    return "\n".join([HEADER, *lines, f"{len(records)} entries read"])
