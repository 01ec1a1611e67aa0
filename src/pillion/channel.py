"""`ChannelUri`: where a stream goes, as text such as `aeron:udp?endpoint=localhost:40123`.

Plain Python without I/O, used by applications, the client and the driver. Parsing accepts what any
driver of the protocol accepts; what a command may carry is for the driver to say. Building is
strict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import NamedTuple, TypeVar, Unpack, overload

from pillion.address import EndpointAddress, InterfaceAddress, parse_endpoint, parse_interface
from pillion.errors import ChannelError, ErrorCode
from pillion.parameters import (
    FRAME_ALIGNMENT,
    MAX_TERM_LENGTH,
    MIN_TERM_LENGTH,
    PARAMETERS,
    RESERVED,
    TAG_PREFIX,
    ChannelParameters,
    check_size,
    format_parameter,
    split_tags,
    unknown_parameter,
)
from pillion.units import (
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    parse_bool,
    parse_duration_ns,
    parse_int,
    parse_size,
)

MAX_CHANNEL_LENGTH = 4095
MEDIA = ("udp", "ipc")
SPY_PREFIX = "aeron-spy:"
SCHEME_PREFIX = "aeron:"
# Offset of the reserved value from the payload: where `reserved` puts a timestamp.
RESERVED_VALUE_OFFSET = -8
TIMESTAMP_LENGTH = 8

T = TypeVar("T")


class ControlMode(StrEnum):
    """Values of `control-mode`; `NONE` where it is absent or unknown."""

    NONE = ""
    MANUAL = "manual"
    DYNAMIC = "dynamic"
    RESPONSE = "response"


class InferableBoolean(IntEnum):
    """Values of `group`: no, yes, or as the channel and the sender suggest."""

    FALSE = 0
    TRUE = 1
    INFER = 2


class InitialPosition(NamedTuple):
    """Where a log starts: `init-term-id`, `term-id` and `term-offset` of a channel."""

    initial_term_id: int
    term_id: int
    term_offset: int


class TimestampOffsets(NamedTuple):
    """Where in the payload timestamps go, None if unset.

    `RESERVED_VALUE_OFFSET` is the reserved value of the frame header.
    """

    media_receive: int | None
    channel_receive: int | None
    channel_send: int | None


class ChannelUri:
    """A channel: media, and parameters by name. Immutable, hashable; equal whatever the order.

    >>> uri = ChannelUri.udp(endpoint="localhost:40123", term_length="64k")
    >>> str(uri)
    'aeron:udp?endpoint=localhost:40123|term-length=64k'
    >>> str(uri.with_(mtu=8192))
    'aeron:udp?endpoint=localhost:40123|term-length=64k|mtu=8k'
    """

    __slots__ = ("_is_spy", "_media", "_params")

    def __init__(
        self, media: str, params: Mapping[str, str] | None = None, *, is_spy: bool = False
    ):
        """`params` are texts by their protocol names ("term-length"); raises `ChannelError`.

        `ChannelUri.parse`, `.udp` and `.ipc` are the convenient ways.
        """
        self._media = media
        self._params = dict(params or {})
        self._is_spy = is_spy
        if media not in MEDIA:
            raise _unknown_media(media, str(self))
        for name, value in self._params.items():
            if not name or not value or "=" in name or "|" in name or "|" in value:
                raise self.error(
                    name, "has an empty name or value, or a separator", ErrorCode.INVALID_CHANNEL
                )
        _check_text(str(self))

    @classmethod
    def parse(cls, text: str) -> ChannelUri:
        """The channel that `text` writes; raises `ChannelError` for wrong syntax.

        The values of parameters are not looked at, unknown ones are kept, the last of two with one
        name wins. A trailing `?`, `|`, parameter without `=` or without value counts as absent.
        """
        _check_text(text)
        is_spy = text.startswith(SPY_PREFIX)
        rest = text.removeprefix(SPY_PREFIX)
        if not rest.startswith(SCHEME_PREFIX):
            raise ChannelError(
                f"channel {text!r} does not start with aeron:udp, aeron:ipc or aeron-spy:aeron:udp",
                channel=text,
                parameter="scheme",
                value=text.partition(":")[0],
            )
        media, _, query = rest[len(SCHEME_PREFIX) :].partition("?")
        if media not in MEDIA:
            raise _unknown_media(media, text)
        return cls(media, _split_parameters(query, text), is_spy=is_spy)

    @classmethod
    def udp(cls, **parameters: Unpack[ChannelParameters]) -> ChannelUri:
        """A UDP channel, checked as a whole; raises `ChannelError`.

        >>> str(ChannelUri.udp(endpoint="localhost:40123", linger=5_000_000_000))
        'aeron:udp?endpoint=localhost:40123|linger=5s'
        """
        return cls("udp", _in_order(_texts(parameters))).validate()

    @classmethod
    def ipc(cls, **parameters: Unpack[ChannelParameters]) -> ChannelUri:
        """A channel over shared memory, checked as a whole; raises `ChannelError`."""
        return cls("ipc", _in_order(_texts(parameters))).validate()

    @classmethod
    def spy_of(cls, channel: str | ChannelUri) -> ChannelUri:
        """The channel of a subscription that reads a local publication of the UDP `channel`."""
        uri = cls.parse(channel) if isinstance(channel, str) else channel
        if not uri.is_udp:
            raise ChannelError(
                f"channel {uri} cannot be spied on: a spy reads the publications of a UDP channel",
                channel=str(uri),
                parameter="media",
                value=uri.media,
            )
        return cls("udp", uri._params, is_spy=True)

    # What it is.

    @property
    def media(self) -> str:
        """`udp` or `ipc`."""
        return self._media

    @property
    def is_udp(self) -> bool:
        return self._media == "udp"

    @property
    def is_ipc(self) -> bool:
        return self._media == "ipc"

    @property
    def is_spy(self) -> bool:
        return self._is_spy

    @property
    def params(self) -> Mapping[str, str]:
        """The parameters as texts by their protocol names, in the order written."""
        return MappingProxyType(self._params)

    def __contains__(self, name: object) -> bool:
        return name in self._params

    def __str__(self) -> str:
        prefix = SPY_PREFIX if self._is_spy else ""
        query = "|".join(f"{name}={value}" for name, value in self._params.items())
        return f"{prefix}{SCHEME_PREFIX}{self._media}{'?' if query else ''}{query}"

    def __repr__(self) -> str:
        return f"ChannelUri({str(self)!r})"

    def _key(self) -> tuple[bool, str, dict[str, str]]:
        return self._is_spy, self._media, self._params

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, ChannelUri) else NotImplemented

    def __hash__(self) -> int:
        return hash((self._is_spy, self._media, frozenset(self._params.items())))

    def error(
        self, parameter: str, why: str, error_code: int = ErrorCode.GENERIC_ERROR
    ) -> ChannelError:
        """A `ChannelError` about one parameter of this channel; `why` follows `parameter=value`."""
        value = self._params.get(parameter)
        if value is None:
            return ChannelError(
                f"{parameter} {why} in channel {str(self)!r}",
                channel=str(self),
                parameter=parameter,
                error_code=error_code,
            )
        return ChannelError.of_parameter(
            parameter, value, why, channel=str(self), error_code=error_code
        )

    # Parameters by type. Each raises `ChannelError`, code 11, for a value that is not of its type.

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """The text of a parameter by its protocol name ("term-length")."""
        return self._params.get(name, default)

    def get_with(self, name: str, parse: Callable[[str], T], default: T) -> T:
        """What `parse` makes of the text; its `ValueError` becomes the `ChannelError`."""
        text = self._params.get(name)
        if text is None:
            return default
        try:
            return parse(text)
        except ChannelError:
            raise
        except ValueError as error:
            raise self.error(name, str(error)) from None

    @overload
    def get_size(self, name: str) -> int | None: ...
    @overload
    def get_size(self, name: str, default: int) -> int: ...
    def get_size(self, name: str, default: int | None = None) -> int | None:
        """Bytes."""
        return self.get_with(name, parse_size, default)

    @overload
    def get_duration_ns(self, name: str) -> int | None: ...
    @overload
    def get_duration_ns(self, name: str, default: int) -> int: ...
    def get_duration_ns(self, name: str, default: int | None = None) -> int | None:
        """Nanoseconds."""
        return self.get_with(name, parse_duration_ns, default)

    @overload
    def get_bool(self, name: str) -> bool | None: ...
    @overload
    def get_bool(self, name: str, default: bool) -> bool: ...
    def get_bool(self, name: str, default: bool | None = None) -> bool | None:
        """`true` or `false`."""
        return self.get_with(name, parse_bool, default)

    @overload
    def get_int32(self, name: str) -> int | None: ...
    @overload
    def get_int32(self, name: str, default: int) -> int: ...
    def get_int32(self, name: str, default: int | None = None) -> int | None:
        """A signed number of 32 bits."""
        return self.get_with(name, lambda text: parse_int(text, INT32_MIN, INT32_MAX), default)

    @overload
    def get_int64(self, name: str) -> int | None: ...
    @overload
    def get_int64(self, name: str, default: int) -> int: ...
    def get_int64(self, name: str, default: int | None = None) -> int | None:
        """A signed number of 64 bits."""
        return self.get_with(name, lambda text: parse_int(text, INT64_MIN, INT64_MAX), default)

    @property
    def endpoint(self) -> EndpointAddress | None:
        return self._address("endpoint")

    @property
    def control(self) -> EndpointAddress | None:
        return self._address("control")

    def _address(self, name: str) -> EndpointAddress | None:
        text = self._params.get(name)
        return None if text is None else parse_endpoint(text, parameter=name, channel=str(self))

    @property
    def interface(self) -> InterfaceAddress | None:
        text = self._params.get("interface")
        return None if text is None else parse_interface(text, channel=str(self))

    @property
    def control_mode(self) -> ControlMode:
        text = self._params.get("control-mode", "")
        return ControlMode(text) if text in list(ControlMode) else ControlMode.NONE

    @property
    def has_control_mode_response(self) -> bool:
        return self.control_mode is ControlMode.RESPONSE

    @property
    def channel_tag(self) -> int | None:
        """First part of `tags`; raises `ChannelError`: code 1 for this part, 11 for the other."""
        return self._tags()[0]

    @property
    def entity_tag(self) -> int | None:
        """Second part of `tags`; raises like `channel_tag`."""
        return self._tags()[1]

    def _tags(self) -> tuple[int | None, int | None]:
        text = self._params.get("tags", "")
        try:
            return split_tags(text)
        except ValueError as error:
            is_channel = "channel tag" in str(error)
            code = ErrorCode.INVALID_CHANNEL if is_channel else ErrorCode.GENERIC_ERROR
            raise self.error("tags", str(error), code) from None

    # Other channels made from this one.

    def with_(self, **parameters: Unpack[ChannelParameters]) -> ChannelUri:
        """This channel with some parameters set, or left out where None; each value is checked."""
        params = dict(self._params)
        for name, text in _texts(parameters).items():
            params[name] = text
        for keyword, value in parameters.items():
            if value is None:
                params.pop(_name_of(keyword), None)
        return ChannelUri(self._media, params, is_spy=self._is_spy)

    def put(self, name: str, value: str) -> ChannelUri:
        """This channel with any parameter, known or not, set to a text that is not checked."""
        return ChannelUri(self._media, {**self._params, name: value}, is_spy=self._is_spy)

    def without(self, *names: str) -> ChannelUri:
        """This channel without some parameters, by their protocol names."""
        params = {name: text for name, text in self._params.items() if name not in names}
        return ChannelUri(self._media, params, is_spy=self._is_spy)

    def with_alias_if_absent(self, alias: str) -> ChannelUri:
        return self if "alias" in self._params else self.with_(alias=alias)

    def with_initial_position(
        self, position: int, initial_term_id: int, term_length: int
    ) -> ChannelUri:
        """This channel with a log that starts at `position` (a multiple of 32, in bytes)."""
        if position < 0 or position % FRAME_ALIGNMENT:
            raise ChannelError(
                f"position={position} is not a multiple of {FRAME_ALIGNMENT} from 0 on",
                channel=str(self),
                parameter="position",
                value=position,
            )
        format_parameter("term-length", term_length, str(self))
        term_id = (initial_term_id + position // term_length - INT32_MIN) % 2**32 + INT32_MIN
        return self.with_(
            term_length=term_length,
            init_term_id=initial_term_id,
            term_id=term_id,
            term_offset=position % term_length,
        )

    def destination(self, endpoint: str) -> ChannelUri:
        """The channel of a destination: `endpoint`, with this channel's media and interface."""
        params = {"endpoint": format_parameter("endpoint", endpoint)}
        if "interface" in self._params:
            params["interface"] = self._params["interface"]
        return ChannelUri(self._media, params)

    def with_resolved_port(self, resolved: str) -> ChannelUri:
        """This channel with the port of `resolved` (`host:port`) in place of the endpoint's port 0.

        Without an endpoint the whole of `resolved` becomes it; any other port stays.
        """
        port = parse_endpoint(resolved).port
        if port == 0:
            raise ChannelError.of_parameter("endpoint", resolved, "has port 0: it is not resolved")
        endpoint = self._params.get("endpoint")
        if endpoint is None:
            return self.put("endpoint", resolved)
        return self.put("endpoint", f"{endpoint[:-1]}{port}") if endpoint.endswith(":0") else self

    # Checks.

    def validate(self) -> ChannelUri:
        """Checks everything that the channel alone can tell; returns it, or raises `ChannelError`.

        Stricter than a driver, which ignores what does not concern the command it is given.
        """
        if self.is_udp:
            self.check_addressing()
            _ = (
                self.endpoint,
                self.control,
                self.interface,
            )  # these name the channel in their errors
        for name, text in self._params.items():
            format_parameter(name, text, str(self))
        self.timestamp_offsets()
        term_length = self.get_size("term-length")
        self.initial_position(term_length or MAX_TERM_LENGTH)
        window, mtu = self.get_size("pub-wnd"), self.get_size("mtu")
        if window and mtu and window < mtu:
            raise self.error("pub-wnd", f"is smaller than mtu={mtu}")
        if window and term_length and window > term_length // 2:
            raise self.error("pub-wnd", f"is larger than half of term-length={term_length}")
        return self

    def check_addressing(self) -> None:
        """Raises `ChannelError` (code 1) unless a UDP channel says where it goes."""
        mode = self.control_mode
        if mode is ControlMode.DYNAMIC and "control" not in self._params:
            raise self.error(
                "control-mode",
                "needs the address to bind: add control=host:port",
                ErrorCode.INVALID_CHANNEL,
            )
        is_addressed = any(name in self._params for name in ("endpoint", "control", "tags"))
        if not is_addressed and mode not in (ControlMode.MANUAL, ControlMode.RESPONSE):
            raise self.error(
                "endpoint",
                "is missing: add endpoint=host:port (or control, tags, control-mode=manual)",
                ErrorCode.INVALID_CHANNEL,
            )

    def initial_position(self, term_length: int) -> InitialPosition | None:
        """Where a log with terms of `term_length` bytes starts, None if that is left open."""
        initial_term_id = self.get_int32("init-term-id")
        term_id = self.get_int32("term-id")
        term_offset = self.get_int32("term-offset")
        if initial_term_id is None and term_id is None and term_offset is None:
            return None
        if initial_term_id is None or term_id is None or term_offset is None:
            names = ("init-term-id", "term-id", "term-offset")
            missing = next(name for name in names if name not in self._params)
            raise self.error(missing, "is missing: init-term-id, term-id, term-offset go together")
        if (term_id - initial_term_id) & 0x80000000:
            raise self.error("term-id", f"is before init-term-id={initial_term_id}")
        if not 0 <= term_offset <= term_length:
            raise self.error("term-offset", f"is outside 0..term-length={term_length}")
        if term_offset % FRAME_ALIGNMENT:
            raise self.error("term-offset", f"is not a multiple of {FRAME_ALIGNMENT}")
        return InitialPosition(initial_term_id, term_id, term_offset)

    def timestamp_offsets(self) -> TimestampOffsets:
        """The timestamps' offsets; raises `ChannelError` if two would overlap."""
        names = ("media-rcv-ts-offset", "channel-rcv-ts-offset", "channel-snd-ts-offset")
        found: list[tuple[str, int]] = []
        for name in names:
            offset = self.get_with(name, parse_timestamp_offset, None)
            if offset is None:
                continue
            for other_name, other in found:
                if abs(offset - other) < TIMESTAMP_LENGTH:
                    raise self.error(name, f"overlaps the timestamp of {other_name}")
            found.append((name, offset))
        offsets = dict(found)
        return TimestampOffsets(*(offsets.get(name) for name in names))


