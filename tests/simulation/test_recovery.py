"""Loss, repetition and reordering in both directions: everything arrives once, in order, whole; then it is quiet."""

from __future__ import annotations

import errno
import gc

import pytest
from plane_tools import MS, SECOND, TERM, Side, drain
from worlds import ADDRESS, CONTROL_MASK, DATA_MASK, World

from pillion.driver.events import DriverEvent
from pillion.driver.udp.simulated import SimulatedNetwork
from pillion.protocol.frames import FRAME_TYPES
from pillion.protocol.ids import SystemCounter

COUNT = 300


@pytest.fixture
def world(tmp_path, request):
    made = World(tmp_path, getattr(request, "param", 1))
    yield made
    made.close()


def quiet(world, stream):
    """Nothing is asked for or sent again once everything has arrived."""
    naks = world.receiver.count(SystemCounter.NAKS_SENT)
    resent = world.sender.count(SystemCounter.RETRANSMITS_SENT)
    heartbeats = world.sender.count(SystemCounter.HEARTBEATS_SENT)
    messages = world.receiver.count(SystemCounter.STATUS_MESSAGES_SENT)
    world.step(1000, step_ns=MS)
    assert world.receiver.count(SystemCounter.NAKS_SENT) == naks
    assert world.sender.count(SystemCounter.RETRANSMITS_SENT) == resent
    assert world.sender.count(SystemCounter.HEARTBEATS_SENT) - heartbeats in (9, 10)
    assert world.receiver.count(SystemCounter.STATUS_MESSAGES_SENT) - messages in (4, 5, 6)


@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("rates", [
    {},
    {"drop": 0.01},
    {"drop": 0.05},
    {"drop": 0.2},
    {"duplicate": 0.3},
    {"reorder": 0.3},
    {"drop": 0.1, "duplicate": 0.1, "reorder": 0.2},
], ids=str)
def test_everything_arrives_once_and_in_order(tmp_path, seed, rates):
    world = World(tmp_path, seed)
    world.disturb(jitter_ns=30_000, data=rates, control=rates)
    stream = world.connect()
    messages = world.messages(COUNT)
    assert world.transfer(stream, messages) == messages
    world.calm()
    world.step(30)
    quiet(world, stream)
    if rates.get("drop", 0) >= 0.05:
        assert world.sender.count(SystemCounter.RETRANSMITS_SENT) > 0
    world.close()


@pytest.mark.parametrize("mask", [DATA_MASK, CONTROL_MASK], ids=["data", "control"])
def test_loss_in_one_direction_only(tmp_path, mask):
    world = World(tmp_path, 5)
    for transport in (world.send_transport, world.receive_transport):
        transport.add_rule(drop=0.3, delay_ns=50_000, mask=mask)
        transport.add_rule(delay_ns=50_000)
    stream = world.connect()
    messages = world.messages(COUNT)
    assert world.transfer(stream, messages) == messages
    world.close()


def test_a_lost_tail_is_noticed_by_the_next_heartbeat(world):
    stream = world.connect()
    world.send_transport.add_rule(drop=1.0)
    assert stream.pub.publication.offer(b"the last words") > 0
    world.step(20)
    world.calm()
    assert drain(stream.image.images[0]) == []
    received = []
    world.until(lambda: received.extend(drain(stream.image.images[0])) or received, seconds=1)
    assert received == [b"the last words"]
    quiet(world, stream)


def test_the_loss_report_gets_one_event_and_no_gap_twice(world):
    stream = world.connect()
    world.send_transport.add_rule(drop=1.0, mask=DATA_MASK)
    stream.pub.publication.offer(bytes(1000))
    world.step(5)
    world.calm()
    world.receive_transport.add_rule(drop=1.0, mask=CONTROL_MASK)
    stream.pub.publication.offer(bytes(1000))
    world.step(100)
    events = world.receiver.take(DriverEvent.FIRST_LOSS)
    assert [event[1:] for event in events] == [(stream.image.stream, 1056)]
    assert world.receiver.count(SystemCounter.NAKS_SENT) > 1
    world.receive_transport.clear_rules()
    world.until(lambda: stream.image.stream.is_complete)
    assert world.receiver.take(DriverEvent.FIRST_LOSS) == []


