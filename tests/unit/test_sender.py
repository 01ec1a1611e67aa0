"""The sender against a peer that is made of bytes: what it sends, when, and what it makes of what it hears."""

from __future__ import annotations

import frame_tools as frames
import pytest
from plane_tools import MS, TERM, Side

from pillion.driver.events import DriverEvent, decode_address
from pillion.driver.udp.simulated import SimulatedNetwork
from pillion.protocol.ids import SystemCounter

NOT_CONNECTED, BACK_PRESSURED, ADMIN_ACTION = -1, -2, -3


class Wire:
    """A publication here, and at the other end of its connection a port that the test reads and writes."""

    def __init__(self, directory, **options):
        self.network = SimulatedNetwork(1)
        self.side = Side(directory, now_ns=self.network.now_ns)
        self.peer = self.network.transport(bind=("127.0.0.1", 5000))
        self.transport = self.network.transport(connect=("127.0.0.1", 5000))
        self.pub = self.side.add_publication(self.transport, **options)
        self.stream = self.pub.stream

    def step(self, count=1, step_ns=MS):
        for _ in range(count):
            self.network.now_ns += step_ns
            self.side.step(self.network.now_ns)

    def send(self, *datagrams):
        for datagram in datagrams:
            self.peer.send(datagram, self.transport.local_address)
        self.step(2, step_ns=1000)                      # one cycle hears it, the next acts on it

    def heard(self, kind=None):
        """What arrived at the peer since the last time, parsed."""
        found = [frames.parse(raw) for raw, _ in self.peer.receive()]
        return [frame for frame in found if kind is None or frame.type == kind]

    def count(self, name):
        return self.side.count(SystemCounter[name])

    def connect(self, window=32768):
        self.send(frames.status(window=window))
        self.heard()
        return self

    def offer(self, payload):
        position = self.pub.publication.offer(payload)
        assert position > 0
        return position


@pytest.fixture
def wire(tmp_path):
    made = Wire(tmp_path)
    yield made
    made.side.close()


@pytest.fixture
def make(tmp_path):
    wires = []

    def build(**options):
        wires.append(Wire(tmp_path, **options))
        return wires[-1]

    yield build
    for wire in wires:
        wire.side.close()


# ---- set-up and connection ----


def test_set_ups_every_100_ms_until_the_first_status_message(wire):
    wire.step()
    (first,) = wire.heard()
    assert first.raw == frames.setup()
    wire.step(99)
    assert wire.heard() == []
    wire.step(2)
    assert [frame.type for frame in wire.heard()] == [frames.SETUP]
    wire.step(1000)
    assert len(wire.heard(frames.SETUP)) in (9, 10)
    assert wire.count("HEARTBEATS_SENT") == 0
    assert wire.count("BYTES_SENT") == 0
    assert not wire.pub.log.is_connected
    assert wire.pub.publication.offer(b"x") == NOT_CONNECTED
    wire.send(frames.status())
    (beat,) = wire.heard()
    assert beat.raw == frames.heartbeat(0)
    wire.step(500)
    assert wire.heard(frames.SETUP) == []