def parse_timestamp_offset(text: str) -> int | None:
    """A payload offset, or `RESERVED_VALUE_OFFSET` for `reserved`."""
    return RESERVED_VALUE_OFFSET if text == RESERVED else parse_int(text, 0, INT32_MAX)


def parse_term_length(text: str) -> int:
    """Bytes of a term: a power of two in 64k..1g; raises `ValueError`."""
    size = parse_size(text)
    check_size(size, MIN_TERM_LENGTH, MAX_TERM_LENGTH, power_of_two=True)
    return size


def is_tagged(value: str) -> bool:
    """Whether a `session-id` names the publication with an entity tag (`tag:<n>`)."""
    return value.startswith(TAG_PREFIX)


def tag_of(value: str) -> int:
    """The number behind `tag:`; raises `ValueError` if there is none."""
    return parse_int(value.removeprefix(TAG_PREFIX) if is_tagged(value) else "")


def with_wildcard_port(endpoint: str) -> str:
    """`host:port` with port 0; raises `ChannelError`."""
    parse_endpoint(endpoint)
    return endpoint.rpartition(":")[0] + ":0"


def _shown(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}..."


def _unknown_media(media: str, channel: str) -> ChannelError:
    return ChannelError(
        f"channel {_shown(channel)!r} has the unknown media {media!r}: "
        "write aeron:udp?... or aeron:ipc",
        channel=channel,
        parameter="media",
        value=media,
    )


