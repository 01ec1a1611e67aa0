"""What the commands have in common: exit codes, errors, the way to a driver, waiting, progress.

Nothing here loads a client before a command asks for one, so that `pillion driver` starts fast.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NoReturn

from pillion.directory import default_aeron_dir

if TYPE_CHECKING:
    from pillion.client.client import Client

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NO_DRIVER = 3
EXIT_TIMED_OUT = 4
EXIT_INCOMPLETE = 5
EXIT_INTERRUPTED = 128 + signal.SIGINT

EXIT_CODES = """exit codes:
  0  done                     4         timed out
  1  failed, as it says       5         the stream was cut off
  2  wrong use                130, 143  stopped by SIGINT, SIGTERM
  3  no living driver         141       who reads the output has closed it"""

DEFAULT_STREAM_ID = 1001
DEFAULT_CHANNEL = "aeron:udp?endpoint=localhost:20121"
_PROGRESS_INTERVAL_NS = 250_000_000


class CommandError(Exception):
    """Ends a command with one line on stderr and `exit_code`."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILED):
        super().__init__(message)
        self.exit_code = exit_code


def make_parser(command: str, summary: str, details: str, examples: str) -> argparse.ArgumentParser:
    """A parser whose help explains, shows examples and lists the exit codes."""
    return argparse.ArgumentParser(
        prog=f"pillion {command}",
        description=f"{summary}\n\n{details.strip()}",
        epilog=f"examples:\n{examples.strip(chr(10))}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_directory_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-d",
        "--dir",
        metavar="DIR",
        help="directory of the driver (default: AERON_DIR, else /dev/shm/aeron-USER)",
    )


def add_client_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the driver is, or that there shall be a private one."""
    add_directory_argument(parser)
    parser.add_argument(
        "--embedded",
        action="store_true",
        help="start a private driver inside this process (for UDP: nobody else can use it)",
    )
    parser.add_argument(
        "--driver-timeout",
        type=positive_seconds,
        default=3.0,
        metavar="SECONDS",
        help="how long to wait for a living driver (default: %(default)s)",
    )


def add_stream_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c",
        "--channel",
        default=DEFAULT_CHANNEL,
        metavar="URI",
        help="channel, for example aeron:ipc (default: %(default)s)",
    )
    parser.add_argument(
        "-s",
        "--stream",
        type=int,
        default=DEFAULT_STREAM_ID,
        metavar="ID",
        help="stream id, a 32-bit number (default: %(default)s)",
    )


def positive_seconds(text: str) -> float:
    """A number of seconds above 0, for argparse."""
    seconds = float(text)
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return seconds


def whole_number(low: int, high: int = 2**63 - 1) -> Any:
    """An argparse type: a whole number within `low`..`high`, also as 64k, 16m or 1g."""

    def parse(text: str) -> int:
        from pillion.units import parse_size

        try:
            value = parse_size(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} {error}") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is outside {low}..{high}")
        return value

    return parse


def directory_of(args: argparse.Namespace) -> str:
    """The driver's directory that `--dir` or the environment names."""
    return args.dir or default_aeron_dir()


def connect(args: argparse.Namespace, command: str) -> Client:
    """A client of the driver that `args` name; raises `DriverTimeoutError` with the remedy."""
    from pillion.client.client import attach
    from pillion.connecting import connect as connect_client

    name = f"pillion {command}"
    if args.embedded:
        return connect_client(args.dir, embedded=True, client_name=name)
    directory = directory_of(args)
    # A client waits for its driver as long as it tolerates its silence: too long for a person.
    attach(directory, int(args.driver_timeout * 1e9))
    return connect_client(directory, client_name=name)


def idle(attempt: int) -> None:
    """Wait between polls that found nothing, the longer the more there were: up to 1 ms."""
    if attempt < 20:
        return
    if attempt < 40:
        os.sched_yield()
    else:
        time.sleep(min((attempt - 39) * 20e-6, 0.001))


@contextmanager
def termination_as_exit() -> Iterator[None]:
    """SIGTERM ends the command through its clean-up, with exit code 143."""

    def stop(signum: int, frame: object) -> NoReturn:
        raise SystemExit(128 + signum)

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class DeferredStop:
    """SIGINT, SIGTERM and any `others` end the command, but not while it `holds` what is nowhere else.

    A second signal does at once, for when what it waits for never comes.
    """

    def __init__(self, *others: signal.Signals) -> None:
        self._numbers = (signal.SIGINT, signal.SIGTERM, *others)
        self._holds = False
        self._pending = 0
        self._previous: list[tuple[int, Any]] = []

    def __enter__(self) -> DeferredStop:
        for number in self._numbers:
            self._previous.append((number, signal.signal(number, self._on_signal)))
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._previous:
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: object) -> None:
        if self._holds and not self._pending:
            self._pending = number
        else:
            self._stop(number)

    def _stop(self, number: int) -> NoReturn:
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    @contextmanager
    def held(self) -> Iterator[None]:
        """The block is done whole before a signal counts."""
        self._holds = True
        try:
            yield
        finally:
            self._holds = False
        if self._pending:
            self._stop(self._pending)


@contextmanager
def open_or_standard(file: str, standard: IO[str], flags: int) -> Iterator[int]:
    """A descriptor of `file`, or for "-" that of `standard`, which stays open."""
    if file == "-":
        yield standard.fileno()
        return
    descriptor = os.open(file, flags | os.O_CLOEXEC, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`, whatever a pipe takes at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def print_json(value: object, *, to_stderr: bool = False) -> None:
    import json  # the driver starts without it

    print(json.dumps(value), file=sys.stderr if to_stderr else sys.stdout, flush=True)


def say(text: str) -> None:
    """A line for a person, on stderr."""
    print(text, file=sys.stderr, flush=True)


def format_bytes(count: float) -> str:
    """`count` bytes with the unit that leaves one to three digits before the point."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"


class Traffic:
    """What went through so far, with a line of progress on stderr if that is a terminal."""

    def __init__(self, verb: str, *, quiet: bool = False):
        self.verb = verb
        self.messages = 0
        self.bytes = 0
        self.first_ns = 0
        self.last_ns = 0
        self._shows = not quiet and sys.stderr.isatty()
        self._next_ns = 0

    def add(self, messages: int, length: int) -> None:
        """Count a batch, unless it is empty."""
        if not messages:
            return
        now_ns = time.monotonic_ns()
        self.first_ns = self.first_ns or now_ns
        self.last_ns = now_ns
        self.messages += messages
        self.bytes += length
        if self._shows and now_ns >= self._next_ns:
            self._next_ns = now_ns + _PROGRESS_INTERVAL_NS
            sys.stderr.write(f"\r\x1b[K{self.describe()}")
            sys.stderr.flush()

    @property
    def seconds(self) -> float:
        """From the first to the last batch."""
        return (self.last_ns - self.first_ns) / 1e9

    def describe(self) -> str:
        rate = self.bytes / self.seconds if self.seconds else 0.0
        return f"{self.verb} {self.messages:,} messages, {format_bytes(self.bytes)}, {format_bytes(rate)}/s"

    def finish(self) -> None:
        """The last line, on a terminal only."""
        if self._shows and self.messages:
            sys.stderr.write(f"\r\x1b[K{self.describe()} in {self.seconds:.1f} s\n")
            sys.stderr.flush()

    def summary(self) -> dict[str, Any]:
        rate = 1 / self.seconds if self.seconds else 0.0
        return {
            "messages": self.messages,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 6),
            "messages_per_second": round(self.messages * rate, 1),
            "bytes_per_second": round(self.bytes * rate, 1),
        }