def test_set_up_tells_the_position(make):
    wire = make(initial_term_id=2**31 - 1, term_id=-(2**31) + 1, term_offset=4096, mtu_length=9000 // 32 * 32)
    wire.step()
    (first,) = wire.heard()
    assert first.raw == frames.setup(offset=4096, active=-(2**31) + 1, initial=2**31 - 1, mtu=8992)


def test_the_first_status_message_connects(wire):
    wire.step()
    wire.send(frames.status(window=20000))
    assert wire.pub.log.is_connected
    assert wire.stream.has_receivers
    assert wire.pub.value("snd_lmt") == 20000
    assert wire.pub.value("pub_lmt") == TERM // 2
    assert wire.count("STATUS_MESSAGES_RECEIVED") == 1


def test_an_elicited_set_up(wire):
    wire.connect()
    wire.step(200)
    wire.heard()
    wire.send(frames.status(0, 0, term_id=0, flags=0x80))
    wire.step()
    assert len(wire.heard(frames.SETUP)) == 1           # live: once
    wire.step(300)
    assert wire.heard(frames.SETUP) == []
    wire.step(5100)
    assert not wire.stream.has_receivers
    wire.heard()
    wire.send(frames.status(0, 0, term_id=0, flags=0x80))
    wire.step(501)
    assert len(wire.heard(frames.SETUP)) in (5, 6)      # nobody live: until somebody is
    assert not wire.stream.has_receivers


@pytest.mark.parametrize(("datagram", "counter"), [
    (frames.status(33), "INVALID_PACKETS"),
    (frames.status(-32), "INVALID_PACKETS"),
    (frames.status(TERM), "INVALID_PACKETS"),
    (frames.status(window=32769), "INVALID_PACKETS"),
    (frames.status(window=-1), "INVALID_PACKETS"),
    (frames.status(version=1), "INVALID_PACKETS"),
    (frames.status()[:35], "INVALID_PACKETS"),
    (frames.status(length=37), "INVALID_PACKETS"),
    (frames.status(length=-1), "INVALID_PACKETS"),
    (b"", "INVALID_PACKETS"),
    (b"\0" * 7, "INVALID_PACKETS"),
    (bytes([8, 0, 0, 0, 0, 0, 0xFF, 0xFF]), "INVALID_PACKETS"),
    (frames.status(term_id=frames.INITIAL + 1), "STATUS_MESSAGES_REJECTED"),
    (frames.status(TERM // 2 + 32), "STATUS_MESSAGES_REJECTED"),
    (frames.status(term_id=frames.INITIAL - 1), "STATUS_MESSAGES_REJECTED"),
    (frames.nak(33, 32), "INVALID_PACKETS"),
    (frames.nak(-32, 32), "INVALID_PACKETS"),
    (frames.nak(0, -1), "INVALID_PACKETS"),
    (frames.nak(TERM - 32, 64), "INVALID_PACKETS"),
    (frames.error(error_length=3), "INVALID_PACKETS"),
    (frames.error(b"x" * 1024), "INVALID_PACKETS"),
    (frames.error(error_length=-1), "INVALID_PACKETS"),
], ids=lambda value: value if isinstance(value, str) else value.hex()[:24])
def test_bad_control_frames_have_no_effect(wire, datagram, counter):
    wire.step()
    wire.send(datagram)
    assert wire.count(counter) == 1
    assert not wire.pub.log.is_connected
    assert wire.pub.value("snd_lmt") == 0
    assert wire.count("NAKS_RECEIVED") == wire.count("ERROR_FRAMES_RECEIVED") == 0


@pytest.mark.parametrize("datagram", [
    frames.status(session=5), frames.status(stream=5), frames.nak(0, 32, session=5), frames.error(session=5),
    frames.rttm(session=5), frames.rttm(flags=0), frames.data(0, b"data"), frames.setup(),
], ids=lambda value: value.hex()[:24])
def test_frames_that_are_not_for_this_stream_have_no_effect(wire, datagram):
    wire.step()
    wire.heard()
    wire.send(datagram)
    assert wire.count("INVALID_PACKETS") == 0
    assert not wire.pub.log.is_connected
    assert wire.heard() == []


def test_the_window_edges(wire):
    wire.step()
    wire.send(frames.status(TERM // 2, window=32768))
    assert wire.count("STATUS_MESSAGES_REJECTED") == 0
    assert wire.pub.value("snd_lmt") == TERM


def test_a_lost_receiver(wire):
    wire.connect()
    wire.offer(bytes(100))
    wire.step(5001)
    assert not wire.pub.log.is_connected
    assert not wire.stream.has_receivers
    assert wire.pub.value("pub_lmt") == wire.stream.sender_position
    wire.heard()
    wire.step(1000)
    beats = wire.heard()
    assert {frame.type for frame in beats} == {frames.DATA}
    assert len(beats) in (9, 10)
    wire.send(frames.status(160))
    assert wire.pub.log.is_connected


def test_more_receivers_than_are_remembered(wire):
    wire.step()
    for number in range(40):
        wire.send(frames.status(receiver=number))
    assert wire.stream.has_receivers
    # The last ones are known, the first made room.
    wire.send(frames.error(receiver=0))
    assert wire.side.take(DriverEvent.ERROR_FRAME) == []
    wire.send(frames.error(receiver=39))
    assert len(wire.side.take(DriverEvent.ERROR_FRAME)) == 1


# ---- data ----


def test_data_goes_out_as_it_lies_in_the_log(wire):
    wire.connect()
    wire.offer(b"first")
    wire.offer(b"second" * 10)
    wire.step()
    (datagram,) = wire.heard()
    assert datagram.raw == frames.data(0, b"first") + frames.data(64, b"second" * 10)
    assert wire.count("BYTES_SENT") == 32 + 160
    assert wire.pub.value("snd_pos") == wire.pub.value("pub_pos") == 160


def test_datagrams_hold_whole_frames_up_to_the_mtu(wire):
    wire.connect()
    for number in range(5):
        wire.offer(bytes([number]) * 568)               # 600 -> 608 bytes: two fit 1408
    wire.step()
    assert [len(frame.raw) for frame in wire.heard()] == [1216, 1216, 608]


def test_data_stops_at_the_limit_and_is_counted_once(wire):
    wire.connect(window=2048)
    for _ in range(5):
        wire.offer(bytes(700))                          # 736 bytes: two fit 2048
    wire.step(20)
    assert wire.stream.sender_position == 1472
    assert wire.pub.value("snd_bpe") == 1
    assert wire.count("SENDER_FLOW_CONTROL_LIMITS") == 1
    wire.send(frames.status(1472, 1472))
    assert wire.stream.sender_position == 2944
    wire.step(20)
    assert wire.pub.value("snd_bpe") == 2


def test_padding_travels_as_its_header(make):
    wire = make(term_id=frames.INITIAL, term_offset=TERM - 1024)
    wire.send(frames.status(TERM - 1024, 32768))
    wire.heard()
    assert wire.pub.publication.offer(bytes(2000)) == ADMIN_ACTION
    wire.offer(bytes(10))
    wire.step()
    pad, message = wire.heard()
    assert pad.raw == frames.data(TERM - 1024, kind=frames.PAD, length=1024)
    assert (message.term_id, message.term_offset) == (frames.INITIAL + 1, 0)
    assert wire.stream.sender_position == TERM + 64


def test_padding_that_fits_half_a_window_waits_for_room(make):
    wire = make(term_id=frames.INITIAL, term_offset=TERM - 4096)
    wire.send(frames.status(TERM - 4096, 4096 - 32))
    assert wire.pub.publication.offer(bytes(8000)) == ADMIN_ACTION
    wire.step(5)
    assert wire.stream.sender_position == TERM          # longer than half the window: only the header must fit
    other = make(term_id=frames.INITIAL, term_offset=TERM - 4096)
    other.send(frames.status(TERM - 4096 - 8192, 8192 + 4096 - 32))
    assert other.pub.publication.offer(bytes(8000)) == ADMIN_ACTION
    other.step(5)
    assert other.stream.sender_position == TERM - 4096
    other.send(frames.status(TERM - 4096, 8192))
    assert other.stream.sender_position == TERM


def test_heartbeats_only_when_nothing_else_goes(wire):
    wire.connect()
    for _ in range(300):
        wire.offer(b"x")
        wire.step()
        wire.send(frames.status(wire.stream.sender_position))
    assert wire.count("HEARTBEATS_SENT") == 1           # the one on connecting
    wire.step(1001)
    assert wire.count("HEARTBEATS_SENT") in (10, 11)


def test_publisher_limit_and_zeroing(wire):
    wire.connect()
    limit = 0
    while wire.stream.sender_position < 8 * TERM:
        while wire.pub.publication.offer(b"\xff" * 1000) > 0:
            pass
        position = wire.stream.sender_position
        wire.send(frames.status(position % TERM, 32768, term_id=frames.INITIAL + position // TERM))
        assert wire.pub.value("pub_lmt") >= limit
        limit = wire.pub.value("pub_lmt")
        assert limit <= wire.stream.sender_position + TERM // 2
        raw = memoryview(wire.pub.log.file)
        # What publishers may write next is zero, a term and a half ahead.
        begin = (wire.stream.producer_position + 31) % (3 * TERM)
        assert not any(raw[begin:min(begin + TERM // 2, 3 * TERM)])


# ---- retransmission ----


def loaded(wire, count=20, size=1376):
    wire.connect()
    sent = []
    for number in range(count):
        wire.offer(bytes([number]) * size)
    wire.step(3)
    sent = wire.heard(frames.DATA)
    assert len(sent) == count
    return sent


def test_a_nak_brings_back_the_same_bytes(wire):
    sent = loaded(wire)
    before = wire.count("BYTES_SENT")
    wire.send(frames.nak(1408, 1408))
    assert [frame.raw for frame in wire.heard()] == [sent[1].raw]
    wire.send(frames.nak(2816, 2816))
    assert [frame.raw for frame in wire.heard()] == [sent[2].raw, sent[3].raw]
    assert wire.count("NAKS_RECEIVED") == wire.pub.value("snd_naks") == 2
    assert wire.count("RETRANSMITS_SENT") == 2
    assert wire.count("RETRANSMITTED_BYTES") == 3 * 1408
    assert wire.count("BYTES_SENT") == before


def test_naks_inside_what_is_being_resent_are_ignored_for_10_ms(wire):
    loaded(wire)
    wire.send(frames.nak(0, 4224))
    assert len(wire.heard()) == 3
    for offset in (0, 1408, 2816):
        wire.send(frames.nak(offset, 1408))
    assert wire.heard() == []
    wire.send(frames.nak(4224, 1408))                   # elsewhere: replaces it
    assert len(wire.heard()) == 1
    wire.step(12)
    wire.send(frames.nak(4224, 1408))
    assert len(wire.heard()) == 1
    assert wire.count("NAKS_RECEIVED") == 6


def test_a_retransmission_may_be_delayed(make):
    wire = make(delay_ns=5 * MS)
    loaded(wire)
    wire.send(frames.nak(0, 1408))
    assert wire.heard() == []
    wire.step(4)
    assert wire.heard() == []
    wire.step(2)
    assert len(wire.heard()) == 1


@pytest.mark.parametrize("nak", [
    frames.nak(0, 0), frames.nak(0, 32), frames.nak(20 * 1408, 1408), frames.nak(0, 1408, term_id=frames.INITIAL + 1),
    frames.nak(0, 1408, term_id=frames.INITIAL - 1), frames.nak(0, 1408, term_id=2**31 - 1),
])
def test_naks_that_bring_nothing(wire, nak):
    loaded(wire)
    wire.send(nak)
    assert wire.heard() == []
    assert wire.count("NAKS_RECEIVED") == 1
    assert wire.count("RETRANSMITS_SENT") == 0


def test_a_nak_never_reaches_back_into_what_is_being_zeroed(wire):
    wire.connect()
    while wire.stream.sender_position < 2 * TERM:
        while wire.pub.publication.offer(b"\xff" * 1376) > 0:
            pass
        position = wire.stream.sender_position
        wire.send(frames.status(position % TERM, 32768, term_id=frames.INITIAL + position // TERM))
    position = wire.stream.sender_position
    bottom = position - TERM // 2 - TERM // 8
    wire.heard()
    first = bottom - bottom % TERM + (bottom % TERM + 1407) // 1408 * 1408      # a frame starts here
    wire.send(frames.nak(first % TERM, 1408, term_id=frames.INITIAL + first // TERM))
    assert len(wire.heard(frames.DATA)) >= 1
    first -= 1408
    wire.step(20)
    wire.heard()
    wire.send(frames.nak(first % TERM, 1408, term_id=frames.INITIAL + first // TERM))
    assert wire.heard(frames.DATA) == []


def test_a_flood_of_naks_has_a_budget(make):
    wire = make(term_length=1 << 20, window=1 << 19)
    wire.send(frames.status(window=1 << 19))
    while wire.pub.publication.offer(bytes(1376)) > 0:
        pass
    wire.step(50)
    wire.heard()
    sent = wire.stream.sender_position // 1408 * 1408
    for number in range(100):
        # Elsewhere each time, so that none is suppressed.
        wire.peer.send(frames.nak(1408 * (number % 2), sent - 2816), wire.transport.local_address)
    wire.step(7, step_ns=1000)
    assert sum(len(frame.raw) for frame in wire.heard(frames.DATA)) <= 16 * 131072 + 32 * 1408


# ---- the end ----


def test_end_of_stream(wire):
    wire.connect(window=2048)
    for _ in range(3):
        wire.offer(bytes(1000))
    wire.step(2)
    wire.heard()
    wire.stream.signal_end(False)
    wire.step(2)
    assert wire.pub.value("pub_lmt") == wire.stream.producer_position == 3 * 1056
    assert wire.pub.log.end_of_stream_position == 3 * 1056
    assert wire.pub.publication.offer(b"late") == BACK_PRESSURED
    wire.step(200)
    assert {frame.flags for frame in wire.heard()} == {0xC0}        # not everything is sent
    wire.send(frames.status(1056, 2112 + 32))
    wire.heard()
    wire.step(200)
    assert {frame.flags for frame in wire.heard()} == {0xE0}
    wire.send(frames.status(0, 0, term_id=0, flags=0x80))           # nobody is let in any more
    wire.step(200)
    assert wire.heard(frames.SETUP) == []
    assert not wire.stream.is_end_confirmed
    wire.send(frames.status(3 * 1056, 2048, flags=0x40))
    assert wire.stream.is_end_confirmed
    assert not wire.stream.has_receivers
    wire.send(frames.status(3 * 1056, 2048))
    assert not wire.stream.is_end_confirmed


def test_end_of_stream_is_not_said_if_not_wanted(make):
    wire = make(eos=False).connect()
    wire.stream.signal_end(False)
    wire.step(200)
    assert {frame.flags for frame in wire.heard()} == {0xC0}


@pytest.mark.parametrize("eos", [True, False])
def test_revoked_is_said_at_once(make, eos):
    wire = make(eos=eos).connect(window=64)
    wire.offer(bytes(1000))
    wire.stream.signal_end(True)
    wire.step(200)
    assert {frame.flags for frame in wire.heard()} == {0xF0}
    assert wire.pub.log.is_publication_revoked
    assert not wire.pub.log.is_connected
    wire.send(frames.status())
    assert not wire.pub.log.is_connected
    assert wire.pub.log.end_of_stream_position == 1056


def test_naks_are_answered_after_the_end(wire):
    loaded(wire)
    wire.stream.signal_end(False)
    wire.step(10)
    wire.send(frames.nak(0, 1408))
    assert len([frame for frame in wire.heard() if frame.frame_length]) == 1


# ---- errors, round trips, spies ----


def test_an_error_frame_is_reported_once(wire):
    wire.connect()
    wire.send(frames.error(b"go away", flags=8, tag=5), frames.error(b"go away", flags=8, tag=5))
    assert wire.count("ERROR_FRAMES_RECEIVED") == 2
    (event,) = wire.side.take(DriverEvent.ERROR_FRAME)
    assert event[:6] == (DriverEvent.ERROR_FRAME, wire.stream, frames.RECEIVER, 5, 13, b"go away")
    assert decode_address(event[6]) == ("127.0.0.1", 5000)
    assert not wire.pub.log.is_connected
    wire.send(frames.status())
    assert wire.pub.log.is_connected
    wire.send(frames.error(b"again"))
    assert wire.side.take(DriverEvent.ERROR_FRAME)[0][3] == -1


def test_round_trip_questions_are_answered(wire):
    wire.step()
    wire.heard()
    before = wire.count("BYTES_SENT")
    wire.send(frames.rttm(echo=0x0102030405060708, delta=5, receiver=99))
    (reply,) = wire.heard(frames.RTTM)
    assert reply.raw == frames.rttm(flags=0, echo=0x0102030405060708, delta=0, receiver=99)
    assert wire.count("BYTES_SENT") == before


def test_a_spy_reads_what_is_sent_and_holds_the_publisher(make):
    wire = make(spies=1).connect()
    spy = wire.pub.images[0]
    assert spy.join_position == 0
    for _ in range(31):
        wire.offer(bytes(1000))
    wire.step(5)
    assert wire.pub.value("pub_lmt") == TERM // 2
    assert not wire.stream.spies_drained
    while spy.poll(lambda *_: None):
        pass
    wire.step()
    assert wire.stream.spies_drained
    assert wire.pub.value("pub_lmt") == 31 * 1056 + TERM // 2


def test_spies_simulate_a_connection(make):
    wire = make(ssc=True, spies=1)
    wire.step(2)
    assert wire.pub.log.is_connected
    wire.offer(b"to whom it may concern")
    wire.step(2)
    assert wire.stream.sender_position == 0
    seen = []
    wire.pub.images[0].poll(lambda buffer, _: seen.append(bytes(buffer)))
    assert seen == [b"to whom it may concern"]
    wire.step(2)
    assert wire.stream.sender_position == wire.pub.value("snd_lmt") == 64
    wire.step(500)
    assert {frame.type for frame in wire.heard()} == {frames.SETUP}
    wire.side.plane.remove_subscriber(wire.stream, wire.pub.images[0].subscriber_position_id)
    wire.step(2)
    assert not wire.pub.log.is_connected


def test_publications_of_one_endpoint_take_turns(tmp_path):
    wire = Wire(tmp_path)
    other = wire.side.add_publication(wire.transport, endpoint=wire.pub.endpoint, session_id=2002)
    wire.send(frames.status(), frames.status(session=2002))
    wire.heard()
    for publication in (wire.pub.publication, other.publication):
        for _ in range(4):
            publication.offer(bytes(1376))
    wire.step()
    assert [frame.session_id for frame in wire.heard(frames.DATA)] in (
        [1001] * 4 + [2002] * 4, [2002] * 4 + [1001] * 4)
    wire.side.plane.remove_network_publication(other.stream)
    wire.step(300)
    assert {frame.session_id for frame in wire.heard()} == {1001}
    assert wire.side.take(DriverEvent.RELEASED) == [(DriverEvent.RELEASED, other.stream)]
    wire.side.close()