def _check_text(text: str) -> None:
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        length = -1
    if length < 0 or "\0" in text:
        raise ChannelError(f"channel {_shown(text)!r} holds what is not text", channel=_shown(text))
    if length > MAX_CHANNEL_LENGTH:
        raise ChannelError(
            f"channel {_shown(text)!r} has {length} bytes, the longest has {MAX_CHANNEL_LENGTH}",
            channel=_shown(text),
            value=length,
        )


def _split_parameters(query: str, channel: str) -> dict[str, str]:
    params: dict[str, str] = {}
    pieces = query.split("|")
    for number, piece in enumerate(pieces, 1):
        name, equals, value = piece.partition("=")
        is_last = number == len(pieces)
        if is_last and (not equals or (name and not value)):
            break  # a trailing separator, name or empty value: absent
        if name and equals and value:
            params[name] = value
            continue
        if not name:
            why = "a parameter without a name"
        elif not equals:
            why = f"the parameter {name!r} without '='"
        else:
            why = f"the parameter {name!r} without a value"
        raise ChannelError(
            f"channel {channel!r} has {why}: write name=value|name=value",
            channel=channel,
            parameter=name,
            value=value if equals else None,
        )
    return params


def _name_of(keyword: str) -> str:
    return keyword.replace("_", "-")


def _texts(parameters: ChannelParameters) -> dict[str, str]:
    texts = {}
    for keyword, value in parameters.items():
        name = _name_of(keyword)
        if name not in PARAMETERS:
            raise unknown_parameter(keyword)
        if value is not None:
            texts[name] = format_parameter(name, value)
    return texts


def _in_order(texts: dict[str, str]) -> dict[str, str]:
    return {name: texts[name] for name in PARAMETERS if name in texts}
