# cython: auto_pickle=False
"""What a fragment handler gets: the payload as a buffer and the frame's header, both zero-copy.

Both hold the mapping they point into, so keeping one longer than the callback is safe: it stays
readable memory, though its bytes change when the term is used again. `bytes(buffer)` makes a copy
that stays.
"""

from __future__ import annotations

import cython
from cython.cimports.cpython.buffer import PyBuffer_FillInfo
from cython.cimports.pillion.memory.log_buffer import compute_position
from cython.cimports.pillion.protocol.frames import DATA_HEADER_LENGTH, align_frame

if not cython.compiled:
    raise ImportError("pillion.client.fragment must be compiled: run `pip install .`")


class FragmentBuffer:
    """The payload of a message: read-only, with `len`, `bytes`, `[]` and the buffer protocol."""

    def __init__(self):
        raise TypeError("a FragmentBuffer is made by poll")

    def __len__(self):
        return self.length

    def __getbuffer__(self, buffer: cython.pointer(Py_buffer), flags: cython.int):
        PyBuffer_FillInfo(
            buffer, self, cython.cast(cython.p_void, self.data), self.length, 1, flags
        )

    def __bytes__(self):
        return self.data[: self.length]

    def tobytes(self) -> bytes:
        """A copy of the payload."""
        return self.data[: self.length]

    def __getitem__(self, item):
        if isinstance(item, slice):
            return self.data[: self.length][item]
        index: cython.Py_ssize_t = item
        if index < 0:
            index += self.length
        if index < 0 or index >= self.length:
            raise IndexError(f"index {item} is outside a message of {self.length} bytes")
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
        start = self.data[: min(self.length, 32)]
        return f"FragmentBuffer({self.length} bytes: {start!r})"


class Header:
    """The header of a message. `context` is its image.

    An assembled message has the first fragment's header, with the length of the whole, the flags
    of all fragments and the position at the end of the last.
    """

    def __init__(self):
        raise TypeError("a Header is made by poll")

    def _check(self):
        # `Header.__new__(Header)` is anybody's to call.
        if self.frame == cython.NULL:
            raise TypeError("this Header was not made by poll: it has no frame")
        return 0

    def assemble(self, first, frame, total, end_term_offset):
        """Become the header of a message of `total` bytes that begins with `frame`."""
        self.owner = first.owner
        self.context = first.context
        self.own = frame[0]
        self.own.frame_length = cython.cast(cython.int, total + DATA_HEADER_LENGTH)
        self.frame = cython.address(self.own)
        self.position_bits = first.position_bits
        self.initial_term_id = first.initial_term_id
        self.fragmented_frame_length = frame.frame_length
        self.end_term_offset = end_term_offset

    @property
    def frame_length(self) -> int:
        """Bytes of header and payload: of this frame, or of the assembled message."""
        self._check()
        return self.frame.frame_length

    @property
    def version(self) -> int:
        """Version of the frame's layout, 0."""
        self._check()
        return self.frame.version

    @property
    def flags(self) -> int:
        """0x80 begins a message, 0x40 ends it; 0xC0 is a whole one."""
        self._check()
        return self.frame.flags

    @property
    def type(self) -> int:
        """1 for data."""
        self._check()
        return self.frame.type

    @property
    def term_offset(self) -> int:
        """Where the frame begins in its term, bytes."""
        self._check()
        return self.frame.term_offset

    @property
    def session_id(self) -> int:
        """Which publisher of the stream it is from."""
        self._check()
        return self.frame.session_id

    @property
    def stream_id(self) -> int:
        self._check()
        return self.frame.stream_id

    @property
    def term_id(self) -> int:
        self._check()
        return self.frame.term_id

    @property
    def reserved_value(self) -> int:
        """The 64 bits the publisher set with the message, 0 by default."""
        self._check()
        return self.frame.reserved_value

    @property
    def position_bits_to_shift(self) -> int:
        """log2 of the term length."""
        return self.position_bits

    @property
    def next_term_offset(self) -> int:
        """Where the next frame begins in the term, bytes."""
        self._check()
        if self.fragmented_frame_length >= 0:
            return self.end_term_offset
        return self.frame.term_offset + align_frame(self.frame.frame_length)

    @property
    def position(self) -> int:
        """Stream position after this frame, or after the last frame of an assembled message."""
        end = self.next_term_offset
        begin = compute_position(self.frame.term_id, 0, self.position_bits, self.initial_term_id)
        return begin + end

    def __repr__(self):
        if self.frame == cython.NULL:
            return "Header(no frame)"
        return (
            f"Header(session {self.session_id}, stream {self.stream_id}, "
            f"position {self.position}, flags {self.flags:#04x})"
        )
