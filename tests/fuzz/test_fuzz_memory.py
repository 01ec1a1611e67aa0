"""Shared memory that somebody scribbles over: typed errors, wrong data perhaps, never a crash.

Each test also looks at the memory behind the structure: nothing may be written there.
"""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from random import Random

from fuzzing import Fuzz
from log_tools import TERM, Log, Writer
from memory_tools import fill, take
from mutate import mutate, number

from pillion.errors import (
    CncFileError,
    CountersExhaustedError,
    DriverIncompatibleError,
    LappedError,
    LogFileError,
)
from pillion.memory.broadcast import BroadcastReceiver, BroadcastTransmitter
from pillion.memory.cnc import CncFile
from pillion.memory.counters import CountersManager
from pillion.memory.error_log import DistinctErrorLog, read_errors
from pillion.memory.log_buffer import LogBuffer
from pillion.memory.loss_report import LossReport, read_losses
from pillion.memory.mapped_file import MappedFile
from pillion.memory.ring_buffer import ManyToOneRingBuffer

GUARD = b"\xa5" * 64


def guarded(length: int) -> MappedFile:
    """Memory with `length` bytes for the structure at offset 64 and guards around it."""
    owner = MappedFile.anonymous(length + 128)
    fill(owner, 0, GUARD)
    fill(owner, 64 + length, GUARD)
    return owner


def scribble(random: Random, owner: MappedFile, offset: int, length: int) -> None:
    fill(owner, offset, mutate(random, take(owner, offset, length), may_resize=False))


def check_guards(owner: MappedFile) -> None:
    assert take(owner, 0, 64) == GUARD
    assert take(owner, len(owner) - 64, 64) == GUARD


def test_ring(fuzz: Fuzz) -> None:
    for random in fuzz.rounds():
        capacity = random.choice((8, 64, 256, 1024))
        owner = guarded(capacity + 768)
        ring = ManyToOneRingBuffer(owner, 64, capacity + 768)
        for _ in range(60):
            step = random.randrange(5)
            if step == 0:
                ring.write(1, random.randbytes(random.randrange(ring.max_message_length + 1)))
            elif step == 1:
                ring.read_one()
            elif step == 2:
                ring.unblock()
            elif step == 3 and random.random() < 0.3:
                scribble(random, owner, 64, capacity)
            elif step == 4 and random.random() < 0.2:
                field = random.choice((128, 256, 384))
                fill(owner, 64 + capacity + field, struct.pack("<q", number(random, 64)))
        check_guards(owner)


def test_broadcast(fuzz: Fuzz) -> None:
    for random in fuzz.rounds():
        capacity = random.choice((8, 64, 256, 1024))
        owner = guarded(capacity + 128)
        transmitter = BroadcastTransmitter(owner, 64, capacity + 128)
        receiver = BroadcastReceiver(owner, 64, capacity + 128)
        for _ in range(60):
            step = random.randrange(5)
            if step == 0:
                transmitter.transmit(1, random.randbytes(random.randrange(transmitter.max_message_length + 1)))
            elif step in (1, 2):
                with contextlib.suppress(LappedError):
                    found = receiver.receive()
                    assert found is None or len(found[1]) <= capacity
            elif step == 3 and random.random() < 0.3:
                scribble(random, owner, 64, capacity)
            elif step == 4 and random.random() < 0.2:
                fill(owner, 64 + capacity + random.choice((0, 8, 16)), struct.pack("<q", number(random, 64)))
        check_guards(owner)


def test_counters(fuzz: Fuzz) -> None:
    for random in fuzz.rounds():
        owner = guarded(4 * 640)
        manager = CountersManager(owner, 64, 4 * 512, 64 + 4 * 512, 4 * 128, 10)
        for now_ms in range(40):
            counter_id = random.randrange(4)
            step = random.randrange(6)
            if step == 0:
                with contextlib.suppress(CountersExhaustedError):
                    manager.allocate(1, random.randbytes(200), "x" * random.randrange(500), now_ms=now_ms)
            elif step == 1:
                with contextlib.suppress(ValueError):
                    manager.free(counter_id, now_ms)
            elif step == 2:
                scribble(random, owner, 64, 4 * 640)
            elif step == 3:
                manager.append_to_label(counter_id, "y" * random.randrange(400))
            elif step == 4:
                manager.find_by_type_and_registration(number(random, 32), number(random, 64))
            else:
                assert len(manager.scan()) <= 4
        check_guards(owner)


