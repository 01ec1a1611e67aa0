"""What a fragment handler gets: the payload as a buffer and the frame's header, both zero-copy.

Both hold the mapping they point into, so keeping one longer than the callback is safe: it stays readable memory, though
its bytes change when the term is used again. `bytes(buffer)` makes a copy that stays.
"""

from __future__ import annotations

import cython
from cython.cimports.cpython.buffer import PyBuffer_FillInfo
from cython.cimports.libc.stdint import uint8_t
from cython.cimports.pillion.memory.log_buffer import compute_position
from cython.cimports.pillion.protocol.frames import align_frame

if not cython.compiled:
    raise ImportError("pillion.client.fragment must be compiled: run `pip install .`")


class FragmentBuffer:
    """The payload of one fragment: read-only, supports `len`, `bytes`, indexing, slicing and the buffer protocol."""

    def __len__(self):
        return self.length

    def __getbuffer__(self, buffer: cython.pointer(Py_buffer), flags: cython.int):
        PyBuffer_FillInfo(buffer, self, cython.cast(cython.p_void, self.data), self.length, 1, flags)

    def __bytes__(self):
        return self.data[:self.length]

    def tobytes(self) -> bytes:
        """A copy of the payload."""
        return self.data[:self.length]

    def __getitem__(self, item):
        if isinstance(item, slice):
            return self.data[:self.length][item]
        index: cython.Py_ssize_t = item
        if index < 0:
            index += self.length
        if index < 0 or index >= self.length:
            raise IndexError(f"index {item} is outside a fragment of {self.length} bytes")
        return self.data[index]

    def __eq__(self, other):
        if isinstance(other, FragmentBuffer):
            return bytes(self) == bytes(other)
        try:
            return bytes(self) == memoryview(other)
        except TypeError:
            return NotImplemented

    __hash__ = None

    def __repr__(self):
        return f"FragmentBuffer({self.length} bytes: {self.data[:min(self.length, 32)]!r})"


class Header:
    """The header of the frame a fragment came in. `context` is its image."""

    @property
    def frame_length(self) -> int:
        """Bytes of header and payload of this frame."""
        return self.frame.frame_length

    @property
    def flags(self) -> int:
        """0x80 begins, 0x40 ends a message; 0xC0 is a whole one, as for every assembled message."""
        return self.flags_override if self.flags_override >= 0 else self.frame.flags

    @property
    def type(self) -> int:
        return self.frame.type

    @property
    def term_offset(self) -> int:
        return self.frame.term_offset

    @property
    def session_id(self) -> int:
        return self.frame.session_id

    @property
    def stream_id(self) -> int:
        return self.frame.stream_id

    @property
    def term_id(self) -> int:
        return self.frame.term_id

    @property
    def reserved_value(self) -> int:
        """The 64 bits the publisher set with the message, 0 by default."""
        return self.frame.reserved_value

    @property
    def position(self) -> int:
        """Stream position after this frame."""
        return compute_position(self.frame.term_id, self.frame.term_offset, self.position_bits, self.initial_term_id) + (
            align_frame(self.frame.frame_length))

    @property
    def next_term_offset(self) -> int:
        return self.frame.term_offset + align_frame(self.frame.frame_length)

    def __repr__(self):
        return f"Header(session {self.session_id}, stream {self.stream_id}, position {self.position}, flags {self.flags:#04x})"
