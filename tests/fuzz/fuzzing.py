"""How long and from which seed to fuzz."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

SECONDS = float(os.environ.get("PILLION_FUZZ_SECONDS", "1"))
SEED = int(os.environ.get("PILLION_FUZZ_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)


def attempt(call: Callable[[], Any], *errors: type[Exception]) -> tuple[Any, Exception | None]:
    """What `call` returns, or which of `errors` it raised; anything else goes through."""
    try:
        return call(), None
    except errors as error:
        return None, error


class Fuzz:
    """One random generator a round, until the time is over; the seed of each round is told when it fails."""

    def __init__(self) -> None:
        self.seed = SEED

    def rounds(self) -> Iterator[random.Random]:
        end = time.monotonic() + SECONDS
        first = True
        while first or time.monotonic() < end:
            first = False
            yield random.Random(self.seed)
            self.seed += 1
