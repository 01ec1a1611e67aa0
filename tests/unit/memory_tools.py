"""Reading and writing shared memory byte by byte, and running code in forked processes."""

from __future__ import annotations

import os
import struct
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pillion.memory.mapped_file import MappedFile


def get(owner: MappedFile, layout: str, offset: int) -> int:
    """One number of the mapped memory, by its `struct` letter."""
    with memoryview(owner) as view:
        value: int = struct.unpack_from(f"<{layout}", view, offset)[0]
    return value


def put(owner: MappedFile, layout: str, offset: int, value: int) -> None:
    """Store one number, as a foreign process could."""
    with memoryview(owner) as view:
        struct.pack_into(f"<{layout}", view, offset, value)


def take(owner: MappedFile, offset: int, length: int) -> bytes:
    with memoryview(owner) as view:
        return bytes(view[offset : offset + length])


def fill(owner: MappedFile, offset: int, data: bytes) -> None:
    with memoryview(owner) as view:
        view[offset : offset + len(data)] = data


def become_nobody() -> None:
    """In a forked child of root: give up the right to write everywhere."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


@contextmanager
def forked(*bodies: Callable[[], None]) -> Iterator[list[int]]:
    """Run each body in a child process; on leaving, wait for all and fail if one failed."""
    children = []
    for body in bodies:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                body()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(pid)
    yield children
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    assert statuses == [0] * len(children), statuses
