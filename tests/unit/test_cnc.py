"""`cnc.dat` against sections 1, 2 and 10.1 of the shared-memory format."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_tools import become_nobody, forked

from pillion.errors import CncFileError, CncNotReadyError, DirectoryError, DriverIncompatibleError
from pillion.memory.cnc import CncFile
from pillion.memory.loss_report import LossReport

RING, CLIENTS, VALUES, ERRORS = 1024 + 768, 1024 + 128, 8 * 128, 4096


def create(directory: str | Path, **changes: int) -> CncFile:
    lengths = {
        "to_driver_length": RING,
        "to_clients_length": CLIENTS,
        "counter_values_length": VALUES,
        "error_log_length": ERRORS,
        "client_liveness_timeout_ns": 10_000_000_000,
        "page_size": 4096,
        "start_ms": 1_795_387_751_382,
        "pid": 27_759,
    }
    return CncFile.create(str(directory), **{**lengths, **changes})


def write(directory: Path, contents: bytes) -> Path:
    path = directory / "cnc.dat"
    path.write_bytes(contents)
    return path


@pytest.fixture
def image(tmp_path: Path) -> bytes:
    """The bytes of a good, ready file."""
    cnc = create(tmp_path)
    cnc.publish_version()
    contents = bytes(cnc.mapped)
    (tmp_path / "cnc.dat").unlink()
    return contents


def test_golden_metadata(aeron_dir: str) -> None:
    cnc = create(
        aeron_dir,
        to_driver_length=1_049_344,
        to_clients_length=1_048_704,
        counter_values_length=8_388_608,
        error_log_length=4_194_304,
    )
    golden = bytes.fromhex(
        "00020000000310008000100000000002 000080000000400000e40b5402000000"
        "d6fb7205a20100006f6c000000000000 00100000000000000000000000000000"
    )
    assert bytes(memoryview(cnc.mapped)[:64]) == bytes(4) + golden[4:], "not ready: version 0"
    cnc.publish_version()
    assert bytes(memoryview(cnc.mapped)[:64]) == golden
    assert len(cnc.mapped) == os.stat(f"{aeron_dir}/cnc.dat").st_size == 48_238_592
    assert [offset for offset, _ in cnc.offsets] == [128, 1_049_472, 2_098_176, 35_652_608, 44_041_216]
    assert os.stat(f"{aeron_dir}/cnc.dat").st_blocks * 512 >= 48_238_592, "not sparse"
    assert cnc.counters_reader().capacity == 65_536
    assert cnc.to_driver_ring.max_message_length == 131_072


def test_client_and_driver_meet(tmp_path: Path) -> None:
    driver = create(tmp_path)
    transmitter, manager = driver.to_clients_transmitter(), driver.counters_manager()
    with pytest.raises(CncNotReadyError, match="still starting"):
        CncFile.open(str(tmp_path))
    driver.publish_version()
    client = CncFile.open(str(tmp_path))
    assert (client.version, client.pid, client.page_size) == (0x200, 27_759, 4096)
    assert client.start_timestamp_ms == 1_795_387_751_382
    assert client.client_liveness_timeout_ns == 10_000_000_000
    assert client.to_driver_ring.write(5, b"command")
    assert driver.to_driver_ring.read_one() == (5, b"command")
    receiver = client.to_clients_receiver()
    transmitter.transmit(6, b"event")
    assert receiver.receive() == (6, b"event")
    counter_id = manager.allocate(1000, b"", "mine", registration_id=3)
    assert client.counters_reader().find_by_type_and_registration(1000, 3) == counter_id
    assert driver.error_log(lambda: 5).record(11, "oops")
    assert [found.text for found in client.read_errors()] == ["(11) oops"]
    assert "0.2.0" in repr(client)
    assert "27759" in repr(client)


def test_read_only(tmp_path: Path) -> None:
    driver = create(tmp_path)
    driver.publish_version()
    tool = CncFile.open(str(tmp_path), read_only=True)
    assert tool.counters_reader().scan() == []
    assert tool.read_errors() == []
    assert tool.to_driver_ring.consumer_heartbeat_ms == 0
    for store in (
        tool.to_clients_transmitter, tool.counters_manager, lambda: tool.error_log(lambda: 0),
        tool.publish_version, lambda: LossReport(tool.mapped),
    ):  # fmt: skip
        with pytest.raises(PermissionError):
            store()


def test_the_file_is_created_once_and_with_its_mode(tmp_path: Path) -> None:
    create(tmp_path)
    assert (tmp_path / "cnc.dat").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        create(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"to_driver_length": 1000},
        {"to_driver_length": 0},
        {"to_clients_length": 1000 + 128},
        {"counter_values_length": -128},
        {"counter_values_length": 100},
        {"error_log_length": -1},
        {"page_size": 1000},
        {"page_size": 0},
        {"counter_values_length": 2**29},
        {"error_log_length": 2**31},
    ],
)
def test_lengths_that_make_no_file_leave_none(tmp_path: Path, changes: dict[str, int]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        create(tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


def test_no_directory_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        CncFile.open(str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError):
        CncFile.open(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        create(tmp_path / "none")


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "cnc.dat").mkdir()
    for read_only in (True, False):
        with pytest.raises(CncFileError, match="not a regular file"):
            CncFile.open(str(tmp_path), read_only=read_only)
    (tmp_path / "cnc.dat").rmdir()
    os.mkfifo(tmp_path / "cnc.dat")
    with pytest.raises(CncFileError, match="not a regular file"):
        CncFile.open(str(tmp_path), read_only=True)
    (tmp_path / "cnc.dat").unlink()
    (tmp_path / "cnc.dat").symlink_to("/etc/passwd")
    with pytest.raises(CncFileError, match="not a regular file"):
        CncFile.open(str(tmp_path))


@pytest.mark.parametrize("length", [0, 1, 52, 127, 128])
def test_too_short_is_not_ready(tmp_path: Path, image: bytes, length: int) -> None:
    write(tmp_path, image[:length])
    with pytest.raises(CncNotReadyError, match=f"{length} bytes"):
        CncFile.open(str(tmp_path))


def test_truncated_is_not_ready_and_never_a_crash(tmp_path: Path, image: bytes) -> None:
    needed = 128 + RING + CLIENTS + 5 * VALUES + ERRORS
    for length in (129, 4096, needed - 1):
        write(tmp_path, image[:length])
        with pytest.raises(CncNotReadyError, match=f"{length} bytes, its sections need {needed}"):
            CncFile.open(str(tmp_path))
    write(tmp_path, image[:needed])
    CncFile.open(str(tmp_path)).read_errors()


@pytest.mark.parametrize(
    ("version", "is_ours"),
    [(0x000200, True), (0x0002FF, True), (0x000001, True), (0x00FF00, True), (0x010200, False),
     (0x010000, False), (0xFF0000, False), (0x7F000200, False)],
)  # fmt: skip
def test_only_the_major_version_counts(tmp_path: Path, image: bytes, version: int, is_ours: bool) -> None:
    write(tmp_path, struct.pack("<i", version) + image[4:])
    if is_ours:
        assert CncFile.open(str(tmp_path)).version == version
        return
    with pytest.raises(DriverIncompatibleError, match=r"0\.2\.0") as caught:
        CncFile.open(str(tmp_path))
    assert caught.value.found == version
    assert caught.value.supported == 0x200


def test_a_foreign_file(tmp_path: Path) -> None:
    write(tmp_path, b"#!/bin/sh\n" * 1000)
    with pytest.raises(DriverIncompatibleError):
        CncFile.open(str(tmp_path))
    write(tmp_path, struct.pack("<i", 0x200) + b"\1" * 5000)
    with pytest.raises(CncFileError):
        CncFile.open(str(tmp_path))


@pytest.mark.parametrize("offset", [4, 8, 12, 16, 20])
@pytest.mark.parametrize("length", [-1, -(2**31), 0, 1, 7, 1000, 2**31 - 1])
def test_corrupt_lengths(tmp_path: Path, image: bytes, offset: int, length: int) -> None:
    write(tmp_path, image[:offset] + struct.pack("<i", length) + image[offset + 4 :])
    harmless = {(12, 0), (12, 1000), (16, 0), (16, 1000), (20, 0), (20, 1), (20, 7), (20, 1000)}
    if (offset, length) in harmless:
        cnc = CncFile.open(str(tmp_path))
        cnc.counters_reader().scan()
        cnc.read_errors()
        return
    with pytest.raises(CncFileError, match=r"corrupt|sections need"):
        CncFile.open(str(tmp_path))


@given(st.binary(min_size=60, max_size=60))
def test_any_header_is_refused_or_works(tmp_path: Path, header: bytes) -> None:
    write(tmp_path, struct.pack("<i", 0x200) + header + bytes(20_000))
    try:
        cnc = CncFile.open(str(tmp_path))
    except CncFileError:
        return
    cnc.counters_reader().scan()
    cnc.read_errors()


def test_no_space_is_an_exception_with_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = os.statvfs(tmp_path)

    class Full:
        f_bavail, f_frsize = 1, found.f_frsize

    monkeypatch.setattr(os, "statvfs", lambda path: Full)
    with pytest.raises(DirectoryError) as caught:
        create(tmp_path)
    assert caught.value.needed == 12_288
    assert caught.value.available == found.f_frsize
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_is_too_small(small_file_system: Path) -> None:
    with pytest.raises(DirectoryError, match=r"cnc\.dat needs 48238592 bytes") as caught:
        create(
            small_file_system, to_driver_length=1_049_344, to_clients_length=1_048_704,
            counter_values_length=8_388_608, error_log_length=4_194_304,
        )  # fmt: skip
    assert caught.value.available == 1024 * 1024
    assert os.listdir(small_file_system) == []
    create(small_file_system)


def test_directory_that_may_not_be_written(aeron_dir: str) -> None:
    os.chmod(aeron_dir, 0o555)

    def body() -> None:
        become_nobody()
        with pytest.raises(PermissionError, match=r"cnc\.dat"):
            create(aeron_dir)

    with forked(body):
        pass
    assert os.listdir(aeron_dir) == []


def test_file_that_may_not_be_opened(aeron_dir: str) -> None:
    create(aeron_dir).publish_version()
    os.chmod(aeron_dir, 0o555)
    os.chmod(f"{aeron_dir}/cnc.dat", 0o000)

    def body() -> None:
        become_nobody()
        with pytest.raises(PermissionError, match=r"cnc\.dat"):
            CncFile.open(aeron_dir)

    with forked(body):
        pass


def test_is_not_made_by_hand() -> None:
    with pytest.raises(TypeError, match=r"CncFile\.create"):
        CncFile()
