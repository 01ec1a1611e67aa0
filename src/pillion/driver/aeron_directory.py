"""The aeron directory of a driver: who owns it, clearing a stale one, making a fresh one.

Nothing is made before it is known that no living driver owns the directory.
"""

from __future__ import annotations

import fcntl
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pillion.errors import (
    ActiveDriverError,
    CncFileError,
    CncNotReadyError,
    DirectoryError,
    DriverIncompatibleError,
)
from pillion.memory.cnc import CNC_FILE, CncFile

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
_PAUSE_S = 0.001
_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


@contextmanager
def start_lock(path: str, timeout_ms: int) -> Iterator[None]:
    """Held while a driver takes `path` over: of two that start at once, one sees the other.

    The lock is the system's, on a file beside the directory, so it goes with its process. Raises
    `ActiveDriverError` with the pid of a driver that does not finish its start in the time-out,
    `DirectoryError`.
    """
    lock_path = os.path.abspath(path) + ".lock"
    try:
        os.makedirs(os.path.dirname(lock_path), exist_ok=True)
        descriptor = _take_lock(lock_path, path, timeout_ms)
    except OSError as error:
        raise DirectoryError(
            f"cannot lock {lock_path} to start a driver: {error.strerror}", path=path
        ) from error
    try:
        yield
    finally:
        # Removed before it is free: who waits for this one sees that it is gone, and makes anew.
        with suppress(OSError):
            os.unlink(lock_path)
        # A forked child may hold the descriptor too, so closing it would not be enough.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _take_lock(lock_path: str, path: str, timeout_ms: int) -> int:
    deadline = time.monotonic() + timeout_ms / 1000
    while True:
        descriptor = os.open(lock_path, _LOCK_FLAGS, FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise DirectoryError(f"{lock_path} is not a regular file: delete it", path=path)
            if os.path.samestat(found, os.lstat(lock_path)):
                os.truncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
                return descriptor
            os.close(descriptor)
        except (BlockingIOError, FileNotFoundError):
            # Another one starts, or has started and removed its lock meanwhile.
            holder = os.pread(descriptor, 20, 0)
            os.close(descriptor)
            if time.monotonic() > deadline:
                raise _starting_driver(path, holder, timeout_ms) from None
            time.sleep(_PAUSE_S)
        except BaseException:
            os.close(descriptor)
            raise


def _starting_driver(path: str, holder: bytes, timeout_ms: int) -> ActiveDriverError:
    pid = int(holder) if holder.isdigit() else 0
    return ActiveDriverError(
        f"process {pid or 'unknown'} has been starting a driver in {path} for {timeout_ms} ms: "
        "stop it, or use another directory",
        directory=path,
        pid=pid,
    )


def owner_of(path: str) -> tuple[int, int] | None:
    """What tells the driver of `path` from every other: whose cnc file it is; None for nobody's.

    Good as long as the driver has the file mapped: its inode is not given to another one before.
    """
    try:
        found = os.lstat(os.path.join(path, CNC_FILE))
    except OSError:
        return None
    return found.st_dev, found.st_ino


def prepare_directory(
    path: str,
    *,
    driver_timeout_ms: int,
    delete_on_start: bool,
    warn_if_exists: bool,
    epoch_ms: Callable[[], int],
) -> None:
    """Make `path` with its `publications` and `images`, in place of a dead driver's.

    Raises `ActiveDriverError` with the pid of a living driver, `DirectoryError` for a path that is
    a link, no directory, somebody's other directory, or cannot be made.
    """
    if os.path.islink(path):
        raise DirectoryError(
            f"aeron directory {path} is a symbolic link to {os.readlink(path)}: "
            "name the directory itself",
            path=path,
        )
    if os.path.exists(path):
        if warn_if_exists:
            print(f"WARNING: {path} already exists", file=sys.stderr)
        _refuse_foreign(path)
        if not delete_on_start:
            refuse_active_driver(path, driver_timeout_ms, epoch_ms)
        _remove(path)
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        os.mkdir(path, DIRECTORY_MODE)
        for name in ("publications", "images"):
            os.mkdir(os.path.join(path, name), DIRECTORY_MODE)
    except OSError as error:
        raise DirectoryError(
            f"cannot make the aeron directory {path}: {error.strerror}", path=path
        ) from error


def _refuse_foreign(path: str) -> None:
    """A directory that is not an aeron directory is not ours to delete."""
    if not os.path.isdir(path):
        raise DirectoryError(f"aeron directory {path} is not a directory", path=path)
    try:
        names = os.listdir(path)
    except OSError as error:
        raise DirectoryError(f"cannot read {path}: {error.strerror}", path=path) from error
    if names and not {CNC_FILE, "publications", "images"} & set(names):
        raise DirectoryError(
            f"{path} holds other files ({', '.join(sorted(names)[:3])}) and no {CNC_FILE}: it is "
            "not an aeron directory and is not deleted; name another one",
            path=path,
        )


def refuse_active_driver(path: str, timeout_ms: int, epoch_ms: Callable[[], int]) -> None:
    """Raises `ActiveDriverError` if the driver of `path` lives; saves a dead one's error log."""
    cnc = _open_dead_or_alive(path, timeout_ms)
    if cnc is None:
        return
    age_ms = epoch_ms() - cnc.to_driver_ring.consumer_heartbeat_ms
    if age_ms <= timeout_ms:
        raise ActiveDriverError(
            f"active media driver detected: process {cnc.pid} owns {path} (it lived {age_ms} ms "
            "ago); stop it, or use another directory",
            directory=path,
            pid=cnc.pid,
        )
    _save_errors(path, cnc)


def _open_dead_or_alive(path: str, timeout_ms: int) -> CncFile | None:
    """The cnc file of `path`, waited for while its driver seems to be starting."""
    deadline = time.monotonic() + timeout_ms / 1000
    while True:
        try:
            return CncFile.open(path, read_only=True)
        except CncNotReadyError:
            if not _is_starting(path) or time.monotonic() > deadline:
                return None
            time.sleep(_PAUSE_S)
        except DriverIncompatibleError as error:
            raise DirectoryError(
                f"{error}: it may live; delete {path} yourself, or use another directory",
                path=path,
            ) from error
        except (CncFileError, OSError, ValueError):
            return None


def _is_starting(path: str) -> bool:
    """Whether the file was written so lately that its driver may be about to finish it."""
    try:
        return time.time() - os.stat(os.path.join(path, CNC_FILE)).st_mtime < 10
    except OSError:
        return False


def _save_errors(path: str, cnc: CncFile) -> None:
    errors = cnc.read_errors()
    if not errors:
        return
    stamp = time.strftime("%Y-%m-%d %H-%M-%S%z")
    saved = f"{path}-{stamp}-error.log"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with open(os.open(saved, flags, FILE_MODE), "w", encoding="utf-8") as file:
            for error in errors:
                first = time.strftime("%Y-%m-%d %H:%M:%S%z", time.localtime(error.first_ms / 1000))
                file.write(f"{error.count} observations from {first}:\n {error.text}\n\n")
    except OSError as failure:
        print(f"WARNING: cannot save the error log of {path}: {failure}", file=sys.stderr)
        return
    print(f"WARNING: existing errors of {path} were saved to {saved}", file=sys.stderr)


def _remove(path: str) -> None:
    import shutil  # only where there is something to remove: a fresh start is quicker without it

    try:
        shutil.rmtree(path)
    except OSError as error:
        raise DirectoryError(
            f"cannot delete the stale aeron directory {path}: {error.strerror} ({error.filename})",
            path=path,
        ) from error


def remove_directory(path: str) -> None:
    """Delete the directory of a driver that has stopped, or could not start."""
    import shutil

    shutil.rmtree(path, ignore_errors=True)
