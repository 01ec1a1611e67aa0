"""Settings whose text is more than one value: idle strategies, port ranges, loss generators.

Parsing only, without I/O: agents and transports build the real things from what is returned here.
Every parser raises `ValueError` that says what would be right.
"""

from __future__ import annotations

from typing import NamedTuple

from pillion.address import MAX_PORT
from pillion.units import (
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    MILLISECOND_NS,
    is_power_of_two,
    parse_duration_ns,
    parse_int,
)

IDLE_STRATEGIES = (
    "adaptive",
    "backoff",
    "sleeping",
    "sleep-ns",
    "sleep-ms",
    "yield",
    "spin",
    "noop",
)
# The Java driver names classes; the last part of the name tells which strategy is meant.
_IDLE_CLASSES = {
    "BackoffIdleStrategy": "backoff",
    "SleepingIdleStrategy": "sleep-ns",
    "SleepingMillisIdleStrategy": "sleep-ms",
    "YieldingIdleStrategy": "yield",
    "BusySpinIdleStrategy": "spin",
    "NoOpIdleStrategy": "noop",
}
_BACKOFF_DEFAULTS = (10, 20, 1_000, 1_000_000)
INTERCEPTORS = ("loss", "fixed-loss", "multi-gap-loss")
MAX_INTERCEPTORS = 10
ALL_MESSAGES = 0xFFFFFFFF

IdleSpec = tuple[str | int, ...]
PortRange = tuple[int, int]


class RandomLoss(NamedTuple):
    """Drop a frame with probability `rate`, if bit `1 << type` of `message_mask` is set.

    `seed` -1 takes one from the clock.
    """

    rate: float = 0.0
    seed: int = -1
    message_mask: int = ALL_MESSAGES


class FixedLoss(NamedTuple):
    """Drop, once a stream and session, each data frame that overlaps one region of a term."""

    term_id: int
    term_offset: int
    length: int


class MultiGapLoss(NamedTuple):
    """Drop, once, frames that overlap `[k * gap_radix, k * gap_radix + gap_length)`, k = 1, 2..."""

    term_id: int
    gap_radix: int
    gap_length: int
    total_gaps: int


LossSpec = RandomLoss | FixedLoss | MultiGapLoss


class LossRates(NamedTuple):
    """Drop a datagram, deliver it twice or after the next one, with these probabilities.

    Only frames whose type's bit `1 << type` is in `message_mask` are touched. The same `seed` gives
    the same decisions; -1 takes one from the clock.
    """

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    seed: int = -1
    message_mask: int = ALL_MESSAGES


def parse_idle(text: str, args: str = "", default_sleep_ns: int = 1) -> IdleSpec:
    """`(name, numbers...)` of an idle strategy and its init args; times in ns.

    The name may also be that of the Java driver's class. `backoff` has max spins, max yields, min
    park, max park (`spins-yields-minpark-maxpark`); `sleep-ns` (also for `sleeping` and `sleep-ms`)
    has the time; the others have nothing. Arguments alone are those of `backoff`.
    """
    strategy = _IDLE_CLASSES.get(text.rpartition(".")[2], text) or "backoff"
    if strategy not in IDLE_STRATEGIES:
        raise ValueError(f"is none of {', '.join(IDLE_STRATEGIES)}")
    if strategy == "backoff":
        return ("backoff", *_parse_backoff(args))
    if strategy in ("sleeping", "sleep-ns"):
        return ("sleep-ns", parse_duration_ns(args) if args else default_sleep_ns)
    if strategy == "sleep-ms":
        return ("sleep-ns", parse_duration_ns(args) if args else MILLISECOND_NS)
    if args:
        raise ValueError(f"is set, but the idle strategy {strategy!r} takes no arguments")
    return (strategy,)


def check_idle(spec: object) -> None:
    if not (isinstance(spec, tuple) and spec and isinstance(spec[0], str)):
        raise ValueError("is not a name or a tuple that begins with one")
    numbers = {"backoff": 4, "sleep-ns": 1}.get(spec[0], 0)
    if spec[0] not in IDLE_STRATEGIES or spec[0] in ("sleeping", "sleep-ms"):
        raise ValueError("does not begin with adaptive, backoff, sleep-ns, yield, spin or noop")
    if len(spec) != 1 + numbers or not all(isinstance(n, int) and n >= 0 for n in spec[1:]):
        raise ValueError(f"does not have {numbers} numbers of 0 or more after the name")


def show_idle(spec: IdleSpec) -> str:
    return " ".join(str(part) for part in spec)


def _parse_backoff(args: str) -> tuple[int, ...]:
    if not args:
        return _BACKOFF_DEFAULTS
    parts = args.split("-")
    if len(parts) != 4:
        raise ValueError("is not spins-yields-minpark-maxpark, for example 10-20-1us-1ms")
    spins, yields = (parse_int(part, 0) for part in parts[:2])
    min_park, max_park = (parse_duration_ns(part) for part in parts[2:])
    if not 1 <= min_park <= max_park:
        raise ValueError("has park times that are not 1ns <= minpark <= maxpark")
    return spins, yields, min_park, max_park


def parse_port_range(text: str) -> PortRange:
    """`low high`; `0 0` leaves the choice to the operating system."""
    parts = text.split()
    if len(parts) != 2:
        raise ValueError("is not a range: write `low high`, or `0 0` for any port")
    low, high = (parse_int(part, 0, MAX_PORT) for part in parts)
    check_port_range((low, high))
    return low, high


