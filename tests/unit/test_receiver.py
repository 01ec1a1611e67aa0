"""The receiver against a peer that is made of bytes: what it takes in, what it turns away, and what it answers."""

from __future__ import annotations

import frame_tools as frames
import pytest
from plane_tools import MS, TERM, Side, drain, image

from pillion.driver.events import DriverEvent, decode_address
from pillion.driver.udp.simulated import SimulatedNetwork
from pillion.memory.loss_report import LossReport, read_losses
from pillion.memory.mapped_file import MappedFile
from pillion.protocol.ids import SystemCounter

WINDOW = 32768                                          # 128 KiB, but at most half a term


class Wire:
    """A subscription here, and a port from which the test plays the sender."""

    def __init__(self, directory, *, subscribe=True, group_tag=None, session_id=None):
        self.network = SimulatedNetwork(1)
        self.side = Side(directory, now_ns=self.network.now_ns)
        self.transport = self.network.transport(bind=("127.0.0.1", 5000))
        self.peer = self.network.transport(connect=("127.0.0.1", 5000))
        self.endpoint = self.side.add_subscription(self.transport, session_id=session_id, group_tag=group_tag)
        self.step()

    def step(self, count=1, step_ns=MS):
        for _ in range(count):
            self.network.now_ns += step_ns
            self.side.step(self.network.now_ns)

    def send(self, *datagrams):
        for datagram in datagrams:
            self.peer.send(datagram)
        self.step(2, step_ns=1000)

    def heard(self, kind=None):
        found = [frames.parse(raw) for raw, _ in self.peer.receive()]
        return [frame for frame in found if kind is None or frame.type == kind]

    def count(self, name):
        return self.side.count(SystemCounter[name])

    def join(self, **fields):
        self.send(frames.setup(**fields))
        self.heard()
        (self.image,) = self.side.images
        self.reader = self.image.images[0] if self.image.images else None
        return self

    def positions(self):
        return self.image.stream.rebuild_position, self.image.value("rcv_hwm")


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


# ---- set-ups ----


def test_a_set_up_makes_an_image_and_the_first_status_message(wire):
    wire.send(frames.setup(offset=4096, active=9))
    (event,) = wire.side.take(DriverEvent.SETUP)
    assert event[1:11] == (wire.endpoint, 10, 1001, 7, 9, 4096, 65536, 1408, 0, 0)
    assert decode_address(event[11]) == wire.peer.local_address
    (message,) = wire.heard()
    assert message.raw == frames.status(4096, WINDOW, term_id=9)
    (found,) = wire.side.images
    assert found.images[0].join_position == 2 * TERM + 4096
    assert found.stream.rebuild_position == found.value("rcv_hwm") == found.value("rcv_pos") == 2 * TERM + 4096
    assert found.log.active_transport_count == 1


@pytest.mark.parametrize("datagram", [
    frames.setup(mtu=33), frames.setup(mtu=0), frames.setup(mtu=65536), frames.setup(term_length=65537),
    frames.setup(term_length=32768), frames.setup(term_length=-(2**31)), frames.setup(offset=33),
    frames.setup(offset=-32),
    frames.setup(offset=65536), frames.setup()[:39],
], ids=lambda value: value.hex()[16:])
def test_bad_set_ups(wire, datagram):
    wire.send(datagram)
    assert wire.count("INVALID_PACKETS") == 1
    assert wire.side.events == []
    assert wire.heard() == []


@pytest.mark.parametrize("datagram", [
    frames.setup(stream=11), frames.data(0, stream=11), frames.setup(active=6), frames.status(), frames.nak(0, 32),
    frames.error(), frames.rttm(),
], ids=lambda value: value.hex()[:40])
def test_what_nobody_asked_for_has_no_effect(wire, datagram):
    wire.send(datagram)
    assert wire.count("INVALID_PACKETS") == 0
    assert wire.side.events == []
    assert wire.heard() == []


