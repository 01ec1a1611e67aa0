"""Thousands of mangled datagrams at both ends: nothing breaks, and the streams of others go on."""

from __future__ import annotations

import random
import struct

import frame_tools as frames
import pytest
from plane_tools import MS, TERM, Side, drain

from pillion.driver.udp.simulated import SimulatedNetwork

INTERESTING = (0, 1, -1, 31, 32, 33, 64, TERM, TERM - 32, TERM // 2, 2**31 - 1, -(2**31), 7, 8, 6, 10, 1001, 77)


def whole_frames():
    return [
        frames.setup(),
        frames.setup(session=5),
        frames.data(0, b"x" * 100),
        frames.data(64, b"y"),
        frames.heartbeat(128),
        frames.heartbeat(0, flags=0xF0),
        frames.data(64, b"a") + frames.data(128, b"b"),
        frames.data(96, kind=frames.PAD, length=4096),
        frames.status(),
        frames.status(64, 2048),
        frames.status(flags=0x80),
        frames.nak(0, 64),
        frames.nak(0, TERM),
        frames.error(b"reason"),
        frames.rttm(),
        frames.rttm(flags=0),
        struct.pack("<iBBHiii", 20, 0, 0,
        frames.RSP_SETUP, 1001, 10, 5),
        struct.pack("<iBBH", 22, 0, 0,
        frames.RES) + bytes(14),
    ]


def mangled(rng, originals):
    raw = bytearray(rng.choice(originals))
    for _ in range(rng.randrange(4)):
        action = rng.randrange(4)
        if action == 0 and len(raw) >= 8:
            at = rng.randrange(len(raw) // 4) * 4
            raw[at:at + 4] = struct.pack("<i", rng.choice(INTERESTING))
        elif action == 1 and raw:
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        elif action == 2:
            del raw[rng.randrange(len(raw) + 1):]
        else:
            raw += rng.choice(originals)[:rng.randrange(200)]
    return bytes(raw[:65504])


@pytest.mark.parametrize("seed", range(4))
def test_a_receiver_under_fire(tmp_path, seed):
    rng = random.Random(seed)
    network = SimulatedNetwork(seed)
    side = Side(tmp_path, now_ns=network.now_ns)
    transport = network.transport(bind=("127.0.0.1", 5000))
    endpoint = side.add_subscription(transport)
    side.plane.add_subscription(endpoint, 99, None)
    enemy = network.transport(connect=("127.0.0.1", 5000))
    friend = network.transport(connect=("127.0.0.1", 5000))
    honest = 0
    mine = None
    for _ in range(60):
        if mine is None:
            friend.send(frames.setup(session=42, stream=99))
        else:
            friend.send(frames.data(honest * 64, b"%d" % honest, session=42, stream=99))
            honest += 1
        for _ in range(40):
            enemy.send(mangled(rng, whole_frames()))
        for _ in range(4):
            network.now_ns += rng.randrange(2 * MS)
            side.step(network.now_ns)
        for found in side.images:
            if (found.log.stream_id, found.log.session_id) == (99, 42):
                mine = found
            else:
                read_up(found.images[0])
            assert found.stream.rebuild_position <= found.value("rcv_hwm")
        enemy.receive()
        friend.receive()
    assert honest > 30
    assert drain(mine.images[0]) == [b"%d" % number for number in range(honest)]
    side.close()


def read_up(image):
    while image.poll(lambda *_: None):
        pass


@pytest.mark.parametrize("seed", range(4))
def test_a_sender_under_fire(tmp_path, seed):
    rng = random.Random(seed)
    network = SimulatedNetwork(seed)
    side = Side(tmp_path, now_ns=network.now_ns)
    peer = network.transport(bind=("127.0.0.1", 5000))
    transport = network.transport(connect=("127.0.0.1", 5000))
    pub = side.add_publication(transport)
    for _ in range(60):
        pub.publication.offer(rng.randbytes(rng.randrange(3000)))
        for _ in range(40):
            peer.send(mangled(rng, whole_frames()), transport.local_address)
        for _ in range(4):
            network.now_ns += rng.randrange(2 * MS)
            side.step(network.now_ns)
        for raw, _ in peer.receive():
            assert len(raw) <= 1408
            assert frames.parse(raw).session_id == 1001
        assert pub.stream.sender_position <= pub.stream.producer_position
        assert pub.value("pub_lmt") <= pub.stream.sender_position + TERM // 2
    side.close()
