"""How a driver's parts are put together, for a `MediaDriver` and for a simulation alike.

Nothing here starts a thread, reads a clock of its own, or opens a socket: what a driver needs of the
world outside is handed in.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from pillion.clock import Clock
from pillion.driver.aeron_directory import FILE_MODE
from pillion.driver.conductor import Conductor
from pillion.driver.data_plane import DataPlane
from pillion.driver.resources import LogFiles, Resources
from pillion.driver.services import RandomSource, Services
from pillion.driver.settings import DriverSettings
from pillion.driver.udp.transport import DatagramTransport
from pillion.driver.udp_channel import MeasuredResolver
from pillion.memory.cnc import LOSS_REPORT_FILE, CncFile
from pillion.memory.counters import CountersManager
from pillion.memory.loss_report import LossReport
from pillion.memory.mapped_file import MappedFile
from pillion.protocol.ids import (
    CONTROL_PROTOCOL_VERSION,
    CounterType,
    SystemCounter,
    system_counter_labels,
)
from pillion.units import format_duration
from pillion.version import __version__

SHUT_DOWN_HEARTBEAT_MS = -1


class DriverParts(NamedTuple):
    """A driver that does something when its conductor and its data plane are run."""

    cnc: CncFile
    plane: DataPlane
    services: Services
    conductor: Conductor

    def step(self, now_ns: int, now_ms: int) -> int:
        """One duty cycle of everything at this time, for the invoker mode; what it did."""
        return self.conductor.do_work() + self.plane.step(now_ns, now_ms)

    @property
    def is_taken_over(self) -> bool:
        """Whether another driver has our directory."""
        return self.services.log_files.is_taken_over

    def stop(self) -> None:
        """Stop the agents and tell the clients. Again does nothing."""
        self.plane.close()
        self.cnc.to_driver_ring.consumer_heartbeat_ms = SHUT_DOWN_HEARTBEAT_MS

    def close(self) -> None:
        """Stop, and free everything."""
        self.plane.close()
        self.conductor.close()
        # Last, so that who sees it may use the directory and the addresses.
        self.stop()


def build_driver(
    settings: DriverSettings,
    *,
    clock: Clock,
    random: RandomSource,
    make_resources: Callable[[Callable[[], None]], Resources],
    open_transport: Callable[..., DatagramTransport],
    resolver: Callable[[str], str],
    request_stop: Callable[[], None],
) -> DriverParts:
    """The parts of a driver in the empty directory `settings.aeron_dir`.

    `make_resources` gets what wakes the conductor. `request_stop` is called when the driver is to
    end. No client attaches before `cnc.publish_version()`. Raises `DirectoryError` with the bytes
    that are missing.
    """
    cnc = CncFile.create(
        settings.aeron_dir,
        to_driver_length=settings.conductor_buffer_length,
        to_clients_length=settings.clients_buffer_length,
        counter_values_length=settings.counters_buffer_length,
        error_log_length=settings.error_buffer_length,
        client_liveness_timeout_ns=settings.client_liveness_timeout_ns,
        page_size=settings.file_page_size,
        start_ms=clock.epoch_ms(),
        pid=os.getpid(),
        mode=FILE_MODE,
    )
    report_length = _align(settings.loss_report_buffer_length, settings.file_page_size)
    report = MappedFile.create(
        os.path.join(settings.aeron_dir, LOSS_REPORT_FILE),
        report_length,
        sparse=False,
        mode=FILE_MODE,
        touch=False,
    )
    counters = cnc.counters_manager(settings.counters_free_to_reuse_timeout_ns // 1_000_000)
    _allocate_system_counters(counters, settings)
    counters.set_value(SystemCounter.BYTES_MAPPED, len(cnc.mapped) + report_length)
    plane = _data_plane(settings, cnc, counters, clock.nano())
    services = Services(
        settings=settings,
        clock=clock,
        random=random,
        cnc=cnc,
        counters=counters,
        to_clients=cnc.to_clients_transmitter(),
        error_log=cnc.error_log(clock.epoch_ms),
        loss_report=LossReport(report),
        plane=plane,
        resources=make_resources(plane.wake),
        log_files=LogFiles(
            settings.aeron_dir,
            check_storage=settings.perform_storage_checks,
            file_mode=FILE_MODE,
        ),
        resolver=MeasuredResolver(
            resolver, clock, counters, settings.name_resolver_threshold_ns
        ),
        open_transport=open_transport,
    )
    ring = cnc.to_driver_ring
    ring.next_correlation_id()  # 0 is never handed out
    ring.consumer_heartbeat_ms = clock.epoch_ms()
    return DriverParts(cnc, plane, services, Conductor(services, request_stop))


def _data_plane(
    settings: DriverSettings, cnc: CncFile, counters: CountersManager, now_ns: int
) -> DataPlane:
    return DataPlane(
        counters=counters,
        ring=cnc.to_driver_ring,
        threading_mode=settings.threading_mode,
        heartbeat_interval_ns=settings.timer_interval_ns,
        idle={
            "conductor": settings.conductor_idle,
            "sender": settings.sender_idle,
            "receiver": settings.receiver_idle,
            "shared": settings.shared_idle,
            "sharednetwork": settings.sharednetwork_idle,
        },
        cycle_threshold_ns={
            "sender": settings.sender_cycle_threshold_ns,
            "receiver": settings.receiver_cycle_threshold_ns,
        },
        status_message_timeout_ns=settings.status_message_timeout_ns,
        now_ns=now_ns,
    )


def _allocate_system_counters(counters: CountersManager, settings: DriverSettings) -> None:
    labels = system_counter_labels(
        settings.threading_mode.upper(),
        __version__,
        format_duration(settings.conductor_cycle_threshold_ns),
        format_duration(settings.name_resolver_threshold_ns),
    )
    labels[SystemCounter.RESOLUTION_CHANGES] += settings.resolver_name
    for counter_id, label in enumerate(labels):
        counters.allocate(
            CounterType.SYSTEM,
            counter_id.to_bytes(4, "little"),
            label,
            registration_id=counter_id,
            owner_id=-1,
        )
    counters.set_value(SystemCounter.AERON_VERSION, _encoded_version())
    counters.set_value(SystemCounter.CONTROL_PROTOCOL_VERSION, CONTROL_PROTOCOL_VERSION)


def _encoded_version() -> int:
    major, minor, patch = (int(part) for part in __version__.split(".")[:3])
    return major << 16 | minor << 8 | patch


def _align(length: int, page_size: int) -> int:
    return (length + page_size - 1) & ~(page_size - 1)
