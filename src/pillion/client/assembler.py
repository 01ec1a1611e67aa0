# cython: auto_pickle=False
"""Reassembly of messages that were longer than one frame."""

from __future__ import annotations

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_GET_SIZE
from cython.cimports.libc.stdint import int32_t, uint8_t
from cython.cimports.pillion.client.fragment import FragmentBuffer, Header
from cython.cimports.pillion.protocol.frames import (
    DATA_HEADER_LENGTH,
    FLAG_BEGIN,
    FLAG_END,
    FLAGS_UNFRAGMENTED,
    DataHeader,
    align_frame,
)

from pillion.client.image import ABORT

if not cython.compiled:
    raise ImportError("pillion.client.assembler must be compiled: run `pip install .`")

# A builder is a list: where the next fragment must begin, its term, flags so far, the first
# frame's header, and then the payloads.
_NEXT = cython.declare(cython.int, 0)
_TERM = cython.declare(cython.int, 1)
_FLAGS = cython.declare(cython.int, 2)
_HEADER = cython.declare(cython.int, 3)
_PAYLOADS = cython.declare(cython.int, 4)


class FragmentAssembler:
    """A fragment handler that calls `handler(buffer, header)` once a message, whole.

    Unfragmented messages pass through without a copy. Works for `poll` and `controlled_poll`
    alike: an ABORT of the last fragment is taken back so that it can come again. A message that
    lacks a fragment, as may be on an unreliable stream, is dropped. One assembler serves one
    subscription or image, from one thread.
    """

    def __cinit__(self, *args, **kwargs):
        self.builders = {}

    def __init__(self, handler):
        if not callable(handler):
            raise TypeError(f"handler {handler!r} is not callable")
        self.handler = handler

    def __call__(self, buffer: FragmentBuffer, header: Header):
        if self.handler is None:
            raise TypeError("this FragmentAssembler has no handler")
        header._check()
        frame: cython.pointer(cython.const[DataHeader]) = header.frame
        flags: cython.int = frame.flags
        if flags & FLAGS_UNFRAGMENTED == FLAGS_UNFRAGMENTED:
            return self.handler(buffer, header)
        end: int32_t = cython.cast(int32_t, frame.term_offset + align_frame(frame.frame_length))
        key = frame.session_id
        if flags & FLAG_BEGIN:
            first = cython.cast(cython.pointer(cython.const[uint8_t]), frame)[:DATA_HEADER_LENGTH]
            self.builders[key] = [end, frame.term_id, flags, first, bytes(buffer)]
            return None
        builder: list = self.builders.get(key)
        if builder is None:
            return None  # joined in the middle of a message
        if frame.term_offset != builder[_NEXT] or frame.term_id != builder[_TERM]:
            del self.builders[key]
            return None
        if flags & FLAG_END:
            return self._deliver(key, builder, buffer, header, flags, end)
        builder[_NEXT] = end
        builder[_FLAGS] |= flags
        builder.append(bytes(buffer))
        return None

    def _deliver(self, key, builder, buffer, header, flags, end):
        message: bytes = b"".join([*builder[_PAYLOADS:], bytes(buffer)])
        whole: FragmentBuffer = FragmentBuffer.__new__(FragmentBuffer)
        whole.owner = message
        whole.data = cython.cast(
            cython.pointer(cython.const[uint8_t]), PyBytes_AS_STRING(message)
        )
        whole.length = PyBytes_GET_SIZE(message)
        first: bytes = builder[_HEADER]
        complete: Header = Header.__new__(Header)
        complete.assemble(
            header,
            cython.cast(cython.pointer(cython.const[DataHeader]), PyBytes_AS_STRING(first)),
            whole.length,
            end,
        )
        complete.own.flags = builder[_FLAGS] | flags
        # Forgotten first, so that a handler that raises leaves nothing behind; an ABORT takes
        # the last fragment back, and it comes again.
        self.builders.pop(key, None)
        action = self.handler(whole, complete)
        if action is not None and action == ABORT:
            self.builders[key] = builder
        return action

    @property
    def is_empty(self) -> bool:
        """True while no half message is kept."""
        return not self.builders

    def free_session_buffer(self, session_id: int) -> bool:
        """Forget the half message of a session that is gone; True if there was one."""
        return self.builders.pop(session_id, None) is not None

    def clear(self) -> None:
        """Forget every half message."""
        self.builders.clear()