def test_one_set_up_at_a_time_is_asked_about(wire):
    wire.side.answer_setups = False
    wire.send(frames.setup(), frames.setup(), frames.data(0))
    assert len(wire.side.take(DriverEvent.SETUP)) == 1
    assert wire.heard() == []
    wire.side.plane.setup_refused(wire.endpoint, 10, 1001)
    wire.step()
    wire.send(frames.data(0))
    assert wire.heard() == []
    wire.send(frames.setup())
    assert len(wire.side.take(DriverEvent.SETUP)) == 1


def test_images_in_the_making_are_bounded(wire):
    wire.side.answer_setups = False
    for session in range(2000, 2100):
        wire.send(frames.setup(session=session))
    assert len(wire.side.take(DriverEvent.SETUP)) == 64
    wire.side.plane.setup_refused(wire.endpoint, 10, 2000)
    wire.step()
    wire.send(frames.setup(session=3000))
    assert [event[3] for event in wire.side.take(DriverEvent.SETUP)] == [3000]


def test_a_set_up_does_not_keep_an_image_alive(wire):
    wire.join()
    before = wire.image.stream.last_packet_ns
    wire.step(6000)
    wire.heard()
    assert wire.image.stream.last_packet_ns == before
    wire.send(frames.setup())
    assert wire.image.stream.last_packet_ns == before
    wire.step(201)
    assert len(wire.heard(frames.SM)) in (1, 2)         # but its source is there again


# ---- elicitation ----


def test_unknown_data_asks_for_a_set_up_once_a_second(wire):
    wire.send(frames.data(0, b"x"), frames.data(64, b"x"))
    (message,) = wire.heard()
    assert message.raw == frames.status(0, 0, term_id=0, flags=0x80)
    for _ in range(30):
        wire.send(frames.heartbeat(64))
        wire.step(100)
    assert len(wire.heard()) == 2
    wire.send(frames.setup())
    assert [frame.flags for frame in wire.heard()] == [0]


def test_the_end_of_an_unknown_stream_asks_for_nothing(wire):
    wire.send(frames.heartbeat(0, flags=0xE0))
    assert wire.heard() == []


def test_sessions_that_never_answer_do_not_keep_others_out(wire):
    for session in range(5000, 6000):
        wire.peer.send(frames.heartbeat(0, session=session))
    wire.step(100)
    wire.heard()
    wire.send(frames.heartbeat(0))
    assert [frame.session_id for frame in wire.heard()] == [1001]
    wire.join()


def test_a_subscription_of_one_session(make):
    wire = make(session_id=1001)
    wire.send(frames.data(0, session=1002), frames.setup(session=1002))
    assert wire.heard() == []
    assert wire.side.events == []
    wire.join()
    wire.side.plane.add_subscription(wire.endpoint, 10, None)
    wire.step()
    wire.send(frames.setup(session=1002))
    assert len(wire.side.images) == 2


def test_subscriptions_are_counted(wire):
    wire.side.plane.add_subscription(wire.endpoint, 10, None)
    wire.side.plane.remove_subscription(wire.endpoint, 10, None)
    wire.step()
    wire.join()
    wire.side.plane.remove_subscription(wire.endpoint, 10, None)
    wire.step()
    wire.send(frames.data(0, b"x"), frames.setup(session=5))
    assert wire.positions() == (0, 0)
    assert len(wire.side.images) == 1
    # Whoever comes back gets a new image at once; the old one falls silent.
    wire.side.plane.add_subscription(wire.endpoint, 10, None)
    wire.step()
    wire.send(frames.setup(offset=64))
    assert len(wire.side.images) == 2
    wire.heard()
    wire.step(1000)
    assert {frame.term_offset for frame in wire.heard()} == {64}


# ---- data ----


def test_data_in_and_out_of_order(wire):
    wire.join()
    wire.send(frames.data(0, b"a"), frames.data(128, b"c"))
    assert wire.positions() == (64, 192)
    wire.send(frames.data(64, b"b"))
    assert wire.positions() == (192, 192)
    assert drain(wire.reader) == [b"a", b"b", b"c"]
    assert wire.count("BYTES_RECEIVED") == 40 + 3 * 64


