"""Two network namespaces joined by a pair of virtual devices: a network that a row has for itself.

On loopback, and on such a pair as it comes, a datagram train crosses whole: nobody cuts it. So the devices are told
that they cannot segment, as a network card without the feature, and the kernel cuts each train before it leaves.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

#: Addresses for tests of networks, which nobody routes (RFC 2544).
ADDRESSES = ("198.18.91.1", "198.18.91.2")
_numbers = itertools.count()


@dataclass(frozen=True)
class Side:
    """One end: its address, and what to put before a command that is to run there."""

    address: str
    prefix: tuple[str, ...]


def why_absent() -> str:
    """Why there can be no such network here; empty if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool, package in (("ip", "iproute2"), ("ethtool", "ethtool")):
        if not shutil.which(tool):
            return f"{tool} is not installed: apt-get install {package}"
    try:
        with joined():
            return ""
    except subprocess.CalledProcessError as error:
        return f"{' '.join(error.cmd)}: {error.stderr.strip()}"


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


@contextlib.contextmanager
def joined() -> Iterator[tuple[Side, Side]]:
    """Both sides; the devices go with their namespaces."""
    name = f"pillion-bench-{os.getpid()}-{next(_numbers)}"
    names = [f"{name}-a", f"{name}-b"]
    with contextlib.ExitStack() as stack:
        for namespace in names:
            _run("ip", "netns", "add", namespace)
            stack.callback(_run, "ip", "netns", "delete", namespace)
        first, second = names
        _run("ip", "link", "add", "veth0", "netns", first, "type", "veth", "peer", "veth0", "netns", second)
        pairs = zip(ADDRESSES, names, strict=True)
        sides = tuple(Side(address, ("ip", "netns", "exec", namespace)) for address, namespace in pairs)
        for side in sides:
            _run(*side.prefix, "ip", "address", "add", f"{side.address}/24", "dev", "veth0")
            _run(*side.prefix, "ip", "link", "set", "lo", "up")
            _run(*side.prefix, "ip", "link", "set", "veth0", "up")
            _run(*side.prefix, "ethtool", "-K", "veth0", "tx-udp-segmentation", "off")
        yield sides[0], sides[1]
