"""Frames by hand, written from the wire specification and not with the code under test."""

from __future__ import annotations

import struct
from types import SimpleNamespace

PAD, DATA, NAK, SM, ERR, SETUP, RTTM, RES, RSP_SETUP = 0, 1, 2, 3, 4, 5, 6, 7, 11
SESSION, STREAM, INITIAL, RECEIVER = 1001, 10, 7, 77

LAYOUTS = {
    DATA: ("<iBBHiiiiq", "frame_length version flags type term_offset session_id stream_id term_id reserved_value"),
    NAK: ("<iBBHiiiii", "frame_length version flags type session_id stream_id term_id term_offset length"),
    SM: ("<iBBHiiiiiq", "frame_length version flags type session_id stream_id term_id term_offset window receiver_id"),
    ERR: ("<iBBHiiqqii",
          "frame_length version flags type session_id stream_id receiver_id group_tag error_code error_length"),
    SETUP: ("<iBBHiiiiiiii", "frame_length version flags type term_offset session_id stream_id initial_term_id "
                             "active_term_id term_length mtu ttl"),
    RTTM: ("<iBBHiiqqq",
           "frame_length version flags type session_id stream_id echo_timestamp reception_delta receiver_id"),
}
LAYOUTS[PAD] = LAYOUTS[DATA]


def parse(raw: bytes) -> SimpleNamespace:
    """The fields of the first frame of a datagram, and the whole datagram as `raw`."""
    kind = struct.unpack_from("<H", raw, 6)[0]
    layout, names = LAYOUTS[kind]
    return SimpleNamespace(raw=raw, **dict(zip(names.split(), struct.unpack_from(layout, raw), strict=True)))


def data(offset, payload=b"", *, term_id=INITIAL, session=SESSION, stream=STREAM, flags=0xC0, kind=DATA, length=None,
         version=0):
    """One frame with its zero padding up to 32."""
    length = 32 + len(payload) if length is None else length
    raw = struct.pack("<iBBHiiiiq", length, version, flags, kind, offset, session, stream, term_id, 0) + payload
    return raw.ljust((len(raw) + 31) & ~31, b"\0")


def heartbeat(offset, **fields):
    return data(offset, length=0, **fields)


def setup(*, offset=0, active=INITIAL, initial=INITIAL, term_length=65536, mtu=1408, session=SESSION, stream=STREAM,
          flags=0):
    return struct.pack("<iBBHiiiiiiii", 40, 0, flags, SETUP, offset, session, stream, initial, active, term_length, mtu,
                       0)


def status(offset=0, window=32768, *, term_id=INITIAL, flags=0, session=SESSION, stream=STREAM, receiver=RECEIVER,
           version=0,
           length=36):
    return struct.pack("<iBBHiiiiiq", length, version, flags, SM, session, stream, term_id, offset, window, receiver)


def nak(offset, length, *, term_id=INITIAL, session=SESSION, stream=STREAM):
    return struct.pack("<iBBHiiiii", 28, 0, 0, NAK, session, stream, term_id, offset, length)


def error(text=b"no", *, receiver=RECEIVER, session=SESSION, stream=STREAM, flags=0, tag=0, error_length=None,
          length=None):
    size = len(text) if error_length is None else error_length
    return struct.pack("<iBBHiiqqii", 40 + len(text) if length is None else length, 0, flags, ERR, session, stream,
                       receiver,
                       tag, 13, size) + text


def rttm(*, flags=0x80, echo=123, delta=5, receiver=RECEIVER, session=SESSION, stream=STREAM):
    return struct.pack("<iBBHiiqqq", 40, 0, flags, RTTM, session, stream, echo, delta, receiver)
