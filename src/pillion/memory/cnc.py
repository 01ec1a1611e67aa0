"""`cnc.dat`: command and control. One file a driver, with the two message buffers, the counters and the error log."""

from __future__ import annotations

import os
import stat

import cython
from cython.cimports.pillion.memory.atomics import load_acquire_i32, store_release_i32
from cython.cimports.pillion.memory.mapped_file import MappedFile
from cython.cimports.pillion.memory.ring_buffer import ManyToOneRingBuffer
from cython.cimports.pillion.protocol.layouts import (
    BROADCAST_TRAILER_LENGTH,
    CNC_METADATA_LENGTH,
    CNC_VERSION,
    RING_TRAILER_LENGTH,
    CncMetadata,
)

from pillion.errors import CncFileError, CncNotReadyError, DriverIncompatibleError
from pillion.memory.broadcast import BroadcastReceiver, BroadcastTransmitter
from pillion.memory.counters import CountersManager, CountersReader, CountersWriter
from pillion.memory.error_log import DistinctErrorLog, read_errors

if not cython.compiled:
    raise ImportError("pillion.memory.cnc must be compiled: run `pip install .`")

CNC_FILE = "cnc.dat"
LOSS_REPORT_FILE = "loss-report.dat"
MAX_CNC_LENGTH = 2**31 - 1


def _check_lengths(to_driver: int, to_clients: int, metadata: int, values: int, error_log: int) -> None:
    """Raises `ValueError` unless the lengths of the sections are ones that a reader can walk."""
    for name, length, trailer in (
        ("to-driver", to_driver, RING_TRAILER_LENGTH), ("to-clients", to_clients, BROADCAST_TRAILER_LENGTH),
    ):
        capacity = length - trailer
        if capacity < 8 or capacity & (capacity - 1):
            raise ValueError(f"{name} length {length} is not a power of two + {trailer}")
    if min(metadata, values, error_log) < 0 or metadata % 8 or values % 8:
        raise ValueError(f"counters of {metadata} and {values} bytes, error log of {error_log} bytes: "
                         "negative, or not a multiple of 8")


def _describe(version: int) -> str:
    return f"{version >> 16 & 255}.{version >> 8 & 255}.{version & 255}"