def test_error_log_and_loss_report(fuzz: Fuzz) -> None:
    for random in fuzz.rounds():
        owner = guarded(512)
        log = DistinctErrorLog(owner, 64, 512, lambda: 5)
        for _ in range(20):
            log.record(random.randrange(3), "x" * random.randrange(200))
            if random.random() < 0.3:
                scribble(random, owner, 64, 512)
            read_errors(owner, 64, 512)
        check_guards(owner)
        report = MappedFile.anonymous(512)
        losses = LossReport(report)
        for _ in range(8):
            losses.create_entry(1, 2, 3, 4, "c" * random.randrange(80), "s" * random.randrange(80))
            if random.random() < 0.5:
                scribble(random, report, 0, 512)
            assert len(read_losses(report)) <= 8


def test_cnc_files(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "cnc.dat"
    driver = CncFile.create(
        str(tmp_path), to_driver_length=1024 + 768, to_clients_length=1024 + 128, counter_values_length=1024,
        error_log_length=4096, client_liveness_timeout_ns=1, page_size=4096, start_ms=1, pid=1,
    )  # fmt: skip
    driver.counters_manager().allocate(1, b"key", "label")
    driver.error_log(lambda: 1).record(1, "error")
    driver.publish_version()
    good = bytes(driver.mapped)
    for random in fuzz.rounds():
        header = bytearray(good[:64])
        if random.random() < 0.8:
            header = bytearray(mutate(random, bytes(header), may_resize=False))
        contents = bytes(header) + mutate(random, good[64:], may_resize=False)
        path.write_bytes(contents[: random.choice((len(contents), random.randrange(len(contents))))])
        try:
            cnc = CncFile.open(str(tmp_path), read_only=random.random() < 0.5)
        except (CncFileError, DriverIncompatibleError):
            continue
        cnc.counters_reader().scan()
        cnc.read_errors()
        repr(cnc)
        receiver = cnc.to_clients_receiver()
        with contextlib.suppress(LappedError):
            receiver.receive()
        if not cnc.mapped.read_only:
            cnc.to_driver_ring.read_one()
            cnc.to_driver_ring.write(1, b"x" * 16)
            cnc.to_driver_ring.next_correlation_id()


def test_log_files(fuzz: Fuzz, tmp_path: Path) -> None:
    log = Log.create(tmp_path)
    writer = Writer(log)
    while writer.publication.offer(bytes(1000)) > 0:
        pass
    path = tmp_path / "1.logbuffer"
    good = path.read_bytes()
    for random in fuzz.rounds():
        metadata = mutate(random, good[-4096:-3584], may_resize=False) + good[-3584:]
        path.write_bytes(good[:-4096] + metadata)
        try:
            opened = Log(LogBuffer.open(str(path)))
        except LogFileError:
            continue
        walk(random, opened)


def test_log_contents(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "1.logbuffer"
    for random in fuzz.rounds():
        path.unlink(missing_ok=True)
        log = Log.create(tmp_path)
        for _ in range(20):
            at = random.randrange(0, TERM, 32)
            fill(log.file, random.randrange(3) * TERM + at, struct.pack("<i", number(random, 32)))
        for partition in range(3):
            if random.random() < 0.5:
                fill(log.file, log.metadata + 8 * partition, struct.pack("<q", number(random, 64)))
        walk(random, log)


def walk(random: Random, log: Log) -> None:
    """Everything that can be done with a log, at random places."""
    constants = take(log.file, log.metadata + 256, 4096 - 256)
    writer = Writer(log, exclusive=random.random() < 0.5)
    term_length = log.buffer.term_length
    for _ in range(20):
        position = random.randrange(0, 4 * term_length, 32)
        left = term_length - position % term_length
        term_id = log.buffer.initial_term_id + random.randrange(-3, 4)
        term_id = (term_id + 2**31) % 2**32 - 2**31
        offset = position % term_length
        available, padding = log.buffer.scan_available(position, random.choice((0, 31, 1408, 2**31 - 1)))
        assert 0 <= available + padding <= left
        log.buffer.unblock(position)
        log.buffer.insert_packet(term_id, offset, random.randbytes(random.choice((0, 31, 32, 64, 1408))))
        log.buffer.fill_gap(term_id, offset, random.choice((-32, 0, 32, 64, term_length)))
        assert log.buffer.find_contiguous(position, position + 5000) <= position + 5000
        assert 0 <= log.buffer.find_gap(position, position + 5000) <= left
        assert log.buffer.clean(position, position + random.randrange(5000)) % 32 == 0
        assert isinstance(log.buffer.producer_position, int)
        writer.publication.offer(random.randbytes(random.choice((0, 1, 100, 3000, 8192))))
        claim = writer.publication.try_claim(random.randrange(min(1376, writer.publication.max_payload_length)))
        if not isinstance(claim, int):
            claim.buffer[:] = bytes(len(claim))
            claim.commit()
        log.buffer.rotate(number(random, 32), number(random, 32))
    assert take(log.file, log.metadata + 256, 4096 - 256) == constants
