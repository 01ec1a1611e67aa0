"""Random changes to bytes and text, of the kinds that find mistakes: edges of numbers, cuts, repeats, swaps."""

from __future__ import annotations

from random import Random

EDGES = (0, 1, -1, 2, 7, 8, 31, 32, 33, 127, 128, 255, 4095, 65_535, 65_536, 2**31 - 1, -(2**31), 2**30)


def number(random: Random, bits: int) -> int:
    """A signed number of `bits`, often at an edge."""
    value = random.choice(EDGES) if random.random() < 0.7 else random.getrandbits(bits)
    return (value + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


def mutate(random: Random, data: bytes, *, may_resize: bool = True) -> bytes:
    """`data` with a few changes."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 6)):
        kind = random.randrange(6 if may_resize else 4)
        at = random.randrange(len(changed) + 1)
        if kind == 0 and at < len(changed):
            changed[at] = random.randrange(256)
        elif kind in (1, 2):
            at &= ~3
            size = 4 if kind == 1 else 8
            if at + size <= len(changed):
                changed[at : at + size] = number(random, size * 8).to_bytes(size, "little", signed=True)
        elif kind == 3:
            end = random.randrange(at, len(changed) + 1)
            changed[at:end] = random.randbytes(end - at)
        elif kind == 4:
            del changed[at:]
        elif kind == 5:
            changed[at:at] = random.randbytes(random.randrange(40))
    return bytes(changed)
