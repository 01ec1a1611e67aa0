"""Who takes part: `ALL` by name, in the order of the tables. A module a library."""

from __future__ import annotations

from benchmarks.peers.base import Peer
from benchmarks.peers.java import JAVA
from benchmarks.peers.pillion import PILLION, PILLION_INVOKER, PILLION_ON_C
from benchmarks.peers.pyaeron import PYAERON, PYAERON_ON_PILLION
from benchmarks.peers.sockets import TCP, TCP_SPINNING, UDP, UDP_SPINNING
from benchmarks.peers.zeromq import ZEROMQ

ALL: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        PILLION,
        PILLION_INVOKER,
        PILLION_ON_C,
        PYAERON,
        PYAERON_ON_PILLION,
        JAVA,
        UDP,
        UDP_SPINNING,
        TCP,
        TCP_SPINNING,
        ZEROMQ,
    )
}
