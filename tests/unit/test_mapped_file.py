"""Mapped files: creation that refuses and checks, and mappings that outlive what made them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from memory_tools import become_nobody, forked

from pillion.errors import DirectoryError
from pillion.memory.counters import CountersManager, CountersWriter
from pillion.memory.error_log import DistinctErrorLog
from pillion.memory.loss_report import LossReport
from pillion.memory.mapped_file import MappedFile, free_space
from pillion.memory.ring_buffer import ManyToOneRingBuffer


@pytest.mark.parametrize("sparse", [False, True])
def test_create_gives_zeros_that_others_see(tmp_path: Path, sparse: bool) -> None:
    path = tmp_path / "file"
    mapped = MappedFile.create(str(path), 10_000, sparse=sparse)
    assert len(mapped) == mapped.length == path.stat().st_size == 10_000
    assert bytes(mapped) == bytes(10_000)
    assert path.stat().st_mode & 0o777 == 0o600
    memoryview(mapped)[9999] = 7
    assert path.read_bytes()[9999] == 7
    if not sparse:
        assert path.stat().st_blocks * 512 >= 10_000, "every block is allocated"


def test_create_with_a_mode_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        MappedFile.create(str(tmp_path / "file"), 1, mode=0o666)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666


def test_create_never_overwrites_and_never_follows(tmp_path: Path) -> None:
    existing = tmp_path / "existing"
    existing.write_text("precious")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    for path in (existing, link):
        with pytest.raises(FileExistsError):
            MappedFile.create(str(path), 100)
    assert existing.read_text() == "precious"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("length", [0, -1])
def test_lengths_must_be_positive(tmp_path: Path, length: int) -> None:
    with pytest.raises(ValueError, match=f"length={length}"):
        MappedFile.create(str(tmp_path / "file"), length)
    with pytest.raises(ValueError, match=f"length={length}"):
        MappedFile.anonymous(length)


def test_create_in_a_missing_or_closed_directory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        MappedFile.create(str(tmp_path / "none" / "file"), 100)


def test_create_where_nothing_may_be_written(aeron_dir: str) -> None:
    os.chmod(aeron_dir, 0o555)

    def body() -> None:
        become_nobody()
        with pytest.raises(PermissionError):
            MappedFile.create(f"{aeron_dir}/file", 100)

    with forked(body):
        pass
    assert os.listdir(aeron_dir) == []


def test_create_larger_than_the_file_system(tmp_path: Path) -> None:
    needed = 2**60
    with pytest.raises(DirectoryError, match=r"needs \d+ bytes") as caught:
        MappedFile.create(str(tmp_path / "file"), needed)
    assert caught.value.needed == needed
    assert caught.value.available == pytest.approx(free_space(str(tmp_path)), rel=0.5)
    assert caught.value.path == str(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_full_file_system_is_an_exception_with_numbers(small_file_system: Path) -> None:
    with pytest.raises(DirectoryError) as caught:
        MappedFile.create(str(small_file_system / "large"), 2 * 1024 * 1024, sparse=False)
    assert caught.value.needed == 2 * 1024 * 1024
    assert caught.value.available == 1024 * 1024
    assert list(small_file_system.iterdir()) == []


def test_a_file_system_that_fills_up_meanwhile(
    small_file_system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (small_file_system / "other").write_bytes(bytes(512 * 1024))
    monkeypatch.setattr(os, "statvfs", _roomy(os.statvfs))
    with pytest.raises(DirectoryError, match="cannot allocate 1048576 bytes") as caught:
        MappedFile.create(str(small_file_system / "large"), 1024 * 1024, sparse=False)
    assert caught.value.needed == 1024 * 1024
    assert sorted(os.listdir(small_file_system)) == ["other"], "the half-made file is gone"


def _roomy(statvfs):  # type: ignore[no-untyped-def]
    """A `statvfs` that sees more space than there is, as one does that is asked too early."""

    class Found:
        f_frsize = 4096

        def __init__(self, path: str) -> None:
            self.f_bavail = statvfs(path).f_bavail + 1024

    return Found


def test_open_maps_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"contents")
    assert bytes(MappedFile.open(str(path))) == b"contents"
    read_only = MappedFile.open(str(path), read_only=True)
    assert memoryview(read_only).readonly
    with pytest.raises(TypeError):
        memoryview(read_only)[0] = 1
    assert "read-only" in repr(read_only)


def test_open_refuses_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    with pytest.raises(FileNotFoundError):
        MappedFile.open(str(tmp_path / "none"))
    with pytest.raises(ValueError, match="is empty"):
        MappedFile.open(str(tmp_path / "empty"))
    for read_only in (True, False):
        with pytest.raises(ValueError, match="not a regular file"):
            MappedFile.open(str(tmp_path / "fifo"), read_only=read_only)
        with pytest.raises(OSError, match="symbolic link"):
            MappedFile.open(str(tmp_path / "link"), read_only=read_only)
    with pytest.raises(IsADirectoryError):
        MappedFile.open(str(tmp_path))


def test_a_view_keeps_the_memory(tmp_path: Path) -> None:
    mapped = MappedFile.create(str(tmp_path / "file"), 4096)
    view = memoryview(mapped)
    view[0] = 9
    del mapped
    (tmp_path / "file").unlink()
    assert view[0] == 9
    assert "file" in Path("/proc/self/maps").read_text()


def test_the_mapping_goes_with_the_object(tmp_path: Path) -> None:
    path = tmp_path / "distinctive-name"
    mapped = MappedFile.create(str(path), 4096)
    assert path.name in Path("/proc/self/maps").read_text()
    del mapped
    assert path.name not in Path("/proc/self/maps").read_text()


def test_is_not_made_by_hand() -> None:
    with pytest.raises(TypeError, match=r"MappedFile\.create"):
        MappedFile()
    assert bytes(MappedFile.__new__(MappedFile)) == b""


def test_nothing_is_stored_into_read_only_memory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(8192))
    mapped = MappedFile.open(str(path), read_only=True)
    ring = ManyToOneRingBuffer(mapped, 0, 1024 + 768)
    counters = CountersWriter(mapped, 0, 2048, 4096, 512)
    for store in (
        lambda: ring.write(1, b""),
        ring.read_one,
        ring.unblock,
        ring.next_correlation_id,
        lambda: setattr(ring, "consumer_heartbeat_ms", 1),
        lambda: counters.set_value(0, 1),
        lambda: counters.add_to_value(0, 1),
        lambda: counters.append_to_label(0, "x"),
        lambda: CountersManager(mapped, 0, 2048, 4096, 512),
        lambda: DistinctErrorLog(mapped, 0, 1024, lambda: 0),
        lambda: LossReport(mapped),
    ):
        with pytest.raises(PermissionError, match="read-only"):
            store()
