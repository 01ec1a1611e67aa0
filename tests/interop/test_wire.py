"""What our driver puts on the wire, as tshark reads it, beside what the C and the Java drivers put there.

Every pair of drivers goes through the same exchanges. With the same receiver, our sender must send what the others'
do, and with the same sender our receiver. What depends on time alone is left out of the comparison: repetitions, the
heartbeats between data, and how frames that were ready at different moments share datagrams. docs/reference/wire.md
says the same to users, with the differences that are there.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, product
from pathlib import Path

import pytest
from drivers import KINDS, SharedDrivers, require
from processes import PATIENT_TIMEOUTS, absence
from wire_capture import DATA_HEADER, LOCALHOST, TYPE_DATA, Conversation, Datagram, Frame, decode, require_tshark
from wire_exchanges import (
    EXCHANGES,
    FLAGS_PLAIN,
    REASON,
    SESSION_ID,
    SM_EOS,
    SM_SEND_SETUP,
    STATUS_MESSAGE,
    STREAM_ID,
    TYPE_ERR,
    TYPE_SM,
    Exchange,
    Ports,
    Stream,
    type_of,
)

pytestmark = pytest.mark.interop

# The phases in which a plain heartbeat is what is compared; in the others time alone decides whether there is one.
HEARTBEAT_PHASES = ("set-up", "idle", "end of stream", "closed")
# A set-up is compared where a receiver comes; how many follow until its status message is there is a matter of time.
SETUP_PHASES = ("set-up", "join again")
FROM_SENDER = {"setup", "data", "pad", "heartbeat"}
FROM_RECEIVER = {"sm", "nak"}
# tshark 4.0 knows only an older error frame, and calls the present one malformed.
JUDGED = [name for name in EXCHANGES if name != "rejection"]
PAIRS = list(product(JUDGED, KINDS, KINDS))
ERROR_FRAME = struct.Struct("<iBBHiiqqii")
IMAGE_REJECTED = 13
WORKERS = 21
Key = tuple[str, str, str]


def run_exchange(key: Key, drivers: SharedDrivers, ports: Ports) -> Conversation | BaseException:
    """What the relay kept, or what went wrong: the test of this pair is the one to fail."""
    name, sender, receiver = key
    try:
        steps, stream = EXCHANGES[name]
        with Exchange(stream, drivers(sender), drivers(receiver), ports) as exchange:
            steps(exchange)
            # Here, since the clients' closing has frames of its own.
            return Conversation("-".join(key), list(exchange.relay.kept))
    except Exception as error:
        return error


def free_ports(count: int) -> list[int]:
    """Free ports that the system gives to nobody by itself: the drivers take many of those."""
    found: list[int] = []
    port = 20_000 + os.getpid() * count % 10_000  # so that two runs do not look for them in the same place
    while len(found) < count:
        port += 1
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            probe.bind((LOCALHOST, port))
            found.append(port)
    return found


class Conversations:
    """All exchanges of all pairs of drivers that there are, decoded."""

    def __init__(self, found: dict[Key, Conversation | BaseException]) -> None:
        self._found = found

    def __call__(self, *key: str) -> Conversation:
        exchange, sender, receiver = key
        require(sender, receiver)
        result = self._found[exchange, sender, receiver]
        if isinstance(result, BaseException):
            raise AssertionError(f"{exchange} from {sender} to {receiver} went wrong") from result
        return result


@pytest.fixture(scope="module")
def conversations(tmp_path_factory: pytest.TempPathFactory) -> Conversations:
    tshark = require_tshark()
    keys = [key for key in product(EXCHANGES, KINDS, KINDS) if not absence(key[1]) and not absence(key[2])]
    drivers = SharedDrivers({**PATIENT_TIMEOUTS, "AERON_TIMER_INTERVAL": "100ms"})
    try:
        # Many at once: they wait for timers most of the time.
        with ThreadPoolExecutor(WORKERS) as pool:
            free = iter(free_ports(len(keys) * len(Ports._fields)))
            ports = [Ports(next(free), next(free), next(free)) for _ in keys]
            results = pool.map(run_exchange, keys, [drivers] * len(keys), ports)
            found = dict(zip(keys, results, strict=True))
    finally:
        drivers.close()
    whole = [result for result in found.values() if isinstance(result, Conversation)]
    decode(tshark, tmp_path_factory.mktemp("wire") / "exchanges.pcap", whole)
    return Conversations(found)


def position_of(stream: Stream, frame: Frame) -> int:
    return stream.position(frame["term_id"], frame["term_offset"])


def end_of(stream: Stream, frame: Frame) -> int:
    return position_of(stream, frame) + (frame["frame_length"] + 31) // 32 * 32


def is_empty(frame: Frame) -> bool:
    """A heartbeat, which tshark calls data when it carries the end of the stream."""
    return frame.kind in ("heartbeat", "data") and frame["frame_length"] == 0


def has_data(frame: Frame) -> bool:
    return frame.kind in ("data", "pad") and not is_empty(frame)


def without_repetition(frames: list[Frame]) -> list[str]:
    return [str(frame) for frame, _ in groupby(frames)]


def sent_by_sender(exchange: str, conversation: Conversation) -> tuple[list[str], list[str]]:
    """All frames in order, and apart from them the data that was sent again after it was lost.

    Apart, since time decides between which new frames they fall; and once, since an impatient receiver asks twice.
    """
    stream = EXCHANGES[exchange][1]
    frames: list[Frame] = []
    again: list[Frame] = []
    lost: set[int] = set()
    sent_to = stream.start_offset
    set_up: set[str] = set()
    for seen in conversation.decoded:
        phase = seen.datagram.phase
        for frame in seen.frames if seen.datagram.is_from_sender else ():
            if has_data(frame):
                position = position_of(stream, frame)
                if seen.datagram.is_lost:
                    lost.add(position)
                if position < sent_to:
                    if position in lost:
                        lost.remove(position)
                        again.append(frame)
                    continue
                sent_to = end_of(stream, frame)
            elif frame.kind == "heartbeat" and phase not in HEARTBEAT_PHASES:
                continue
            elif frame.kind == "setup":
                if phase not in SETUP_PHASES or phase in set_up:
                    continue
                set_up.add(phase)
            frames.append(frame)
    return without_repetition(frames), without_repetition(again)


def sent_by_receiver(exchange: str, conversation: Conversation, kind: str) -> list[str]:
    """All frames of a kind. A NAK for part of what was asked for before is a repetition.

    An image that goes says so as long as it takes, perhaps until its successor is there.
    """
    stream = EXCHANGES[exchange][1]
    frames: list[Frame] = []
    asked_for: set[int] = set()
    for seen in conversation.decoded:
        for frame in seen.frames if not seen.datagram.is_from_sender else ():
            if frame.kind != kind:
                continue
            if kind == "sm" and frame["flags"] == SM_EOS and seen.datagram.phase in ("join again", "revoked"):
                continue
            if kind == "nak":
                start = position_of(stream, frame)
                wanted = set(range(start, start + frame["length"], 32))
                if wanted <= asked_for:
                    continue
                asked_for |= wanted
            else:
                frame = frame.with_fields(receiver_id="present" if frame["receiver_id"] else "absent")
            frames.append(frame)
    return without_repetition(frames)


@pytest.mark.parametrize(("exchange", "sender", "receiver"), PAIRS)
def test_every_frame_is_well_formed(conversations: Conversations, exchange: str, sender: str, receiver: str) -> None:
    """tshark finds nothing malformed, and only the frames of the exchange: nobody measures round trips unasked."""
    conversation = conversations(exchange, sender, receiver)
    assert [(seen.complaints, seen.datagram) for seen in conversation.decoded if seen.complaints] == []
    answers = {"rtt"} if exchange == "round trip" else set()
    for seen in conversation.decoded:
        kinds = FROM_SENDER if seen.datagram.is_from_sender else FROM_RECEIVER
        assert {frame.kind for frame in seen.frames} <= kinds | answers
        for frame in seen.frames:
            assert (frame["version"], frame["stream_id"], frame["session_id"]) == (0, STREAM_ID, SESSION_ID)


@pytest.mark.parametrize(("exchange", "peer", "receiver"), [pair for pair in PAIRS if pair[1] != "pillion"])
def test_our_sender_sends_what_theirs_does(
    conversations: Conversations, exchange: str, peer: str, receiver: str
) -> None:
    ours = sent_by_sender(exchange, conversations(exchange, "pillion", receiver))
    theirs = sent_by_sender(exchange, conversations(exchange, peer, receiver))
    assert ours == theirs


@pytest.mark.parametrize("kind", ["sm", "nak", "rtt"])
@pytest.mark.parametrize(("exchange", "sender", "peer"), [pair for pair in PAIRS if pair[2] != "pillion"])
def test_our_receiver_sends_what_theirs_does(
    conversations: Conversations, exchange: str, sender: str, peer: str, kind: str
) -> None:
    ours = sent_by_receiver(exchange, conversations(exchange, sender, "pillion"), kind)
    theirs = sent_by_receiver(exchange, conversations(exchange, sender, peer), kind)
    assert ours == theirs


@pytest.mark.parametrize(("exchange", "sender", "receiver"), PAIRS)
def test_what_every_datagram_keeps_to(conversations: Conversations, exchange: str, sender: str, receiver: str) -> None:
    """The rules that no comparison shows: sizes, order, the position in a heartbeat, the window."""
    stream = EXCHANGES[exchange][1]
    sent_to = stream.start_offset
    window_end = stream.start_offset
    for seen in conversations(exchange, sender, receiver).decoded:
        first, last = seen.frames[0], seen.frames[-1]
        if not has_data(first):
            assert len(seen.frames) == 1, "a datagram with anything but data holds one frame"
        if not seen.datagram.is_from_sender:
            if first.kind == "sm" and first["flags"] != SM_SEND_SETUP:
                assert first["receiver_window"] == stream.window
                consumed = stream.position(first["consumption_term_id"], first["consumption_term_offset"])
                assert consumed <= sent_to
                window_end = max(window_end, consumed + stream.window)
        elif has_data(first):
            assert len(seen.datagram.payload) <= stream.mtu
            assert all(frame.kind == "data" for frame in seen.frames[:-1]), "padding ends a datagram"
            end = end_of(stream, last)
            if last.kind == "data":
                assert end - position_of(stream, first) == len(seen.datagram.payload)
                assert end <= window_end
            sent_to = max(sent_to, end)
        elif is_empty(first):
            assert position_of(stream, first) == sent_to
            assert seen.datagram.payload[-8:] == bytes(8), "the reserved value of a heartbeat is 0"
        elif first.kind == "setup":
            assert stream.position(first["active_term_id"], first["term_offset"]) == sent_to


@pytest.mark.parametrize(("sender", "receiver"), list(product(KINDS, KINDS)))
def test_datagrams_are_filled(conversations: Conversations, sender: str, receiver: str) -> None:
    """When the window opens and much is ready, each datagram takes as many frames as it has room for."""
    stream = EXCHANGES["whole life"][1]
    sent_to = 0
    counts: list[int] = []
    for seen in conversations("whole life", sender, receiver).decoded:
        if seen.datagram.is_from_sender and has_data(seen.frames[0]) and position_of(stream, seen.frames[0]) >= sent_to:
            sent_to = end_of(stream, seen.frames[-1])
            if seen.datagram.phase == "window opened":
                counts.append(len(seen.frames))
    assert counts == [5] * 6 + [3]


@pytest.mark.parametrize(("sender", "receiver"), list(product(KINDS, KINDS)))
def test_a_receiver_keeps_its_id(conversations: Conversations, sender: str, receiver: str) -> None:
    conversation = conversations("whole life", sender, receiver)
    ids = {frame["receiver_id"] for seen in conversation.decoded for frame in seen.frames if frame.kind == "sm"}
    assert len(ids) == 1


@pytest.mark.parametrize(("sender", "receiver"), list(product(KINDS, KINDS)))
def test_padding_waits_for_room(conversations: Conversations, sender: str, receiver: str) -> None:
    """A difference: ours is sent when the window has room for all of it, the others' when it has for the header."""
    phases = {
        seen.datagram.phase
        for seen in conversations("padding without room", sender, receiver).decoded
        if seen.frames[-1].kind == "pad"
    }
    assert phases == ({"room"} if sender == "pillion" else {"no room"})