def check_port_range(ports: object) -> None:
    if not (isinstance(ports, tuple) and len(ports) == 2):
        raise ValueError("is not a pair (low, high)")
    low, high = ports
    if not (isinstance(low, int) and isinstance(high, int)) or not 0 <= low <= high <= MAX_PORT:
        raise ValueError(f"is not 0 <= low <= high <= {MAX_PORT}")
    if low == 0 < high:
        raise ValueError("starts at port 0: start at 1, or write `0 0` for any port")


def parse_interceptors(
    text: str, random_loss: str = "", fixed_loss: str = "", multi_gap_loss: str = ""
) -> tuple[LossSpec, ...]:
    """The loss generators of a comma-separated list of names, with each kind's arguments."""
    args = dict(zip(INTERCEPTORS, (random_loss, fixed_loss, multi_gap_loss), strict=True))
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in args:
            raise ValueError(f"names {name!r}, which is none of {', '.join(INTERCEPTORS)}")
    if len(names) > MAX_INTERCEPTORS:
        raise ValueError(f"names {len(names)} interceptors, the most is {MAX_INTERCEPTORS}")
    return tuple(parse_loss(name, args[name]) for name in names)


def check_interceptors(interceptors: object) -> None:
    if not isinstance(interceptors, tuple) or not all(
        isinstance(spec, RandomLoss | FixedLoss | MultiGapLoss) for spec in interceptors
    ):
        raise ValueError("is not a tuple of RandomLoss, FixedLoss and MultiGapLoss")


def parse_loss(name: str, text: str) -> LossSpec:
    """The loss generator `name` with its arguments `key=value|key=value`."""
    args = _key_values(text)
    spec: LossSpec
    if name == "loss":
        spec = RandomLoss(
            rate=parse_fraction(args.pop("rate", "0")),
            seed=parse_int(args.pop("seed", "-1")),
            message_mask=_parse_mask(args.pop("recv-msg-mask", "")),
        )
    elif name == "fixed-loss":
        spec = FixedLoss(
            term_id=_required(args, "term-id", INT32_MIN, INT32_MAX),
            term_offset=_required(args, "term-offset", 0, INT32_MAX),
            length=_required(args, "length", 1, INT32_MAX),
        )
    else:
        spec = MultiGapLoss(
            term_id=_required(args, "term-id", INT32_MIN, INT32_MAX),
            gap_radix=_next_power_of_two(_required(args, "gap-radix", 1, 2**30)),
            gap_length=_required(args, "gap-length", 1, INT32_MAX),
            total_gaps=_required(args, "total-gaps", 1, INT32_MAX),
        )
        if spec.gap_length >= spec.gap_radix:
            raise ValueError(f"has gap-length={spec.gap_length}, not below {spec.gap_radix}")
    _refuse_rest(args)
    return spec


def parse_loss_rates(text: str) -> LossRates:
    """`drop=0.05|duplicate=0.01|reorder=0.01|seed=1|mask=0x2`; what is left out is its default."""
    args = _key_values(text)
    rates = LossRates(
        drop=parse_fraction(args.pop("drop", "0")),
        duplicate=parse_fraction(args.pop("duplicate", "0")),
        reorder=parse_fraction(args.pop("reorder", "0")),
        seed=parse_int(args.pop("seed", "-1")),
        message_mask=_parse_mask(args.pop("mask", "")),
    )
    _refuse_rest(args)
    check_loss_rates(rates)
    return rates


def check_loss_rates(rates: object) -> None:
    if not isinstance(rates, LossRates):
        raise ValueError("is not a LossRates")
    for rate in (rates.drop, rates.duplicate, rates.reorder):
        check_fraction(rate)
    if rates.drop + rates.duplicate + rates.reorder > 1:
        raise ValueError("has rates that are more than 1 together")
    if not 0 <= rates.message_mask <= ALL_MESSAGES:
        raise ValueError(f"has a message mask outside 0..{ALL_MESSAGES:#x}")


def _parse_mask(text: str) -> int:
    if not text:
        return ALL_MESSAGES
    return parse_int(text if text[:2].lower() == "0x" else f"0x{text}", 0, ALL_MESSAGES)


def parse_fraction(text: str) -> float:
    """A probability in 0..1."""
    try:
        fraction = float(text)
    except ValueError:
        raise ValueError("is not a number in 0..1") from None
    check_fraction(fraction)
    return fraction


def check_fraction(fraction: object) -> None:
    # Written so that not-a-number fails too.
    if not isinstance(fraction, int | float) or not 0 <= fraction <= 1:
        raise ValueError("is not a number in 0..1")


def _key_values(text: str) -> dict[str, str]:
    args = {}
    for piece in text.split("|"):
        if not piece:
            continue
        key, equals, value = piece.partition("=")
        if not equals:
            raise ValueError(f"has {piece!r} without '=': write key=value|key=value")
        args[key.strip()] = value.strip()
    return args


def _refuse_rest(args: dict[str, str]) -> None:
    if args:
        raise ValueError(f"has the unknown key {next(iter(args))!r}")


def _required(args: dict[str, str], key: str, low: int, high: int = INT64_MAX) -> int:
    text = args.pop(key, None)
    if text is None:
        raise ValueError(f"misses {key}=")
    try:
        return parse_int(text, low, high)
    except ValueError as error:
        raise ValueError(f"has {key}={text!r}, which {error}") from None


def _next_power_of_two(value: int) -> int:
    return value if is_power_of_two(value) else 1 << value.bit_length()
