"""Two machines and the network between them, in one thread, on one clock, from one seed."""

from __future__ import annotations

import random
from types import SimpleNamespace

from plane_tools import Reader, Side

from pillion.driver.udp.simulated import SimulatedNetwork
from pillion.protocol.frames import FRAME_TYPES

DATA_MASK = 1 << FRAME_TYPES["DATA"] | 1 << FRAME_TYPES["PAD"] | 1 << FRAME_TYPES["SETUP"]
CONTROL_MASK = 1 << FRAME_TYPES["SM"] | 1 << FRAME_TYPES["NAK"] | 1 << FRAME_TYPES["ERR"]
STEP_NS = 20_000
ADDRESS = ("127.0.0.1", 5000)


class World:
    """A sender's machine and a receiver's machine."""

    def __init__(self, directory, seed=1, *, record=False):
        self.seed = seed
        self.random = random.Random(seed)
        self.network = SimulatedNetwork(seed, record=record)
        options = {"now_ns": self.network.now_ns}
        self.sender = Side(directory, **options)
        self.receiver = Side(directory, **options)
        self.receive_transport = self.network.transport(bind=ADDRESS)
        self.send_transport = self.network.transport(connect=ADDRESS)
        self.each_step = []

    def disturb(self, *, delay_ns=50_000, jitter_ns=0, data=None, control=None):
        """Delay both ways, and what else is asked for of data and of control frames."""
        timing = {"delay_ns": delay_ns, "jitter_ns": jitter_ns}
        self.send_transport.add_rule(**timing, **(data or {}))
        self.receive_transport.add_rule(**timing, **(control or {}))

    def calm(self):
        self.send_transport.clear_rules()
        self.receive_transport.clear_rules()

    def step(self, count=1, step_ns=STEP_NS):
        for _ in range(count):
            self.network.now_ns += step_ns
            self.sender.step(self.network.now_ns)
            self.receiver.step(self.network.now_ns)
            for check in self.each_step:
                check()

    def until(self, condition, *, seconds=60):
        """Step until it holds; fails with the seed after so much simulated time."""
        deadline = self.network.now_ns + int(seconds * 1e9)
        while not condition():
            assert self.network.now_ns < deadline, f"seed {self.seed}: still not after {seconds} s: {self.describe()}"
            self.step()

    def describe(self):
        images = [(found.stream.rebuild_position, found.value("rcv_hwm"), found.images[0].position)
                  for found in self.receiver.images if found.images]
        return f"network {self.network.counts}, images (rebuilt, highest, read) {images}"

    def connect(self, **options) -> SimpleNamespace:
        """A publication here, a subscription there, and the image between them."""
        pub = self.sender.add_publication(self.send_transport, **options)
        endpoint = self.receiver.add_subscription(self.receive_transport, stream_id=pub.log.stream_id)
        self.until(lambda: self.receiver.images and pub.log.is_connected)
        return SimpleNamespace(pub=pub, endpoint=endpoint, image=self.receiver.images[0])

    def transfer(self, stream, messages, *, slowly=False, seconds=120) -> list[bytes]:
        """Offer every message as soon as it can be, read all the while (`slowly`: a fragment a step); what was read."""
        received: list[bytes] = []
        image = stream.image.images[0]
        reader = Reader(image)
        waiting = iter(messages)
        state = SimpleNamespace(next=next(waiting, None))

        def work():
            while state.next is not None and stream.pub.publication.offer(state.next) > 0:
                state.next = next(waiting, None)
            received.extend(reader.read(1 if slowly else 1000, once=slowly))
            return state.next is None and image.position >= stream.pub.log.producer_position

        self.until(work, seconds=seconds)
        return received

    def messages(self, count, largest=4000):
        """Messages of every size, no two alike."""
        sizes = (0, 24, 25, 56, 700, 1368, largest)
        return [number.to_bytes(8, "little") + self.random.randbytes(self.random.choice(sizes))
                for number in range(count)]

    def close(self):
        self.sender.close()
        self.receiver.close()