@pytest.mark.parametrize("sender", KINDS)
def test_a_revoked_stream_is_said_to_end(conversations: Conversations, sender: str) -> None:
    """Our receiver says so once at least, which the C driver does not always."""
    last = [
        frame
        for seen in conversations("revocation", sender, "pillion").decoded
        for frame in seen.frames
        if seen.datagram.phase == "revoked" and frame.kind == "sm"
    ][-1]
    assert last["flags"] == SM_EOS


@pytest.mark.parametrize(("sender", "receiver"), list(product(KINDS, KINDS)))
def test_a_rejection(conversations: Conversations, sender: str, receiver: str) -> None:
    """Without tshark, which does not know this frame. The Java driver leaves the group tag as it happens to be."""
    errors = [
        seen.payload for seen in conversations("rejection", sender, receiver).datagrams if type_of(seen) == TYPE_ERR
    ]
    for payload in errors:
        *fields, receiver_id, group_tag, code, length = ERROR_FRAME.unpack_from(payload)
        assert fields == [len(payload), 0, 0, TYPE_ERR, SESSION_ID, STREAM_ID]
        assert receiver_id != 0
        assert receiver == "java" or group_tag == -1
        assert (code, payload[ERROR_FRAME.size :]) == (IMAGE_REJECTED, REASON.encode())
        assert length == len(REASON)


def test_tshark_minds(tmp_path: Path) -> None:
    """A frame cut short, bytes after a frame, no frame at all: each is complained about."""
    tshark = require_tshark()
    status = STATUS_MESSAGE.pack(STATUS_MESSAGE.size, 0, 0, TYPE_SM, SESSION_ID, STREAM_ID, 7, 0, 32768, 1)
    data = DATA_HEADER.pack(64, 0, FLAGS_PLAIN, TYPE_DATA, 0, SESSION_ID, STREAM_ID, 7, 0) + bytes(32)
    payloads = [status, status[:-4], data, data + b"x" * 16, b"nonsense" * 4]
    conversation = Conversation("", [Datagram(0, "", False, False, payload) for payload in payloads])
    decode(tshark, tmp_path / "bad.pcap", [conversation])
    assert [bool(seen.complaints) for seen in conversation.decoded] == [False, True, False, True, True]
