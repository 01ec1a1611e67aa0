"""Counters against sections 5 and 10.4 of the shared-memory format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_tools import fill, forked, get, put, take

from pillion.errors import CountersExhaustedError
from pillion.memory.counters import NEVER_MS, CountersManager, CountersReader, CountersWriter
from pillion.memory.mapped_file import MappedFile

METADATA, VALUE = 512, 128
CHANNEL = b"aeron:udp?endpoint=127.0.0.1:43101"


class Counters:
    """Metadata from offset 0, values behind it."""

    def __init__(self, count: int = 8, free_to_reuse_ms: int = 1000) -> None:
        self.owner = MappedFile.anonymous(count * (METADATA + VALUE))
        self.where = (0, count * METADATA, count * METADATA, count * VALUE)
        self.values = count * METADATA
        self.manager = CountersManager(self.owner, *self.where, free_to_reuse_ms)
        self.reader = CountersReader(self.owner, *self.where)
        self.writer = CountersWriter(self.owner, *self.where)

    def metadata(self, layout: str, counter_id: int, offset: int) -> int:
        return get(self.owner, layout, counter_id * METADATA + offset)

    def value_record(self, counter_id: int) -> bytes:
        return take(self.owner, self.values + counter_id * VALUE, VALUE)


@pytest.mark.parametrize(
    "where",
    [
        (-8, 512, 512, 128),
        (0, 512, 512, 4096),
        (0, 8192, 512, 128),
        (0, -512, 512, 128),
        (0, 512, -8, 128),
        (4, 512, 520, 128),
        (0, 512, 515, 128),
    ],
)
def test_refuses_to_lie_outside_or_unaligned(where: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="counters"):
        CountersReader(MappedFile.anonymous(4096), *where)


def test_golden_publisher_position() -> None:
    counters = Counters()
    key = bytes.fromhex("020000000000000026c9a5f8e903000022000000") + CHANNEL
    label = "pub-pos (concurrent): 2 -123352794 1001 " + CHANNEL.decode()
    counter_id = counters.manager.allocate(12, key, label, registration_id=2, owner_id=1, value=256)
    golden = bytes.fromhex(
        "010000000c000000ffffffffffffff7f020000000000000026c9a5f8e903000022000000"
    ) + CHANNEL
    assert take(counters.owner, 0, len(golden)) == golden
    assert take(counters.owner, len(golden), 128 - len(golden)) == bytes(128 - len(golden))
    assert take(counters.owner, 128, 4 + 74) == bytes.fromhex("4a000000") + label.encode()
    assert take(counters.owner, 0xCE, 512 - 0xCE) == bytes(512 - 0xCE)
    assert counters.value_record(counter_id) == bytes.fromhex(
        "00010000000000000200000000000000 01000000000000000000000000000000"
    ) + bytes(96)


def test_allocate_in_order_until_exhausted() -> None:
    counters = Counters(4)
    assert counters.reader.capacity == 4
    assert [counters.manager.allocate(1000 + n, b"", f"n{n}") for n in range(4)] == [0, 1, 2, 3]
    with pytest.raises(CountersExhaustedError, match="all 4 counters"):
        counters.manager.allocate(1, b"", "one too many")
    counters.manager.free(2, 0)
    assert counters.manager.allocate(1, b"", "again", now_ms=1000) == 2


def test_capacity_is_the_smaller_of_the_two_arrays() -> None:
    owner = MappedFile.anonymous(8192)
    assert CountersReader(owner, 0, 3 * METADATA, 4096, 5 * VALUE).capacity == 3
    assert CountersReader(owner, 0, 5 * METADATA, 4096, 3 * VALUE).capacity == 3


def test_fields_of_a_counter() -> None:
    counters = Counters()
    counter_id = counters.manager.allocate(
        1001, b"key", "label", registration_id=-7, owner_id=8, reference_id=9, value=-10
    )
    reader = counters.reader
    assert reader.is_allocated(counter_id)
    assert reader.state(counter_id) == 1
    assert reader.type_id(counter_id) == 1001
    assert reader.key(counter_id) == b"key".ljust(112, b"\0"), "always the whole key"
    assert reader.label(counter_id) == "label"
    assert reader.registration_id(counter_id) == -7
    assert reader.owner_id(counter_id) == 8
    assert reader.reference_id(counter_id) == 9
    assert reader.value(counter_id) == -10
    counters.writer.set_value(counter_id, 2**63 - 1)
    assert reader.value(counter_id) == 2**63 - 1
    counters.writer.set_value(counter_id, 5)
    assert counters.writer.add_to_value(counter_id, 3) == 5
    assert reader.value(counter_id) == 8
    counters.manager.set_reference_id(counter_id, 77)
    assert reader.reference_id(counter_id) == 77
    assert counters.metadata("q", counter_id, 8) == NEVER_MS


@pytest.mark.parametrize("counter_id", [-1, 8, 2**31 - 1, -(2**31)])
def test_ids_outside_are_refused(counter_id: int) -> None:
    counters = Counters(8)
    reader = counters.reader
    for call in (
        reader.value, reader.state, reader.is_allocated, reader.type_id, reader.key, reader.label,
        reader.registration_id, reader.owner_id, reader.reference_id,
        lambda n: counters.writer.set_value(n, 0), lambda n: counters.writer.add_to_value(n, 1),
        lambda n: counters.writer.append_to_label(n, "x"), lambda n: counters.manager.free(n, 0),
        lambda n: counters.manager.set_label(n, "x"),
        lambda n: counters.manager.set_reference_id(n, 1),
    ):  # fmt: skip
        with pytest.raises(IndexError, match=r"not in 0\.\.7"):
            call(counter_id)


def test_key_and_label_are_cut() -> None:
    counters = Counters()
    counter_id = counters.manager.allocate(1, b"k" * 200, "l" * 500)
    assert counters.reader.key(counter_id) == b"k" * 112
    assert counters.reader.label(counter_id) == "l" * 380
    assert counters.metadata("i", counter_id, 128) == 380
    assert counters.metadata("i", counter_id + 1, 0) == 0, "the next record is untouched"


def test_free_and_reuse_after_the_quarantine() -> None:
    counters = Counters(4, free_to_reuse_ms=1000)
    manager = counters.manager
    first = manager.allocate(11, b"12345678", "client-heartbeat: id=1", registration_id=1, owner_id=1, value=3)
    manager.free(first, 5000)
    assert counters.reader.state(first) == -1
    assert not counters.reader.is_allocated(first)
    assert counters.metadata("i", first, 4) == 11, "type kept"
    assert counters.metadata("q", first, 8) == 6000
    assert counters.reader.key(first) == bytes(112)
    assert counters.metadata("i", first, 128) == 22, "label kept"
    assert counters.reader.value(first) == 3, "the value record is cleared on reuse only"
    assert manager.allocate(1, b"", "new", now_ms=5999) == 1
    assert manager.allocate(2, b"", "reused", now_ms=6000) == first
    assert counters.value_record(first) == bytes(128)
    assert counters.reader.label(first) == "reused"


def test_reuse_is_in_the_order_of_freeing() -> None:
    counters = Counters(4, free_to_reuse_ms=0)
    for _ in range(4):
        counters.manager.allocate(1, b"", "")
    for counter_id in (2, 0, 3):
        counters.manager.free(counter_id, 10)
    assert [counters.manager.allocate(1, b"", "", now_ms=10) for _ in range(3)] == [2, 0, 3]


def test_a_client_cannot_shorten_the_quarantine() -> None:
    counters = Counters(4, free_to_reuse_ms=1000)
    counter_id = counters.manager.allocate(1, b"", "")
    counters.manager.free(counter_id, 5000)
    put(counters.owner, "q", counter_id * METADATA + 8, 0)
    assert counters.manager.allocate(1, b"", "", now_ms=5001) != counter_id


def test_free_of_a_free_counter_is_refused() -> None:
    counters = Counters()
    with pytest.raises(ValueError, match="counter 0 is not allocated"):
        counters.manager.free(0, 0)
    counter_id = counters.manager.allocate(1, b"", "")
    counters.manager.free(counter_id, 0)
    with pytest.raises(ValueError, match="not allocated"):
        counters.manager.free(counter_id, 0)


def test_a_refused_allocation_takes_no_id() -> None:
    counters = Counters()
    with pytest.raises((TypeError, AttributeError)):
        counters.manager.allocate(1, b"", None)
    with pytest.raises(OverflowError):
        counters.manager.allocate(1, b"", "", registration_id=2**63)
    assert counters.manager.allocate(1, b"", "\udcff") == 0, "a label that is no text is made one"


def test_labels_are_set_and_appended_to() -> None:
    counters = Counters()
    counter_id = counters.manager.allocate(6, b"", "snd-channel: x")
    counters.manager.set_label(counter_id, "snd-channel: x 127.0.0.1:5")
    assert counters.reader.label(counter_id) == "snd-channel: x 127.0.0.1:5"
    counters.writer.append_to_label(counter_id, " name=me")
    assert counters.reader.label(counter_id) == "snd-channel: x 127.0.0.1:5 name=me"
    counters.writer.append_to_label(counter_id, "z" * 400)
    assert len(counters.reader.label(counter_id)) == 380
    counters.manager.set_label(counter_id, "y" * 400)
    assert counters.reader.label(counter_id) == "y" * 380
    assert counters.metadata("i", 1, 0) == 0


@pytest.mark.parametrize("length", [-1, -(2**31), 381, 2**31 - 1])
def test_hostile_label_length(length: int) -> None:
    counters = Counters()
    counter_id = counters.manager.allocate(1, b"", "label")
    put(counters.owner, "i", counter_id * METADATA + 128, length)
    assert len(counters.reader.label(counter_id)) in (0, 380)
    counters.writer.append_to_label(counter_id, "x" * 10)
    assert counters.metadata("i", 1, 0) == 0


def test_scan_skips_the_freed_and_stops_at_the_unused() -> None:
    counters = Counters(8)
    for n in range(4):
        counters.manager.allocate(1000 + n, bytes([n]), f"label {n}", registration_id=n, owner_id=2, value=n)
    counters.manager.free(1, 0)
    put(counters.owner, "i", 6 * METADATA, 1)
    records = counters.reader.scan()
    assert [record.counter_id for record in records] == [0, 2, 3]
    assert records[1] == (2, 1002, 2, 2, 0, 2, b"\2".ljust(112, b"\0"), "label 2")
    assert list(counters.reader) == records


def test_find_by_type_and_registration() -> None:
    counters = Counters(8)
    counters.manager.allocate(5, b"", "", registration_id=1)
    counters.manager.allocate(6, b"", "", registration_id=1)
    wanted = counters.manager.allocate(6, b"", "", registration_id=2)
    find = counters.reader.find_by_type_and_registration
    assert find(6, 2) == wanted
    assert find(7, 2) == -1
    assert find(6, 3) == -1
    counters.manager.free(wanted, 0)
    assert find(6, 2) == -1


def test_as_many_counters_as_a_driver_has() -> None:
    counters = Counters(65_536)
    for n in range(65_536):
        counters.manager.allocate(1, b"", "a label of ordinary length", registration_id=n)
    assert len(counters.reader.scan()) == 65_536
    assert counters.reader.find_by_type_and_registration(1, 65_535) == 65_535


@given(st.lists(st.tuples(st.sampled_from("af"), st.integers(0, 7), st.integers(0, 50)), max_size=60))
def test_allocation_model(steps: list[tuple[str, int, int]]) -> None:
    counters = Counters(8, free_to_reuse_ms=20)
    allocated: dict[int, int] = {}
    quarantined: dict[int, int] = {}
    now_ms = serial = 0
    for action, which, passed in steps:
        now_ms += passed
        if action == "a":
            serial += 1
            try:
                counter_id = counters.manager.allocate(1, b"", str(serial), registration_id=serial, now_ms=now_ms)
            except CountersExhaustedError:
                assert len(allocated) + sum(due > now_ms for due in quarantined.values()) == 8
                continue
            assert counter_id not in allocated
            assert quarantined.pop(counter_id, now_ms) <= now_ms
            allocated[counter_id] = serial
        elif which in allocated:
            counters.manager.free(which, now_ms)
            del allocated[which]
            quarantined[which] = now_ms + 20
    found = {record.counter_id: record.registration_id for record in counters.reader.scan()}
    assert found == allocated


@given(st.binary(min_size=640 * 4, max_size=640 * 4))
def test_hostile_contents_never_escape(contents: bytes) -> None:
    counters = Counters(4)
    fill(counters.owner, 0, contents)
    put(counters.owner, "i", 0, 1)
    for record in counters.reader.scan():
        assert len(record.key) == 112
    counters.reader.find_by_type_and_registration(1, 1)


def test_atomic_adds_of_several_processes() -> None:
    counters = Counters()
    counter_id = counters.manager.allocate(1, b"", "")

    def add() -> None:
        for _ in range(30_000):
            counters.writer.add_to_value(counter_id, 1)

    with forked(add, add, add):
        pass
    assert counters.reader.value(counter_id) == 90_000


def test_a_reader_gives_no_way_to_write() -> None:
    counters = Counters()
    for name in ("set_value", "add_to_value", "append_to_label", "owner", "values", "metadata"):
        assert not hasattr(counters.reader, name), name
    with pytest.raises(TypeError):
        memoryview(counters.reader)  # type: ignore[arg-type]