@pytest.mark.parametrize("datagram", [
    frames.data(64, b"x")[:34], frames.data(64, b"x") + bytes(32), frames.data(64, length=300) + bytes(32),
    frames.data(64, version=1), frames.data(64, length=-1), frames.data(64, b"a") + frames.data(160, b"b"),
    frames.data(64, length=64, kind=frames.PAD) + frames.data(128, b"x" * 32), frames.data(65), frames.data(-32),
    frames.data(65536),
    frames.data(64, length=2**31 - 1), frames.data(64, length=2**31 - 1, kind=frames.PAD),
    frames.data(TERM - 32, b"over the end"), frames.data(64) + frames.data(96, length=-5),
    frames.data(64) + frames.data(96, kind=frames.NAK),
], ids=lambda value: value.hex()[:24] + f"-{len(value)}")
def test_bad_data(wire, datagram):
    wire.join()
    wire.send(frames.data(0, b"first"))
    wire.send(datagram)
    assert wire.count("INVALID_PACKETS") == 1
    assert wire.positions() == (64, 64)
    assert not any(memoryview(wire.image.log.file)[64:3 * TERM])


def test_padding_may_be_longer_than_its_datagram(wire):
    wire.join()
    wire.send(frames.data(0, b"a") + frames.data(64, kind=frames.PAD, length=100), frames.data(192, b"b"))
    assert wire.positions() == (256, 256)
    assert drain(wire.reader) == [b"a", b"b"]


def test_data_before_the_first_term_is_dropped(wire):
    wire.join()
    wire.send(frames.data(0, b"x", term_id=6), frames.data(0, b"x", term_id=6 - 2**31 + 1))
    assert wire.positions() == (0, 0)
    assert wire.count("INVALID_PACKETS") == wire.count("FLOW_CONTROL_OVER_RUNS") == 0


