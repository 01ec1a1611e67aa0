"""A data plane with the smallest conductor around it: what a driver does for a stream, without clients and commands.

`Side` is one machine. With `transport` from a simulated network, two sides run in one thread on simulated time.
"""

from __future__ import annotations

import itertools
from types import SimpleNamespace

from pillion.client.image import new_image
from pillion.client.publication import new_publication
from pillion.driver.data_plane import DataPlane
from pillion.driver.events import DriverEvent
from pillion.driver.streams import (
    IpcPublication,
    NetworkPublication,
    PublicationImage,
    ReceiveEndpoint,
    SendEndpoint,
)
from pillion.driver.udp.transport import UdpTransport
from pillion.memory.counters import CountersManager
from pillion.memory.log_buffer import LOG_IMAGE, LogBuffer, LogSpec
from pillion.memory.mapped_file import MappedFile
from pillion.memory.ring_buffer import ManyToOneRingBuffer
from pillion.protocol.ids import SystemCounter

TERM = 64 * 1024
MS = 1_000_000
SECOND = 1_000_000_000
NO_CONDUCTOR = SimpleNamespace(closed=None, registration_of_counter=lambda counter_id: 0)
NO_SUBSCRIPTION = SimpleNamespace(registration_id=1)
_ids = itertools.count(1)