class CncFile:
    """A mapped `cnc.dat`. `create` is the driver's, `open` a client's; both check everything before they return."""

    def __init__(self):
        raise TypeError("use CncFile.create or CncFile.open")

    @staticmethod
    def create(directory: str, *, to_driver_length: int, to_clients_length: int, counter_values_length: int,
               error_log_length: int, client_liveness_timeout_ns: int, page_size: int, start_ms: int, pid: int,
               mode: int = 0o600) -> CncFile:
        """Create the file, complete but for its version: no client attaches before `publish_version`.

        Raises `ValueError` for lengths that make no file, `DirectoryError` where there is no space, `OSError`.
        """
        metadata_length = counter_values_length * 4
        _check_lengths(to_driver_length, to_clients_length, metadata_length, counter_values_length, error_log_length)
        if page_size < 4096 or page_size & (page_size - 1):
            raise ValueError(f"page_size={page_size} is not a power of two from 4096 on")
        total = (CNC_METADATA_LENGTH + to_driver_length + to_clients_length + metadata_length
                 + counter_values_length + error_log_length)
        length = (total + page_size - 1) & ~(page_size - 1)
        if length > MAX_CNC_LENGTH:
            raise ValueError(f"the cnc file would have {length} bytes, it may have {MAX_CNC_LENGTH}")
        # The space is there for certain; the pages come as they are used, or a driver would start 15 ms later.
        mapped = MappedFile.create(os.path.join(directory, CNC_FILE), length, sparse=False, mode=mode, touch=False)
        cnc: CncFile = CncFile.__new__(CncFile)
        cnc.mapped = mapped
        raw: cython.pointer(CncMetadata) = cython.cast(cython.pointer(CncMetadata), cnc.mapped.address)
        raw.to_driver_buffer_length = to_driver_length
        raw.to_clients_buffer_length = to_clients_length
        raw.counter_metadata_buffer_length = metadata_length
        raw.counter_values_buffer_length = counter_values_length
        raw.error_log_buffer_length = error_log_length
        raw.client_liveness_timeout_ns = client_liveness_timeout_ns
        raw.start_timestamp_ms = start_ms
        raw.pid = pid
        raw.file_page_size = page_size
        cnc._lay_out()
        return cnc

    @staticmethod
    def open(directory: str, *, read_only: bool = False) -> CncFile:
        """Map the file of `directory`.

        Raises `CncNotReadyError` while the driver is starting, `DriverIncompatibleError` for another major version,
        `CncFileError` with the numbers if the file is not what it says, `OSError` if it cannot be opened.
        """
        path = os.path.join(directory, CNC_FILE)
        cnc: CncFile = CncFile.__new__(CncFile)
        size = 0
        if stat.S_ISREG(os.lstat(path).st_mode):
            try:
                # What is mapped has the length the open file had: nothing is read beyond it.
                cnc.mapped = MappedFile.open(path, read_only=read_only)
                size = cnc.mapped.length
            except ValueError:
                size = 0
        else:
            raise CncFileError(f"{path} is not a regular file", path=path)
        if size <= CNC_METADATA_LENGTH:
            raise CncNotReadyError(
                f"{path} has {size} bytes: its driver is still starting, or it is not a cnc file", path=path)
        raw: cython.pointer(CncMetadata) = cython.cast(cython.pointer(CncMetadata), cnc.mapped.address)
        version = load_acquire_i32(cython.address(raw.cnc_version))
        if version == 0:
            raise CncNotReadyError(f"{path} has no version yet: its driver is still starting", path=path)
        if (version >> 16) != (CNC_VERSION >> 16):
            raise DriverIncompatibleError(
                f"{path} has version {_describe(version)}, this client speaks {_describe(CNC_VERSION)}: "
                "use a driver and a client of the same major version", found=version, supported=CNC_VERSION)
        cnc._lay_out()
        return cnc

    def _lay_out(self):
        path = self.mapped.path
        # A private copy: what was checked here cannot be changed behind our back.
        self.metadata = cython.cast(cython.pointer(CncMetadata), self.mapped.address)[0]
        lengths = (
            self.metadata.to_driver_buffer_length, self.metadata.to_clients_buffer_length,
            self.metadata.counter_metadata_buffer_length, self.metadata.counter_values_buffer_length,
            self.metadata.error_log_buffer_length,
        )
        try:
            _check_lengths(*lengths)
        except ValueError as error:
            raise CncFileError(f"{path} is corrupt: {error}", path=path) from None
        needed = CNC_METADATA_LENGTH + sum(lengths)
        if needed > self.mapped.length:
            raise CncNotReadyError(f"{path} has {self.mapped.length} bytes, its sections need {needed}", path=path)
        at = CNC_METADATA_LENGTH
        offsets = []
        for length in lengths:
            offsets.append((at, length))
            at += length
        self.offsets = tuple(offsets)
        self.to_driver_ring = ManyToOneRingBuffer(self.mapped, *offsets[0])

    def publish_version(self) -> None:
        """From here on clients may attach."""
        self.mapped.check_writable()
        store_release_i32(self.mapped.address, CNC_VERSION)

    @property
    def version(self) -> int:
        return load_acquire_i32(self.mapped.address)

    @property
    def client_liveness_timeout_ns(self) -> int:
        return self.metadata.client_liveness_timeout_ns

    @property
    def start_timestamp_ms(self) -> int:
        return self.metadata.start_timestamp_ms

    @property
    def pid(self) -> int:
        return self.metadata.pid

    @property
    def page_size(self) -> int:
        return self.metadata.file_page_size

    def to_clients_transmitter(self) -> BroadcastTransmitter:
        return BroadcastTransmitter(self.mapped, *self.offsets[1])

    def to_clients_receiver(self) -> BroadcastReceiver:
        return BroadcastReceiver(self.mapped, *self.offsets[1])

    def counters_reader(self) -> CountersReader:
        return CountersReader(self.mapped, *self.offsets[2], *self.offsets[3])

    def counters_writer(self) -> CountersWriter:
        return CountersWriter(self.mapped, *self.offsets[2], *self.offsets[3])

    def counters_manager(self, free_to_reuse_ms: int = 1000) -> CountersManager:
        return CountersManager(self.mapped, *self.offsets[2], *self.offsets[3], free_to_reuse_ms)

    def error_log(self, epoch_ms) -> DistinctErrorLog:
        return DistinctErrorLog(self.mapped, *self.offsets[4], epoch_ms)

    def read_errors(self, since_ms: int = 0) -> list:
        return read_errors(self.mapped, *self.offsets[4], since_ms)

    def __repr__(self) -> str:
        return f"CncFile({self.mapped.path!r}, version {_describe(self.version)}, driver pid {self.pid})"
