"""The parameters a channel may carry: one table of their names, order and strict values.

A driver is lenient where the protocol is (it ignores what does not concern the command at hand);
building a channel is not, because a mistake is cheapest where it is made. Values given as Python
objects become the text a channel carries: sizes with the largest of k, m, g, durations (integers
are nanoseconds) with the largest of ns, us, ms, s, booleans as true and false.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

from pillion.address import parse_endpoint, parse_interface
from pillion.errors import ChannelError
from pillion.units import (
    GIB,
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    KIB,
    format_duration,
    format_size,
    is_power_of_two,
    parse_bool,
    parse_duration_ns,
    parse_int,
    parse_size,
)

FRAME_ALIGNMENT = 32
MIN_MTU_LENGTH = 64
MAX_MTU_LENGTH = 65504
MIN_TERM_LENGTH = 64 * KIB
MAX_TERM_LENGTH = GIB
MAX_WINDOW_LENGTH = GIB
MAX_RESEND = 256
MAX_TTL = 255
TAG_PREFIX = "tag:"
PROTOTYPE = "prototype"
RESERVED = "reserved"
CONTROL_MODES = ("manual", "dynamic", "response")

Formatter = Callable[[object], str]


class ChannelParameters(TypedDict, total=False):
    """Keyword arguments of `ChannelUri.udp`, `.ipc` and `.with_`; None leaves a parameter out.

    Sizes are bytes or text such as "64k", durations nanoseconds or text such as "5s".
    """

    tags: str | int | tuple[int | None, int | None] | None
    endpoint: str | None
    interface: str | None
    control: str | None
    control_mode: str | None
    mtu: int | str | None
    term_length: int | str | None
    init_term_id: int | str | None
    term_id: int | str | None
    term_offset: int | str | None
    session_id: int | str | None
    ttl: int | str | None
    reliable: bool | str | None
    linger: int | str | None
    alias: str | None
    cc: str | None
    fc: str | None
    gtag: int | str | None
    sparse: bool | str | None
    eos: bool | str | None
    tether: bool | str | None
    group: bool | str | None
    rejoin: bool | str | None
    ssc: bool | str | None
    so_sndbuf: int | str | None
    so_rcvbuf: int | str | None
    rcv_wnd: int | str | None
    media_rcv_ts_offset: int | str | None
    channel_rcv_ts_offset: int | str | None
    channel_snd_ts_offset: int | str | None
    response_endpoint: str | None
    response_correlation_id: int | str | None
    nak_delay: int | str | None
    untethered_window_limit_timeout: int | str | None
    untethered_linger_timeout: int | str | None
    untethered_resting_timeout: int | str | None
    max_resend: int | str | None
    stream_id: int | str | None
    pub_wnd: int | str | None
    ats: bool | str | None


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is not text")
    return value


def _integer(low: int, high: int, *, multiple: int = 1, word: str = "") -> Formatter:
    """A number of `low`..`high`; `word` is a text that is allowed in its place."""

    def format_value(value: object) -> str:
        if word and value == word:
            return word
        number = parse_int(str(value) if _is_int(value) else _text(value), low, high)
        if number % multiple:
            raise ValueError(f"is not a multiple of {multiple}")
        return str(value)

    return format_value


def _size(low: int, high: int, *, multiple: int = 1, power_of_two: bool = False) -> Formatter:
    def format_value(value: object) -> str:
        size = parse_size(str(value) if _is_int(value) else _text(value))
        check_size(size, low, high, multiple=multiple, power_of_two=power_of_two)
        return format_size(size) if _is_int(value) else _text(value)

    return format_value


def check_size(
    size: int, low: int, high: int, *, multiple: int = 1, power_of_two: bool = False
) -> None:
    """Raises `ValueError` unless `size` bytes are within `low`..`high` and of the asked shape."""
    bounds = f"{format_size(low)}..{format_size(high)}"
    if power_of_two and not is_power_of_two(size):
        raise ValueError(f"is not a power of two in {bounds}")
    if size % multiple:
        raise ValueError(f"is not a multiple of {multiple} in {bounds}")
    if not low <= size <= high:
        raise ValueError(f"is outside {bounds}")


def _duration(value: object) -> str:
    if _is_int(value):
        parse_duration_ns(str(value))
        return format_duration(int(str(value)))
    parse_duration_ns(_text(value))
    return _text(value)


def _boolean(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    parse_bool(_text(value))
    return _text(value)


def _group(value: object) -> str:
    return "infer" if value == "infer" else _boolean(value)


def _choice(*choices: str) -> Formatter:
    def format_value(value: object) -> str:
        if value not in choices:
            raise ValueError(f"is none of {', '.join(choices)}")
        return _text(value)

    return format_value


def _endpoint(name: str) -> Formatter:
    def format_value(value: object) -> str:
        parse_endpoint(_text(value), parameter=name)
        return _text(value)

    return format_value


def _interface(value: object) -> str:
    parse_interface(_text(value))
    return _text(value)


def _session_id(value: object) -> str:
    if isinstance(value, str) and value.startswith(TAG_PREFIX):
        parse_int(value[len(TAG_PREFIX) :])
        return value
    return _integer(INT32_MIN, INT32_MAX)(value)


def _tags(value: object) -> str:
    if isinstance(value, tuple):
        value = ",".join("" if tag is None else str(tag) for tag in value).rstrip(",")
    text = str(value) if _is_int(value) else _text(value)
    split_tags(text)
    return text


def split_tags(text: str) -> tuple[int | None, int | None]:
    """The channel tag and the entity tag of `<channel tag>[,<entity tag>]`, None if missing."""
    channel_tag, _, entity_tag = text.partition(",")
    try:
        first = parse_int(channel_tag) if channel_tag else None
    except ValueError as error:
        raise ValueError(f"has a channel tag that {error}") from None
    try:
        return first, parse_int(entity_tag) if entity_tag else None
    except ValueError as error:
        raise ValueError(f"has an entity tag that {error}") from None


_SOCKET_BUFFER = _size(0, INT32_MAX)
_WINDOW = _size(1, MAX_WINDOW_LENGTH)
_INT32 = _integer(INT32_MIN, INT32_MAX)
_TIMESTAMP_OFFSET = _integer(0, INT32_MAX, word=RESERVED)

# In the order in which a built channel names them.
PARAMETERS: dict[str, Formatter] = {
    "tags": _tags,
    "endpoint": _endpoint("endpoint"),
    "interface": _interface,
    "control": _endpoint("control"),
    "control-mode": _choice(*CONTROL_MODES),
    "mtu": _size(MIN_MTU_LENGTH, MAX_MTU_LENGTH, multiple=FRAME_ALIGNMENT),
    "term-length": _size(MIN_TERM_LENGTH, MAX_TERM_LENGTH, power_of_two=True),
    "init-term-id": _INT32,
    "term-id": _INT32,
    "term-offset": _integer(0, MAX_TERM_LENGTH, multiple=FRAME_ALIGNMENT),
    "session-id": _session_id,
    "ttl": _integer(0, MAX_TTL),
    "reliable": _boolean,
    "linger": _duration,
    "alias": _text,
    "cc": _text,
    "fc": _text,
    "gtag": _integer(INT64_MIN, INT64_MAX),
    "sparse": _boolean,
    "eos": _boolean,
    "tether": _boolean,
    "group": _group,
    "rejoin": _boolean,
    "ssc": _boolean,
    "so-sndbuf": _SOCKET_BUFFER,
    "so-rcvbuf": _SOCKET_BUFFER,
    "rcv-wnd": _WINDOW,
    "media-rcv-ts-offset": _TIMESTAMP_OFFSET,
    "channel-rcv-ts-offset": _TIMESTAMP_OFFSET,
    "channel-snd-ts-offset": _TIMESTAMP_OFFSET,
    "response-endpoint": _endpoint("response-endpoint"),
    "response-correlation-id": _integer(-1, INT64_MAX, word=PROTOTYPE),
    "nak-delay": _duration,
    "untethered-window-limit-timeout": _duration,
    "untethered-linger-timeout": _duration,
    "untethered-resting-timeout": _duration,
    "max-resend": _integer(1, MAX_RESEND),
    "stream-id": _INT32,
    "pub-wnd": _WINDOW,
    "ats": _boolean,
}


def format_parameter(name: str, value: object, channel: str = "") -> str:
    """The text of parameter `name` for `value`; raises `ChannelError` for a wrong one.

    A name that the protocol does not know takes any text.
    """
    try:
        text = PARAMETERS.get(name, _text)(value)
        if not text or "|" in text or "\0" in text:
            raise ValueError("is not a value: it must be one character or more, without '|'")
    except ChannelError:
        raise
    except ValueError as error:
        raise ChannelError.of_parameter(name, value, str(error), channel=channel) from None
    return text


def unknown_parameter(name: str) -> ChannelError:
    """The error for a keyword that is no parameter, with the one that was probably meant."""
    import difflib

    near = difflib.get_close_matches(name, PARAMETERS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ChannelError(
        f"{name!r} is not a parameter of a channel{hint} (use `put` for one of your own)",
        parameter=name,
    )
