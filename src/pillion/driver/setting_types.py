"""What a setting is: its names, unit, range, and how its text is read and shown.

`pillion.driver.settings` declares every setting once with the helpers below, as a class attribute
that holds a `Setting` and its default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pillion.driver.properties import environment_name
from pillion.driver.setting_values import (
    check_idle,
    check_interceptors,
    check_loss_rates,
    check_port_range,
    parse_idle,
    parse_interceptors,
    parse_loss_rates,
    parse_port_range,
    show_idle,
)
from pillion.parameters import check_size
from pillion.units import (
    INT32_MAX,
    INT64_MAX,
    MILLISECOND_NS,
    format_duration,
    format_size,
    is_power_of_two,
    parse_duration_ns,
    parse_int,
    parse_size,
)

_TRUE = ("1", "on", "true")
_FALSE = ("0", "off", "false")


class Setting(NamedTuple):
    """One setting beside its field.

    `parse` reads text (and the texts of `argument_properties`, "" where unset), `check` refuses a
    value (`ValueError`). Text from the environment or from properties is taken as a driver of the
    reference takes it: numbers outside `clamp` become the nearest limit, and text that cannot be
    read is warned about and ignored, unless `fatal` says that a driver does not start with it.
    """

    property_name: str
    doc: str
    unit: str
    parse: Callable[..., Any]
    check: Callable[[Any], None]
    show: Callable[[Any], str] = str
    optional: bool = False
    clamp: tuple[int, int] | None = None
    fatal: bool = False
    argument_properties: tuple[str, ...] = ()

    @property
    def environment_name(self) -> str:
        """The environment variable that sets it."""
        return environment_name(self.property_name)

    def accept(self, value: object) -> Any:
        """The value of a keyword, which may be text; raises `ValueError`."""
        if value is None and self.optional:
            return None
        accepted = self.parse(value) if isinstance(value, str) else value
        self.check(accepted)
        return accepted

    def read(self, text: str, *arguments: str) -> Any:
        """The value of text that a deployment sets: clamped, not checked. Raises `ValueError`."""
        value = self.parse(text, *arguments)
        if self.clamp is not None:
            low, high = self.clamp
            value = min(max(value, low), high)
        return value

    def describe(self, value: object) -> str:
        """The value as text, "" where it is unset."""
        return "" if value is None else self.show(value)


class Declared(NamedTuple):
    """A setting in its class, until the class is complete."""

    setting: Setting
    default: Any


def _field(setting: Setting, default: object) -> Any:
    return Declared(setting, default)


def _require_int(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("is not a whole number")
    return value


def size(
    default: int,
    property_name: str,
    doc: str,
    low: int = 0,
    high: int = INT32_MAX,
    *,
    multiple: int = 1,
    power_of_two: bool = False,
    trailer: int = 0,
    clamped: bool = True,
) -> Any:
    """Bytes in `low`..`high`; `trailer` bytes are counted on top of a power of two."""

    def check(value: object) -> None:
        length = _require_int(value)
        if trailer and not is_power_of_two(length - trailer):
            raise ValueError(f"is not a power of two plus {trailer} bytes in {low}..{high}")
        check_size(length, low, high, multiple=multiple, power_of_two=power_of_two)

    setting = Setting(
        property_name,
        doc,
        "bytes",
        parse_size,
        check,
        format_size,
        clamp=(low, high) if clamped else None,
    )
    return _field(setting, default)


def duration(default: int | None, property_name: str, doc: str, low: int = 0) -> Any:
    """Nanoseconds from `low` on; None as a default makes it optional."""

    def check(value: object) -> None:
        if not low <= _require_int(value) <= INT64_MAX:
            raise ValueError(f"is below {format_duration(low)} or does not fit 64 bits")

    setting = Setting(
        property_name,
        doc,
        "ns",
        parse_duration_ns,
        check,
        format_duration,
        optional=default is None,
        clamp=(low, INT64_MAX),
    )
    return _field(setting, default)


def milliseconds(default: int, property_name: str, doc: str) -> Any:
    """Whole milliseconds: a plain number, or a duration with its suffix."""
    high = INT64_MAX // MILLISECOND_NS

    def parse(text: str) -> int:
        return parse_int(text) if text.isdigit() else _whole_milliseconds(text)

    def check(value: object) -> None:
        if not 0 <= _require_int(value) <= high:
            raise ValueError("is negative or does not fit 64 bits of nanoseconds")

    return _field(Setting(property_name, doc, "ms", parse, check, clamp=(0, high)), default)


def _whole_milliseconds(text: str) -> int:
    whole, rest = divmod(parse_duration_ns(text), MILLISECOND_NS)
    if rest:
        raise ValueError("is not a whole number of milliseconds")
    return whole


def integer(
    default: int | None,
    property_name: str,
    doc: str,
    low: int,
    high: int,
    *,
    unit: str = "count",
) -> Any:
    """A number in `low`..`high`; None as a default makes it optional."""

    def parse(text: str) -> int:
        digits = text.lstrip("+-")
        if len(digits) > 1 and digits[0] == "0" and digits.isdigit():
            raise ValueError("starts with 0, which some drivers read as octal: write it without")
        return parse_int(text)

    def check(value: object) -> None:
        if not low <= _require_int(value) <= high:
            raise ValueError(f"is outside {low}..{high}")

    setting = Setting(
        property_name, doc, unit, parse, check, optional=default is None, clamp=(low, high)
    )
    return _field(setting, default)


def flag(default: bool, property_name: str, doc: str) -> Any:
    """True or false."""

    def parse(text: str) -> bool:
        lowered = text.lower()
        if lowered not in _TRUE + _FALSE:
            raise ValueError(f"is none of {', '.join(_TRUE + _FALSE)}")
        return lowered in _TRUE

    def check(value: object) -> None:
        if not isinstance(value, bool):
            raise ValueError("is neither True nor False")

    def show(value: Any) -> str:
        return "true" if value else "false"

    return _field(Setting(property_name, doc, "bool", parse, check, show), default)


def choice(
    default: str, property_name: str, doc: str, choices: tuple[str, ...], *, fatal: bool = False
) -> Any:
    """One of some names, in either case."""

    def check(value: object) -> None:
        if value not in choices:
            raise ValueError(f"is none of {', '.join(choices)}")

    def parse(text: str) -> str:
        check(text.lower())
        return text.lower()

    return _field(Setting(property_name, doc, "name", parse, check, fatal=fatal), default)


def text(default: str, property_name: str, doc: str) -> Any:
    """Any text; "" is unset."""

    def check(value: object) -> None:
        if not isinstance(value, str):
            raise ValueError("is not text")

    return _field(Setting(property_name, doc, "text", str, check), default)


def idle(property_name: str, doc: str) -> Any:
    """An idle strategy with its arguments as `parse_idle` returns them, adaptive by default."""
    setting = Setting(
        property_name,
        doc,
        "name",
        parse_idle,
        check_idle,
        show_idle,
        fatal=True,
        argument_properties=(f"{property_name}.init.args",),
    )
    return _field(setting, ("adaptive",))


def ports(property_name: str, doc: str) -> Any:
    """A range of ports, `(0, 0)` by default."""

    def show(value: Any) -> str:
        return f"{value[0]} {value[1]}"

    setting = Setting(
        property_name, doc, "ports", parse_port_range, check_port_range, show, fatal=True
    )
    return _field(setting, (0, 0))


def interceptors(property_name: str, doc: str) -> Any:
    """Loss generators by name; the arguments of each kind are shared by both directions."""
    bindings = "aeron.udp.channel.transport.bindings"

    def show(value: Any) -> str:
        return ", ".join(str(spec) for spec in value)

    setting = Setting(
        property_name,
        doc,
        "list",
        parse_interceptors,
        check_interceptors,
        show,
        fatal=True,
        argument_properties=tuple(
            f"{bindings}.{kind}.args" for kind in ("loss", "fixed.loss", "multi.gap.loss")
        ),
    )
    return _field(setting, ())


def loss_rates(property_name: str, doc: str) -> Any:
    """Rates at which datagrams are lost, doubled and reordered; None by default."""
    setting = Setting(
        property_name,
        doc,
        "rates",
        parse_loss_rates,
        check_loss_rates,
        optional=True,
        fatal=True,
    )
    return _field(setting, None)
