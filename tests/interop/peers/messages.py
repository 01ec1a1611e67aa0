"""The messages of an interop run: message `i` has a length and a content that both sides can compute.

Message 0 is empty, message 1 has the largest length, the others lie between. The content repeats the number of the
message, so that a byte in the wrong place, a message lost, twice or out of order changes the digest.
"""

from __future__ import annotations

import hashlib
import struct


def length_of(index: int, largest: int) -> int:
    if index < 2:
        return largest * index
    if index % 1000 == 0:
        return largest
    spread = (index * 2654435761) & 0xFFFFFFFF
    # Mostly short messages, so that a run of 100,000 stays quick.
    return min(largest, spread % (200 if index % 50 else 5000))


def message(index: int, largest: int) -> bytes:
    length = length_of(index, largest)
    return (struct.pack("<q", index) * (length // 8 + 1))[:length]


class Digest:
    """SHA-256 over the messages with their lengths, in the order of arrival."""

    def __init__(self) -> None:
        self.count = 0
        self._sha = hashlib.sha256()

    def add(self, payload: bytes) -> None:
        self.count += 1
        self._sha.update(struct.pack("<i", len(payload)))
        self._sha.update(payload)

    def hexdigest(self) -> str:
        return self._sha.hexdigest()


def expected_digest(count: int, largest: int) -> str:
    digest = Digest()
    for index in range(count):
        digest.add(message(index, largest))
    return digest.hexdigest()
