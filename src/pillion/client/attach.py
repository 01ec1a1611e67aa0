"""Finding a living driver through the `cnc.dat` of its directory."""

from __future__ import annotations

import os
import time

from pillion.clock import SYSTEM_CLOCK, Clock
from pillion.errors import BufferFullError, CncFileError, CncNotReadyError, DriverTimeoutError
from pillion.memory.cnc import CncFile
from pillion.protocol import commands
from pillion.protocol.ids import CommandType

# Seconds between looks: for the file to appear, for the driver to finish it, for a restart.
_FILE_PAUSE = 0.016
_START_PAUSE = 0.001
_RESTART_PAUSE = 0.1


def attach(aeron_dir: str, timeout_ns: int, clock: Clock = SYSTEM_CLOCK) -> CncFile:
    """The cnc file of a living driver of `aeron_dir`, waited for up to `timeout_ns`.

    Raises `DriverTimeoutError` that says what was found instead, `DriverIncompatibleError` and
    `CncFileError` at once.
    """
    deadline = clock.nano() + timeout_ns
    while True:
        try:
            cnc = CncFile.open(aeron_dir)
            heartbeat = cnc.to_driver_ring.consumer_heartbeat_ms
            age_ms = clock.epoch_ms() - heartbeat
            if heartbeat > 0 and age_ms <= timeout_ns // 1_000_000:
                return cnc
            driver = f"the driver of {aeron_dir} (pid {cnc.pid})"
            if heartbeat == -1:
                found, pause = f"{driver} was shut down", _RESTART_PAUSE
            elif heartbeat == 0:
                found, pause = f"{driver} has not begun to work", _START_PAUSE
            else:
                found, pause = f"{driver} last lived {age_ms / 1000:.1f} s ago", _RESTART_PAUSE
        except FileNotFoundError:
            found, pause = f"there is no driver in {aeron_dir}", _FILE_PAUSE
        except PermissionError as error:
            found = f"{error.filename} cannot be opened: {error.strerror}"
            pause = _RESTART_PAUSE
        except CncNotReadyError as error:
            found, pause = str(error), _START_PAUSE
        if clock.nano() > deadline:
            raise DriverTimeoutError(
                f"{found}; waited {timeout_ns / 1e9:.1f} s. Start one with `pillion driver --dir "
                f"{aeron_dir}`, or use pillion.connect(embedded=True)"
            )
        left = (deadline - clock.nano()) / 1e9
        time.sleep(min(pause, max(0.0, left) + 0.001))


def is_driver_active(aeron_dir: str | os.PathLike[str], timeout: float = 10.0) -> bool:
    """True if a driver of our version gave a sign of life in `aeron_dir` within `timeout` s."""
    try:
        cnc = CncFile.open(os.fspath(aeron_dir), read_only=True)
    except FileNotFoundError:
        return False
    except CncFileError:
        return False
    heartbeat = cnc.to_driver_ring.consumer_heartbeat_ms
    return heartbeat > 0 and time.time_ns() // 1_000_000 - heartbeat <= timeout * 1000


def request_driver_termination(aeron_dir: str | os.PathLike[str], token: bytes = b"") -> bool:
    """Ask the driver of `aeron_dir` to stop; False if there is none.

    It obeys if its termination validator allows it; there is no answer. Raises `BufferFullError`.
    """
    try:
        cnc = CncFile.open(os.fspath(aeron_dir))
    except (FileNotFoundError, CncNotReadyError):
        return False
    ring = cnc.to_driver_ring
    message = commands.encode_terminate_driver(ring.next_correlation_id(), token)
    if not ring.write(CommandType.TERMINATE_DRIVER, message):
        raise BufferFullError(f"the command buffer of {aeron_dir} is full")
    return True