def test_a_second_nak_within_the_linger_time_is_not_answered(world):
    stream = world.connect()
    world.send_transport.add_rule(drop=1.0, mask=DATA_MASK)
    stream.pub.publication.offer(bytes(1000))
    world.step(5)
    world.calm()
    world.send_transport.add_rule(delay_ns=2 * MS)
    stream.pub.publication.offer(bytes(1000))
    world.until(lambda: stream.image.stream.rebuild_position == 2112)
    assert world.sender.count(SystemCounter.RETRANSMITS_SENT) == 1
    assert world.sender.count(SystemCounter.RETRANSMITTED_BYTES) == 1056
    naks = world.sender.count(SystemCounter.NAKS_RECEIVED)
    assert naks > 1
    assert stream.pub.value("snd_naks") == naks


def test_an_unreliable_stream_skips_what_is_lost(tmp_path):
    world = World(tmp_path, 9)
    world.receiver.image_options = {"reliable": False, "nak_delay_ns": 0, "nak_retry_ns": 0}
    stream = world.connect()
    world.send_transport.add_rule(drop=0.1, mask=1 << FRAME_TYPES["DATA"])
    messages = [number.to_bytes(8, "little") + bytes(1300) for number in range(COUNT)]
    received = world.transfer(stream, messages)
    world.calm()
    assert 0 < len(received) < COUNT
    assert received == [message for message in messages if message in set(received)]
    assert world.receiver.count(SystemCounter.NAKS_SENT) == 0
    assert world.receiver.count(SystemCounter.LOSS_GAP_FILLS) > 0
    assert world.sender.count(SystemCounter.RETRANSMITS_SENT) == 0
    world.close()


def test_a_slow_reader_holds_the_sender(tmp_path):
    world = World(tmp_path, 11)
    world.disturb(jitter_ns=10_000, data={"drop": 0.02})
    stream = world.connect()
    reader = stream.image.images[0]
    window = TERM // 2

    def checks():
        sent = stream.pub.stream.sender_position
        assert sent <= stream.pub.value("snd_lmt")
        assert sent <= reader.position + window + window // 4
        assert stream.pub.value("pub_lmt") <= sent + window

    world.each_step.append(checks)
    messages = world.messages(COUNT, largest=1368)
    assert world.transfer(stream, messages, slowly=True) == messages
    assert stream.pub.value("snd_bpe") > 0
    assert world.sender.count(SystemCounter.SENDER_FLOW_CONTROL_LIMITS) == stream.pub.value("snd_bpe")
    world.close()


def test_many_terms(tmp_path):
    """The log goes round several times under loss, and is zeroed in time."""
    world = World(tmp_path, 13)
    world.disturb(data={"drop": 0.02})
    stream = world.connect(initial_term_id=2**31 - 2)
    messages = world.messages(1500, largest=7000)
    assert world.transfer(stream, messages) == messages
    assert stream.pub.stream.producer_position > 8 * TERM
    world.close()


def test_the_same_seed_makes_the_same_run(tmp_path):
    def run(seed):
        world = World(tmp_path, seed, record=True)
        world.disturb(jitter_ns=30_000, data={"drop": 0.1, "reorder": 0.1}, control={"drop": 0.1, "duplicate": 0.1})
        stream = world.connect()
        world.transfer(stream, world.messages(100))
        result = world.network.digest, world.network.trace(), world.network.counts
        world.close()
        return result

    first = run(21)
    assert run(21) == first
    assert run(22)[0] != first[0]


def test_a_late_subscription_asks_for_a_set_up(world):
    early = world.connect()
    world.receive_transport.close()
    world.step(10)
    late = world.network.transport(bind=ADDRESS)
    world.receiver.images.clear()
    early.pub.publication.offer(b"before")
    endpoint = world.receiver.add_subscription(late, receiver_id=78)
    world.until(lambda: world.receiver.images, seconds=1)
    image = world.receiver.images[0]
    assert image.endpoint is endpoint
    assert image.join == early.pub.stream.sender_position
    world.step(10)
    early.pub.publication.offer(b"after")
    world.step(10)
    assert drain(image.images[0]) == [b"after"]


def test_a_closed_port_outlives_its_network(tmp_path):
    network = SimulatedNetwork()
    port = network.transport(bind=ADDRESS)
    side = Side(tmp_path, now_ns=network.now_ns)
    side.add_subscription(port)
    side.step(network.now_ns)
    port.close()
    port.close()
    del network
    gc.collect()
    for call in (lambda: port.send(b"x", ADDRESS), port.receive):
        with pytest.raises(OSError, match="closed"):
            call()
    for now_ns in range(2 * SECOND, 5 * SECOND, SECOND):
        side.step(now_ns)
    errors = [event for event in side.events if event[0] == DriverEvent.SOCKET_ERROR]
    assert errors
    assert errors[0][2] == errno.EBADF
    side.close()
