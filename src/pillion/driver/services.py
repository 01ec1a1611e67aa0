"""What every family of commands works with: settings, time, counters, answers, errors, slow work."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from pillion.clock import Clock
from pillion.driver.refusal import Refusal, refusal_of
from pillion.errors import ErrorCode
from pillion.memory.counters import CountersManager
from pillion.protocol.ids import CounterType, ResponseType, SystemCounter

if TYPE_CHECKING:
    from pillion.driver.data_plane import DataPlane
    from pillion.driver.resources import LogFiles, Resources
    from pillion.driver.settings import DriverSettings
    from pillion.driver.udp.transport import DatagramTransport
    from pillion.memory.broadcast import BroadcastTransmitter
    from pillion.memory.cnc import CncFile
    from pillion.memory.error_log import DistinctErrorLog
    from pillion.memory.loss_report import LossReport

_STREAM_KEY = struct.Struct("<qiii")
_CHANNEL_KEY_TEXT = 108
_STREAM_KEY_TEXT = 92
_ADDRESS_KEY_TEXT = 103


class RandomSource(Protocol):
    """Where session ids, term ids and receiver ids come from; a simulation brings a seeded one."""

    def getrandbits(self, bits: int, /) -> int:
        """A number of 0..2**bits - 1."""

    def int32(self) -> int:
        """Any signed 32-bit number."""


class Randomness:
    """The system's randomness."""

    def getrandbits(self, bits: int, /) -> int:
        """A number of 0..2**bits - 1."""
        return int.from_bytes(os.urandom((bits + 7) // 8)) >> (-bits % 8)

    def int32(self) -> int:
        """Any signed 32-bit number."""
        return self.getrandbits(32) - 2**31


class Services:
    """One a driver; the conductor's thread only."""

    def __init__(
        self,
        *,
        settings: DriverSettings,
        clock: Clock,
        random: RandomSource,
        cnc: CncFile,
        counters: CountersManager,
        to_clients: BroadcastTransmitter,
        error_log: DistinctErrorLog,
        loss_report: LossReport,
        plane: DataPlane,
        resources: Resources,
        log_files: LogFiles,
        resolver: Callable[[str], str],
        open_transport: Callable[..., DatagramTransport],
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.random = random
        self.cnc = cnc
        self.counters = counters
        self.to_clients = to_clients
        self.error_log = error_log
        self.loss_report = loss_report
        self.plane = plane
        self.resources = resources
        self.log_files = log_files
        self.resolver = resolver
        self.open_transport = open_transport
        #: Time of the cycle, ns and ms since the epoch.
        self.now_ns = 0
        self.now_ms = 0
        #: Log files whose deletion failed: `(path, length, references)`.
        self.undeleted: list[tuple[str, int, list[Any]]] = []

    # ---- answers --------------------------------------------------------------------------------

    def send(self, response: ResponseType, message: bytes) -> None:
        self.to_clients.transmit(response, message)

    # ---- errors ---------------------------------------------------------------------------------

    def count(self, counter: SystemCounter, by: int = 1) -> None:
        self.counters.add_to_value(counter, by)

    def record(self, error_code: int, message: str) -> None:
        """An error for the error log and the counter of errors."""
        self.error_log.record(error_code, message)
        self.count(SystemCounter.ERRORS)

    def record_failure(self, error: Exception) -> Refusal:
        """Log whatever went wrong, as the refusal a client would get."""
        refusal = refusal_of(error)
        if refusal.error_code != ErrorCode.RESOURCE_TEMPORARILY_UNAVAILABLE:
            self.record(refusal.error_code, refusal.message)
        return refusal

    # ---- counters -------------------------------------------------------------------------------

    def allocate(
        self,
        type_id: int,
        key: bytes,
        label: str,
        *,
        registration_id: int,
        owner_id: int = 0,
        reference_id: int = 0,
        value: int = 0,
    ) -> int:
        return self.counters.allocate(
            type_id,
            key,
            label,
            registration_id=registration_id,
            owner_id=owner_id,
            reference_id=reference_id,
            value=value,
            now_ms=self.now_ms,
        )

    def allocate_stream_counter(
        self,
        counter_type: CounterType,
        name: str,
        *,
        registration_id: int,
        owner_id: int,
        session_id: int,
        stream_id: int,
        channel: str,
        reference_id: int = 0,
        value: int = 0,
    ) -> int:
        """A counter with the stream key and label; `name` as in `pub-lmt`."""
        text = channel.encode()[:_STREAM_KEY_TEXT]
        key = _STREAM_KEY.pack(registration_id, session_id, stream_id, len(text)) + text
        label = f"{name}: {registration_id} {session_id} {stream_id} {channel}"
        return self.allocate(
            counter_type,
            key,
            label,
            registration_id=registration_id,
            owner_id=owner_id,
            reference_id=reference_id,
            value=value,
        )

    def allocate_channel_counter(
        self, counter_type: CounterType, name: str, channel: str, registration_id: int
    ) -> int:
        text = channel.encode()[:_CHANNEL_KEY_TEXT]
        key = struct.pack("<i", len(text)) + text
        return self.allocate(
            counter_type, key, f"{name}: {channel}", registration_id=registration_id
        )

    def allocate_address_counter(
        self, name: str, status_id: int, address: str, registration_id: int
    ) -> int:
        text = address.encode()[:_ADDRESS_KEY_TEXT]
        key = struct.pack("<ii", status_id, len(text)) + text
        return self.allocate(
            CounterType.LOCAL_SOCKET_ADDRESS,
            key,
            f"{name}: {status_id} {address}",
            registration_id=registration_id,
            value=1,
        )

    def free_counters(self, counter_ids: list[int]) -> None:
        """Free each once; the list is emptied."""
        for counter_id in counter_ids:
            self.counters.free(counter_id, self.now_ms)
        counter_ids.clear()

    # ---- log files ------------------------------------------------------------------------------

    def log_was_created(self, length: int, available: int, path: str) -> None:
        self.count(SystemCounter.BYTES_MAPPED, length)
        threshold = self.settings.low_file_store_warning_threshold
        if self.settings.perform_storage_checks and available <= threshold:
            # A warning only: the log was made, so the counter of errors stays.
            self.error_log.record(
                ErrorCode.STORAGE_SPACE,
                f"space is running low: threshold={threshold} usable={available} for {path}",
            )

    def delete_log(self, path: str, length: int, references: list[Any]) -> None:
        """Delete a log beside the cycle; a failure is counted and tried again."""

        def done(_: Any, error: Exception | None) -> None:
            if error is None:
                self.count(SystemCounter.BYTES_MAPPED, -length)
                return
            self.count(SystemCounter.FREE_FAILS)
            self.record_failure(error)
            self.undeleted.append((path, length, references))

        self.resources.submit(lambda: self.log_files.delete(path, references), done)
