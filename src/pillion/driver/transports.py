"""Opens the sockets of channel endpoints as the settings want them."""

from __future__ import annotations

import itertools
from typing import Any

from pillion.driver.settings import DriverSettings
from pillion.driver.udp.transport import UdpTransport


class TransportOpener:
    """Where the control plane gets its sockets; a simulation brings its own."""

    def __init__(self, settings: DriverSettings) -> None:
        self._loss = settings.loss
        self._offload = settings.udp_offload
        self._seeds = itertools.count()

    def open(
        self,
        *,
        bind: tuple[str, int],
        connect: tuple[str, int] | None = None,
        so_sndbuf: int = 0,
        so_rcvbuf: int = 0,
    ) -> UdpTransport:
        """A bound socket, connected to `connect` where one is given; raises `OSError`."""
        transport = UdpTransport(
            bind=bind,
            connect=connect,
            so_sndbuf=so_sndbuf,
            so_rcvbuf=so_rcvbuf,
            offload=self._offload,
        )
        if self._loss is not None:
            arguments: dict[str, Any] = self._loss._asdict()
            # Each socket draws its own sequence, the same ones in every run.
            arguments["seed"] = arguments["seed"] + next(self._seeds)
            arguments["mask"] = arguments.pop("message_mask")
            transport.set_loss(**arguments)
        return transport
