"""What two drivers say to each other over UDP: a relay between them that keeps every datagram, and tshark to read it.

The relay is deterministic where a capture is not: it loses exactly the frames it is told to, once each, and needs no
privileges. What it kept is written as a capture file, which tshark's Aeron dissector decodes: the names and the values
of fields in the tests are tshark's, not ours.
"""

from __future__ import annotations

import os
import selectors
import shutil
import socket
import struct
import subprocess
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from processes import wait_until

LOCALHOST = "127.0.0.1"
AERON_PORT = 40456  # in the capture file, whatever the real ports were
DATA_HEADER = struct.Struct("<iBBHiiiiq")
TYPE_DATA = 1
UNREAD_OF_A_HEARTBEAT = 8  # the reserved value, at which tshark does not look
RAW_IP = 101  # the capture file's link type
MOST_OF_A_DATAGRAM = 65536


def require_tshark() -> str:
    """The path of tshark. Without it the test is skipped; where all has to be there it fails."""
    path = shutil.which("tshark")
    if path is None:
        reason = "tshark is not installed (apt-get install tshark)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@dataclass(frozen=True)
class Datagram:
    """One datagram as it reached the relay."""

    time_ns: int
    phase: str
    is_from_sender: bool
    is_lost: bool
    payload: bytes


class Relay:
    """Stands between a publication and a subscription: the publication's endpoint is `port`.

    To each side the relay is the other: what comes back to the sender comes from the address that it sends to, as its
    connected socket demands, and the receiver answers to where the set-up came from. The datagrams are in `kept`, in
    the order of their arrival; `phase` is the label that the next ones get.
    """

    def __init__(self, front_port: int, back_port: int, receiver_port: int) -> None:
        self.kept: list[Datagram] = []
        self.phase = ""
        self._to_lose: set[tuple[int, int]] = set()
        self._sender: tuple[str, int] | None = None
        self._receiver = (LOCALHOST, receiver_port)
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._stop, self._stopped = socket.socketpair()
        self._front.bind((LOCALHOST, front_port))
        self._back.bind((LOCALHOST, back_port))
        self.port = front_port
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def lose(self, *frames: tuple[int, int]) -> None:
        """Lose the datagrams that begin with data at these (term id, term offset), the first time each."""
        self._to_lose.update(frames)

    def wait_for(self, what: str, condition: Callable[[Datagram], bool], count: int = 1) -> None:
        """Until so many datagrams of the present phase are of this kind."""
        phase = self.phase
        wait_until(
            f"{count} x {what} in phase {phase!r}",
            lambda: sum(condition(datagram) for datagram in list(self.kept) if datagram.phase == phase) >= count,
        )

    def say_to_receiver(self, payload: bytes) -> None:
        """A datagram of the test's own, in the sender's name; it is not kept."""
        self._back.sendto(payload, self._receiver)

    def say_to_sender(self, payload: bytes) -> None:
        assert self._sender is not None, "the sender has not said anything yet"
        self._front.sendto(payload, self._sender)

    def _is_lost(self, payload: bytes) -> bool:
        if len(payload) < DATA_HEADER.size:
            return False
        length, _, _, kind, offset, _, _, term_id, _ = DATA_HEADER.unpack_from(payload)
        if kind != TYPE_DATA or length <= 0 or (term_id, offset) not in self._to_lose:
            return False
        self._to_lose.remove((term_id, offset))
        return True

    def _pass_on(self, side: socket.socket) -> None:
        payload, source = side.recvfrom(MOST_OF_A_DATAGRAM)
        is_from_sender = side is self._front
        is_lost = is_from_sender and self._is_lost(payload)
        self.kept.append(Datagram(time.time_ns(), self.phase, is_from_sender, is_lost, payload))
        if is_from_sender:
            self._sender = source
            if not is_lost:
                self._back.sendto(payload, self._receiver)
        elif self._sender is not None:
            self._front.sendto(payload, self._sender)

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for side in (self._front, self._back, self._stopped):
                selector.register(side, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._stopped:
                        return
                    assert isinstance(key.fileobj, socket.socket)
                    self._pass_on(key.fileobj)

    def close(self) -> None:
        self._stop.send(b"x")
        self._thread.join()
        for side in (self._front, self._back, self._stop, self._stopped):
            side.close()


@dataclass(frozen=True)
class Frame:
    """One frame as tshark reads it: its kind ("data", "sm", ...) and its fields, integers all but the payload."""

    kind: str
    fields: tuple[tuple[str, int | str], ...]

    def __getitem__(self, name: str) -> int:
        value = dict(self.fields)[name]
        assert isinstance(value, int)
        return value

    def with_fields(self, **changed: int | str) -> Frame:
        return Frame(self.kind, tuple((name, changed.get(name, value)) for name, value in self.fields))

    def __str__(self) -> str:
        return f"{self.kind} " + " ".join(f"{name}={value}" for name, value in self.fields)


@dataclass(frozen=True)
class Decoded:
    """A datagram, the frames that tshark finds in it, and what tshark has against it."""

    datagram: Datagram
    frames: tuple[Frame, ...]
    complaints: tuple[str, ...]


@dataclass
class Conversation:
    """One exchange: what the relay kept and, once decoded, what tshark says of it."""

    name: str
    datagrams: Sequence[Datagram]
    decoded: list[Decoded] = field(default_factory=list)


def _packet(index: int, datagram: Datagram) -> bytes:
    """An IPv4 packet. Each conversation has two addresses of its own, since tshark tells streams apart by them."""
    sender, receiver = (bytes((10, 0, index, host)) for host in (1, 2))
    ports = (AERON_PORT + 1, AERON_PORT)
    if not datagram.is_from_sender:
        sender, receiver, ports = receiver, sender, ports[::-1]
    udp = struct.pack("!HHHH", *ports, 8 + len(datagram.payload), 0) + datagram.payload
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, sender, receiver) + udp


