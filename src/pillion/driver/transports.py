"""Opens the sockets of channel endpoints as the settings want them."""

from __future__ import annotations

import itertools
import time
from typing import NamedTuple

from pillion.driver.setting_values import LossSpec, RandomLoss
from pillion.driver.settings import DriverSettings
from pillion.driver.udp.transport import UdpTransport
from pillion.errors import SettingError


class _Faults(NamedTuple):
    """What an interceptor does to one direction of every socket."""

    direction: str
    drop: float
    duplicate: float
    reorder: float
    seed: int
    mask: int


class TransportOpener:
    """Where the control plane gets its sockets; a simulation brings its own.

    Raises `SettingError` for faults that are asked for and cannot be made.
    """

    def __init__(self, settings: DriverSettings) -> None:
        self._offload = settings.udp_offload
        self._faults = _faults(settings)
        self._opened = itertools.count()

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
        number = next(self._opened)
        for faults in self._faults:
            transport.set_loss(
                drop=faults.drop,
                duplicate=faults.duplicate,
                reorder=faults.reorder,
                # Each socket draws its own sequence, the same ones in every run.
                seed=faults.seed + number,
                mask=faults.mask,
                direction=faults.direction,
            )
        return transport


def _faults(settings: DriverSettings) -> list[_Faults]:
    faults = []
    if settings.loss is not None:
        loss = settings.loss
        faults.append(
            _Faults(
                "both", loss.drop, loss.duplicate, loss.reorder, _seed(loss.seed), loss.message_mask
            )
        )
    for name, direction, specs in (
        ("receive_loss", "receive", settings.receive_loss),
        ("send_loss", "send", settings.send_loss),
    ):
        for spec in specs:
            faults.append(_of_spec(name, direction, spec))
    directions = [each.direction for each in faults]
    if len(set(directions)) < len(directions) or ("both" in directions and len(directions) > 1):
        raise SettingError(
            "loss, receive_loss and send_loss: one loss generator a direction is what this driver "
            "can do",
            setting="loss",
            value=settings.loss,
        )
    return faults


def _of_spec(name: str, direction: str, spec: LossSpec) -> _Faults:
    if not isinstance(spec, RandomLoss):
        raise SettingError(
            f"{name}={spec}: this driver has the loss generator 'loss' (random) only",
            setting=name,
            value=spec,
        )
    return _Faults(direction, spec.rate, 0.0, 0.0, _seed(spec.seed), spec.message_mask)


def _seed(seed: int) -> int:
    return time.monotonic_ns() if seed == -1 else seed