def test_over_runs(wire):
    wire.join()
    wire.send(frames.data(TERM // 2 - 64, b"x" * 32))
    assert wire.positions() == (0, TERM // 2)
    wire.send(frames.data(TERM // 2, b""), frames.heartbeat(TERM // 2 + 32), frames.data(0, term_id=2**30))
    assert wire.count("FLOW_CONTROL_OVER_RUNS") == 3
    assert wire.positions() == (0, TERM // 2)


def read_on(wire, upto):
    """Fill and consume up to a position."""
    position = wire.reader.position
    while position < upto:
        size = min(1408, upto - position, TERM - position % TERM)
        wire.send(frames.data(position % TERM, bytes(size - 32), term_id=7 + position // TERM))
        drain(wire.reader)
        position += size
    wire.step(1)


def test_under_runs_and_duplicates(wire):
    wire.join()
    read_on(wire, 2 * TERM)
    wire.heard()
    position = 2 * TERM
    sent = wire.count("FLOW_CONTROL_UNDER_RUNS")
    wire.send(frames.data(TERM // 2, b"old", term_id=8))
    assert wire.count("FLOW_CONTROL_UNDER_RUNS") == sent + 1
    wire.send(frames.heartbeat(0, term_id=7))
    assert wire.count("FLOW_CONTROL_UNDER_RUNS") == sent + 2
    before = wire.count("HEARTBEATS_RECEIVED")
    wire.send(frames.heartbeat(TERM // 2, term_id=8))
    assert wire.count("HEARTBEATS_RECEIVED") == before + 1
    wire.send(frames.data(0, b"new", term_id=9), frames.data(0, b"bad", term_id=9))
    assert wire.count("FLOW_CONTROL_UNDER_RUNS") == sent + 2
    assert drain(wire.reader) == [b"new"]
    assert wire.positions() == (position + 64, position + 64)


def test_only_what_is_accepted_keeps_an_image_alive(wire):
    wire.join()
    read_on(wire, TERM)
    at = wire.image.stream.last_packet_ns
    wire.step(10)
    wire.send(frames.data(TERM // 2, bytes(1376)))       # read and reported long ago
    assert wire.image.stream.last_packet_ns == at
    wire.send(frames.heartbeat(0, term_id=8))
    assert wire.image.stream.last_packet_ns > at


def test_what_was_read_is_zeroed_before_it_is_written_again(wire):
    wire.join()
    for upto in range(4096, 5 * TERM, 4096):
        read_on(wire, upto)
        raw = memoryview(wire.image.log.file)
        begin = upto % (3 * TERM)
        ahead = bytes(raw[begin:min(begin + TERM // 2, 3 * TERM)]) + bytes(raw[:max(0, begin + TERM // 2 - 3 * TERM)])
        assert not any(ahead)


# ---- status messages ----


def test_status_messages_every_200_ms_and_every_quarter_window(wire):
    wire.join()
    wire.step(1000)
    idle = wire.heard()
    assert [frame.raw for frame in idle] == [frames.status(0, WINDOW)] * 5
    read_on(wire, WINDOW // 4)
    assert {frame.term_offset for frame in wire.heard()} <= {0}
    read_on(wire, WINDOW // 4 + 32)
    (message,) = wire.heard()
    assert message.raw == frames.status(WINDOW // 4 + 32, WINDOW)
    assert wire.count("STATUS_MESSAGES_SENT") == 7


def test_the_slowest_subscriber_counts(make):
    wire = make()
    wire.side.subscribers_per_image = 2
    wire.join()
    position = 0
    while position < WINDOW // 2:
        wire.send(frames.data(position, bytes(992)))
        position += 1024
    drain(wire.reader)
    wire.step()
    assert wire.heard() == []
    assert not wire.image.stream.is_drained
    drain(wire.image.images[1])
    wire.step()
    assert [frame.term_offset for frame in wire.heard()] == [WINDOW // 2]
    assert wire.image.stream.is_drained


def test_a_group_tag_is_in_every_status_message(make):
    wire = make(group_tag=-5)
    wire.send(frames.heartbeat(0))
    wire.send(frames.setup())
    elicit, first = wire.heard()
    for message in (elicit, first):
        assert len(message.raw) == message.frame_length == 44
        assert message.raw[36:] == (-5).to_bytes(8, "little", signed=True)


def test_a_silent_source_is_not_written_to_any_more(wire):
    wire.join()
    wire.step(4900)
    assert len(wire.heard()) == 24
    wire.step(400)
    wire.heard()
    wire.step(5000)
    assert wire.heard() == []
    assert wire.image.log.active_transport_count == 0
    wire.send(frames.heartbeat(0))
    wire.step(200)
    assert len(wire.heard()) in (1, 2)
    assert wire.image.log.active_transport_count == 1


def test_a_new_subscriber_joins_at_the_slowest(wire):
    wire.join()
    for offset in (0, 64, 128):
        wire.send(frames.data(offset, b"x"))
    wire.reader.poll(lambda *_: None, 1)
    late = wire.side.counter()
    wire.side.plane.add_subscriber(wire.image.stream, late)
    wire.step()
    assert wire.side.take(DriverEvent.SUBSCRIBER_ADDED) == [(DriverEvent.SUBSCRIBER_ADDED, wire.image.stream, late, 64)]
    assert len(drain(image(wire.image.log, wire.side.counters, late))) == 2
    for subscriber in (wire.reader.subscriber_position_id, late):
        assert wire.image.stream.has_subscribers
        wire.side.plane.remove_subscriber(wire.image.stream, subscriber)
        wire.step()
    assert not wire.image.stream.has_subscribers


def test_without_a_subscriber_nothing_is_rebuilt(make):
    wire = make()
    wire.side.subscribers_per_image = 0
    wire.join()
    wire.send(frames.data(0, b"a"))
    assert wire.positions() == (0, 64)
    position = wire.side.counter()
    wire.side.plane.add_subscriber(wire.image.stream, position)
    wire.step(2)
    assert wire.side.take(DriverEvent.SUBSCRIBER_ADDED)[0][3] == 0
    assert drain(image(wire.image.log, wire.side.counters, position)) == [b"a"]
    assert wire.positions() == (64, 64)


@pytest.mark.parametrize("value", [-(2**63), -1, 17, 2**40, 2**63 - 1])
def test_nonsense_in_a_position_counter(wire, value):
    wire.join()
    wire.send(frames.data(0, b"a"))
    wire.side.counters.set_value(wire.reader.subscriber_position_id, value)
    wire.step(500)
    assert all(frame.term_offset in (0, 64) and frame.term_offset % 32 == 0 for frame in wire.heard())
    late = wire.side.counter()
    wire.side.plane.add_subscriber(wire.image.stream, late)
    wire.step()
    assert wire.side.take(DriverEvent.SUBSCRIBER_ADDED)[0][3] in (0, 64)


@pytest.mark.parametrize("length", [-1, -(2**31), 2**31 - 1, 17, TERM, 0x7FFFFFE0])
def test_nonsense_in_the_frames_of_an_image(wire, length):
    wire.join()
    wire.send(frames.data(4096, b"a"))
    memoryview(wire.image.log.file)[0:4] = length.to_bytes(4, "little", signed=True)
    wire.step(500)
    wire.send(frames.data(32, b"b"), frames.data(0, b"c"), frames.heartbeat(8192))
    wire.step(500)
    assert 0 <= wire.image.stream.rebuild_position <= TERM


# ---- loss ----


def test_a_gap_is_asked_for(wire):
    wire.join()
    wire.send(frames.data(0, b"a"), frames.data(128, b"c"), frames.data(256, b"e"))
    naks = wire.heard(frames.NAK)
    assert naks[0].raw == frames.nak(64, 64)
    wire.step(10, step_ns=110_000)
    assert {frame.raw for frame in wire.heard(frames.NAK)} == {frames.nak(64, 64)}
    wire.send(frames.data(64, b"b"))
    wire.heard()
    wire.step(1)
    assert {frame.raw for frame in wire.heard(frames.NAK)} == {frames.nak(192, 64)}
    wire.send(frames.data(192, b"d"))
    wire.heard()
    wire.step(100)
    assert wire.heard(frames.NAK) == []
    assert wire.count("NAKS_SENT") == wire.image.value("rcv_naks") > 10


def test_retries_keep_their_distance(wire):
    wire.side.image_options = {"nak_delay_ns": 3 * MS, "nak_retry_ns": 20 * MS}
    wire.join()
    wire.send(frames.heartbeat(128))
    wire.step(2)
    assert wire.heard(frames.NAK) == []
    wire.step(2)
    assert [frame.raw for frame in wire.heard(frames.NAK)] == [frames.nak(0, 128)]
    wire.step(100)
    assert len(wire.heard(frames.NAK)) == 5


def test_a_gap_ends_with_its_term(wire):
    wire.join(offset=TERM - 128)
    wire.send(frames.data(64, b"x", term_id=8))
    assert wire.heard(frames.NAK)[0].raw == frames.nak(TERM - 128, 128)


def test_losses_are_counted_in_the_report(wire):
    report_memory = MappedFile.anonymous(4096)
    report = LossReport(report_memory)
    wire.join()
    wire.send(frames.data(128, b"c"))
    (event,) = wire.side.take(DriverEvent.FIRST_LOSS)
    assert event == (DriverEvent.FIRST_LOSS, wire.image.stream, 128)
    wire.send(frames.data(0, b"a"), frames.data(64, b"b"), frames.data(256, b"e"))
    entry = report.create_entry(event[2], 1, 1001, 10, "aeron:udp?endpoint=x:1", "y:2")
    wire.image.stream.set_loss_entry(entry)
    wire.step(1000)                                     # retries add nothing
    (loss,) = read_losses(report_memory)
    assert (loss.count, loss.bytes_lost) == (2, 192)
    wire.send(frames.data(192, b"d"), frames.data(512, b"f"))
    wire.step(10)
    (loss,) = read_losses(report_memory)
    assert (loss.count, loss.bytes_lost) == (3, 192 + 192)
    with pytest.raises(ValueError, match="loss entry"):
        wire.image.stream.set_loss_entry(entry)


def test_an_unreliable_image_fills_gaps(wire):
    wire.side.image_options = {"reliable": False, "nak_delay_ns": 0, "nak_retry_ns": 0}
    wire.join()
    wire.send(frames.data(0, b"a"), frames.data(128, b"c"))
    wire.step(2)
    assert drain(wire.reader) == [b"a", b"c"]
    assert wire.count("LOSS_GAP_FILLS") == 1
    wire.send(frames.data(64, b"b"))                    # too late
    assert drain(wire.reader) == []
    assert wire.heard(frames.NAK) == []


# ---- the end ----


def test_end_of_stream(wire):
    wire.join()
    wire.send(frames.data(0, b"a"), frames.heartbeat(128, flags=0xE0))
    assert wire.image.stream.end_state == 1
    assert wire.image.log.end_of_stream_position == 128
    assert not wire.image.stream.is_complete
    assert not wire.image.log.is_publication_revoked
    assert wire.heard(frames.NAK)
    wire.send(frames.data(64, b"b"))
    assert wire.image.stream.is_complete
    assert drain(wire.reader) == [b"a", b"b"]
    wire.heard()
    wire.image.stream.set_mode(1)
    wire.step()
    assert [frame.flags for frame in wire.heard()] == [0x40]
    wire.step(1000)
    assert [frame.flags for frame in wire.heard()] == [0x40] * 5
    wire.image.stream.set_mode(2)
    wire.step(1000)
    assert wire.heard() == []


def test_revoked(wire):
    wire.join()
    wire.send(frames.heartbeat(128, flags=0xF0))
    assert wire.image.stream.end_state == 2
    assert wire.image.log.is_publication_revoked
    assert wire.image.log.end_of_stream_position == 128
    wire.step(10)
    assert wire.heard(frames.NAK) == []
    # Even if it is removed at once its source hears of it.
    wire.image.stream.set_mode(1)
    wire.side.plane.remove_image(wire.image.stream, False)
    wire.step()
    assert [frame.flags for frame in wire.heard()] == [0x40]
    assert wire.side.take(DriverEvent.RELEASED) == [(DriverEvent.RELEASED, wire.image.stream)]


def test_a_removed_image_may_come_back_unless_it_cools_down(wire):
    wire.join()
    wire.side.plane.remove_image(wire.image.stream, False)
    wire.step()
    wire.send(frames.data(0, b"x"))
    assert [frame.flags for frame in wire.heard()] == [0x80]
    wire.send(frames.setup())
    assert len(wire.side.images) == 2
    wire.side.plane.remove_image(wire.side.images[1].stream, True)
    wire.step()
    wire.heard()
    wire.send(frames.data(0, b"x"), frames.setup())
    wire.step(2000)
    wire.send(frames.data(0, b"x"), frames.setup())
    assert wire.heard() == []
    assert len(wire.side.images) == 2
    wire.side.plane.add_subscription(wire.endpoint, 10, None)
    wire.step()
    wire.send(frames.setup())
    assert len(wire.side.images) == 3


def test_rejection(wire):
    wire.join()
    wire.send(frames.data(0, b"a"))
    at = wire.image.stream.last_packet_ns
    wire.heard()
    wire.image.stream.reject(b"test reason")
    wire.image.stream.reject(b"another")
    wire.step()
    (frame,) = wire.heard()
    assert frame.raw == frames.error(b"test reason", tag=-1)
    wire.send(frames.data(64, b"b"))
    wire.step(1000)
    assert [frame.type for frame in wire.heard()] == [frames.ERR] * 5
    assert wire.count("ERROR_FRAMES_SENT") == 6
    assert wire.positions() == (64, 64)
    assert wire.image.stream.last_packet_ns == at
    with pytest.raises(ValueError, match="1023"):
        wire.image.stream.reject(b"x" * 1024)


def test_a_rejection_with_a_group_tag(make):
    wire = make(group_tag=1234567890123).join()
    wire.image.stream.reject(b"")
    wire.step()
    assert wire.heard()[-1].raw == frames.error(b"", flags=8, tag=1234567890123)


def test_round_trip_questions(wire):
    wire.join()
    wire.send(frames.rttm(receiver=0, echo=99), frames.rttm(receiver=5), frames.rttm(flags=0), frames.rttm(session=5))
    (reply,) = wire.heard(frames.RTTM)
    assert reply.raw == frames.rttm(flags=0, echo=99, delta=0, receiver=frames.RECEIVER)
