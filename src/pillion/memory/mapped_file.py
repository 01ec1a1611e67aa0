"""Files mapped into memory: the one place that calls `mmap`.

A `MappedFile` unmaps when the object dies and never before, so a pointer into it is good for as long as somebody holds
a reference to the object: that is what lets a view outlive the image, client or driver it came from. Creation refuses
to follow links and to overwrite, and makes sure of the space first, so that a full file system is an exception with
numbers and not a SIGBUS later.
"""

from __future__ import annotations

import os
import stat

import cython
from cython.cimports.cpython.buffer import PyBuffer_FillInfo
from cython.cimports.libc.errno import errno
from cython.cimports.libc.stdint import uint8_t
from cython.cimports.posix.mman import (
    MAP_ANONYMOUS,
    MAP_FAILED,
    MAP_POPULATE,
    MAP_SHARED,
    PROT_READ,
    PROT_WRITE,
    mmap,
    munmap,
)

from pillion.errors import DirectoryError

if not cython.compiled:
    raise ImportError("pillion.memory.mapped_file must be compiled: run `pip install .`")

_CREATE_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Not blocking: a FIFO left under the name must not hold us up before we see what it is.
_OPEN_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def free_space(path: str) -> int:
    """Bytes an unprivileged process may still allocate on the file system that holds `path`."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def _map(fd: int, length: int, path: str, read_only: bool, populate: bool) -> MappedFile:
    mapped: MappedFile = MappedFile.__new__(MappedFile)
    protection: cython.int = PROT_READ if read_only else PROT_READ | PROT_WRITE
    flags: cython.int = MAP_SHARED | (MAP_POPULATE if populate else 0) | (MAP_ANONYMOUS if fd < 0 else 0)
    descriptor: cython.int = fd
    size: cython.size_t = length
    address: cython.p_void
    failure: cython.int = 0
    with cython.nogil:
        address = mmap(cython.NULL, size, protection, flags, descriptor, 0)
        if address == MAP_FAILED:
            failure = errno
    if failure:
        raise OSError(failure, f"cannot map {length} bytes of {path}: {os.strerror(failure)}", path)
    mapped.address = cython.cast(cython.pointer(uint8_t), address)
    mapped.length = size
    mapped.path = path
    mapped.read_only = read_only
    return mapped


class MappedFile:
    """A whole file mapped shared. Made by `create`, `open` or `anonymous`; the buffer protocol gives its bytes."""

    def __cinit__(self):
        self.address = cython.NULL
        self.length = 0

    def __init__(self):
        raise TypeError("use MappedFile.create, MappedFile.open or MappedFile.anonymous")

    def __dealloc__(self):
        if self.address != cython.NULL:
            munmap(self.address, self.length)
            self.address = cython.NULL

    @staticmethod
    def create(path: str, length: int, *, sparse: bool = True, mode: int = 0o600,
               touch: bool | None = None) -> MappedFile:
        """Create `path` (which must not exist) with `length` zero bytes and map it.

        `sparse=False` allocates every block, and touches every page unless `touch=False` leaves that to the first
        use; `sparse=True` sets the length only, and the caller is responsible for the file system not filling up
        before the pages are written. Raises `DirectoryError` with the bytes needed and available when the space is
        not there, `OSError` otherwise.
        """
        if length <= 0:
            raise ValueError(f"length={length} must be positive")
        path = os.fspath(path)
        available = free_space(os.path.dirname(path) or ".")
        if available < length:
            raise DirectoryError(
                f"{path} needs {length} bytes, its file system has {available} left",
                path=path, needed=length, available=available,
            )
        fd = os.open(path, _CREATE_FLAGS, mode)
        try:
            try:
                os.fchmod(fd, mode)
                if sparse:
                    os.ftruncate(fd, length)
                else:
                    os.posix_fallocate(fd, 0, length)
                return _map(fd, length, path, False, not sparse if touch is None else touch)
            except BaseException as error:
                os.unlink(path)
                if isinstance(error, OSError) and not isinstance(error, DirectoryError):
                    raise DirectoryError(
                        f"cannot allocate {length} bytes for {path}: {error.strerror}",
                        path=path, needed=length, available=free_space(os.path.dirname(path) or "."),
                    ) from error
                raise
        finally:
            os.close(fd)

    @staticmethod
    def open(path: str, *, read_only: bool = False, populate: bool = False) -> MappedFile:
        """Map the whole existing regular file `path`.

        Raises `OSError`, and `ValueError` for an empty file or something else than a file.
        """
        path = os.fspath(path)
        fd = os.open(path, _OPEN_FLAGS | (os.O_RDONLY if read_only else os.O_RDWR))
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise ValueError(f"{path} is not a regular file")
            length = found.st_size
            if length == 0:
                raise ValueError(f"{path} is empty")
            return _map(fd, length, path, read_only, populate)
        finally:
            os.close(fd)

    @staticmethod
    def anonymous(length: int) -> MappedFile:
        """Zeroed shared memory without a file; forked children share it."""
        if length <= 0:
            raise ValueError(f"length={length} must be positive")
        return _map(-1, length, "<anonymous>", False, False)

    def check_writable(self):
        # A store into a read-only mapping kills the process; an exception does not.
        if self.read_only:
            raise PermissionError(f"{self.path} is mapped read-only")
        return 0

    def __len__(self) -> int:
        return self.length

    def __getbuffer__(self, buffer: cython.pointer(Py_buffer), flags: cython.int):
        PyBuffer_FillInfo(buffer, self, self.address, self.length, self.read_only, flags)

    def __repr__(self) -> str:
        return f"MappedFile({self.path!r}, {self.length} bytes{', read-only' if self.read_only else ''})"
