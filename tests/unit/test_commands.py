"""Commands and events against sections 8 and 10 of the shared-memory format."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillion.errors import MalformedCommandError
from pillion.protocol import commands as c
from pillion.protocol.ids import CommandType, ResponseType

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(max_size=60)
CLIENT, CORRELATION = 0x0102030405060708, -9
PREFIX = struct.pack("<qq", CLIENT, CORRELATION)
CHANNEL = "aeron:udp?endpoint=127.0.0.1:43101"

# What each command looks like: type, the encoder's bytes, the bytes the tables give, and what is decoded.
ENCODED: list[tuple[CommandType, bytes, bytes, Any]] = [
    (
        CommandType.ADD_PUBLICATION,
        c.encode_add_publication(CLIENT, CORRELATION, 1001, CHANNEL),
        PREFIX + struct.pack("<ii", 1001, 34) + CHANNEL.encode(),
        c.AddPublication(CLIENT, CORRELATION, 1001, CHANNEL),
    ),
    (
        CommandType.ADD_EXCLUSIVE_PUBLICATION,
        c.encode_add_publication(CLIENT, CORRELATION, -1, "aeron:ipc"),
        PREFIX + struct.pack("<ii", -1, 9) + b"aeron:ipc",
        c.AddPublication(CLIENT, CORRELATION, -1, "aeron:ipc"),
    ),
    (
        CommandType.REMOVE_PUBLICATION,
        c.encode_remove_publication(CLIENT, CORRELATION, 5, c.REVOKE_FLAG),
        PREFIX + struct.pack("<qQ", 5, 1),
        c.Remove(CLIENT, CORRELATION, 5, 1),
    ),
    (
        CommandType.ADD_SUBSCRIPTION,
        c.encode_add_subscription(CLIENT, CORRELATION, 1001, CHANNEL),
        PREFIX + struct.pack("<qii", -1, 1001, 34) + CHANNEL.encode(),
        c.AddSubscription(CLIENT, CORRELATION, 1001, CHANNEL),
    ),
    (
        CommandType.REMOVE_SUBSCRIPTION,
        c.encode_remove(CLIENT, CORRELATION, 7),
        PREFIX + struct.pack("<q", 7),
        c.Remove(CLIENT, CORRELATION, 7, 0),
    ),
    (
        CommandType.REMOVE_COUNTER,
        c.encode_remove(CLIENT, CORRELATION, 8),
        PREFIX + struct.pack("<q", 8),
        c.Remove(CLIENT, CORRELATION, 8, 0),
    ),
    (
        CommandType.CLIENT_KEEPALIVE,
        c.encode_client_command(CLIENT, CORRELATION),
        PREFIX,
        c.ClientCommand(CLIENT, CORRELATION),
    ),
    (
        CommandType.CLIENT_CLOSE,
        c.encode_client_command(CLIENT),
        struct.pack("<qq", CLIENT, -1),
        c.ClientCommand(CLIENT, -1),
    ),
    *(
        (
            kind,
            c.encode_destination(CLIENT, CORRELATION, 6, CHANNEL),
            PREFIX + struct.pack("<qi", 6, 34) + CHANNEL.encode(),
            c.Destination(CLIENT, CORRELATION, 6, CHANNEL),
        )
        for kind in (
            CommandType.ADD_DESTINATION, CommandType.REMOVE_DESTINATION,
            CommandType.ADD_RCV_DESTINATION, CommandType.REMOVE_RCV_DESTINATION,
        )
    ),
    (
        CommandType.ADD_COUNTER,
        c.encode_add_counter(CLIENT, CORRELATION, 1101, b"12345", "label"),
        PREFIX + struct.pack("<ii", 1101, 5) + b"12345\0\0\0" + struct.pack("<i", 5) + b"label",
        c.AddCounter(CLIENT, CORRELATION, CORRELATION, 1101, b"12345", "label"),
    ),
    (
        CommandType.ADD_STATIC_COUNTER,
        c.encode_add_static_counter(CLIENT, CORRELATION, 4242, 1102, b"1234", ""),
        PREFIX + struct.pack("<qii", 4242, 1102, 4) + b"1234" + struct.pack("<i", 0),
        c.AddCounter(CLIENT, CORRELATION, 4242, 1102, b"1234", ""),
    ),
    (
        CommandType.TERMINATE_DRIVER,
        c.encode_terminate_driver(CLIENT, b"token"),
        struct.pack("<qqi", CLIENT, -1, 5) + b"token",
        c.TerminateDriver(CLIENT, -1, b"token"),
    ),
    (
        CommandType.REJECT_IMAGE,
        c.encode_reject_image(CLIENT, CORRELATION, 20, 4096, "test reason"),
        PREFIX + struct.pack("<qqi", 20, 4096, 11) + b"test reason",
        c.RejectImage(CLIENT, CORRELATION, 20, 4096, "test reason"),
    ),
    (
        CommandType.REMOVE_DESTINATION_BY_ID,
        c.encode_remove_destination_by_id(CLIENT, CORRELATION, 10, 12),
        PREFIX + struct.pack("<qq", 10, 12),
        c.RemoveDestinationById(CLIENT, CORRELATION, 10, 12),
    ),
    (
        CommandType.GET_NEXT_SESSION_ID,
        c.encode_get_next_session_id(CLIENT, CORRELATION, 1001),
        PREFIX + struct.pack("<i", 1001),
        c.GetNextSessionId(CLIENT, CORRELATION, 1001),
    ),
]  # fmt: skip

ADDRESS = bytes([127, 0, 0, 1]) + bytes(12)
EVENTS: list[tuple[ResponseType, bytes, bytes, Any]] = [
    (
        ResponseType.ERROR,
        c.encode_error(3, 11, "why"),
        struct.pack("<qii", 3, 11, 3) + b"why",
        c.ErrorEvent(3, 11, "why"),
    ),
    *(
        (
            kind,
            c.encode_publication_ready(c.PublicationReady(2, 3, -4, 1001, 49, -1, "md/2.logbuffer")),
            struct.pack("<qqiiiii", 2, 3, -4, 1001, 49, -1, 14) + b"md/2.logbuffer",
            c.PublicationReady(2, 3, -4, 1001, 49, -1, "md/2.logbuffer"),
        )
        for kind in (ResponseType.PUBLICATION_READY, ResponseType.EXCLUSIVE_PUBLICATION_READY)
    ),
    (
        ResponseType.SUBSCRIPTION_READY,
        c.encode_subscription_ready(4, 55),
        struct.pack("<qi", 4, 55),
        c.SubscriptionReady(4, 55),
    ),
    (
        ResponseType.AVAILABLE_IMAGE,
        c.encode_available_image(c.AvailableImage(5, -6, 1001, 4, 61, "12345", "[::1]:9")),
        struct.pack("<qiiqii", 5, -6, 1001, 4, 61, 5) + b"12345\0\0\0" + struct.pack("<i", 7) + b"[::1]:9",
        c.AvailableImage(5, -6, 1001, 4, 61, "12345", "[::1]:9"),
    ),
    (
        ResponseType.UNAVAILABLE_IMAGE,
        c.encode_unavailable_image(c.UnavailableImage(5, 4, 1001, "aeron:ipc")),
        struct.pack("<qqii", 5, 4, 1001, 9) + b"aeron:ipc",
        c.UnavailableImage(5, 4, 1001, "aeron:ipc"),
    ),
    *(
        (kind, c.encode_counter_event(16, 87), struct.pack("<qi", 16, 87), c.CounterEvent(16, 87))
        for kind in (
            ResponseType.COUNTER_READY, ResponseType.UNAVAILABLE_COUNTER, ResponseType.STATIC_COUNTER,
        )
    ),
    *(
        (kind, c.encode_id(-7), struct.pack("<q", -7), c.IdEvent(-7))
        for kind in (ResponseType.OPERATION_SUCCESS, ResponseType.CLIENT_TIMEOUT)
    ),
    (
        ResponseType.NEXT_SESSION_ID,
        c.encode_next_session_id(9, -10),
        struct.pack("<qi", 9, -10),
        c.NextSessionId(9, -10),
    ),
    (
        ResponseType.PUBLICATION_ERROR,
        c.encode_publication_error(
            c.PublicationErrorEvent(1, -1, 2, 3, 4, -1, (1, 43_200, ADDRESS[:4]), 13, "test reason")
        ),
        struct.pack("<qqiiqqhH", 1, -1, 2, 3, 4, -1, 1, 43_200) + ADDRESS
        + struct.pack("<ii", 13, 11) + b"test reason",
        c.PublicationErrorEvent(1, -1, 2, 3, 4, -1, (1, 43_200, ADDRESS), 13, "test reason"),
    ),
]  # fmt: skip

ALL = [(c.decode_command, *row) for row in ENCODED] + [(c.decode_event, *row) for row in EVENTS]
IDS = [row[1].name for row in ALL]
Decode = Callable[[int, bytes], Any]


def test_every_command_and_event_has_a_row() -> None:
    assert {row[0] for row in ENCODED} == set(CommandType)
    assert {row[0] for row in EVENTS} == set(ResponseType)


@pytest.mark.parametrize(("decode", "kind", "encoded", "table", "decoded"), ALL, ids=IDS)
def test_layout(decode: Decode, kind: int, encoded: bytes, table: bytes, decoded: Any) -> None:
    assert encoded == table
    assert decode(kind, encoded) == decoded
    assert decode(int(kind), encoded + b"trailing bytes are ignored")[: len(decoded)] == (
        decoded if kind != CommandType.REMOVE_SUBSCRIPTION and kind != CommandType.REMOVE_COUNTER
        else (*decoded[:3], int.from_bytes(b"trailing", "little"))
    )  # fmt: skip


@pytest.mark.parametrize(("decode", "kind", "encoded", "table", "decoded"), ALL, ids=IDS)
def test_every_cut_is_malformed(decode: Decode, kind: int, encoded: bytes, table: bytes, decoded: Any) -> None:
    shortest = 24 if kind == CommandType.REMOVE_PUBLICATION else len(encoded)
    for length in range(shortest):
        with pytest.raises(MalformedCommandError, match=CommandType(kind).name if decode is c.decode_command
                           else ResponseType(kind).name):  # fmt: skip
            decode(kind, encoded[:length])
    for length in range(shortest, len(encoded)):
        decode(kind, encoded[:length])


@pytest.mark.parametrize("length", [-1, -(2**31), 10_000, 2**31 - 1])
@pytest.mark.parametrize(
    ("decode", "kind", "offset"),
    [
        (c.decode_command, CommandType.ADD_PUBLICATION, 20),
        (c.decode_command, CommandType.ADD_SUBSCRIPTION, 28),
        (c.decode_command, CommandType.ADD_DESTINATION, 24),
        (c.decode_command, CommandType.ADD_COUNTER, 20),
        (c.decode_command, CommandType.ADD_COUNTER, 32),
        (c.decode_command, CommandType.ADD_STATIC_COUNTER, 28),
        (c.decode_command, CommandType.ADD_STATIC_COUNTER, 36),
        (c.decode_command, CommandType.TERMINATE_DRIVER, 16),
        (c.decode_command, CommandType.REJECT_IMAGE, 32),
        (c.decode_event, ResponseType.ERROR, 12),
        (c.decode_event, ResponseType.PUBLICATION_READY, 32),
        (c.decode_event, ResponseType.AVAILABLE_IMAGE, 28),
        (c.decode_event, ResponseType.AVAILABLE_IMAGE, 40),
        (c.decode_event, ResponseType.UNAVAILABLE_IMAGE, 20),
        (c.decode_event, ResponseType.PUBLICATION_ERROR, 64),
    ],
)
def test_hostile_length_is_malformed(decode: Decode, kind: int, offset: int, length: int) -> None:
    encoded = bytearray(next(row[2] for row in ALL if row[0] is decode and row[1] == kind))
    struct.pack_into("<i", encoded, offset, length)
    with pytest.raises(MalformedCommandError, match=f"a length of {length} at"):
        decode(kind, bytes(encoded))


def test_unknown_types() -> None:
    for kind in (0, -1, 0x13, 0x55, 0x0F01):
        with pytest.raises(KeyError):
            c.decode_command(kind, bytes(100))
    for kind in (0, 1, 0x0F00, 0x0F0E):
        with pytest.raises(KeyError):
            c.decode_event(kind, bytes(100))


def test_what_real_clients_leave_out_or_add() -> None:
    # 24 bytes without flags; a reject image that is 41 + r bytes long and carries no ids; a counter 4 bytes longer.
    assert c.decode_command(2, struct.pack("<qqq", 1, 2, 3)) == c.Remove(1, 2, 3, 0)
    reject = struct.pack("<qqqqi", 0, 0, 20, 64, 3) + b"why\0\0"
    assert c.decode_command(16, reject) == c.RejectImage(0, 0, 20, 64, "why")
    counter = c.encode_add_counter(1, 2, 1000, b"", "") + bytes(4)
    assert c.decode_command(9, counter) == c.AddCounter(1, 2, 2, 1000, b"", "")


def test_what_real_peers_insist_on() -> None:
    assert len(c.encode_reject_image(1, 2, 3, 4, "")) == 40
    assert len(c.encode_reject_image(1, 2, 3, 4, "x" * 1023)) == 36 + 1023
    event = c.PublicationErrorEvent(1, -1, 2, 3, 4, -1, (1, 1, ADDRESS), 13, "")
    assert len(c.encode_publication_error(event)) >= 72


def test_text_that_is_none_is_malformed_in_a_command_and_shown_in_an_error() -> None:
    broken = struct.pack("<qqii", 1, 2, 3, 2) + b"\xff\xfe"
    with pytest.raises(MalformedCommandError, match="not ASCII"):
        c.decode_command(1, broken)
    assert c.decode_event(0x0F01, struct.pack("<qii", 1, 2, 2) + b"\xff\xfe").message == "\ufffd\ufffd"


def test_golden_transcript() -> None:
    add = bytes.fromhex("0100000000000000 0200000000000000 e9030000 22000000") + CHANNEL.encode()
    assert c.decode_command(1, add) == c.AddPublication(1, 2, 1001, CHANNEL)
    assert c.encode_add_publication(1, 2, 1001, CHANNEL) == add
    ready = bytes.fromhex(
        "02000000000000000200000000000000 26c9a5f8e9030000310000002e000000 1b000000"
    ) + b"md/publications/2.logbuffer"
    event = c.PublicationReady(2, 2, -123_352_794, 1001, 49, 46, "md/publications/2.logbuffer")
    assert c.decode_event(0x0F03, ready) == event
    assert c.encode_publication_ready(event) == ready
    image = (
        bytes.fromhex("0500000000000000 26c9a5f8e9030000 0400000000000000 3d000000 15000000")
        + b"md/images/5.logbuffer\0\0\0" + bytes.fromhex("0f000000") + b"127.0.0.1:34208"
    )  # fmt: skip
    available = c.AvailableImage(5, -123_352_794, 1001, 4, 61, "md/images/5.logbuffer", "127.0.0.1:34208")
    assert c.decode_event(0x0F02, image) == available
    assert c.encode_available_image(available) == image
    assert c.decode_event(0x0F08, bytes.fromhex("010000000000000036000000")) == c.CounterEvent(1, 54)
    assert c.decode_event(0x0F07, bytes.fromhex("040000000000000037000000")) == c.SubscriptionReady(4, 55)


@given(INT64, INT64, INT64, INT32, st.binary(max_size=120), TEXT)
def test_commands_round_trip(
    client: int, correlation: int, other: int, number: int, key: bytes, text: str
) -> None:
    decode = c.decode_command
    assert decode(1, c.encode_add_publication(client, correlation, number, text)) == (client, correlation, number, text)
    assert decode(4, c.encode_add_subscription(client, correlation, number, text)) == (
        client, correlation, number, text,
    )  # fmt: skip
    assert decode(7, c.encode_destination(client, correlation, other, text)) == (client, correlation, other, text)
    assert decode(9, c.encode_add_counter(client, correlation, number, key, text)) == (
        client, correlation, correlation, number, key, text,
    )  # fmt: skip
    assert decode(15, c.encode_add_static_counter(client, correlation, other, number, key, text)) == (
        client, correlation, other, number, key, text,
    )  # fmt: skip
    assert decode(14, c.encode_terminate_driver(client, key)) == (client, -1, key)
    assert decode(16, c.encode_reject_image(client, correlation, other, other, text)) == (
        client, correlation, other, other, text,
    )  # fmt: skip


@given(INT64, INT64, INT32, INT32, TEXT, TEXT)
def test_events_round_trip(one: int, two: int, three: int, four: int, text: str, other: str) -> None:
    decode = c.decode_event
    ready = c.PublicationReady(one, two, three, four, three, four, text)
    assert decode(0x0F03, c.encode_publication_ready(ready)) == ready
    image = c.AvailableImage(one, three, four, two, four, text, other)
    assert decode(0x0F02, c.encode_available_image(image)) == image
    gone = c.UnavailableImage(one, two, three, text)
    assert decode(0x0F05, c.encode_unavailable_image(gone)) == gone
    assert decode(0x0F01, c.encode_error(one, three, text)) == (one, three, text)
