"""Commands and events of the control protocol, as they lie in the to-driver ring and the to-clients broadcast buffer.

Every layout is one packed struct whose size is asserted below; variable text follows it. Decoding checks each length
against the message and raises `MalformedCommandError`; trailing bytes are tolerated, as the protocol asks.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, NamedTuple

from pillion.errors import MalformedCommandError
from pillion.protocol.ids import CommandType, ResponseType

_PREFIX = Struct("<qq")                    # client id, correlation id
_PUBLICATION = Struct("<qqii")             # + stream id, channel length
_SUBSCRIPTION = Struct("<qqqii")           # + registration correlation id, stream id, channel length
_REMOVE = Struct("<qqq")                   # + registration id
_REMOVE_PUBLICATION = Struct("<qqqQ")      # + flags
_DESTINATION = Struct("<qqqi")             # + registration id, channel length
_COUNTER = Struct("<qqii")                 # + type id, key length
_STATIC_COUNTER = Struct("<qqqii")         # + registration id, type id, key length
_TERMINATE = Struct("<qqi")                # + token length
_REJECT = Struct("<qqqqi")                 # + image correlation id, position, reason length
_TWO_IDS = Struct("<qqqq")                 # + publication id, destination id
_STREAM = Struct("<qqi")                   # + stream id
_INT = Struct("<i")
_ID = Struct("<q")
_ID_AND_COUNTER = Struct("<qi")
_PUBLICATION_READY = Struct("<qqiiiii")
_AVAILABLE_IMAGE = Struct("<qiiqii")
_UNAVAILABLE_IMAGE = Struct("<qqii")
_PUBLICATION_ERROR = Struct("<qqiiqqhH16sii")
_ERROR = Struct("<qii")

for _layout, _size in (
    (_PREFIX, 16), (_PUBLICATION, 24), (_SUBSCRIPTION, 32), (_REMOVE, 24), (_REMOVE_PUBLICATION, 32),
    (_DESTINATION, 28), (_COUNTER, 24), (_STATIC_COUNTER, 32), (_TERMINATE, 20), (_REJECT, 36), (_TWO_IDS, 32),
    (_STREAM, 20), (_ID_AND_COUNTER, 12), (_PUBLICATION_READY, 36), (_AVAILABLE_IMAGE, 32), (_UNAVAILABLE_IMAGE, 24),
    (_PUBLICATION_ERROR, 68), (_ERROR, 16),
):
    assert _layout.size == _size, (_layout.format, _layout.size, _size)

REVOKE_FLAG = 1
MAX_REASON_LENGTH = 1023


class AddPublication(NamedTuple):
    client_id: int
    correlation_id: int
    stream_id: int
    channel: str


class AddSubscription(NamedTuple):
    client_id: int
    correlation_id: int
    stream_id: int
    channel: str


class Remove(NamedTuple):
    """Remove publication, subscription or counter."""

    client_id: int
    correlation_id: int
    registration_id: int
    flags: int


class Destination(NamedTuple):
    client_id: int
    correlation_id: int
    registration_id: int
    channel: str


class RemoveDestinationById(NamedTuple):
    client_id: int
    correlation_id: int
    registration_id: int
    destination_id: int


class AddCounter(NamedTuple):
    client_id: int
    correlation_id: int
    registration_id: int
    type_id: int
    key: bytes
    label: str


class ClientCommand(NamedTuple):
    """Keepalive and client close: the prefix alone."""

    client_id: int
    correlation_id: int


class TerminateDriver(NamedTuple):
    client_id: int
    correlation_id: int
    token: bytes


class RejectImage(NamedTuple):
    client_id: int
    correlation_id: int
    image_id: int
    position: int
    reason: str


class GetNextSessionId(NamedTuple):
    client_id: int
    correlation_id: int
    stream_id: int


class PublicationReady(NamedTuple):
    correlation_id: int
    registration_id: int
    session_id: int
    stream_id: int
    limit_counter_id: int
    status_counter_id: int
    log_file_name: str


class SubscriptionReady(NamedTuple):
    correlation_id: int
    status_counter_id: int


class AvailableImage(NamedTuple):
    image_id: int
    session_id: int
    stream_id: int
    subscription_id: int
    position_counter_id: int
    log_file_name: str
    source_identity: str


class UnavailableImage(NamedTuple):
    image_id: int
    subscription_id: int
    stream_id: int
    channel: str


class CounterEvent(NamedTuple):
    """Counter ready, unavailable counter, static counter."""

    correlation_id: int
    counter_id: int


class IdEvent(NamedTuple):
    """Operation success (correlation id) and client timeout (client id)."""

    correlation_id: int


class NextSessionId(NamedTuple):
    correlation_id: int
    session_id: int


class ErrorEvent(NamedTuple):
    correlation_id: int
    error_code: int
    message: str


class PublicationErrorEvent(NamedTuple):
    registration_id: int
    destination_id: int
    session_id: int
    stream_id: int
    receiver_id: int
    group_tag: int
    address: tuple[int, int, bytes]
    error_code: int
    message: str


def _align4(length: int) -> int:
    return (length + 3) & ~3


def _unpack(layout: Struct, message: bytes, name: str) -> tuple[Any, ...]:
    if len(message) < layout.size:
        raise MalformedCommandError(f"{name}: {len(message)} bytes, at least {layout.size} are needed")
    return layout.unpack_from(message)


def _take(message: bytes, offset: int, length: int, name: str) -> bytes:
    if length < 0 or offset + length > len(message):
        raise MalformedCommandError(f"{name}: a length of {length} at {offset} in a message of {len(message)} bytes")
    return message[offset : offset + length]


def _text(message: bytes, offset: int, length: int, name: str) -> str:
    try:
        return _take(message, offset, length, name).decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedCommandError(f"{name}: text is not ASCII: {error}") from None


def _int(message: bytes, offset: int, name: str) -> int:
    value: int = _INT.unpack(_take(message, offset, 4, name))[0]
    return value


# ---- commands -------------------------------------------------------------------------------------------------------


def encode_add_publication(client_id: int, correlation_id: int, stream_id: int, channel: str) -> bytes:
    text = channel.encode()
    return _PUBLICATION.pack(client_id, correlation_id, stream_id, len(text)) + text


def encode_add_subscription(client_id: int, correlation_id: int, stream_id: int, channel: str) -> bytes:
    text = channel.encode()
    return _SUBSCRIPTION.pack(client_id, correlation_id, -1, stream_id, len(text)) + text


def encode_remove_publication(client_id: int, correlation_id: int, registration_id: int, flags: int = 0) -> bytes:
    return _REMOVE_PUBLICATION.pack(client_id, correlation_id, registration_id, flags)


def encode_remove(client_id: int, correlation_id: int, registration_id: int) -> bytes:
    """Remove subscription and remove counter."""
    return _REMOVE.pack(client_id, correlation_id, registration_id)


def encode_destination(client_id: int, correlation_id: int, registration_id: int, channel: str) -> bytes:
    text = channel.encode()
    return _DESTINATION.pack(client_id, correlation_id, registration_id, len(text)) + text


def encode_remove_destination_by_id(
    client_id: int, correlation_id: int, registration_id: int, destination_id: int
) -> bytes:
    return _TWO_IDS.pack(client_id, correlation_id, registration_id, destination_id)


def encode_add_counter(client_id: int, correlation_id: int, type_id: int, key: bytes, label: str) -> bytes:
    text = label.encode()
    body = key + bytes(_align4(len(key)) - len(key)) + _INT.pack(len(text)) + text
    return _COUNTER.pack(client_id, correlation_id, type_id, len(key)) + body


def encode_add_static_counter(
    client_id: int, correlation_id: int, registration_id: int, type_id: int, key: bytes, label: str
) -> bytes:
    text = label.encode()
    body = key + bytes(_align4(len(key)) - len(key)) + _INT.pack(len(text)) + text
    return _STATIC_COUNTER.pack(client_id, correlation_id, registration_id, type_id, len(key)) + body


def encode_client_command(client_id: int, correlation_id: int = -1) -> bytes:
    return _PREFIX.pack(client_id, correlation_id)


def encode_terminate_driver(client_id: int, token: bytes = b"") -> bytes:
    return _TERMINATE.pack(client_id, -1, len(token)) + token


def encode_reject_image(client_id: int, correlation_id: int, image_id: int, position: int, reason: str) -> bytes:
    text = reason.encode()
    message = _REJECT.pack(client_id, correlation_id, image_id, position, len(text)) + text
    return message.ljust(40, b"\0")         # a C driver wants at least 40 bytes


def encode_get_next_session_id(client_id: int, correlation_id: int, stream_id: int) -> bytes:
    return _STREAM.pack(client_id, correlation_id, stream_id)


def _decode_publication(message: bytes, name: str) -> AddPublication:
    client_id, correlation_id, stream_id, length = _unpack(_PUBLICATION, message, name)
    return AddPublication(client_id, correlation_id, stream_id, _text(message, 24, length, name))


def _decode_subscription(message: bytes, name: str) -> AddSubscription:
    client_id, correlation_id, _, stream_id, length = _unpack(_SUBSCRIPTION, message, name)
    return AddSubscription(client_id, correlation_id, stream_id, _text(message, 32, length, name))


def _decode_remove(message: bytes, name: str) -> Remove:
    client_id, correlation_id, registration_id = _unpack(_REMOVE, message, name)
    flags = int.from_bytes(message[24:32], "little") if len(message) >= 32 else 0
    return Remove(client_id, correlation_id, registration_id, flags)


def _decode_destination(message: bytes, name: str) -> Destination:
    client_id, correlation_id, registration_id, length = _unpack(_DESTINATION, message, name)
    return Destination(client_id, correlation_id, registration_id, _text(message, 28, length, name))


def _decode_remove_destination_by_id(message: bytes, name: str) -> RemoveDestinationById:
    return RemoveDestinationById(*_unpack(_TWO_IDS, message, name))


def _decode_add_counter(message: bytes, name: str) -> AddCounter:
    client_id, correlation_id, type_id, length = _unpack(_COUNTER, message, name)
    key = _take(message, 24, length, name)
    at = 24 + _align4(length)
    label = _text(message, at + 4, _int(message, at, name), name)
    return AddCounter(client_id, correlation_id, correlation_id, type_id, key, label)


def _decode_add_static_counter(message: bytes, name: str) -> AddCounter:
    client_id, correlation_id, registration_id, type_id, length = _unpack(_STATIC_COUNTER, message, name)
    key = _take(message, 32, length, name)
    at = 32 + _align4(length)
    label = _text(message, at + 4, _int(message, at, name), name)
    return AddCounter(client_id, correlation_id, registration_id, type_id, key, label)


def _decode_client_command(message: bytes, name: str) -> ClientCommand:
    return ClientCommand(*_unpack(_PREFIX, message, name))


def _decode_terminate(message: bytes, name: str) -> TerminateDriver:
    client_id, correlation_id, length = _unpack(_TERMINATE, message, name)
    return TerminateDriver(client_id, correlation_id, _take(message, 20, length, name))


def _decode_reject(message: bytes, name: str) -> RejectImage:
    client_id, correlation_id, image_id, position, length = _unpack(_REJECT, message, name)
    return RejectImage(client_id, correlation_id, image_id, position, _text(message, 36, length, name))


def _decode_next_session(message: bytes, name: str) -> GetNextSessionId:
    return GetNextSessionId(*_unpack(_STREAM, message, name))


Command = (
    AddPublication | AddSubscription | Remove | Destination | RemoveDestinationById | AddCounter | ClientCommand
    | TerminateDriver | RejectImage | GetNextSessionId
)

_COMMANDS: dict[CommandType, Callable[[bytes, str], Command]] = {
    CommandType.ADD_PUBLICATION: _decode_publication,
    CommandType.ADD_EXCLUSIVE_PUBLICATION: _decode_publication,
    CommandType.ADD_SUBSCRIPTION: _decode_subscription,
    CommandType.REMOVE_PUBLICATION: _decode_remove,
    CommandType.REMOVE_SUBSCRIPTION: _decode_remove,
    CommandType.REMOVE_COUNTER: _decode_remove,
    CommandType.CLIENT_KEEPALIVE: _decode_client_command,
    CommandType.CLIENT_CLOSE: _decode_client_command,
    CommandType.ADD_DESTINATION: _decode_destination,
    CommandType.REMOVE_DESTINATION: _decode_destination,
    CommandType.ADD_RCV_DESTINATION: _decode_destination,
    CommandType.REMOVE_RCV_DESTINATION: _decode_destination,
    CommandType.ADD_COUNTER: _decode_add_counter,
    CommandType.ADD_STATIC_COUNTER: _decode_add_static_counter,
    CommandType.TERMINATE_DRIVER: _decode_terminate,
    CommandType.REJECT_IMAGE: _decode_reject,
    CommandType.REMOVE_DESTINATION_BY_ID: _decode_remove_destination_by_id,
    CommandType.GET_NEXT_SESSION_ID: _decode_next_session,
}


def decode_command(type_id: int, message: bytes) -> Command:
    """The command in `message`. Raises `MalformedCommandError` if it is too short, `KeyError` for an unknown type."""
    command = CommandType(type_id) if type_id in _COMMANDS else None
    if command is None:
        raise KeyError(type_id)
    return _COMMANDS[command](message, command.name)


# ---- events ---------------------------------------------------------------------------------------------------------


def encode_publication_ready(event: PublicationReady) -> bytes:
    name = event.log_file_name.encode()
    return _PUBLICATION_READY.pack(*event[:6], len(name)) + name


def encode_subscription_ready(correlation_id: int, status_counter_id: int) -> bytes:
    return _ID_AND_COUNTER.pack(correlation_id, status_counter_id)


def encode_available_image(event: AvailableImage) -> bytes:
    name = event.log_file_name.encode()
    source = event.source_identity.encode()
    return (
        _AVAILABLE_IMAGE.pack(*event[:5], len(name)) + name + bytes(_align4(len(name)) - len(name))
        + _INT.pack(len(source)) + source
    )


def encode_unavailable_image(event: UnavailableImage) -> bytes:
    channel = event.channel.encode()
    return _UNAVAILABLE_IMAGE.pack(*event[:3], len(channel)) + channel


def encode_counter_event(correlation_id: int, counter_id: int) -> bytes:
    return _ID_AND_COUNTER.pack(correlation_id, counter_id)


def encode_id(correlation_id: int) -> bytes:
    return _ID.pack(correlation_id)


def encode_next_session_id(correlation_id: int, session_id: int) -> bytes:
    return _ID_AND_COUNTER.pack(correlation_id, session_id)


def encode_error(correlation_id: int, error_code: int, message: str) -> bytes:
    text = message.encode()
    return _ERROR.pack(correlation_id, error_code, len(text)) + text


def encode_publication_error(event: PublicationErrorEvent) -> bytes:
    text = event.message.encode().ljust(4)        # a C client wants at least 72 bytes
    kind, port, address = event.address
    return _PUBLICATION_ERROR.pack(*event[:6], kind, port, address.ljust(16, b"\0"), event.error_code, len(text)) + text


def _decode_publication_ready(message: bytes, name: str) -> PublicationReady:
    fields = _unpack(_PUBLICATION_READY, message, name)
    return PublicationReady._make((*fields[:6], _text(message, 36, fields[6], name)))


def _decode_subscription_ready(message: bytes, name: str) -> SubscriptionReady:
    return SubscriptionReady(*_unpack(_ID_AND_COUNTER, message, name))


def _decode_available_image(message: bytes, name: str) -> AvailableImage:
    fields = _unpack(_AVAILABLE_IMAGE, message, name)
    log_name = _text(message, 32, fields[5], name)
    at = 32 + _align4(fields[5])
    source = _text(message, at + 4, _int(message, at, name), name)
    return AvailableImage._make((*fields[:5], log_name, source))


def _decode_unavailable_image(message: bytes, name: str) -> UnavailableImage:
    fields = _unpack(_UNAVAILABLE_IMAGE, message, name)
    return UnavailableImage._make((*fields[:3], _text(message, 24, fields[3], name)))


def _decode_counter_event(message: bytes, name: str) -> CounterEvent:
    return CounterEvent(*_unpack(_ID_AND_COUNTER, message, name))


def _decode_id(message: bytes, name: str) -> IdEvent:
    return IdEvent(*_unpack(_ID, message, name))


def _decode_next_session_id(message: bytes, name: str) -> NextSessionId:
    return NextSessionId(*_unpack(_ID_AND_COUNTER, message, name))


def _decode_error(message: bytes, name: str) -> ErrorEvent:
    correlation_id, code, length = _unpack(_ERROR, message, name)
    return ErrorEvent(correlation_id, code, _take(message, 16, length, name).decode("utf-8", "replace"))


def _decode_publication_error(message: bytes, name: str) -> PublicationErrorEvent:
    fields = _unpack(_PUBLICATION_ERROR, message, name)
    text = _take(message, 68, fields[10], name).decode("utf-8", "replace")
    address = (fields[6], fields[7], fields[8])
    return PublicationErrorEvent._make((*fields[:6], address, fields[9], text))


Event = (
    ErrorEvent | AvailableImage | PublicationReady | IdEvent | UnavailableImage | SubscriptionReady | CounterEvent
    | PublicationErrorEvent | NextSessionId
)

_EVENTS: dict[ResponseType, Callable[[bytes, str], Event]] = {
    ResponseType.ERROR: _decode_error,
    ResponseType.AVAILABLE_IMAGE: _decode_available_image,
    ResponseType.PUBLICATION_READY: _decode_publication_ready,
    ResponseType.EXCLUSIVE_PUBLICATION_READY: _decode_publication_ready,
    ResponseType.OPERATION_SUCCESS: _decode_id,
    ResponseType.UNAVAILABLE_IMAGE: _decode_unavailable_image,
    ResponseType.SUBSCRIPTION_READY: _decode_subscription_ready,
    ResponseType.COUNTER_READY: _decode_counter_event,
    ResponseType.UNAVAILABLE_COUNTER: _decode_counter_event,
    ResponseType.STATIC_COUNTER: _decode_counter_event,
    ResponseType.CLIENT_TIMEOUT: _decode_id,
    ResponseType.PUBLICATION_ERROR: _decode_publication_error,
    ResponseType.NEXT_SESSION_ID: _decode_next_session_id,
}


def decode_event(type_id: int, message: bytes) -> Event:
    """The event in `message`. Raises `MalformedCommandError` if it is too short, `KeyError` for an unknown type."""
    event = ResponseType(type_id) if type_id in _EVENTS else None
    if event is None:
        raise KeyError(type_id)
    return _EVENTS[event](message, event.name)