class Side:
    """One data plane, its counters and logs, and answers to its set-ups."""

    def __init__(self, directory, *, mode="invoker", **options):
        self.directory = directory
        metadata = MappedFile.anonymous(512 * 4096 + 128 * 4096)
        self.counters = CountersManager(metadata, 0, 512 * 4096, 512 * 4096, 128 * 4096)
        for counter in SystemCounter:
            self.counters.allocate(0, b"", counter.name)
        ring_memory = MappedFile.anonymous(64 * 1024 + 768)
        self.ring = ManyToOneRingBuffer(ring_memory, 0, 64 * 1024 + 768)
        self.plane = DataPlane(counters=self.counters, ring=self.ring, threading_mode=mode, **options)
        self.events: list[tuple] = []
        self.images: list[SimpleNamespace] = []
        self.image_options: dict = {}
        self.subscribers_per_image = 1
        self.answer_setups = True
        self.now_ns = 0
        self.transports: list[UdpTransport] = []

    def close(self):
        self.plane.close()
        for transport in self.transports:
            transport.close()

    def udp(self, **addresses) -> UdpTransport:
        """A kernel socket, closed along with this side."""
        self.transports.append(UdpTransport(**addresses))
        return self.transports[-1]

    def count(self, counter: SystemCounter) -> int:
        return self.counters.value(counter)

    def counter(self, value=0) -> int:
        return self.counters.allocate(4, b"", "position", value=value)

    def log(self, **spec) -> LogBuffer:
        number = next(_ids)
        values = {"term_length": TERM, "mtu_length": 1408, "initial_term_id": 7, "session_id": 1001, "stream_id": 10,
                  "correlation_id": number} | spec
        return LogBuffer.create(f"{self.directory}/{number}.logbuffer", LogSpec(**values))

    # ---- streams ----

    def add_ipc(self, *, window=TERM // 2, subscribers=0, exclusive=False, **spec):
        log = self.log(**spec)
        limit = self.counter()
        stream = IpcPublication(log, self.counters, pub_pos_id=self.counter(), pub_lmt_id=limit, window_length=window)
        found = SimpleNamespace(log=log, stream=stream, limit=limit, images=[], kind="ipc")
        found.publication = publication(log, self.counters, limit, exclusive)
        for _ in range(subscribers):
            position = self.counter()
            stream.link_subscriber(position)
            found.images.append(image(log, self.counters, position))
        self.plane.add_ipc_publication(stream)
        return found

    def add_publication(self, transport, *, window=TERM // 2, exclusive=False, endpoint=None, ssc=False, eos=True,
                        connection_timeout_ns=5 * SECOND, spies=0, delay_ns=0, destination=None, **spec):
        log = self.log(**spec)
        if endpoint is None:
            endpoint = SendEndpoint(transport, destination)
            self.plane.add_send_endpoint(endpoint)
        ids = {name: self.counter() for name in ("pub_pos_id", "pub_lmt_id", "snd_pos_id", "snd_lmt_id", "snd_bpe_id",
                                                 "snd_naks_id")}
        stream = NetworkPublication(log, self.counters, endpoint, window_length=window, spies_simulate_connection=ssc,
                                    connection_timeout_ns=connection_timeout_ns, signal_eos=eos,
                                    retransmit_delay_ns=delay_ns, **ids)
        found = SimpleNamespace(log=log, stream=stream, endpoint=endpoint, ids=ids, images=[], kind="network")
        found.value = lambda name: self.counters.value(ids[f"{name}_id"])
        found.publication = publication(log, self.counters, ids["pub_lmt_id"], exclusive)
        for _ in range(spies):
            position = self.counter()
            stream.link_subscriber(position)
            found.images.append(image(log, self.counters, position))
        self.plane.add_network_publication(stream)
        return found

    def add_subscription(self, transport, stream_id=10, session_id=None, receiver_id=77, group_tag=None):
        endpoint = ReceiveEndpoint(transport, receiver_id=receiver_id, group_tag=group_tag)
        self.plane.add_receive_endpoint(endpoint)
        self.plane.add_subscription(endpoint, stream_id, session_id)
        return endpoint

    def _on_setup(self, event):
        (_, endpoint, stream_id, session_id, initial_term_id, active_term_id, term_offset, term_length, mtu, _ttl,
         _flags,
         source) = event
        count = (active_term_id - initial_term_id) & 0xFFFFFFFF
        join = count * term_length + term_offset
        log = self.log(term_length=term_length, mtu_length=mtu, initial_term_id=initial_term_id, session_id=session_id,
                       stream_id=stream_id, log_type=LOG_IMAGE)
        ids = {name: self.counter() for name in ("rcv_hwm_id", "rcv_pos_id", "rcv_naks_id")}
        options = {"reliable": True, "window_length": 128 * 1024, "nak_delay_ns": 1000, "nak_retry_ns": 100_000,
                   "sm_timeout_ns": 200 * MS} | self.image_options
        stream = PublicationImage(log, self.counters, endpoint, join_position=join, source=source, now_ns=self.now_ns,
                                  **ids, **options)
        found = SimpleNamespace(log=log, stream=stream, endpoint=endpoint, images=[], ids=ids, join=join)
        found.value = lambda name: self.counters.value(ids[f"{name}_id"])
        for _ in range(self.subscribers_per_image):
            position = self.counter()
            assert stream.link_subscriber(position) == join
            found.images.append(image(log, self.counters, position))
        self.plane.add_image(stream)
        self.images.append(found)

    # ---- running ----

    def gather(self):
        """Take the events; set-ups are answered unless `answer_setups` is off."""
        while (event := self.plane.poll_event()) is not None:
            self.events.append(event)
            if event[0] == DriverEvent.SETUP and self.answer_setups:
                self._on_setup(event)

    def step(self, now_ns):
        self.now_ns = now_ns
        work = self.plane.step(now_ns, now_ns // MS)
        self.gather()
        return work

    def do_work(self):
        work = self.plane.do_work()
        self.gather()
        return work

    def take(self, kind):
        """Events of one kind, oldest first; they are forgotten."""
        found = [event for event in self.events if event[0] == kind]
        self.events = [event for event in self.events if event[0] != kind]
        return found


def publication(log, counters, limit, exclusive=False):
    return new_publication(exclusive, NO_CONDUCTOR, log, counters, "aeron:test", 1, 1, limit, -1)


def image(log, counters, position):
    """A subscriber's image; its counter is `subscriber_position_id`."""
    return new_image(log, counters, position, log.correlation_id, NO_SUBSCRIPTION, "test")


class Reader:
    """Reads an image and joins fragments, which may arrive at different times."""

    def __init__(self, found):
        self.image = found
        self.parts: list[bytes] = []
        self.messages: list[bytes] = []

    def _on_fragment(self, buffer, header):
        self.parts.append(bytes(buffer))
        if header.flags & 0x40:
            self.messages.append(b"".join(self.parts))
            self.parts.clear()

    def read(self, limit=1000, *, once=False) -> list[bytes]:
        """Whole messages that are there now."""
        while self.image.poll(self._on_fragment, limit) and not once:
            pass
        found, self.messages = self.messages, []
        return found


def drain(found) -> list[bytes]:
    """Messages an image has now, all of them whole."""
    reader = Reader(found)
    messages = reader.read()
    assert not reader.parts, "a message was cut"
    return messages
