"""Pillion: reliable, ordered, flow-controlled messages over shared memory and UDP. The public API, names only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pillion.version import __version__

if TYPE_CHECKING:
    from pillion.client.assembler import FragmentAssembler
    from pillion.client.claim import BufferClaim
    from pillion.client.client import Client
    from pillion.client.counter import Counter
    from pillion.client.fragment import FragmentBuffer, Header
    from pillion.client.image import ABORT, BREAK, COMMIT, CONTINUE, Image
    from pillion.client.publication import (
        ADMIN_ACTION,
        BACK_PRESSURED,
        CLOSED,
        MAX_POSITION_EXCEEDED,
        NOT_CONNECTED,
        ExclusivePublication,
        Publication,
    )
    from pillion.client.subscription import Subscription
    from pillion.connecting import connect
    from pillion.driver.media_driver import MediaDriver
    from pillion.errors import PillionError

# Resolved on first use, so that the driver's process does not load the client, nor the client's the driver.
_HOMES = {
    "ABORT": "client.image",
    "ADMIN_ACTION": "client.publication",
    "BACK_PRESSURED": "client.publication",
    "BREAK": "client.image",
    "BufferClaim": "client.claim",
    "CLOSED": "client.publication",
    "COMMIT": "client.image",
    "CONTINUE": "client.image",
    "Client": "client.client",
    "Counter": "client.counter",
    "ExclusivePublication": "client.publication",
    "FragmentAssembler": "client.assembler",
    "FragmentBuffer": "client.fragment",
    "Header": "client.fragment",
    "Image": "client.image",
    "MAX_POSITION_EXCEEDED": "client.publication",
    "MediaDriver": "driver.media_driver",
    "NOT_CONNECTED": "client.publication",
    "PillionError": "errors",
    "Publication": "client.publication",
    "Subscription": "client.subscription",
    "connect": "connecting",
}

__all__ = [
    "ABORT",
    "ADMIN_ACTION",
    "BACK_PRESSURED",
    "BREAK",
    "CLOSED",
    "COMMIT",
    "CONTINUE",
    "MAX_POSITION_EXCEEDED",
    "NOT_CONNECTED",
    "BufferClaim",
    "Client",
    "Counter",
    "ExclusivePublication",
    "FragmentAssembler",
    "FragmentBuffer",
    "Header",
    "Image",
    "MediaDriver",
    "PillionError",
    "Publication",
    "Subscription",
    "__version__",
    "connect",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'pillion' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"pillion.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
