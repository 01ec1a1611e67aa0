"""`pillion stat`: the driver's counters, once or live."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from pillion.tools.console import make_parser, positive_seconds, print_json, termination_as_exit
from pillion.tools.inspection import (
    add_inspection_arguments,
    format_time,
    open_cnc,
    stream_key,
    type_name,
)

if TYPE_CHECKING:
    from pillion.memory.cnc import CncFile
    from pillion.memory.counters import CounterRecord

DETAILS = """
Prints every counter of a driver, once, or with --watch again and again. Reads the driver's file
only: no client is made, and a driver that is gone can be looked at too. Any Aeron driver will do.

what to look at:
  pub-lmt - pub-pos    room for the publisher        snd-bpe        times it was held back
  pub-pos - snd-pos    not sent yet                  rcv-hwm - rcv-pos    gap, data was lost
  snd-lmt - snd-pos    room in the receiver's window rcv-pos - sub-pos    the consumer is behind
  heartbeat age that grows: the driver is stalled or dead. Errors above 0: `pillion errors`.
"""

EXAMPLES = """
  pillion stat
  pillion stat --watch --rates --stream 1001
  pillion stat --label 'NAK|Retransmit|loss'
  pillion stat --type subscriber_position --json
  pillion stat --channel 'endpoint=.*:40123'
"""

CLEAR_SCREEN = "\x1b[2J\x1b[H"
RULE = "=" * 70
_VALUE_WIDTH = 26


class Sample(NamedTuple):
    """Values of counters at one moment. An id is reused by others: with its registration id not."""

    time_ns: int
    values: dict[tuple[int, int], int]

    @classmethod
    def of(cls, records: list[CounterRecord]) -> Sample:
        values = {(each.counter_id, each.registration_id): each.value for each in records}
        return cls(time.monotonic_ns(), values)

    def rates(self, previous: Sample) -> dict[int, float]:
        """The change a second since `previous` of each counter that was there, by counter id."""
        seconds = max(self.time_ns - previous.time_ns, 1) / 1e9
        return {
            key[0]: (value - previous.values[key]) / seconds
            for key, value in self.values.items()
            if key in previous.values
        }


Filter = Callable[["CounterRecord"], bool]


def run(arguments: list[str]) -> int:
    args = _parser().parse_args(arguments)
    wanted = make_filter(args)
    cnc = open_cnc(args)
    with termination_as_exit():
        previous = Sample(0, {})
        while True:
            if args.json:
                print_json(snapshot(cnc, wanted))
            else:
                records = [record for record in cnc.counters_reader().scan() if wanted(record)]
                sample = Sample.of(records)
                rates = sample.rates(previous) if args.rates else None
                clear = CLEAR_SCREEN if args.watch and sys.stdout.isatty() else ""
                print(clear + format_counters(cnc, records, rates), flush=True)
                previous = sample
            if not args.watch:
                return 0
            time.sleep(args.interval)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("stat", "Show the driver's counters.", DETAILS, EXAMPLES)
    add_inspection_arguments(parser)
    parser.add_argument("-w", "--watch", action="store_true", help="print again and again, until interrupted")
    parser.add_argument(
        "-u",
        "--interval",
        type=positive_seconds,
        default=1.0,
        metavar="SECONDS",
        help="time between prints (default: %(default)s)",
    )
    parser.add_argument("--rates", action="store_true", help="with --watch: also the change a second")
    parser.add_argument(
        "--type",
        action="append",
        metavar="TYPE",
        help="only this type, as id or name (1 or publisher_limit); can be given again",
    )
    parser.add_argument("--label", type=_pattern, metavar="REGEX", help="only labels that contain this")
    parser.add_argument("--channel", type=_pattern, metavar="REGEX", help="only channels that contain this")
    parser.add_argument("--session", type=int, metavar="ID", help="only this session")
    parser.add_argument("--stream", type=int, metavar="ID", help="only this stream")
    parser.add_argument("--identity", type=int, metavar="ID", help="only this registration id")
    return parser


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from None


def make_filter(args: argparse.Namespace) -> Filter:
    """Whether a counter is one of those that the options ask for."""
    types = {str(name).lower() for name in args.type or ()}
    by_stream = (args.session, args.stream, args.channel) != (None, None, None)

    def wanted(record: CounterRecord) -> bool:
        if types and not types & {str(record.type_id), type_name(record.type_id)}:
            return False
        if args.identity is not None and record.registration_id != args.identity:
            return False
        if args.label is not None and not args.label.search(record.label):
            return False
        if not by_stream:
            return True
        key = stream_key(record.type_id, record.key)
        if key is None:
            return False
        # A key holds the beginning of a long channel, a label more of it.
        return (
            args.session in (None, key.session_id)
            and args.stream in (None, key.stream_id)
            and (args.channel is None or bool(args.channel.search(key.channel + record.label)))
        )

    return wanted


def header(cnc: CncFile) -> dict[str, Any]:
    """What is known of the driver itself."""
    now_ms = time.time_ns() // 1_000_000
    version = cnc.version
    return {
        "time_ms": now_ms,
        "cnc_version": f"{version >> 16 & 255}.{version >> 8 & 255}.{version & 255}",
        "pid": cnc.pid,
        "heartbeat_age_ms": now_ms - cnc.to_driver_ring.consumer_heartbeat_ms,
    }


def format_counters(cnc: CncFile, records: list[CounterRecord], rates: dict[int, float] | None = None) -> str:
    """Counters as the Aeron tools print them: id, value, label."""
    head = header(cnc)
    lines = [
        f"{format_time(head['time_ms'])} - Aeron Stat (CnC v{head['cnc_version']}), "
        f"pid {head['pid']}, heartbeat age {head['heartbeat_age_ms']}ms",
        RULE,
    ]
    id_width = len(str(cnc.counters_reader().capacity - 1))
    for record in records:
        rate = ""
        if rates is not None:
            rate = f"{rates.get(record.counter_id, 0.0):>+16,.0f}/s"
        lines.append(f"{record.counter_id:>{id_width}}: {record.value:>{_VALUE_WIDTH},}{rate} - {record.label}")
    return "\n".join(lines)


def snapshot(cnc: CncFile, wanted: Filter) -> dict[str, Any]:
    """The same as JSON."""
    return {
        **header(cnc),
        "counters": [_as_json(record) for record in cnc.counters_reader().scan() if wanted(record)],
    }


def _as_json(record: CounterRecord) -> dict[str, Any]:
    key = stream_key(record.type_id, record.key)
    return {
        "id": record.counter_id,
        "type_id": record.type_id,
        "type": type_name(record.type_id),
        "registration_id": record.registration_id,
        "owner_id": record.owner_id,
        "reference_id": record.reference_id,
        "value": record.value,
        "label": record.label,
        **(key._asdict() if key is not None else {}),
    }
