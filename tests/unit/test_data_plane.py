"""The door to the agents: joins, ends, events, limits, threads."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from memory_tools import get, put
from plane_tools import MS, SECOND, TERM, Reader, Side, drain, image

from pillion.driver.data_plane import DataPlane
from pillion.driver.events import DriverEvent
from pillion.driver.streams import IpcPublication
from pillion.protocol.ids import SystemCounter

NOT_CONNECTED, BACK_PRESSURED, ADMIN_ACTION = -1, -2, -3
DEADLINE = 20.0


@pytest.fixture
def side(tmp_path):
    made = Side(tmp_path, now_ns=SECOND)
    yield made
    made.close()


def offer_all(found, message, readers=()):
    """Offer until back pressure; how many went."""
    count = 0
    while (result := found.publication.offer(message)) > 0 or result == ADMIN_ACTION:
        count += result > 0
    return count


class Steps:
    def __init__(self, side):
        self.side = side
        self.now = SECOND

    def __call__(self, count=1, step_ns=MS):
        for _ in range(count):
            self.now += step_ns
            self.side.step(self.now)


@pytest.fixture
def steps(side):
    return Steps(side)


def subscribe(side, steps, found):
    position = side.counter()
    side.plane.add_subscriber(found.stream, position)
    steps()
    (event,) = side.take(DriverEvent.SUBSCRIBER_ADDED)
    assert event[1:3] == (found.stream, position)
    assert event[3] == side.counters.value(position)
    return image(found.log, side.counters, position)


# ---- IPC ----


def test_ipc_connects_with_its_first_subscriber_and_disconnects_with_its_last(side, steps):
    found = side.add_ipc()
    steps()
    assert not found.log.is_connected
    assert found.publication.offer(b"x") == NOT_CONNECTED
    first = subscribe(side, steps, found)
    second = subscribe(side, steps, found)
    assert found.log.is_connected
    assert found.stream.has_subscribers
    assert found.publication.offer(b"x") > 0
    for subscriber in (first, second):
        assert found.log.is_connected
        side.plane.remove_subscriber(found.stream, subscriber.subscriber_position_id)
        steps()
        assert side.take(DriverEvent.SUBSCRIBER_REMOVED) == [
            (DriverEvent.SUBSCRIBER_REMOVED, found.stream, subscriber.subscriber_position_id)]
    assert not found.log.is_connected
    assert not found.stream.has_subscribers
    assert found.publication.offer(b"x") == NOT_CONNECTED


def test_the_first_subscriber_reads_from_the_beginning_of_what_nobody_read(side, steps):
    found = side.add_ipc(subscribers=1)
    steps()
    found.publication.offer(b"one")
    assert drain(found.images[0]) == [b"one"]           # and the driver did not look since
    found.publication.offer(b"two")
    side.plane.remove_subscriber(found.stream, found.images[0].subscriber_position_id)
    steps()
    assert found.stream.consumer_position == 64
    assert drain(subscribe(side, steps, found)) == [b"two"]


def test_a_second_subscriber_joins_at_the_slowest(side, steps):
    found = side.add_ipc(subscribers=2)
    steps()
    for message in (b"a", b"b", b"c"):
        found.publication.offer(message)
    drain(found.images[0])
    found.images[1].poll(lambda *_: None, 1)
    assert drain(subscribe(side, steps, found)) == [b"b", b"c"]


def test_linked_subscribers_are_there_before_anything_is_written(side, steps):
    found = side.add_ipc(subscribers=2)
    with pytest.raises(ValueError, match="add_subscriber"):
        found.stream.link_subscriber(side.counter())
    steps()
    assert found.publication.offer(b"x") > 0
    assert [drain(each) for each in found.images] == [[b"x"], [b"x"]]


def test_ipc_limit_follows_the_slowest_after_an_eighth_of_the_window(side, steps):
    found = side.add_ipc(subscribers=2, window=8192)
    steps()
    assert side.counters.value(found.limit) == 8192
    assert offer_all(found, bytes(992)) == 8
    drain(found.images[0])
    steps()
    assert found.stream.consumer_position == 8192
    assert side.counters.value(found.limit) == 8192
    found.images[1].poll(lambda *_: None, 1)
    steps()
    assert side.counters.value(found.limit) == 8192         # 1024 is an eighth, not more
    found.images[1].poll(lambda *_: None, 1)
    steps()
    assert side.counters.value(found.limit) == 8192 + 2048


def test_ipc_zeroes_what_everybody_has_read(side, steps):
    found = side.add_ipc(subscribers=1)
    steps()
    total = 0
    for _ in range(40):
        total += offer_all(found, bytes([255]) * 992)
        drain(found.images[0])
        steps()
    assert total * 1024 > 6 * TERM
    read = found.images[0].position
    # Between the reader and the next round of the log lies nothing but zero.
    data = Path(found.log.path).read_bytes()[: 3 * TERM]
    behind = (read + TERM) % (3 * TERM)
    assert not any(data[behind:behind + TERM] + data[: max(0, behind + TERM - 3 * TERM)])


def test_ipc_end_of_stream(side, steps):
    found = side.add_ipc(subscribers=1)
    steps()
    found.publication.offer(b"last")
    found.stream.signal_end(False)
    steps()
    assert found.log.end_of_stream_position == 64
    assert side.counters.value(found.limit) == 64
    assert found.log.is_connected
    assert found.publication.offer(b"too late") == BACK_PRESSURED
    assert not found.stream.is_drained
    assert drain(found.images[0]) == [b"last"]
    steps()
    assert found.stream.is_drained
    assert found.images[0].is_end_of_stream
    assert not found.log.is_publication_revoked
    # Consuming opens nothing any more.
    steps(10)
    assert side.counters.value(found.limit) == 64


def test_ipc_revoked(side, steps):
    found = side.add_ipc(subscribers=1)
    steps()
    found.publication.offer(b"last")
    found.stream.signal_end(False)
    steps()
    found.stream.signal_end(True)
    found.stream.signal_end(False)
    steps()
    assert found.log.is_publication_revoked
    assert not found.log.is_connected
    side.plane.remove_subscriber(found.stream, found.images[0].subscriber_position_id)
    subscribe(side, steps, found)
    assert not found.log.is_connected


def test_ipc_concurrent_wrap_of_the_initial_position(side, steps):
    """A stream may begin anywhere, also where the term id passes its largest value."""
    found = side.add_ipc(subscribers=1, initial_term_id=2**31 - 1, term_id=-(2**31), term_offset=TERM - 64)
    steps()
    assert found.stream.producer_position == 2 * TERM - 64
    assert found.images[0].join_position == 2 * TERM - 64
    reader = Reader(found.images[0])
    messages = [bytes([n % 256]) * 700 for n in range(300)]
    received = []
    for message in messages:
        while found.publication.offer(message) < 0:
            received += reader.read()
            steps()
    received += reader.read()
    assert received == messages


# ---- hostile memory ----


@pytest.mark.parametrize("value", [-(2**63), -1, 17, 2**40, 2**63 - 1])
def test_nonsense_in_a_position_counter_harms_nobody_else(side, steps, value):
    found = side.add_ipc(subscribers=2)
    bystander = side.add_ipc(subscribers=1, stream_id=11)
    steps()
    found.publication.offer(bytes(100))
    side.counters.set_value(found.images[1].subscriber_position_id, value)
    steps(20)
    late = subscribe(side, steps, found)
    assert 0 <= late.join_position <= found.stream.producer_position
    assert late.join_position % 32 == 0
    assert 0 <= found.stream.consumer_position <= found.stream.producer_position
    assert side.counters.value(found.limit) <= found.stream.producer_position + TERM // 2
    assert bystander.publication.offer(b"fine") > 0
    assert drain(bystander.images[0]) == [b"fine"]


@pytest.mark.parametrize("tail", [-1, 2**63 - 1, -(2**63), 7 << 32 | 0xFFFFFFFF, 2**31 << 32])
@pytest.mark.parametrize("active", [0, -1, 2**31 - 1, -(2**31)])
def test_nonsense_in_the_tails_does_not_move_the_driver(side, steps, tail, active):
    found = side.add_ipc(subscribers=1)
    other = side.add_publication(side.udp(connect=("127.0.0.1", 9)), ssc=True, spies=1)
    steps()
    for log in (found.log, other.log):
        raw = memoryview(log.file)
        at = len(raw) - 4096
        for index in range(3):
            raw[at + 8 * index: at + 8 * index + 8] = (tail & 2**64 - 1).to_bytes(8, "little")
        raw[at + 24: at + 28] = (active & 2**32 - 1).to_bytes(4, "little")
    for each in (found.images[0], other.images[0]):
        side.counters.set_value(each.subscriber_position_id, 2**62)
    steps(50)
    for stream in (found.stream, other.stream):
        assert stream.producer_position >= 0
        stream.signal_end(True)
    steps(5)
    assert other.stream.sender_position >= 0


def test_counters_an_agent_publishes_are_not_read_back(side, steps):
    found = side.add_publication(side.udp(connect=("127.0.0.1", 9)), ssc=True, spies=1)
    steps(5)
    for name in found.ids:
        side.counters.set_value(found.ids[name], -(2**63))
    steps(5)
    assert found.stream.sender_position == 0
    found.images[0].poll(lambda *_: None)


# ---- commands and events ----


def test_what_was_removed_is_refused(side, steps):
    found = side.add_ipc()
    with pytest.raises(ValueError, match="added already"):
        side.plane.add_ipc_publication(found.stream)
    side.plane.remove_ipc_publication(found.stream)
    for attempt in (lambda: side.plane.add_subscriber(found.stream, side.counter()),
                    lambda: side.plane.remove_ipc_publication(found.stream)):
        with pytest.raises(ValueError, match="removed"):
            attempt()
    steps()
    assert side.take(DriverEvent.RELEASED) == [(DriverEvent.RELEASED, found.stream)]
    with pytest.raises(ValueError, match="added already"):
        side.plane.add_ipc_publication(found.stream)
    with pytest.raises(TypeError):
        side.plane.add_subscriber("stream", 0)
    with pytest.raises(IndexError):
        side.plane.add_subscriber(found.stream, 10**6)


def test_no_command_and_no_event_is_lost_when_the_queues_are_full(side):
    found = side.add_ipc()
    positions = [side.counter() for _ in range(1500)]
    for position in positions:
        side.plane.add_subscriber(found.stream, position)
    for position in positions:
        side.plane.remove_subscriber(found.stream, position)
    for _ in range(10):
        side.step(2 * SECOND)
    assert side.count(SystemCounter.SENDER_PROXY_FAILS) == side.count(SystemCounter.RECEIVER_PROXY_FAILS) == 0
    assert [event[2] for event in side.take(DriverEvent.SUBSCRIBER_ADDED)] == positions
    assert [event[2] for event in side.take(DriverEvent.SUBSCRIBER_REMOVED)] == positions
    assert not found.stream.has_subscribers


def test_a_full_command_queue_is_counted(side):
    endpoint = side.add_subscription(side.udp(bind=("127.0.0.1", 0)))
    for number in range(1100):
        side.plane.add_subscription(endpoint, number, None)
    assert side.count(SystemCounter.RECEIVER_PROXY_FAILS) == 1
    assert side.count(SystemCounter.SENDER_PROXY_FAILS) == 0


def test_more_streams_than_any_fixed_list(side, steps):
    counters = side.counters
    log = side.log()
    ids = side.counter(), side.counter()
    streams = [IpcPublication(log, counters, pub_pos_id=ids[0], pub_lmt_id=ids[1], window_length=TERM // 2)
               for _ in range(3000)]
    for stream in streams:
        side.plane.add_ipc_publication(stream)
    for stream in streams:
        side.plane.remove_ipc_publication(stream)
    steps(10)
    assert [event[1] for event in side.take(DriverEvent.RELEASED)] == streams


# ---- settings, clocks, threads ----


def test_settings_that_make_no_sense(side):
    options = {"counters": side.counters, "ring": side.ring}
    with pytest.raises(ValueError, match="threading_mode"):
        DataPlane(threading_mode="DEDICATED", **options)
    with pytest.raises(ValueError, match="the names are"):
        DataPlane(threading_mode="shared", idle={"nobody": ("yield",)}, **options)
    for spec in (("backoff", 1, 2, 0, 5), ("sleep-ns",), ("dream",), ()):
        with pytest.raises(ValueError, match="idle strategy"):
            DataPlane(threading_mode="shared", idle={"shared": spec}, **options)


def test_heartbeat_of_the_driver(side):
    side.step(SECOND + 999 * MS)
    assert side.ring.consumer_heartbeat_ms == 0
    side.step(2 * SECOND)
    assert side.ring.consumer_heartbeat_ms == 2000


def test_long_cycles_are_counted(side):
    side.step(2 * SECOND)
    side.step(2 * SECOND + 100 * MS)
    assert side.count(SystemCounter.SENDER_MAX_CYCLE_TIME) == 100 * MS
    assert side.count(SystemCounter.SENDER_CYCLE_TIME_EXCEEDED) == 0
    side.step(2 * SECOND + 201 * MS)
    for name in ("SENDER", "RECEIVER"):
        assert side.count(SystemCounter[f"{name}_MAX_CYCLE_TIME"]) == 101 * MS
        assert side.count(SystemCounter[f"{name}_CYCLE_TIME_EXCEEDED"]) == 1


def poll_until(side, condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        side.plane.wait(10 * MS)
        side.now_ns = time.monotonic_ns()
        side.gather()


@pytest.mark.parametrize("mode", ["dedicated", "shared_network", "shared"])
@pytest.mark.parametrize("idle", [("adaptive",), ("backoff", 10, 20, 1000, MS), ("sleep-ns", 1000), ("yield",)],
                         ids=str)
def test_a_stream_over_loopback_on_threads(tmp_path, mode, idle):
    names = ("conductor", "sender", "receiver", "shared", "sharednetwork")
    side = Side(tmp_path, mode=mode, idle=dict.fromkeys(names, idle))
    side.plane.start()
    receive = side.udp(bind=("127.0.0.1", 0))
    send = side.udp(connect=receive.local_address)
    side.add_subscription(receive)
    found = side.add_publication(send)
    poll_until(side, lambda: side.images and found.log.is_connected)
    reader = Reader(side.images[0].images[0])
    messages = [bytes([n % 256]) * (n % 3000) for n in range(400)]
    received = []
    for message in messages:
        while found.publication.offer(message) < 0:
            received += reader.read()
    deadline = time.monotonic() + DEADLINE
    while len(received) < len(messages):
        assert time.monotonic() < deadline
        received += reader.read()
    assert received == messages
    assert not any(event[0] == DriverEvent.SOCKET_ERROR for event in side.events)
    with pytest.raises(RuntimeError, match="threads"):
        side.plane.do_work()
    side.close()
    side.close()


def test_an_idle_driver_sleeps(tmp_path):
    side = Side(tmp_path, mode="dedicated")
    side.plane.start()
    receive = side.udp(bind=("127.0.0.1", 0))
    side.add_subscription(receive)
    before = time.process_time()
    side.plane.wait(300 * MS)
    spent = time.process_time() - before
    side.close()
    # Three threads that spun would have spent 0.3 s each.
    assert spent < 0.15


def test_waking_the_conductor(tmp_path):
    side = Side(tmp_path, mode="shared")
    side.plane.start()
    side.plane.wake()
    assert side.plane.wait(60 * SECOND)
    assert not side.plane.wait(MS)
    side.ring.write(1, b"command")
    assert side.plane.wait(60 * SECOND)
    side.close()


def test_a_wake_makes_an_invoked_conductor_due_once(tmp_path):
    never = 2**62
    side = Side(tmp_path, mode="invoker")
    assert not side.plane.is_conductor_due(never)
    side.plane.wake()
    assert side.plane.wait(60 * SECOND)
    assert side.plane.is_conductor_due(never)
    assert not side.plane.is_conductor_due(never)
    assert not side.plane.wait(MS)
    side.plane.do_work()
    assert side.plane.is_conductor_due(0)
    side.ring.write(1, b"command")
    assert side.plane.is_conductor_due(never)
    side.close()


@pytest.mark.parametrize("distance", [8, 2**20, 2**62, -8, -(2**62)])
def test_a_tail_that_leads_nowhere_does_not_keep_the_conductor_awake(side, distance):
    capacity = side.ring.capacity
    side.ring.write(1, b"command")
    assert side.ring.read_one() == (1, b"command")
    tail, head = capacity + 128, get(side.ring.owner, "q", capacity + 384)
    put(side.ring.owner, "q", tail, head + distance)
    assert not side.plane.wait(MS)
    put(side.ring.owner, "q", tail, head)
    side.ring.write(1, b"command")
    assert side.plane.wait(60 * SECOND)


def test_closed_is_closed(side):
    side.plane.start()
    side.plane.close()
    with pytest.raises(RuntimeError, match="closed"):
        side.plane.do_work()
