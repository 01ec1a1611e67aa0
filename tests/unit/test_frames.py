"""Frames against the byte examples of the wire protocol, section 6."""

from __future__ import annotations

import pytest
from golden_frames import GOLDEN

from pillion.protocol.frames import DATA_FLAGS, FRAME_TYPES, frame_layouts

LAYOUTS = frame_layouts()
NAMES = {value: name for name, value in FRAME_TYPES.items()}


def number(data: bytes, offset: int, size: int, value: int) -> int:
    return int.from_bytes(data[offset : offset + size], "little", signed=value < 0)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name: str) -> None:
    text, fields = GOLDEN[name]
    data = bytes.fromhex(text)
    starts = [offset for offset, field, _ in fields if field == "frame_length"]
    assert starts, "every example has a frame"
    for start, end in zip(starts, [*starts[1:], len(data) + 1], strict=True):
        inside = {field: (offset - start, value) for offset, field, value in fields if start <= offset < end}
        kind = NAMES[inside["type"][1]]
        layout = LAYOUTS["DATA" if kind == "PAD" else kind]
        if kind == "RES":
            # Behind the header that every frame has there is an entry of one of two kinds.
            header = {field: LAYOUTS["DATA"][field] for field in ("frame_length", "version", "flags", "type")}
            entry = LAYOUTS["RES6" if inside["res_type"][1] == 2 else "RES"]
            layout = header | {field: (8 + offset, size) for field, (offset, size) in entry.items()}
        for field, (offset, value) in inside.items():
            assert layout[field][0] == offset, (kind, field)
            assert number(data, start + offset, layout[field][1], value) == value, (kind, field)


def test_every_struct_field_is_proved_by_an_example() -> None:
    proved: dict[str, set[str]] = {}
    for _, fields in GOLDEN.values():
        kind = NAMES[next(value for _, field, value in fields if field == "type")]
        if any(field == "res_type" and value == 2 for _, field, value in fields):
            kind = "RES6"
        proved.setdefault("DATA" if kind == "PAD" else kind, set()).update(field for _, field, _ in fields)
    for kind, layout in LAYOUTS.items():
        assert set(layout) <= proved[kind], kind


@pytest.mark.parametrize(
    ("kind", "length"),
    [("DATA", 32), ("SETUP", 40), ("SM", 44), ("NAK", 28), ("ERR", 40), ("RTTM", 40), ("RSP_SETUP", 20)],
)
def test_layouts_have_no_holes(kind: str, length: int) -> None:
    at = 0
    for offset, size in sorted(LAYOUTS[kind].values()):
        assert offset == at
        at += size
    assert at == length


def test_types_and_flags() -> None:
    assert FRAME_TYPES == {
        "PAD": 0, "DATA": 1, "NAK": 2, "SM": 3, "ERR": 4, "SETUP": 5, "RTTM": 6, "RES": 7, "RSP_SETUP": 11,
    }  # fmt: skip
    assert DATA_FLAGS == {"BEGIN": 0x80, "END": 0x40, "EOS": 0x20, "REVOKED": 0x10, "UNFRAGMENTED": 0xC0}