def write_capture(path: Path, conversations: Sequence[Conversation]) -> None:
    with path.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, MOST_OF_A_DATAGRAM, RAW_IP))
        for index, conversation in enumerate(conversations):
            for datagram in conversation.datagrams:
                packet = _packet(index, datagram)
                micros = datagram.time_ns // 1000
                out.write(struct.pack("<IIII", micros // 1_000_000, micros % 1_000_000, len(packet), len(packet)))
                out.write(packet)


def _frame(element: ElementTree.Element) -> Frame:
    kind = element.get("name", "").removeprefix("aeron.")
    fields: list[tuple[str, int | str]] = []
    for child in element:
        name, value = child.get("name", ""), child.get("value", "")
        if name == "data":
            fields.append(("payload", value))
        elif name.startswith(f"aeron.{kind}.") and value:
            number = int.from_bytes(bytes.fromhex(value), "little", signed=len(value) > 4)
            fields.append((name.rsplit(".", 1)[1], number))
    return Frame(kind, tuple(fields))


def _complaints(packet: ElementTree.Element, length: int) -> list[str]:
    """What no datagram may have: something tshark cannot decode or finds wrong, or bytes that belong to no frame."""
    found = [element.get("showname", "") for element in packet.iter("proto") if element.get("name") == "_ws.malformed"]
    found += [
        element.get("name", "")
        for element in packet.iter("field")
        if element.get("name", "").startswith("aeron.analysis.invalid")
    ]
    elements = _frame_elements(packet)
    covered = sum(int(frame.get("size", 0)) for frame in elements)
    covered += UNREAD_OF_A_HEARTBEAT * sum(frame.get("name") == "aeron.heartbeat" for frame in elements)
    if covered != length:
        found.append(f"{length} bytes of which frames have {covered}")
    return found


def _frame_elements(packet: ElementTree.Element) -> list[ElementTree.Element]:
    """Only the frames: what tshark concludes about the stream stands among them."""
    found = packet.findall("proto[@name='aeron']/field")
    return [element for element in found if element.find(f"field[@name='{element.get('name')}.type']") is not None]


def decode(tshark: str, path: Path, conversations: Sequence[Conversation]) -> None:
    """Fill in what tshark says of each datagram."""
    write_capture(path, conversations)
    command = [tshark, "-r", str(path), "-d", f"udp.port=={AERON_PORT},aeron", "-T", "pdml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    packets = iter(ElementTree.fromstring(done.stdout).iter("packet"))
    for conversation in conversations:
        for datagram in conversation.datagrams:
            packet = next(packets)
            frames = tuple(_frame(element) for element in _frame_elements(packet))
            complaints = tuple(_complaints(packet, len(datagram.payload)))
            conversation.decoded.append(Decoded(datagram, frames, complaints))
    assert next(packets, None) is None
