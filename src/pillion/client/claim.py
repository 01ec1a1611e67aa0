# cython: auto_pickle=False
"""Claims: messages written in place, between `try_claim` and `commit`."""

from __future__ import annotations

import os

import cython
from cython.cimports.cpython.buffer import PyBuffer_FillInfo
from cython.cimports.libc.stdint import uint8_t, uint16_t
from cython.cimports.pillion.memory.appender import claim_abort, claim_commit
from cython.cimports.pillion.protocol.frames import DATA_HEADER_LENGTH, DataHeader

from pillion.errors import ClosedError, ForkedError

if not cython.compiled:
    raise ImportError("pillion.client.claim must be compiled: run `pip install .`")

# How many forks led to this process: a claim belongs to the process it was made in.
_generation = cython.declare(cython.int, 0)


def _count_fork():
    global _generation
    _generation += 1


os.register_at_fork(after_in_child=_count_fork)


def new_claim(owner, frame, length, position):
    """The claim of a frame that was reserved in the log that `owner` keeps mapped."""
    claim: BufferClaim = BufferClaim.__new__(BufferClaim)
    claim.owner = owner
    claim.frame = frame
    claim.length = length
    claim.position = position
    claim.generation = _generation
    claim.done = False
    return claim


class BufferClaim:
    """A claimed message, written in place. As a context manager it commits, or aborts on an exception.

    It may be kept longer than its publication, and a forgotten one is aborted.
    """

    def __cinit__(self, *args, **kwargs):
        self.done = True

    def __init__(self):
        raise TypeError("a BufferClaim comes from try_claim")

    def _check(self):
        if self.done:
            raise ClosedError("the claim was committed or aborted")
        if self.generation != _generation:
            raise ForkedError("this claim belongs to the parent process")
        return 0

    def __getbuffer__(self, buffer: cython.pointer(Py_buffer), flags: cython.int):
        self._check()
        PyBuffer_FillInfo(buffer, self, self.frame + DATA_HEADER_LENGTH, self.length, 0, flags)

    def __len__(self):
        return self.length

    @property
    def buffer(self) -> memoryview:
        """The writable payload. Written to after the commit, it changes what others are reading."""
        return memoryview(self)

    @property
    def is_open(self) -> bool:
        """True until it is committed or aborted."""
        return not self.done

    @property
    def flags(self) -> int:
        """Flags of the frame, 0xC0 (a whole message) unless set, 0..255."""
        self._check()
        return cython.cast(cython.pointer(DataHeader), self.frame).flags

    @flags.setter
    def flags(self, value: uint8_t):
        self._check()
        cython.cast(cython.pointer(DataHeader), self.frame).flags = value

    @property
    def header_type(self) -> int:
        """Type of the frame, 1 (data) unless set, 0..65535."""
        self._check()
        return cython.cast(cython.pointer(DataHeader), self.frame).type

    @header_type.setter
    def header_type(self, value: uint16_t):
        self._check()
        cython.cast(cython.pointer(DataHeader), self.frame).type = value

    @property
    def reserved_value(self) -> int:
        """The 64 bits that travel in the header, 0 unless set."""
        self._check()
        return cython.cast(cython.pointer(DataHeader), self.frame).reserved_value

    @reserved_value.setter
    def reserved_value(self, value: int64_t):
        self._check()
        cython.cast(cython.pointer(DataHeader), self.frame).reserved_value = value

    def commit(self) -> None:
        """Publish the message. Once."""
        self._check()
        self.done = True
        claim_commit(self.frame, self.length)

    def abort(self) -> None:
        """Turn the claim into padding that nobody sees. Once."""
        self._check()
        self.done = True
        claim_abort(self.frame, self.length)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        if not self.done:
            if kind is None:
                self.commit()
            else:
                self.abort()

    def __dealloc__(self):
        # A forgotten claim would block every subscriber until the driver unblocks it.
        if not self.done and self.generation == _generation:
            claim_abort(self.frame, self.length)

    def __repr__(self):
        return f"BufferClaim({self.length} bytes, {'done' if self.done else 'open'})"
