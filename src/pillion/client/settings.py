"""Settings of a client: keywords, then the environment, then defaults."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from pillion.clock import SYSTEM_CLOCK, Clock
from pillion.directory import default_aeron_dir
from pillion.errors import SettingError
from pillion.units import parse_bool, parse_duration_ns, parse_int

Handler = Callable[..., Any]

MAX_CLIENT_NAME_LENGTH = 100
MAX_IDLE_SLEEP_NS = 1_000_000_000


class Unset(Enum):
    """A handler that was not given: the client's own default handler is used."""

    UNSET = 0


UNSET: Final = Unset.UNSET


@dataclass(slots=True)
class ClientSettings:
    """Settings of a client; durations in ns. Handlers get what `pillion.connect` says."""

    aeron_dir: str
    client_name: str = ""
    driver_timeout_ns: int = 10_000_000_000
    keepalive_interval_ns: int = 500_000_000
    idle_sleep_ns: int = 16_000_000
    use_conductor_agent_invoker: bool = False
    driver_agent_invoker: Callable[[], Any] | None = None
    pre_touch_mapped_memory: bool = False
    on_available_image: Handler | None = None
    on_unavailable_image: Handler | None = None
    on_available_counter: Handler | None = None
    on_unavailable_counter: Handler | None = None
    on_publication_error: Handler | None = None
    on_error: Handler | None = None
    on_close: Handler | None = None
    #: What time-outs and keep-alives go by; a simulation brings its own.
    clock: Clock = SYSTEM_CLOCK

    def check(self) -> ClientSettings:
        """Raises `SettingError` that names the setting out of range."""

        def require(holds: bool, setting: str, value: object, why: str) -> None:
            if not holds:
                raise SettingError(f"{setting}={value!r} {why}", setting=setting, value=value)

        seconds = self.driver_timeout_ns / 1e9
        require(self.driver_timeout_ns > 0, "driver_timeout", seconds, "must be positive")
        seconds = self.keepalive_interval_ns / 1e9
        require(self.keepalive_interval_ns > 0, "keepalive_interval", seconds, "must be positive")
        seconds = self.idle_sleep_ns / 1e9
        in_range = 0 <= self.idle_sleep_ns <= MAX_IDLE_SLEEP_NS
        require(in_range, "idle_sleep", seconds, "must be in 0..1 s")
        name = self.client_name
        is_short = len(name) <= MAX_CLIENT_NAME_LENGTH
        require(is_short, "client_name", name, f"is longer than {MAX_CLIENT_NAME_LENGTH}")
        return self


def _from_environment(environ: Mapping[str, str], name: str, parse: Callable[[str], Any], default: Any) -> Any:
    text = environ.get(name)
    if not text:
        return default
    try:
        return parse(text)
    except ValueError as error:
        raise SettingError(f"{name}={text!r} {error}", setting=name, value=text, source="environment") from None


def _milliseconds(text: str) -> int:
    return parse_int(text) * 1_000_000


def _nanoseconds(seconds: float) -> int:
    if not isinstance(seconds, (int, float)) or seconds != seconds:
        raise TypeError(f"a duration in seconds is needed, not {seconds!r}")
    return int(min(seconds, 9e9) * 1e9)


def client_settings(
    aeron_dir: str | None = None,
    *,
    client_name: str | None = None,
    driver_timeout: float | None = None,
    keepalive_interval: float = 0.5,
    idle_sleep: float | None = None,
    pre_touch_mapped_memory: bool | None = None,
    environ: Mapping[str, str] | None = None,
    **others: Any,
) -> ClientSettings:
    """Settings from keywords (durations in s) and `AERON_...`. Raises `SettingError`."""
    env = os.environ if environ is None else environ
    if client_name is None:
        client_name = env.get("AERON_CLIENT_NAME", "")
    if pre_touch_mapped_memory is None:
        pre_touch_mapped_memory = _from_environment(env, "AERON_CLIENT_PRE_TOUCH_MAPPED_MEMORY", parse_bool, False)
    if driver_timeout is None:
        driver_timeout_ns = _from_environment(env, "AERON_DRIVER_TIMEOUT", _milliseconds, 10_000_000_000)
    else:
        driver_timeout_ns = _nanoseconds(driver_timeout)
    if idle_sleep is None:
        idle_sleep_ns = _from_environment(env, "AERON_CLIENT_IDLE_SLEEP_DURATION", parse_duration_ns, 16_000_000)
    else:
        idle_sleep_ns = _nanoseconds(idle_sleep)
    return ClientSettings(
        aeron_dir=aeron_dir or default_aeron_dir(env),
        client_name=client_name,
        driver_timeout_ns=driver_timeout_ns,
        keepalive_interval_ns=_nanoseconds(keepalive_interval),
        idle_sleep_ns=idle_sleep_ns,
        pre_touch_mapped_memory=bool(pre_touch_mapped_memory),
        **others,
    ).check()
