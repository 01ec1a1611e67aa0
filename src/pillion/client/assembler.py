"""Reassembly of messages that were longer than one frame."""

from __future__ import annotations

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_GET_SIZE
from cython.cimports.libc.stdint import uint8_t
from cython.cimports.pillion.client.fragment import FragmentBuffer, Header
from cython.cimports.pillion.protocol.frames import FLAG_BEGIN, FLAG_END, FLAGS_UNFRAGMENTED

from pillion.client.image import ABORT

if not cython.compiled:
    raise ImportError("pillion.client.assembler must be compiled: run `pip install .`")


class FragmentAssembler:
    """A fragment handler that calls `handler(buffer, header)` once a message, whole.

    Unfragmented messages pass through without a copy. Works for `poll` and `controlled_poll` alike: an ABORT of the last
    fragment is taken back so that it can come again. One assembler serves one subscription, from one thread.
    """

    def __init__(self, handler):
        if not callable(handler):
            raise TypeError(f"handler {handler!r} is not callable")
        self.handler = handler
        self.builders = {}

    def __call__(self, buffer, header: Header):
        flags: cython.int = header.frame.flags
        if flags & FLAGS_UNFRAGMENTED == FLAGS_UNFRAGMENTED:
            return self.handler(buffer, header)
        key = header.frame.session_id
        if flags & FLAG_BEGIN:
            self.builders[key] = (header.next_term_offset, header.term_id, [bytes(buffer)])
            return None
        builder = self.builders.get(key)
        if builder is None:
            return None                             # joined in the middle of a message
        expected, term_id, parts = builder
        if header.frame.term_offset != expected or header.frame.term_id != term_id:
            del self.builders[key]                  # a fragment is missing: an unreliable stream lost it
            return None
        if not flags & FLAG_END:
            parts.append(bytes(buffer))
            self.builders[key] = (header.next_term_offset, term_id, parts)
            return None
        message: bytes = b"".join([*parts, bytes(buffer)])
        whole: FragmentBuffer = FragmentBuffer.__new__(FragmentBuffer)
        whole.owner = message
        whole.data = cython.cast(cython.pointer(cython.const[uint8_t]), PyBytes_AS_STRING(message))
        whole.length = PyBytes_GET_SIZE(message)
        last: Header = Header.__new__(Header)
        last.owner = header.owner
        last.context = header.context
        last.frame = header.frame
        last.position_bits = header.position_bits
        last.initial_term_id = header.initial_term_id
        last.flags_override = FLAGS_UNFRAGMENTED
        action = self.handler(whole, last)
        if action != ABORT:
            self.builders.pop(key, None)
        return action

    def free_session_buffer(self, session_id: int) -> bool:
        """Forget the half message of a session that is gone; True if there was one."""
        return self.builders.pop(session_id, None) is not None

    def clear(self) -> None:
        """Forget every half message."""
        self.builders.clear()
