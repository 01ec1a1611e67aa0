"""`connect`: a client of a driver that is there, or of one that comes with it. Above both rooms."""

from __future__ import annotations

import os
from typing import Any

from pillion.client.client import Client
from pillion.client.settings import Handler, client_settings


def connect(
    aeron_dir: str | os.PathLike[str] | None = None,
    *,
    embedded: bool = False,
    client_name: str | None = None,
    driver_timeout: float | None = None,
    keepalive_interval: float = 0.5,
    idle_sleep: float | None = None,
    use_conductor_agent_invoker: bool = False,
    driver_agent_invoker: Handler | None = None,
    pre_touch_mapped_memory: bool | None = None,
    on_available_image: Handler | None = None,
    on_unavailable_image: Handler | None = None,
    on_available_counter: Handler | None = None,
    on_unavailable_counter: Handler | None = None,
    on_publication_error: Handler | None = None,
    on_error: Handler | None = None,
    on_close: Handler | None = None,
    **driver_settings: Any,
) -> Client:
    """Connect to the driver of `aeron_dir` (None: AERON_DIR or the platform's default).

    `embedded=True` starts a private driver that goes with the client; `driver_settings` are its
    settings. Durations are in seconds; None takes the `AERON_...` variable, or its default:
    `driver_timeout` 10 (how long a driver may be silent, and how long calls wait for it),
    `idle_sleep` 0.016 (of the conductor's thread, 0..1), `client_name` up to 100 characters.
    `use_conductor_agent_invoker=True` starts no thread: call `invoke` often.
    `driver_agent_invoker()` is called while this client waits, to run a driver in the same thread.

    Handlers: images get the image, counters `(counters, registration_id, counter_id)`,
    `on_publication_error` a `PublicationErrorFrame`, `on_error` the exception (None: printed to
    stderr), `on_close` nothing. They may use the client.

    Raises `DriverTimeoutError` if no living driver is found within `driver_timeout`,
    `DriverIncompatibleError`, `CncFileError`, `SettingError`.

    >>> with pillion.connect(embedded=True) as client:
    ...     publication = client.add_publication("aeron:ipc", 10)
    """
    if driver_settings and not embedded:
        raise TypeError(f"unexpected arguments {sorted(driver_settings)}: driver settings need embedded=True")
    directory = None if aeron_dir is None else os.fspath(aeron_dir)
    settings = client_settings(
        directory,
        client_name=client_name,
        driver_timeout=driver_timeout,
        keepalive_interval=keepalive_interval,
        idle_sleep=idle_sleep,
        pre_touch_mapped_memory=pre_touch_mapped_memory,
        use_conductor_agent_invoker=use_conductor_agent_invoker,
        driver_agent_invoker=driver_agent_invoker,
        on_available_image=on_available_image,
        on_unavailable_image=on_unavailable_image,
        on_available_counter=on_available_counter,
        on_unavailable_counter=on_unavailable_counter,
        on_publication_error=on_publication_error,
        on_error=on_error,
        on_close=on_close,
    )
    if not embedded:
        return Client(settings)
    # A client of somebody else's driver does not load one.
    from pillion.driver.media_driver import embedded_driver

    driver = embedded_driver(directory, driver_settings)
    settings.aeron_dir = driver.aeron_dir
    try:
        return Client(settings, driver)
    except BaseException:
        driver.close()
        raise
