"""Moving messages in tests: publish a list, collect what arrives."""

from __future__ import annotations

import random
import time
from typing import Any

from pillion.client.assembler import FragmentAssembler


def messages(count: int, largest: int, seed: int = 1) -> list[bytes]:
    """Messages of mixed sizes from 0 to `largest` bytes, each of them different."""
    source = random.Random(seed)
    sizes = [0, largest, 1, *(source.choice((8, 32, 100, 1000)) for _ in range(count - 3))]
    for place in range(50, count, 97):
        sizes[place] = source.randint(0, largest)
    return [source.randbytes(size) for size in sizes[:count]]


def transfer(
    publication: Any, subscription: Any, wanted: list[bytes], timeout: float = 60.0
) -> list[bytes]:
    """Offer `wanted` and poll until as many whole messages came; what came."""
    received: list[bytes] = []
    assembler = FragmentAssembler(lambda buffer, header: received.append(bytes(buffer)))
    deadline = time.monotonic() + timeout
    sent = 0
    while len(received) < len(wanted) and time.monotonic() < deadline:
        work = 0
        while sent < len(wanted) and publication.offer(wanted[sent]) > 0:
            sent += 1
            work += 1
        work += subscription.poll(assembler, 64)
        if not work:
            time.sleep(0.0005)
    return received
