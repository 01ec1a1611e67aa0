"""What holds of a driver's streams after every step, whatever the network and the clients do."""

from __future__ import annotations

from typing import Any

from pillion.driver.assembly import DriverParts
from pillion.driver.images import ImageStream
from pillion.driver.ipc_publications import IpcStream
from pillion.driver.links import LinkState, Stream
from pillion.driver.network_publications import NetworkStream
from pillion.driver.publications import State


class Invariants:
    """Looks at the counters as any observer could, and remembers the last positions."""

    def __init__(self, driver: DriverParts) -> None:
        self._conductor = driver.conductor
        self._counters = driver.services.counters
        self._last: dict[tuple[int, str], int] = {}

    def check(self) -> None:
        index = self._conductor.index
        for publication in index.network:
            self._check_network(publication)
        for ipc in index.ipc:
            self._check_ipc(ipc)
        for image in self._conductor.images.streams:
            self._check_image(image)

    def _values(self, stream: Any, *names: str) -> list[int]:
        """The positions of a stream's first counters, which only rise, but for two limits.

        The publisher's is taken back when nobody listens any more, and at the end; the sender's when the last
        receiver goes and only spies are left who simulate a connection.
        """
        found = [self._counters.value(counter_id) for counter_id in stream.counter_ids[: len(names)]]
        for name, value in zip(names, found, strict=True):
            is_taken_back = (
                (name == "pub-lmt" and (not stream.log.is_connected or not _is_open(stream)))
                or (name == "snd-lmt" and stream.params.spies_simulate_connection and not stream.native.has_receivers)
            )
            if is_taken_back:
                self._last.pop((stream.registration_id, name), None)
            else:
                self._rises(stream, name, value)
        return found

    def _rises(self, stream: Stream, name: str, value: int) -> None:
        key = (stream.registration_id, name)
        last = self._last.get(key)
        assert last is None or value >= last, f"{stream}: {name} went back from {last} to {value}"
        self._last[key] = value

    def _consumers(self, stream: Stream) -> list[int]:
        """Positions of the subscribers that the stream's agent follows."""
        found = []
        for position_id, link in stream.links.items():
            value = self._counters.value(position_id)
            if link.state in (LinkState.ACTIVE, LinkState.LINGER):
                found.append(value)
        return found

    def _check_network(self, stream: NetworkStream) -> None:
        if stream.state is State.DONE:
            return
        _, pub_lmt, snd_pos, snd_lmt = self._values(stream, "pub-pos", "pub-lmt", "snd-pos", "snd-lmt")
        assert snd_pos <= snd_lmt, f"{stream}: sent to {snd_pos}, beyond the limit {snd_lmt}"
        window = stream.params.window_length
        slowest = min([snd_pos, *self._consumers(stream)])
        # At the end it is the producer's position, which may be a message and a term's rest beyond the limit.
        if _is_open(stream):
            assert pub_lmt - slowest <= window, f"{stream}: limit {pub_lmt}, slowest {slowest}, window {window}"
        produced = stream.native.producer_position
        self._rises(stream, "produced", produced)
        assert snd_pos <= produced, f"{stream}: sent to {snd_pos}, produced to {produced}"

    def _check_ipc(self, stream: IpcStream) -> None:
        if stream.state is State.DONE:
            return
        _, pub_lmt = self._values(stream, "pub-pos", "pub-lmt")
        window = stream.params.window_length
        consumers = self._consumers(stream)
        if consumers:
            slowest = min(consumers)
            assert pub_lmt - slowest <= window, f"{stream}: limit {pub_lmt}, slowest {slowest}, window {window}"
        produced = stream.native.producer_position
        self._rises(stream, "produced", produced)
        assert all(position <= produced for position in consumers), f"{stream}: {consumers} beyond {produced}"

    def _check_image(self, stream: ImageStream) -> None:
        hwm, rcv_pos = self._values(stream, "rcv-hwm", "rcv-pos")
        assert rcv_pos <= hwm, f"{stream}: rebuilt to {rcv_pos}, beyond the highest {hwm}"
        consumers = self._consumers(stream)
        for position in consumers:
            assert position <= rcv_pos, f"{stream}: a reader at {position}, rebuilt only to {rcv_pos}"
        if consumers and stream.state is State.ACTIVE:
            slowest = min(consumers)
            assert hwm - slowest <= stream.window_length, (
                f"{stream}: the highest is {hwm}, the slowest {slowest}, the window {stream.window_length}"
            )


def _is_open(stream: Any) -> bool:
    """Whether somebody may still publish."""
    return stream.state is State.ACTIVE and not stream.is_revoked
